//! The one table from our error kinds to the codes on the wire.

use base::{ErrorKind, Kinded};
use tonic::{Code, Status};

/// The gRPC status of an error: its kind's code, and its chain of causes as the message.
pub(crate) fn status<E: Kinded>(error: E) -> Status {
    Status::new(Code::from(error.kind().code()), base::error::wire_text(&error, &error))
}

/// A status of `kind` with containerd's way of ending a message.
pub(crate) fn refuse(kind: ErrorKind, message: impl Into<String>) -> Status {
    status(base::Error::new(kind, message))
}

pub(crate) fn invalid(message: impl Into<String>) -> Status {
    refuse(ErrorKind::InvalidArgument, message)
}

pub(crate) fn not_found(message: impl Into<String>) -> Status {
    refuse(ErrorKind::NotFound, message)
}

/// Run `work` to its end even when the client goes: tonic drops a handler whose call was cancelled.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = Result<T, Status>> + Send + 'static,
) -> Result<T, Status> {
    match tokio::spawn(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => {
            tracing::error!(error = base::chain(&error), "a request handler panicked");
            Err(Status::internal("the request handler failed unexpectedly"))
        }
        Err(_) => Err(Status::unavailable("the daemon is stopping")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_the_code_of_its_number() {
        for (kind, code) in [
            (ErrorKind::NotFound, Code::NotFound),
            (ErrorKind::AlreadyExists, Code::AlreadyExists),
            (ErrorKind::InvalidArgument, Code::InvalidArgument),
            (ErrorKind::FailedPrecondition, Code::FailedPrecondition),
            (ErrorKind::Unavailable, Code::Unavailable),
            (ErrorKind::Unimplemented, Code::Unimplemented),
            (ErrorKind::Unknown, Code::Unknown),
            (ErrorKind::DataLoss, Code::DataLoss),
        ] {
            assert_eq!(refuse(kind, "x").code(), code);
        }
        assert_eq!(not_found("image \"a\"").message(), "image \"a\": not found");
    }

    #[tokio::test]
    async fn work_goes_on_when_its_caller_goes() {
        let (tx, rx) = tokio::sync::oneshot::channel();
        let (go, wait) = tokio::sync::oneshot::channel::<()>();
        let call = to_the_end(async move {
            let _ = wait.await;
            let _ = tx.send(());
            Ok(())
        });
        let call = tokio::spawn(call);
        tokio::task::yield_now().await;
        call.abort();
        let _ = call.await;
        go.send(()).unwrap();
        rx.await.unwrap();
    }
}
