//! One task as the daemon holds it.
//!
//! ```text
//!            create                    recover
//!               |                         |
//!           Creating --failed--> Gone  Recovering --dead--> Dead
//!               |                      |        \
//!              Live <------answers-----+--------- Aside (does not answer)
//!             /    \                                 \
//!     deleted/      \shim died                        \found dead
//!      Closing      Dead <----------------------------'
//!           \       /
//!            v     v
//!             Gone
//! ```
//! Clients see Live, Aside and (after waiting for it) Recovering; everything else is "not found" to them.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, watch};

use crate::bundle::Bundle;
use crate::error::SharedError;
use crate::model::Exit;
use crate::shim::Shim;

/// Execs whose exit is remembered until they are deleted; the oldest go first.
const REMEMBERED_EXECS: usize = 256;
/// Exit status of a process that SIGKILL ended.
const KILLED: u32 = 137;
/// Lost connections to a living shim within [`RECONNECT_WINDOW`] after which it counts as broken.
const RECONNECTS: usize = 5;
const RECONNECT_WINDOW: std::time::Duration = std::time::Duration::from_secs(60);

/// Where a task is in its life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Creating,
    Recovering,
    Live,
    Aside(Arc<str>),
    Dead,
    Closing,
    Gone,
}

/// What everyone who asked for the deletion of a task gets.
pub(crate) type Deletion = Option<Result<Exit, Arc<SharedError>>>;

/// The daemon's record of a task; shared by all who deal with it.
pub(crate) struct Entry {
    pub(crate) bundle: Bundle,
    phase: watch::Sender<Phase>,
    shim: watch::Sender<Option<Arc<Shim>>>,
    exit: watch::Sender<Option<Exit>>,
    /// How its execs ended, as far as a dead shim had written that down.
    execs: OnceLock<BTreeMap<String, Exit>>,
    pid: AtomicU32,
    reported: Mutex<Reported>,
    deletion: Mutex<Option<watch::Receiver<Deletion>>>,
    lost: Mutex<VecDeque<Instant>>,
    told: Notify,
}

/// What subscribers have been told about the task's ends.
#[derive(Default)]
struct Reported {
    exit: Option<Exit>,
    /// An exit that only a client was told of, as the answer to its wait.
    answered: Option<Exit>,
    delete: bool,
    oom: bool,
    execs: VecDeque<(String, u32)>,
}

