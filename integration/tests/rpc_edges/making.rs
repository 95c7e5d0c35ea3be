//! Messages that the tables are made of.

use std::collections::BTreeMap;

use futures_util::TryStreamExt;
use integration::rpc::Rpc;
use prost_types::{FieldMask, Timestamp};
use protos::api::Any;
use protos::api::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use protos::api::types::Descriptor;
use tonic::{Response, Status, Streaming};

pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// The sha256 digest of `bytes`, as text.
pub fn digest(bytes: &[u8]) -> String {
    base::Digest::sha256(bytes).to_string()
}

/// A digest that no blob here has.
pub fn unknown() -> String {
    format!("sha256:{}", "0".repeat(64))
}

pub fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
}

/// One label that is one byte too long.
pub fn long_label() -> BTreeMap<String, String> {
    labels(&[("key", &"v".repeat(4094))])
}

pub fn any(type_url: &str, value: &[u8]) -> Option<Any> {
    Some(Any { type_url: type_url.to_owned(), value: value.to_vec().into() })
}

pub fn mask(paths: &[&str]) -> Option<FieldMask> {
    Some(FieldMask { paths: paths.iter().map(|p| (*p).to_owned()).collect() })
}

pub fn descriptor(media_type: &str, digest: impl Into<String>, size: i64) -> Descriptor {
    Descriptor { media_type: media_type.to_owned(), digest: digest.into(), size, ..Default::default() }
}

pub fn strings(list: &[&str]) -> Vec<String> {
    list.iter().map(|s| (*s).to_owned()).collect()
}

pub fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

/// Every message of a stream.
pub async fn all<T>(stream: Result<Response<Streaming<T>>, Status>) -> Result<Vec<T>, Status> {
    stream?.into_inner().try_collect().await
}

/// Send `requests` on one write stream, and give what came back.
pub async fn write(
    rpc: &Rpc,
    requests: Vec<WriteContentRequest>,
) -> Result<Vec<WriteContentResponse>, Status> {
    all(rpc.content().write(tokio_stream::iter(requests)).await).await
}

pub fn stat(reference: &str) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Stat.into(),
        r#ref: reference.to_owned(),
        ..Default::default()
    }
}

pub fn data(reference: &str, offset: i64, bytes: &[u8]) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Write.into(),
        r#ref: reference.to_owned(),
        offset,
        data: bytes.to_vec().into(),
        ..Default::default()
    }
}

/// A commit that expects `total` bytes (0: any) with digest `expected` (empty: any).
pub fn commit(reference: &str, offset: i64, total: i64, expected: &str) -> WriteContentRequest {
    WriteContentRequest {
        action: WriteAction::Commit.into(),
        r#ref: reference.to_owned(),
        offset,
        total,
        expected: expected.to_owned(),
        labels: rooted(),
        ..Default::default()
    }
}

/// The label that keeps something without a lease.
pub fn rooted() -> BTreeMap<String, String> {
    labels(&[("containerd.io/gc.root", "1970-01-01T00:00:00Z")])
}

/// Store `bytes`; gives the digest. A root label keeps them.
pub async fn store(rpc: &Rpc, bytes: &[u8]) -> anyhow::Result<String> {
    let digest = digest(bytes);
    let reference = format!("store-{digest}");
    let last = commit(&reference, bytes.len() as i64, bytes.len() as i64, &digest);
    match write(rpc, vec![data(&reference, 0, bytes), last]).await {
        Err(status) if status.code() == tonic::Code::AlreadyExists => {}
        other => drop(other?),
    }
    Ok(digest)
}
