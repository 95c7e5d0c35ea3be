//! One process of a container as the shim remembers it: its init, or an exec.

use tokio::sync::watch;

use crate::io::{Prepared, Running, Stdio};
use crate::reaper::Exit;
use crate::task::decide::Phase;

/// See the module.
pub(crate) struct Proc {
    /// What the client named.
    pub(crate) stdio: Stdio,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// As the host numbers it; 0 before it exists.
    pub(crate) pid: u32,
    /// It exists and was not collected: its pid is its own.
    pub(crate) alive: bool,
    /// It was collected, and its end is being written down: not told yet.
    pub(crate) ending: bool,
    /// A call that changes it is on its way; others wait for that.
    pub(crate) busy: bool,
    /// That call starts it.
    pub(crate) starting: bool,
    /// Its streams, from start to delete.
    pub(crate) streams: Option<Running>,
    /// Its streams before a restore.
    pub(crate) prepared: Option<Prepared>,
    /// The process description of an exec that was not started yet.
    pub(crate) spec: Option<Vec<u8>>,
    /// How it ended; waiters hold the other side.
    ended: watch::Sender<Option<Exit>>,
}

impl Proc {
    /// A process that does not run yet.
    pub(crate) fn new(stdio: Stdio, phase: Phase) -> Self {
        Proc {
            stdio,
            phase,
            pid: 0,
            alive: false,
            ending: false,
            busy: false,
            starting: false,
            streams: None,
            prepared: None,
            spec: None,
            ended: watch::Sender::new(None),
        }
    }

    /// It exists now.
    pub(crate) fn born(&mut self, pid: u32) {
        self.pid = pid;
        self.alive = true;
    }

    /// It was collected: from here on its pid may be somebody else's.
    pub(crate) fn collected(&mut self) {
        self.alive = false;
        self.ending = true;
        if let Some(streams) = &mut self.streams {
            streams.exited();
        }
    }

    /// Its end is official: recorded, and told to whoever waits.
    pub(crate) fn stopped(&mut self, exit: Exit) {
        self.phase = Phase::Stopped;
        self.ending = false;
        self.ended.send_replace(Some(exit));
    }

    /// Its start failed: it never ran, and whoever waits for its end need not.
    pub(crate) fn failed(&mut self, exit: Exit) {
        self.phase = Phase::Failed;
        self.ended.send_replace(Some(exit));
    }

    /// How it ended, once that is official.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.ended.borrow()
    }

    /// Something to wait for its end with.
    pub(crate) fn waiter(&self) -> watch::Receiver<Option<Exit>> {
        self.ended.subscribe()
    }

    /// It runs, is about to, or its end is not told yet.
    pub(crate) fn is_active(&self) -> bool {
        self.alive || self.starting || self.ending
    }
}
