//! One ingest in a content store of another process: a stream of requests, each with its answer.

use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use base::{Digest, ErrorKind, Labels, Scope};
use bytes::Bytes;
use protos::api::content::content_client::ContentClient;
use protos::api::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use store::{ContentWriter, Error, IngestStatus, WriterOptions};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::channel::{LAYER, request_within};
use crate::content::{error, nonsense};
use crate::convert::time;

type Result<T> = std::result::Result<T, Error>;

/// Bytes of one message.
const CHUNK: usize = 1 << 20;
/// How long one message may go without its answer.
const ANSWER: Duration = Duration::from_secs(60);

pub(crate) struct ProxyWriter {
    requests: mpsc::Sender<WriteContentRequest>,
    answers: Streaming<WriteContentResponse>,
    options: WriterOptions,
    offset: u64,
    digest: Digest,
    started_at: SystemTime,
    updated_at: SystemTime,
}

impl ProxyWriter {
    pub(crate) async fn open(
        mut client: ContentClient<Channel>,
        scope: &Scope,
        options: WriterOptions,
    ) -> Result<Self> {
        let (requests, receiver) = mpsc::channel(1);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            r#ref: options.reference.clone(),
            total: i64::try_from(options.total).unwrap_or_default(),
            expected: options.expected.as_ref().map(ToString::to_string).unwrap_or_default(),
            ..Default::default()
        };
        requests.try_send(first).map_err(|_| nonsense("write stream"))?;
        let stream = request_within(scope, ReceiverStream::new(receiver), LAYER);
        let answers = client.write(stream).await.map_err(error)?.into_inner();
        let now = SystemTime::UNIX_EPOCH;
        let digest = Digest::sha256(b"");
        let mut writer =
            Self { requests, answers, options, offset: 0, digest, started_at: now, updated_at: now };
        let answer = writer.answer().await?;
        writer.take(&answer)?;
        Ok(writer)
    }

    async fn answer(&mut self) -> Result<WriteContentResponse> {
        let late = || Error::Refused {
            kind: ErrorKind::DeadlineExceeded,
            message: format!("no answer within {ANSWER:?}"),
        };
        let next = tokio::time::timeout(ANSWER, self.answers.message()).await.map_err(|_| late())?;
        next.map_err(error)?.ok_or_else(|| nonsense("the write stream ended early"))
    }

    fn take(&mut self, answer: &WriteContentResponse) -> Result<()> {
        self.offset =
            u64::try_from(answer.offset).map_err(|_| nonsense("the answer has a negative offset"))?;
        self.started_at = time(answer.started_at);
        self.updated_at = time(answer.updated_at);
        if !answer.digest.is_empty() {
            self.digest = Digest::parse(&answer.digest).map_err(|e| nonsense(base::chain(&e)))?;
        }
        Ok(())
    }

    async fn exchange(&mut self, request: WriteContentRequest) -> Result<()> {
        let gone = self.requests.send(request).await.is_err();
        // A stream that ended has the reason in its last answer.
        let answer = self.answer().await?;
        if gone {
            return Err(nonsense("the write stream is closed"));
        }
        self.take(&answer)
    }

    fn position(&self) -> i64 {
        i64::try_from(self.offset).unwrap_or(i64::MAX)
    }
}

#[async_trait]
impl ContentWriter for ProxyWriter {
    async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for chunk in bytes.chunks(CHUNK) {
            let request = WriteContentRequest {
                action: WriteAction::Write.into(),
                offset: self.position(),
                data: Bytes::copy_from_slice(chunk),
                ..Default::default()
            };
            self.exchange(request).await?;
        }
        Ok(())
    }

    fn offset(&self) -> u64 {
        self.offset
    }

    fn digest(&self) -> Digest {
        self.digest.clone()
    }

    fn status(&self) -> IngestStatus {
        IngestStatus {
            reference: self.options.reference.clone(),
            offset: self.offset,
            total: self.options.total,
            expected: self.options.expected.clone(),
            started_at: self.started_at,
            updated_at: self.updated_at,
        }
    }

    async fn truncate(&mut self, size: u64) -> Result<()> {
        if size != 0 {
            let message = "an ingest can only be truncated to nothing".to_owned();
            return Err(Error::Refused { kind: ErrorKind::Unimplemented, message });
        }
        // Data at offset 0 starts an ingest again.
        let request = WriteContentRequest { action: WriteAction::Write.into(), ..Default::default() };
        self.exchange(request).await
    }

    async fn commit(&mut self, size: u64, expected: Option<&Digest>, labels: Labels) -> Result<()> {
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            offset: self.position(),
            total: i64::try_from(if size == 0 { self.offset } else { size }).unwrap_or(i64::MAX),
            expected: expected.map(ToString::to_string).unwrap_or_default(),
            labels,
            ..Default::default()
        };
        self.exchange(request).await
    }

    async fn close(self: Box<Self>) {}
}
