//! State and Connect: answered from memory.

use base::Error;

use crate::io::Stdio;
use crate::reaper::Exit;
use crate::task::Tasks;
use crate::task::decide::Phase;

/// What State tells of a process.
pub(crate) struct Snapshot {
    /// The container's bundle.
    pub(crate) bundle: String,
    /// As the host numbers it.
    pub(crate) pid: u32,
    /// Where it is in its life.
    pub(crate) phase: Phase,
    /// Its streams.
    pub(crate) stdio: Stdio,
    /// How it ended.
    pub(crate) exit: Option<Exit>,
}

impl Tasks {
    /// A process as it is now.
    ///
    /// # Errors
    /// `NotFound`.
    pub(crate) fn state(&self, id: &str, exec_id: &str) -> Result<Snapshot, Error> {
        let container = self.get(id)?;
        let mut state = container.state();
        let whole = state.init.phase;
        let proc = state.proc(exec_id)?;
        // A frozen container is frozen with all its processes.
        let phase = match (whole, proc.phase) {
            (Phase::Paused | Phase::Pausing, Phase::Created | Phase::Running | Phase::Failed) => whole,
            (_, own) => own,
        };
        Ok(Snapshot {
            bundle: container.bundle.to_string_lossy().into_owned(),
            pid: proc.pid,
            phase,
            stdio: proc.stdio.clone(),
            exit: if proc.phase == Phase::Failed { None } else { proc.exit() },
        })
    }

    /// The init's pid, or 0 for a container that is not there.
    pub(crate) fn init_pid(&self, id: &str) -> u32 {
        self.get(id).map_or(0, |c| c.state().init.pid)
    }
}