impl Entry {
    pub(crate) fn new(bundle: Bundle, phase: Phase) -> Self {
        Self {
            bundle,
            phase: watch::Sender::new(phase),
            shim: watch::Sender::new(None),
            exit: watch::Sender::new(None),
            execs: OnceLock::new(),
            pid: AtomicU32::new(0),
            reported: Mutex::default(),
            deletion: Mutex::default(),
            lost: Mutex::default(),
            told: Notify::new(),
        }
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    pub(crate) fn watch_phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Moves on when the task is in a phase that `from` accepts; says whether it did. Only one of several racing
    /// callers gets `true`.
    pub(crate) fn advance(&self, from: impl FnOnce(&Phase) -> bool, to: Phase) -> bool {
        self.phase.send_if_modified(|phase| {
            let moves = from(phase);
            if moves {
                *phase = to;
            }
            moves
        })
    }

    pub(crate) fn shim(&self) -> Option<Arc<Shim>> {
        self.shim.borrow().clone()
    }

    pub(crate) fn set_shim(&self, shim: Option<Arc<Shim>>) {
        self.shim.send_replace(shim);
    }

    /// Returns once the task's shim is another than `shim`, or none.
    pub(crate) async fn shim_changed(&self, shim: &Arc<Shim>) {
        let mut current = self.shim.subscribe();
        let other = |now: &Option<Arc<Shim>>| !now.as_ref().is_some_and(|now| Arc::ptr_eq(now, shim));
        // The sender is part of self: this cannot fail.
        let _ = current.wait_for(other).await;
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid.load(Ordering::Relaxed)
    }

    pub(crate) fn set_pid(&self, pid: u32) {
        self.pid.store(pid, Ordering::Relaxed);
    }

    /// Tells everyone who waits how the task ended.
    pub(crate) fn set_exit(&self, exit: Exit) {
        self.exit.send_if_modified(|known| known.is_none() && known.replace(exit).is_none());
    }

    /// Returns when the daemon itself knows the task's end: deleted, or its shim died. Cancel-safe.
    pub(crate) async fn ended(&self) -> Exit {
        let mut exit = self.exit.subscribe();
        loop {
            if let Some(exit) = *exit.borrow_and_update() {
                return exit;
            }
            if exit.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Notes how execs ended, for whoever waits for one of them; to be done before [`Self::set_exit`].
    pub(crate) fn set_exec_exits(&self, exits: BTreeMap<String, Exit>) {
        // A shim dies once.
        let _ = self.execs.set(exits);
    }

    /// How an exec ended, of which its shim did not tell any more: as was written down, or with the container. Call it
    /// when [`Self::ended`] has returned.
    pub(crate) fn exec_ended(&self, exec_id: &str, container: Exit) -> Exit {
        let recorded = self.execs.get().and_then(|execs| execs.get(exec_id).copied());
        recorded.unwrap_or(Exit { pid: 0, status: KILLED, exited_at: container.exited_at })
    }

    fn reported(&self) -> MutexGuard<'_, Reported> {
        self.reported.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes what the shim answered to a wait for the first process.
    pub(crate) fn note_answer(&self, exit: Exit) {
        self.reported().answered.get_or_insert(exit);
    }

    /// The exit of the first process, when anyone was told of it.
    pub(crate) fn known_exit(&self) -> Option<Exit> {
        let reported = self.reported();
        reported.exit.or(reported.answered)
    }

    /// Whether this exit of the first process is news; from now on it is not.
    pub(crate) fn admit_exit(&self, exit: Exit) -> bool {
        let mut reported = self.reported();
        let news = reported.exit.is_none();
        reported.exit.get_or_insert(exit);
        self.told.notify_waiters();
        news
    }

    /// Whether the task's deletion is news; from now on it is not.
    pub(crate) fn admit_delete(&self) -> bool {
        let news = !std::mem::replace(&mut self.reported().delete, true);
        self.told.notify_waiters();
        news
    }

    /// Notes that subscribers heard of a want of memory; says whether they had not before.
    pub(crate) fn admit_oom(&self) -> bool {
        !std::mem::replace(&mut self.reported().oom, true)
    }

    /// Whether subscribers heard of a want of memory.
    pub(crate) fn knows_oom(&self) -> bool {
        self.reported().oom
    }

    /// Returns once subscribers know of both the exit and the deletion. Cancel-safe.
    pub(crate) async fn all_told(&self) {
        loop {
            let mut more = std::pin::pin!(self.told.notified());
            // From here on no news is missed.
            more.as_mut().enable();
            {
                let reported = self.reported();
                if reported.exit.is_some() && reported.delete {
                    return;
                }
            }
            more.await;
        }
    }

    /// Whether this exit of an exec is news; from now on it is not. Gives, beside that, the exec whose exit is no longer
    /// remembered for it.
    pub(crate) fn admit_exec_exit(&self, exec_id: &str, pid: u32) -> (bool, Option<String>) {
        let mut reported = self.reported();
        let execs = &mut reported.execs;
        if execs.iter().any(|(id, p)| id == exec_id && *p == pid) {
            return (false, None);
        }
        execs.push_back((exec_id.to_owned(), pid));
        let oldest = if execs.len() > REMEMBERED_EXECS { execs.pop_front() } else { None };
        (true, oldest.map(|(id, _)| id).filter(|id| execs.iter().all(|(other, _)| other != id)))
    }

    /// Whether subscribers know of that exec's end.
    pub(crate) fn knows_exec_exit(&self, exec_id: &str, pid: u32) -> bool {
        self.reported().execs.iter().any(|(id, p)| id == exec_id && *p == pid)
    }

    /// Joins a deletion that is under way, or begins one: then the caller gets the sender and must see it through.
    pub(crate) fn join_deletion(&self) -> (watch::Receiver<Deletion>, Option<watch::Sender<Deletion>>) {
        let mut slot = self.deletion.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &*slot {
            return (running.clone(), None);
        }
        let (sender, receiver) = watch::channel(None);
        *slot = Some(receiver.clone());
        (receiver, Some(sender))
    }

    /// A deletion came to nothing; the next caller may begin another.
    pub(crate) fn reset_deletion(&self) {
        *self.deletion.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Counts a connection lost to a living shim; `false` when that happens too often to go on.
    pub(crate) fn may_reconnect(&self) -> bool {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        lost.retain(|then| now.duration_since(*then) < RECONNECT_WINDOW);
        lost.push_back(now);
        lost.len() <= RECONNECTS
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Namespace;
    use std::path::Path;

    fn entry() -> Entry {
        let ns = Namespace::new("n").unwrap();
        Entry::new(Bundle::locate(Path::new("/r"), Path::new("/s"), &ns, "c"), Phase::Live)
    }

    #[test]
    fn each_end_is_news_once() {
        let entry = entry();
        let exit = Exit { pid: 7, status: 3, exited_at: None };
        assert!(entry.admit_exit(exit));
        assert!(!entry.admit_exit(Exit { status: 255, ..exit }));
        assert_eq!(entry.known_exit(), Some(exit), "the first word counts");
        assert!(entry.admit_delete() && !entry.admit_delete());
        assert!(entry.admit_exec_exit("e", 9).0 && !entry.admit_exec_exit("e", 9).0);
        assert!(entry.admit_exec_exit("e", 10).0, "the same id used again");
        assert!(entry.knows_exec_exit("e", 9) && !entry.knows_exec_exit("e", 11));
        let forgotten: Vec<_> = (0..10_000).filter_map(|n| entry.admit_exec_exit("x", n).1).collect();
        assert_eq!(forgotten, ["e"], "an id is given up once, with the last of its processes");
        assert_eq!(entry.reported().execs.len(), REMEMBERED_EXECS);
    }

    #[test]
    fn one_of_racing_callers_moves_the_phase() {
        let entry = entry();
        assert!(entry.advance(|p| *p == Phase::Live, Phase::Closing));
        assert!(!entry.advance(|p| *p == Phase::Live, Phase::Dead));
        assert_eq!(entry.phase(), Phase::Closing);
    }

    #[test]
    fn a_shim_that_keeps_hanging_up_is_broken() {
        let entry = entry();
        assert!((0..RECONNECTS).all(|_| entry.may_reconnect()));
        assert!(!entry.may_reconnect());
    }

    #[tokio::test]
    async fn the_end_reaches_those_who_waited_and_those_who_come_late() {
        let entry = Arc::new(entry());
        let early = tokio::spawn({
            let entry = entry.clone();
            async move { entry.ended().await }
        });
        tokio::task::yield_now().await;
        let exit = Exit { pid: 1, status: 137, exited_at: None };
        entry.set_exit(exit);
        entry.set_exit(Exit { status: 0, ..exit });
        assert_eq!(early.await.unwrap(), exit);
        assert_eq!(entry.ended().await, exit);
    }
}
