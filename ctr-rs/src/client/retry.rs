//! Calls that outlive a daemon: when the connection breaks they are made again to its successor.

use std::time::{Duration, Instant};

use crate::error::Result;

/// How long a daemon may be away before a wait for a process is given up.
pub const PATIENCE: Duration = Duration::from_secs(120);
/// The same for cleaning up.
pub const CLEANUP_PATIENCE: Duration = Duration::from_secs(10);
/// How long, after the daemon came back, "not found" may mean "not recovered yet".
const RECOVERY: Duration = Duration::from_secs(5);
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Makes a call until it is answered, for as long as the daemon is away no longer than `patience`. Only for calls that may be made
/// twice.
pub async fn until_answered<T, F>(patience: Duration, mut call: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Result<T>>,
{
    let mut broken_since: Option<Instant> = None;
    let mut back_since: Option<Instant> = None;
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match call().await {
            Ok(answer) => return Ok(answer),
            Err(e) => e,
        };
        let again = if error.is_connection() {
            back_since = None;
            broken_since.get_or_insert_with(Instant::now).elapsed() < patience
        } else {
            let recovering = broken_since.is_some() && error.is_not_found();
            recovering && back_since.get_or_insert_with(Instant::now).elapsed() < RECOVERY
        };
        if !again {
            return Err(error);
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::error::Error;
    use std::cell::Cell;
    use tonic::Status;

    fn run<T>(f: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(f)
    }

    #[test]
    fn a_daemon_that_comes_back_is_asked_again() {
        let calls = Cell::new(0);
        let answer = run(until_answered(PATIENCE, || {
            calls.set(calls.get() + 1);
            let n = calls.get();
            async move {
                match n {
                    1 => Err(Error::rpc("x", &Status::unavailable("gone"))),
                    2 => Err(Error::rpc("x", &Status::not_found("not recovered"))),
                    n => Ok(n),
                }
            }
        }));
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn patience_ends() {
        let patience = Duration::from_millis(30);
        let answer: Result<()> =
            run(until_answered(patience, || async { Err(Error::rpc("x", &Status::unavailable("gone"))) }));
        assert!(answer.unwrap_err().is_connection());
    }

    #[test]
    fn other_answers_are_final() {
        let calls = Cell::new(0);
        let answer: Result<()> = run(until_answered(PATIENCE, || {
            calls.set(calls.get() + 1);
            async { Err(Error::rpc("x", &Status::not_found("no such task"))) }
        }));
        assert!(answer.unwrap_err().is_not_found());
        assert_eq!(calls.get(), 1);
    }
}
