//! Progress of a transfer, on the stream that the client named.

use std::sync::Arc;

use base::Scope;
use image::transfer::{Progress, ProgressSink};
use protos::api::{Any, types_transfer};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tonic::Status;

use crate::convert::descriptor_out;
use crate::parts::Parts;

/// Reports that may wait.
const QUEUE: usize = 64;
/// How long the last reports may take to be read.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

/// The task that carries reports to the client.
pub(super) struct Forwarding {
    sink: ProgressSink,
    task: JoinHandle<()>,
}

impl Forwarding {
    pub(super) fn sink(&self) -> ProgressSink {
        self.sink.clone()
    }

    /// Wait until the last report is sent.
    pub(super) async fn finish(self) {
        let Self { sink, task } = self;
        drop(sink);
        if tokio::time::timeout(GRACE, task).await.is_err() {
            tracing::debug!("the client does not read its progress");
        }
    }
}

/// Carry reports to the stream `id`; none when it is empty.
pub(super) fn open(parts: &Arc<Parts>, scope: &Scope, id: &str) -> Result<Option<Forwarding>, Status> {
    if id.is_empty() {
        return Ok(None);
    }
    let stream = parts.streams.take(&scope.namespace, id)?;
    let (sink, mut reports) = mpsc::channel::<Progress>(QUEUE);
    let task = tokio::spawn(async move {
        while let Some(report) = reports.recv().await {
            let message = types_transfer::Progress {
                event: report.event,
                name: report.name,
                parents: report.parents,
                progress: i64::try_from(report.progress).unwrap_or(i64::MAX),
                total: i64::try_from(report.total).unwrap_or(i64::MAX),
                desc: report.desc.as_ref().map(descriptor_out),
            };
            if stream.to_client.send(Any::pack(&message)).await.is_err() {
                return;
            }
        }
    });
    Ok(Some(Forwarding { sink, task }))
}
