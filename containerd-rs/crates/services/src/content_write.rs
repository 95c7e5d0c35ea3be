//! The write stream of the content service: the first message names the ingest, each later one stats, writes or commits.
//!
//! After an error the ingest stays and can be resumed, unless the content turned out to be there already.

use std::sync::Arc;

use base::{Digest, ErrorKind, Kinded, Scope};
use protos::api::content::{WriteAction, WriteContentRequest, WriteContentResponse};
use protos::api::events_types as ev;
use store::{ContentWriter, WriterOptions};
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use crate::convert::{digest, timestamp};
use crate::parts::Parts;
use crate::status::{invalid, refuse, status};

type Answers = mpsc::Sender<Result<WriteContentResponse, Status>>;

/// Serve one write stream to its end.
pub(crate) async fn serve(
    parts: Arc<Parts>,
    scope: Scope,
    mut requests: Streaming<WriteContentRequest>,
    answers: Answers,
) {
    let first = match requests.message().await {
        Ok(Some(first)) => first,
        Ok(None) => return send(&answers, Err(invalid("first message must have a reference"))).await,
        Err(error) => return send(&answers, Err(error)).await,
    };
    let mut session = match Session::open(&parts, scope, &first).await {
        Ok(session) => session,
        Err(error) => return send(&answers, Err(error)).await,
    };
    let result = session.run(&parts, first, &mut requests, &answers).await;
    if let Some(writer) = session.writer.take() {
        writer.close().await;
    }
    if let Err(error) = result {
        send(&answers, Err(error)).await;
    }
}

async fn send(answers: &Answers, answer: Result<WriteContentResponse, Status>) {
    // A client that is gone does not take its answer; what was written stays.
    let _ = answers.send(answer).await;
}

struct Session {
    scope: Scope,
    reference: String,
    /// None once committed.
    writer: Option<Box<dyn ContentWriter>>,
    total: u64,
    expected: Option<Digest>,
}

impl Session {
    async fn open(parts: &Parts, scope: Scope, first: &WriteContentRequest) -> Result<Self, Status> {
        if first.r#ref.is_empty() {
            return Err(invalid("first message must have a reference"));
        }
        let expected = match first.expected.as_str() {
            "" => None,
            text => Some(digest(text)?),
        };
        // Less than nothing stands for "unknown", as nothing does.
        let total = u64::try_from(first.total).unwrap_or(0);
        let options = WriterOptions { reference: first.r#ref.clone(), expected: expected.clone(), total };
        let writer = parts.content.writer(&scope, options).await.map_err(status)?;
        Ok(Self { scope, reference: first.r#ref.clone(), writer: Some(writer), total, expected })
    }

    async fn run(
        &mut self,
        parts: &Parts,
        first: WriteContentRequest,
        requests: &mut Streaming<WriteContentRequest>,
        answers: &Answers,
    ) -> Result<(), Status> {
        let mut next = Some(first);
        while let Some(request) = next.take() {
            let answer = self.step(parts, request).await?;
            if let Some(answer) = answer
                && answers.send(Ok(answer)).await.is_err()
            {
                return Ok(());
            }
            if self.writer.is_none() {
                return Ok(());
            }
            next = requests.message().await?;
        }
        Ok(())
    }

    async fn step(
        &mut self,
        parts: &Parts,
        request: WriteContentRequest,
    ) -> Result<Option<WriteContentResponse>, Status> {
        self.take_expectations(parts, &request).await?;
        let Some(writer) = self.writer.as_mut() else { return Ok(None) };
        let action = request.action();
        if action != WriteAction::Stat {
            let offset = u64::try_from(request.offset).map_err(|_| invalid("negative offset"))?;
            position(writer.as_mut(), offset).await?;
            if !request.data.is_empty() {
                writer.write(&request.data).await.map_err(status)?;
            }
        }
        let progress = writer.status();
        let mut answer = WriteContentResponse {
            action: action.into(),
            started_at: Some(timestamp(progress.started_at)),
            updated_at: Some(timestamp(progress.updated_at)),
            offset: i64::try_from(writer.offset()).unwrap_or(i64::MAX),
            total: i64::try_from(self.total).unwrap_or(i64::MAX),
            digest: writer.digest().to_string(),
        };
        if action == WriteAction::Commit {
            let size = writer.offset();
            let done = writer.commit(self.total, self.expected.as_ref(), request.labels).await;
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    // Nothing to resume any more.
                    self.writer = None;
                    return Err(status(error));
                }
                Err(error) => return Err(status(error)),
            }
            self.writer = None;
            answer.total = i64::try_from(size).unwrap_or(i64::MAX);
            let event =
                ev::ContentCreate { digest: answer.digest.clone(), size: answer.total, ..Default::default() };
            parts.publish(&self.scope.namespace, "/content/create", &event);
        }
        Ok(Some(answer))
    }

    /// A later message may give the total and the digest, or correct them. A digest that is there already ends the
    /// session and the ingest.
    async fn take_expectations(
        &mut self,
        parts: &Parts,
        request: &WriteContentRequest,
    ) -> Result<(), Status> {
        if request.total > 0 {
            self.total = u64::try_from(request.total).unwrap_or_default();
        }
        if request.expected.is_empty() {
            return Ok(());
        }
        let expected = digest(&request.expected)?;
        if parts.content.info(&self.scope, &expected).await.is_ok() {
            if let Some(writer) = self.writer.take() {
                writer.close().await;
            }
            if let Err(error) = parts.content.abort(&self.scope, &self.reference).await {
                tracing::warn!(
                    reference = self.reference,
                    error = base::chain(&error),
                    "cannot abort an ingest"
                );
            }
            return Err(refuse(ErrorKind::AlreadyExists, format!("blob with expected digest {expected}")));
        }
        self.expected = Some(expected);
        Ok(())
    }
}

/// Writes go on where the ingest ends; offset 0 starts it again.
async fn position(writer: &mut dyn ContentWriter, offset: u64) -> Result<(), Status> {
    let at = writer.offset();
    if offset == 0 && at > 0 {
        return writer.truncate(0).await.map_err(status);
    }
    if offset > 0 && offset != at {
        return Err(refuse(
            ErrorKind::OutOfRange,
            format!("write @{offset} must occur at current offset {at}"),
        ));
    }
    Ok(())
}
