//! Exactly one exit and one deletion per process, whoever reports it and however often.
//!
//! Both the shim (forwarded, possibly replayed) and the daemon (when the shim died) report ends. Whichever report
//! comes first goes out; the others are dropped before anyone sees them.

use std::sync::Weak;

use events::{Envelope, Gate};
use protobuf::Message;
use protos::shim::events::{TaskDelete, TaskExit};

use crate::model::Exit;
use crate::runtime::Shared;
use crate::wire;

pub(crate) const TASK_EXIT: &str = "/tasks/exit";
pub(crate) const TASK_DELETE: &str = "/tasks/delete";

/// Looks at every event about to go out.
pub(crate) struct EndsOnce(pub(crate) Weak<Shared>);

impl Gate for EndsOnce {
    fn admit(&self, envelope: &Envelope) -> bool {
        if envelope.topic != TASK_EXIT && envelope.topic != TASK_DELETE {
            return true;
        }
        let Some(shared) = self.0.upgrade() else {
            return true;
        };
        let about = |id: &str, pid: u32| shared.table.subject(&envelope.namespace, id, pid);
        if envelope.topic == TASK_EXIT {
            let Ok(event) = TaskExit::parse_from_bytes(&envelope.event.value) else {
                return true;
            };
            let first = event.id.is_empty() || event.id == event.container_id;
            // An exec's pid is not the task's: only the task's own tells which generation is meant.
            let entry = about(&event.container_id, if first { event.pid } else { 0 });
            entry.is_none_or(|entry| {
                if first {
                    let exit = exit(&event);
                    let news = entry.admit_exit(exit);
                    if news {
                        entry.bundle.write_told(&exit);
                    }
                    news
                } else {
                    entry.admit_exec_exit(&event.id, event.pid)
                }
            })
        } else {
            let Ok(event) = TaskDelete::parse_from_bytes(&envelope.event.value) else {
                return true;
            };
            let first = event.id.is_empty() || event.id == event.container_id;
            !first || about(&event.container_id, event.pid).is_none_or(|entry| entry.admit_delete())
        }
    }
}

fn exit(event: &TaskExit) -> Exit {
    Exit { pid: event.pid, status: event.exit_status, exited_at: wire::time(event.exited_at.as_ref()) }
}
