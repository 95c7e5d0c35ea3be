//! Work that the kernel may hold up for as long as it likes (a mount, a disk that writes back), done beside
//! the event loop, so that State, Kill and Wait are answered meanwhile.
//!
//! Each kind of work has a [`Lane`] with room for so many at a time: a mount that hangs keeps no exit from being
//! recorded. The threads are the event loop's blocking ones; they are made when there is work, and end soon
//! after: an idle shim has one thread. Every wait is bounded by its caller. What ends after its caller has
//! given up is handed to `unwanted`, which undoes it.

use std::time::Duration;

use base::{Error, ErrorKind};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Semaphore, oneshot};

use crate::task::cancel::{Cancel, cancelled};

/// Room in a lane.
const ROOM: usize = 4;
/// A thread without work ends after so long.
const LINGER: Duration = Duration::from_millis(500);
/// Mounting formats paths on the stack; nothing here recurses.
const STACK: usize = 256 << 10;

/// Mounting and unmounting.
pub(crate) static MOUNTS: Lane = Lane(Semaphore::const_new(ROOM));
/// Writing exit records.
pub(crate) static RECORDS: Lane = Lane(Semaphore::const_new(ROOM));
/// Appending output to files.
pub(crate) static FILES: Lane = Lane(Semaphore::const_new(ROOM));
const LANES: usize = 3;

/// See the module.
pub(crate) struct Lane(Semaphore);

/// The event loop of a process that lives long.
///
/// # Errors
/// The kernel refuses a descriptor.
pub(crate) fn event_loop() -> Result<Runtime, Error> {
    Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .max_blocking_threads(LANES * ROOM)
        .thread_keep_alive(LINGER)
        .thread_stack_size(STACK)
        .build()
        .map_err(|e| Error::internal("build event loop").with_source(e))
}

impl Lane {
    /// Does `work` in a thread and gives what it gives. `what` says in errors what was waited for.
    ///
    /// Not cancel-safe: when the future is dropped, `work` goes on and what it gives may be lost.
    ///
    /// # Errors
    /// `DeadlineExceeded` after `limit`; `Canceled` when `cancel` is set off. Then `unwanted` gets what `work` gives, if
    /// it had begun.
    pub(crate) async fn run<T: Send + 'static>(
        &'static self,
        what: &str,
        limit: Duration,
        cancel: Option<&Cancel>,
        work: impl FnOnce() -> T + Send + 'static,
        unwanted: impl FnOnce(T) + Send + 'static,
    ) -> Result<T, Error> {
        let (sender, mut receiver) = oneshot::channel();
        let done = async {
            // Never closed.
            let permit = self.0.acquire().await;
            tokio::task::spawn_blocking(move || {
                let _permit = permit;
                if let Err(done) = sender.send(work()) {
                    unwanted(done);
                }
            });
            (&mut receiver).await.map_err(|_| Error::internal(format!("{what} broke off")))
        };
        let late = tokio::select! {
            biased;
            done = tokio::time::timeout(limit, done) => match done {
                Ok(done) => return done,
                Err(_) => ErrorKind::DeadlineExceeded,
            },
            () = cancelled(cancel) => ErrorKind::Canceled,
        };
        // It may have come in this very moment.
        receiver.close();
        if let Ok(done) = receiver.try_recv() {
            return Ok(done);
        }
        Err(match late {
            ErrorKind::Canceled => Error::new(late, format!("{what}: context canceled")),
            _ => Error::new(late, format!("{what}: not done within {:.1} s", limit.as_secs_f64())),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Kinded;
    use std::sync::mpsc;

    /// A lane of its own: others are shared with whatever tests run beside this one.
    fn lane() -> &'static Lane {
        Box::leak(Box::new(Lane(Semaphore::const_new(1))))
    }

    #[test]
    fn what_comes_too_late_is_undone() {
        let runtime = event_loop().unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let (undone, seen) = mpsc::channel();
        let lane = lane();
        let late = runtime.block_on(async {
            let work = move || {
                let _ = gate.recv();
                7
            };
            lane.run("waiting", Duration::from_millis(20), None, work, move |n| undone.send(n).unwrap()).await
        });
        let late = late.unwrap_err();
        assert_eq!(
            (late.kind(), late.to_string().as_str()),
            (ErrorKind::DeadlineExceeded, "waiting: not done within 0.0 s")
        );
        // The lane is full until the work is over: the next one does not even begin.
        let next =
            runtime.block_on(lane.run("next", Duration::from_millis(20), None, || panic!("began"), |()| {}));
        assert_eq!(next.unwrap_err().kind(), ErrorKind::DeadlineExceeded);
        go.send(()).unwrap();
        assert_eq!(seen.recv().unwrap(), 7);
        let third = runtime.block_on(lane.run("third", Duration::from_secs(60), None, || 3, |_| {}));
        assert_eq!(third.unwrap(), 3);
    }

    #[test]
    fn a_cancel_ends_the_wait() {
        let runtime = event_loop().unwrap();
        let (go, gate) = mpsc::channel::<()>();
        let (undone, seen) = mpsc::channel();
        let lane = lane();
        let cancel = Cancel::new();
        cancel.cancel();
        let stopped = runtime.block_on(lane.run(
            "mount",
            Duration::from_secs(60),
            Some(&cancel),
            move || {
                let _ = gate.recv();
            },
            move |()| undone.send(()).unwrap(),
        ));
        let stopped = stopped.unwrap_err();
        assert_eq!(
            (stopped.kind(), stopped.to_string().as_str()),
            (ErrorKind::Canceled, "mount: context canceled")
        );
        go.send(()).unwrap();
        seen.recv().unwrap();
    }
}
