//! `containerd.services.content.v1.Content`: blobs and ingests. The write stream is in [`crate::content_write`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::SystemTime;

use futures_util::Stream;
use protos::api::content::content_server::Content;
use protos::api::content::*;
use protos::api::events_types as ev;
use store::{ContentInfo, IngestStatus};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status as Failure, Streaming};

use crate::convert::{digest, filters, mask, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, refuse, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

type Result<T> = std::result::Result<Response<T>, Failure>;
type Answers<T> = Pin<Box<dyn Stream<Item = std::result::Result<T, Failure>> + Send>>;

/// How much of a blob one message carries.
const CHUNK: u64 = 1 << 20;
/// How many objects one message of a list carries.
const BATCH: usize = 100;

fn info_out(info: ContentInfo) -> Info {
    Info {
        digest: info.digest.to_string(),
        size: i64::try_from(info.size).unwrap_or(i64::MAX),
        created_at: Some(timestamp(info.created_at)),
        updated_at: Some(timestamp(info.updated_at)),
        labels: info.labels,
    }
}

fn ingest_out(s: IngestStatus) -> Status {
    Status {
        started_at: Some(timestamp(s.started_at)),
        updated_at: Some(timestamp(s.updated_at)),
        r#ref: s.reference,
        offset: i64::try_from(s.offset).unwrap_or(i64::MAX),
        total: i64::try_from(s.total).unwrap_or(i64::MAX),
        expected: s.expected.map(|d| d.to_string()).unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl Content for Service {
    async fn info(&self, request: Request<InfoRequest>) -> Result<InfoResponse> {
        let scope = scope(&request)?;
        let digest = digest(&request.get_ref().digest)?;
        let info = self.0.content.info(&scope, &digest).await.map_err(status)?;
        Ok(Response::new(InfoResponse { info: Some(info_out(info)) }))
    }

    async fn update(&self, request: Request<UpdateRequest>) -> Result<UpdateResponse> {
        let scope = scope(&request)?;
        let UpdateRequest { info, update_mask } = request.into_inner();
        let info = info.ok_or_else(|| invalid("info must be set"))?;
        let now = SystemTime::UNIX_EPOCH;
        let wanted = ContentInfo {
            digest: digest(&info.digest)?,
            size: 0,
            created_at: now,
            updated_at: now,
            labels: info.labels,
        };
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let updated = parts.content.update(&scope, wanted, &mask(update_mask)).await.map_err(status)?;
            Ok(Response::new(UpdateResponse { info: Some(info_out(updated)) }))
        })
        .await
    }

    type ListStream = Answers<ListContentResponse>;

    async fn list(&self, request: Request<ListContentRequest>) -> Result<Self::ListStream> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let mut all: Vec<Info> =
            self.0.content.list(&scope, &filters).await.map_err(status)?.into_iter().map(info_out).collect();
        let mut batches = Vec::new();
        while !all.is_empty() {
            let rest = all.split_off(all.len().min(BATCH));
            batches.push(Ok(ListContentResponse { info: std::mem::replace(&mut all, rest) }));
        }
        Ok(Response::new(Box::pin(futures_util::stream::iter(batches))))
    }

    async fn delete(&self, request: Request<DeleteContentRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let digest = digest(&request.get_ref().digest)?;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.content.delete(&scope, &digest).await.map_err(status)?;
            parts.publish(
                &scope.namespace,
                "/content/delete",
                &ev::ContentDelete { digest: digest.to_string() },
            );
            Ok(Response::new(()))
        })
        .await
    }

    type ReadStream = Answers<ReadContentResponse>;

    async fn read(&self, request: Request<ReadContentRequest>) -> Result<Self::ReadStream> {
        let scope = scope(&request)?;
        let ReadContentRequest { digest: wanted, offset, size } = request.into_inner();
        let blob = self.0.content.open(&scope, &digest(&wanted)?).await.map_err(status)?;
        let (from, to) = range(offset, size, blob.size())?;
        let (send, receive) = mpsc::channel(2);
        tokio::spawn(send_range(blob, from, to, send));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<StatusResponse> {
        let scope = scope(&request)?;
        let found = self.0.content.status(&scope, &request.get_ref().r#ref).await.map_err(status)?;
        Ok(Response::new(StatusResponse { status: Some(ingest_out(found)) }))
    }

    async fn list_statuses(&self, request: Request<ListStatusesRequest>) -> Result<ListStatusesResponse> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let found = self.0.content.statuses(&scope, &filters).await.map_err(status)?;
        Ok(Response::new(ListStatusesResponse { statuses: found.into_iter().map(ingest_out).collect() }))
    }

    type WriteStream = Answers<WriteContentResponse>;

    async fn write(&self, request: Request<Streaming<WriteContentRequest>>) -> Result<Self::WriteStream> {
        let scope = scope(&request)?;
        let (send, receive) = mpsc::channel(4);
        let parts = Arc::clone(&self.0);
        tokio::spawn(crate::content_write::serve(parts, scope, request.into_inner(), send));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<()> {
        let scope = scope(&request)?;
        let reference = request.into_inner().r#ref;
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            parts.content.abort(&scope, &reference).await.map_err(status)?;
            Ok(Response::new(()))
        })
        .await
    }
}

/// What a read of `size` bytes at `offset` gets of a blob: `[from, to)`. As in the original, the end of the blob ends a
/// read that asks for more, no size means the rest, and a negative number is none.
fn range(offset: i64, size: i64, total: u64) -> std::result::Result<(u64, u64), Failure> {
    let from = u64::try_from(offset).unwrap_or(0);
    if from > total {
        let what = format!("read past object length {total} bytes");
        return Err(refuse(base::ErrorKind::OutOfRange, what));
    }
    let to = match u64::try_from(size) {
        Ok(0) | Err(_) => total,
        Ok(size) => total.min(from.saturating_add(size)),
    };
    Ok((from, to))
}

/// Send `[from, to)` of a blob in chunks; ends when the reader goes.
async fn send_range(
    blob: store::Blob,
    mut from: u64,
    to: u64,
    send: mpsc::Sender<std::result::Result<ReadContentResponse, Failure>>,
) {
    while from < to {
        let wanted = usize::try_from((to - from).min(CHUNK)).unwrap_or_default();
        let message = match blob.chunk(from, wanted).await {
            Ok(data) if data.is_empty() => {
                Err(refuse(base::ErrorKind::DataLoss, "unexpected end of the blob"))
            }
            Ok(data) => {
                let offset = i64::try_from(from).unwrap_or(i64::MAX);
                from += data.len() as u64;
                Ok(ReadContentResponse { offset, data })
            }
            Err(error) => Err(status(error)),
        };
        let failed = message.is_err();
        if send.send(message).await.is_err() || failed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_read_ends_with_its_blob() {
        for (offset, size, range_of_six) in [
            (0, 0, Some((0, 6))),
            (2, 3, Some((2, 5))),
            (0, 7, Some((0, 6))),
            (4, i64::MAX, Some((4, 6))),
            (6, 1, Some((6, 6))),
            (7, 1, None),
            (-1, -1, Some((0, 6))),
        ] {
            assert_eq!(range(offset, size, 6).ok(), range_of_six, "{size} at {offset}");
        }
        let error = range(7, 0, 6).unwrap_err();
        assert_eq!(
            (error.code(), error.message()),
            (tonic::Code::OutOfRange, "read past object length 6 bytes: out of range")
        );
    }
}
