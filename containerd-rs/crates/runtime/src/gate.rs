//! Exactly one exit and one deletion per process, whoever reports it and however often.
//!
//! Both the shim (forwarded, possibly replayed) and the daemon (when the shim died) report ends. Whichever report
//! comes first goes out; the others are dropped before anyone sees them.

use std::sync::Weak;

use events::{Envelope, Gate};
use protobuf::Message;
use protos::shim::events::{TaskDelete, TaskExit, TaskOOM};

use crate::model::Exit;
use crate::runtime::Shared;
use crate::wire;

pub(crate) const TASK_EXIT: &str = "/tasks/exit";
pub(crate) const TASK_DELETE: &str = "/tasks/delete";
pub(crate) const TASK_OOM: &str = "/tasks/oom";

/// Looks at every event about to go out.
pub(crate) struct EndsOnce(pub(crate) Weak<Shared>);

impl Gate for EndsOnce {
    fn admit(&self, envelope: &Envelope) -> bool {
        if ![TASK_EXIT, TASK_DELETE, TASK_OOM].contains(&envelope.topic.as_str()) {
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
            if !first && shared.table.departed_knows(&envelope.namespace, &event) {
                return false;
            }
            entry.is_none_or(|entry| {
                if first {
                    let exit = exit(&event);
                    let news = entry.admit_exit(exit);
                    if news {
                        entry.bundle.write_told(&exit);
                    }
                    news
                } else {
                    let (news, forgotten) = entry.admit_exec_exit(&event.id, event.pid);
                    if news {
                        entry.bundle.write_exec_told(&event.id, event.pid);
                    }
                    if let Some(exec_id) = forgotten {
                        entry.bundle.forget_exec_told(&exec_id);
                    }
                    news
                }
            })
        } else if envelope.topic == TASK_OOM {
            // Every one goes out; that there was one is remembered.
            if let Ok(event) = TaskOOM::parse_from_bytes(&envelope.event.value)
                && let Some(entry) = about(&event.container_id, 0)
                && entry.admit_oom()
            {
                entry.bundle.write_oom_told();
            }
            true
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
