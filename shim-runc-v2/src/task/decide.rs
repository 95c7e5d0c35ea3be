//! What a process in a given phase lets be done to it: pure tables, with the words of the original.
//!
//! ```text
//! init:  Created --start--> Running <--resume-- Paused
//!           |                 | \----pause-----^   |
//!           +------exit-------+---------exit-------+--> Stopped --delete--> (gone)
//! exec:  Created --start--> Running --exit--> Stopped --delete--> (gone)
//!           +--failed start--> Failed --------------------delete----^
//! ```
//! The original answers with code `Unknown` here (plain Go errors), and so do we.

use base::Error;

/// Where a process is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Made, not started.
    Created,
    /// Like `Created`, but start will restore it from a checkpoint.
    CreatedFromCheckpoint,
    /// Started.
    Running,
    /// `pause` is on its way.
    Pausing,
    /// Frozen.
    Paused,
    /// Ended.
    Stopped,
    /// An exec whose start failed: it never ran, so clients see it as created, and can only delete it.
    Failed,
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Run it.
    Start,
    /// Forget it.
    Delete,
    /// Freeze it.
    Pause,
    /// Thaw it.
    Resume,
    /// Change its resources.
    Update,
    /// Dump it.
    Checkpoint,
    /// Add a process beside it.
    Exec,
}

/// Whether an init process in `phase` lets `ask` be done; the refusal in the words of the original.
pub(crate) fn init(phase: Phase, ask: Ask) -> Result<(), Error> {
    use Ask::{Checkpoint, Delete, Exec, Pause, Resume, Start, Update};
    use Phase::{Created, CreatedFromCheckpoint, Failed, Paused, Pausing, Running, Stopped};
    let refusal = match (phase, ask) {
        // Only an exec gets there, and is not asked this.
        (Failed, _) => "cannot use a process whose start failed",
        (_, Update) if phase != Stopped => return Ok(()),
        (Created | CreatedFromCheckpoint, Start | Delete)
        | (Created, Exec)
        | (Running, Pause | Checkpoint | Exec)
        | (Paused, Resume | Checkpoint)
        | (Stopped, Delete) => return Ok(()),
        (CreatedFromCheckpoint, Exec) => "cannot exec in a created state",
        (Created | CreatedFromCheckpoint, Pause) => "cannot pause task in created state",
        (Created | CreatedFromCheckpoint, Resume) => "cannot resume task in created state",
        (Created | CreatedFromCheckpoint, Checkpoint) => "cannot checkpoint a task in created state",
        (Running | Pausing, Start) => "cannot start a running process",
        (Running | Pausing, Delete) => "cannot delete a running process",
        (Running, Resume) => "cannot resume a running process",
        (Paused | Pausing, Pause) => "cannot pause a paused container",
        (Paused, Start) => "cannot start a paused process",
        (Paused, Delete) => "cannot delete a paused process",
        (Paused | Pausing, Exec) => "cannot exec in a paused state",
        (Pausing, Resume) => "cannot resume a pausing container",
        (Pausing, Checkpoint) => "cannot checkpoint a pausing container",
        (Stopped, Start) => "cannot start a stopped process",
        (Stopped, Pause) => "cannot pause a stopped container",
        (Stopped, Resume) => "cannot resume a stopped container",
        (Stopped, Checkpoint) => "cannot checkpoint a stopped container",
        (Stopped, Exec) => "cannot exec in a stopped state",
        (_, Update) => "cannot update a stopped container",
    };
    Err(Error::unknown(refusal))
}

/// Whether an exec process in `phase` lets `ask` (start or delete) be done.
pub(crate) fn exec(phase: Phase, ask: Ask) -> Result<(), Error> {
    let refusal = match (phase, ask) {
        (Phase::Created, Ask::Start | Ask::Delete) | (Phase::Stopped | Phase::Failed, Ask::Delete) => {
            return Ok(());
        }
        (Phase::Stopped | Phase::Failed, _) => "cannot start a stopped process",
        (_, Ask::Delete) => "cannot delete a running process",
        _ => "cannot start a running process",
    };
    Err(Error::unknown(refusal))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use Ask::*;
    use Phase::*;

    const PHASES: [Phase; 7] = [Created, CreatedFromCheckpoint, Running, Pausing, Paused, Stopped, Failed];

    #[test]
    fn init_table() {
        let allowed: &[(Ask, &[Phase])] = &[
            (Start, &[Created, CreatedFromCheckpoint]),
            (Delete, &[Created, CreatedFromCheckpoint, Stopped]),
            (Pause, &[Running]),
            (Resume, &[Paused]),
            (Update, &[Created, CreatedFromCheckpoint, Running, Pausing, Paused]),
            (Checkpoint, &[Running, Paused]),
            (Exec, &[Created, Running]),
        ];
        for (ask, phases) in allowed {
            for phase in PHASES {
                assert_eq!(init(phase, *ask).is_ok(), phases.contains(&phase), "{ask:?} in {phase:?}");
            }
        }
        for (phase, ask, words) in [
            (Running, Delete, "cannot delete a running process"),
            (Paused, Exec, "cannot exec in a paused state"),
            (Stopped, Update, "cannot update a stopped container"),
            (Created, Pause, "cannot pause task in created state"),
        ] {
            assert_eq!(init(phase, ask).unwrap_err().to_string(), words);
        }
    }

    #[test]
    fn exec_table() {
        for phase in PHASES {
            assert_eq!(exec(phase, Start).is_ok(), phase == Created, "start in {phase:?}");
            assert_eq!(
                exec(phase, Delete).is_ok(),
                matches!(phase, Created | Stopped | Failed),
                "delete in {phase:?}"
            );
        }
    }
}
