//! The streaming service.

use std::time::Duration;

use integration::rpc::{Rpc, case, newer_contract};
use protos::api::Any;
use protos::api::streaming::StreamInit;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use crate::making::{all, any};

fn init(id: &str) -> Any {
    Any::pack(&StreamInit { id: id.to_owned() })
}

async fn send(rpc: Rpc, messages: Vec<Any>) -> Result<usize, Status> {
    let answers = all(rpc.within("edges").streaming().stream(tokio_stream::iter(messages)).await).await?;
    Ok(answers.len())
}

/// Open stream `id` and take the acknowledgement.
async fn open(rpc: &Rpc, id: &str) -> Result<(mpsc::Sender<Any>, Streaming<Any>), Status> {
    let (requests, stream) = mpsc::channel(4);
    requests.send(init(id)).await.map_err(|e| Status::internal(e.to_string()))?;
    let mut answers = rpc.streaming().stream(ReceiverStream::new(stream)).await?.into_inner();
    let acknowledged = answers.message().await?.ok_or_else(|| Status::internal("no acknowledgement"))?;
    match acknowledged.type_url.as_str() {
        "google.protobuf.Empty" => Ok((requests, answers)),
        other => Err(Status::internal(format!("acknowledged with {other}"))),
    }
}

#[test]
fn streaming() {
    newer_contract("streams", async |_| {
        Ok(vec![
            case("a stream of nothing", Code::Unknown, "EOF", |rpc| send(rpc, vec![])).ours(
                Code::InvalidArgument,
                "the first message must name the stream",
                "the original loses the kind of its own error",
            ),
            case(
                "a first message of another type",
                Code::Unknown,
                "type with url nonsense: not found",
                |rpc| send(rpc, vec![any("nonsense", b"").unwrap()]),
            )
            .ours(
                Code::InvalidArgument,
                "the first message must name the stream",
                "the original loses the kind of its own error",
            ),
            case(
                "a first message that is broken",
                Code::Unknown,
                "proto: cannot parse invalid wire-format data",
                |rpc| {
                    send(rpc, vec![any("containerd.services.streaming.v1.StreamInit", b"\xff\xff").unwrap()])
                },
            )
            .ours(
                Code::InvalidArgument,
                "the first message must name the stream",
                "the original loses the kind of its own error",
            ),
            case("a stream without an id", Code::Ok, "1", |rpc| send(rpc, vec![init("")])).ours(
                Code::InvalidArgument,
                "stream id must not be empty",
                "nobody could ask for such a stream",
            ),
            case("a stream without a namespace", Code::DeadlineExceeded, "still open", |rpc| async move {
                let within = Duration::from_secs(2);
                let call = async {
                    all(rpc.nowhere().streaming().stream(tokio_stream::iter(vec![init("s")])).await).await
                };
                tokio::time::timeout(within, call)
                    .await
                    .unwrap_or_else(|_| Err(Status::deadline_exceeded("still open")))
            })
            .ours(
                Code::FailedPrecondition,
                "namespace is required",
                "nobody could ask for such a stream",
            ),
            case(
                "a stream",
                Code::Ok,
                "",
                |rpc| async move { open(&rpc.within("edges"), "s0").await.map(drop) },
            ),
            case("a stream whose id is open", Code::Unknown, "already exists", |rpc| async move {
                let rpc = rpc.within("edges");
                let first = open(&rpc, "s1").await?;
                let second = open(&rpc, "s1").await.map(drop);
                drop(first);
                second
            })
            .ours(
                Code::AlreadyExists,
                "already exists",
                "the original loses the kind of its own error",
            ),
            case("the same id in another namespace", Code::Ok, "", |rpc| async move {
                let first = open(&rpc.within("edges"), "s2").await?;
                let second = open(&rpc.within("other"), "s2").await.map(drop);
                drop(first);
                second
            }),
            case("the same id under another lease", Code::Unknown, "already exists", |rpc| async move {
                let first = open(&rpc.within("edges"), "s3").await?;
                let second = open(&rpc.within("edges").leased("l"), "s3").await.map(drop);
                drop(first);
                second
            })
            .ours(
                Code::AlreadyExists,
                "already exists",
                "the original loses the kind of its own error",
            ),
        ])
    });
}
