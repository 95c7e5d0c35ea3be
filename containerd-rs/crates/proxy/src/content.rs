//! A content store in another process.

use std::sync::Arc;

use async_trait::async_trait;
use base::filter::FilterSet;
use base::{Digest, ErrorKind, Scope};
use protos::api::content::content_client::ContentClient;
use protos::api::content::{self as api, *};
use store::content::RemoteBlob;
use store::{Blob, ContentInfo, ContentStore, ContentWriter, Error, IngestStatus, WriterOptions};
use tonic::transport::Channel;

use crate::channel::{Connection, MESSAGE, failure, request};
use crate::convert::{mask, time};
use crate::writer::ProxyWriter;

type Result<T> = std::result::Result<T, Error>;

/// The most objects that are taken from one list.
const LIMIT: usize = 1_000_000;

/// Speaks for the content store at an address.
#[derive(Clone)]
pub struct ProxyContent(ContentClient<Channel>);

impl ProxyContent {
    pub fn new(connection: &Connection) -> Self {
        let client = ContentClient::new(connection.channel());
        Self(client.max_decoding_message_size(MESSAGE).max_encoding_message_size(MESSAGE))
    }

    fn client(&self) -> ContentClient<Channel> {
        self.0.clone()
    }
}

pub(crate) fn error(status: tonic::Status) -> Error {
    let (kind, message) = failure(&status);
    Error::Refused { kind, message }
}

pub(crate) fn nonsense(what: impl Into<String>) -> Error {
    Error::Refused { kind: ErrorKind::Internal, message: what.into() }
}

fn info_in(info: Option<Info>) -> Result<ContentInfo> {
    let info = info.ok_or_else(|| nonsense("the answer has no content"))?;
    Ok(ContentInfo {
        digest: Digest::parse(&info.digest).map_err(|e| nonsense(base::chain(&e)))?,
        size: u64::try_from(info.size).map_err(|_| nonsense("the answer has a negative size"))?,
        created_at: time(info.created_at),
        updated_at: time(info.updated_at),
        labels: info.labels,
    })
}

fn status_in(status: Option<api::Status>) -> Result<IngestStatus> {
    let s = status.ok_or_else(|| nonsense("the answer has no status"))?;
    Ok(IngestStatus {
        reference: s.r#ref,
        offset: u64::try_from(s.offset).map_err(|_| nonsense("the answer has a negative offset"))?,
        total: u64::try_from(s.total).unwrap_or_default(),
        expected: Digest::parse(&s.expected).ok(),
        started_at: time(s.started_at),
        updated_at: time(s.updated_at),
    })
}

struct Remote {
    client: ContentClient<Channel>,
    scope: Scope,
    digest: Digest,
    size: u64,
}

#[async_trait]
impl RemoteBlob for Remote {
    fn size(&self) -> u64 {
        self.size
    }

    async fn read_at(&self, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let wanted = (buf.len() as u64).min(self.size.saturating_sub(offset));
        if wanted == 0 {
            return Ok(0);
        }
        let number = |n: u64| i64::try_from(n).map_err(|_| nonsense("offset"));
        let message = ReadContentRequest {
            digest: self.digest.to_string(),
            offset: number(offset)?,
            size: number(wanted)?,
        };
        let mut stream =
            self.client.clone().read(request(&self.scope, message)).await.map_err(error)?.into_inner();
        let mut filled = 0;
        while let Some(chunk) = stream.message().await.map_err(error)? {
            let end = filled + chunk.data.len();
            let room = buf
                .get_mut(filled..end)
                .ok_or_else(|| nonsense("the answer is longer than what was asked for"))?;
            room.copy_from_slice(&chunk.data);
            filled = end;
        }
        Ok(filled)
    }
}

#[async_trait]
impl ContentStore for ProxyContent {
    async fn info(&self, scope: &Scope, digest: &Digest) -> Result<ContentInfo> {
        let message = InfoRequest { digest: digest.to_string() };
        info_in(self.client().info(request(scope, message)).await.map_err(error)?.into_inner().info)
    }

    async fn update(&self, scope: &Scope, info: ContentInfo, fields: &[String]) -> Result<ContentInfo> {
        let info = Info { digest: info.digest.to_string(), labels: info.labels, ..Default::default() };
        let message = UpdateRequest { info: Some(info), update_mask: mask(fields) };
        info_in(self.client().update(request(scope, message)).await.map_err(error)?.into_inner().info)
    }

    async fn list(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<ContentInfo>> {
        let message = ListContentRequest { filters: Vec::new() };
        let mut stream = self.client().list(request(scope, message)).await.map_err(error)?.into_inner();
        let mut found = Vec::new();
        while let Some(batch) = stream.message().await.map_err(error)? {
            for info in batch.info {
                found.push(info_in(Some(info))?);
            }
            if found.len() > LIMIT {
                return Err(nonsense(format!("more than {LIMIT} blobs")));
            }
        }
        found.retain(|info| filters.matches(info));
        Ok(found)
    }

    async fn delete(&self, scope: &Scope, digest: &Digest) -> Result<()> {
        let message = DeleteContentRequest { digest: digest.to_string() };
        self.client().delete(request(scope, message)).await.map_err(error)?;
        Ok(())
    }

    async fn open(&self, scope: &Scope, digest: &Digest) -> Result<Blob> {
        let size = self.info(scope, digest).await?.size;
        let (client, scope, digest) = (self.client(), scope.clone(), digest.clone());
        Ok(Blob::remote(Arc::new(Remote { client, scope, digest, size })))
    }

    async fn status(&self, scope: &Scope, reference: &str) -> Result<IngestStatus> {
        let message = StatusRequest { r#ref: reference.to_owned() };
        status_in(self.client().status(request(scope, message)).await.map_err(error)?.into_inner().status)
    }

    async fn statuses(&self, scope: &Scope, filters: &FilterSet) -> Result<Vec<IngestStatus>> {
        let message = ListStatusesRequest { filters: Vec::new() };
        let answer = self.client().list_statuses(request(scope, message)).await.map_err(error)?.into_inner();
        let found = answer.statuses.into_iter().map(|s| status_in(Some(s))).collect::<Result<Vec<_>>>()?;
        Ok(found.into_iter().filter(|s| filters.matches(s)).collect())
    }

    async fn abort(&self, scope: &Scope, reference: &str) -> Result<()> {
        let message = AbortRequest { r#ref: reference.to_owned() };
        self.client().abort(request(scope, message)).await.map_err(error)?;
        Ok(())
    }

    async fn writer(&self, scope: &Scope, options: WriterOptions) -> Result<Box<dyn ContentWriter>> {
        Ok(Box::new(ProxyWriter::open(self.client(), scope, options).await?))
    }
}
