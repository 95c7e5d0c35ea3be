//! One bundle's turn: who is in it, and does it belong to anyone.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use base::{ErrorKind, Kinded};

use super::Outcome;
use crate::binary::Answer;
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::{Exit, Status};
use crate::rpc::CallError;
use crate::runtime::Runtime;
use crate::shim::{self, Shim};
use crate::shimlog::ShimLog;

/// What is known of a shim without talking to it.
#[derive(Clone)]
pub(super) struct Known {
    pub(super) program: Option<PathBuf>,
    pub(super) answer: Answer,
    pub(super) log: Arc<ShimLog>,
}

/// What talking to it gave.
pub(super) enum Met {
    /// It answers, and its task is recorded; how that ended, if it did.
    Ours { shim: Arc<Shim>, pid: u32, exit: Option<Exit> },
    /// It answers, and no one knows its task, or it has none.
    Nobodys(Arc<Shim>),
    /// No one listens there any more.
    Dead,
    /// It took the connection and says nothing.
    Silent { shim: Option<Arc<Shim>>, reason: String },
}

impl Runtime {
    pub(super) async fn take_over(&self, entry: &Arc<Entry>, rebooted: bool) -> Outcome {
        let bundle = &entry.bundle;
        let empty = fs::read_dir(&bundle.path).map_or(true, |mut files| files.next().is_none());
        if empty || bundle.has_intent() || matches!(bundle.answer(), Ok(None)) {
            tracing::info!(id = bundle.id, namespace = %bundle.namespace, "undoing a task that was not finished");
            self.undo_unfinished(entry).await;
            return Outcome::Removed;
        }
        let program = self.program_of(entry);
        let known = match self.known(entry, program.clone()) {
            Ok(known) if !rebooted => known,
            Ok(_) => return self.found_dead(entry, program, "the machine was started anew").await,
            Err(error) => return self.found_dead(entry, program, &base::chain(&error)).await,
        };
        match self.meet(entry, &known, None).await {
            Met::Silent { shim, reason } => {
                self.set_aside(entry, known, shim, reason);
                Outcome::Aside
            }
            met => self.settle(entry, met, program).await,
        }
    }

    /// Does what follows from a meeting that had a result.
    pub(super) async fn settle(&self, entry: &Arc<Entry>, met: Met, program: Option<PathBuf>) -> Outcome {
        match met {
            Met::Ours { shim, pid, exit } => {
                entry.set_pid(pid);
                entry.set_shim(Some(shim.clone()));
                entry.advance(|_| true, Phase::Live);
                shim::watch(self, entry, &shim);
                if let Some(exit) = exit {
                    // It ended while no one listened: whoever subscribes now has not heard of it.
                    shim::publish_exit(self, entry, exit);
                }
                Outcome::Adopted
            }
            Met::Nobodys(shim) => {
                tracing::info!(id = entry.bundle.id, "cleaning leaked shim process");
                self.evict(entry, shim).await;
                Outcome::Removed
            }
            Met::Dead | Met::Silent { .. } => self.found_dead(entry, program, "nobody listens").await,
        }
    }

    async fn found_dead(&self, entry: &Arc<Entry>, program: Option<PathBuf>, why: &str) -> Outcome {
        tracing::info!(id = entry.bundle.id, namespace = %entry.bundle.namespace, why, "shim is dead");
        if let Some(pid) = entry.bundle.init_pid() {
            entry.set_pid(pid);
        }
        entry.advance(|_| true, Phase::Dead);
        shim::bury(self, entry, program).await;
        Outcome::Dead
    }

    /// The program that cleans up after the shim: the one it was started with, else the container's runtime's.
    fn program_of(&self, entry: &Entry) -> Option<PathBuf> {
        let bundle = &entry.bundle;
        let shared = &self.shared;
        let named = bundle.shim_path().map(|path| path.display().to_string());
        let name = named.or_else(|| shared.records.runtime_of(&bundle.namespace, &bundle.id).ok()?)?;
        match shared.resolver.resolve(&name) {
            Ok(program) => Some(program),
            Err(error) => {
                tracing::error!(id = bundle.id, %error, "no program to clean up with");
                None
            }
        }
    }

    fn known(&self, entry: &Entry, program: Option<PathBuf>) -> Result<Known, Error> {
        let bundle = &entry.bundle;
        let answer = bundle.answer()?.ok_or(Error::Answer(crate::AnswerError::Empty))?;
        let log = Arc::new(ShimLog::open(&bundle.path, self.shared.log_sink.clone())?);
        Ok(Known { program, answer, log })
    }

    /// Connects (or goes on with a connection made earlier) and asks who is there; bounded as a whole.
    pub(super) async fn meet(&self, entry: &Arc<Entry>, known: &Known, earlier: Option<Arc<Shim>>) -> Met {
        let limit = self.shared.options.timeouts.load;
        let Known { program, answer, log } = known.clone();
        let shim = match earlier {
            Some(shim) => shim,
            None => match Shim::connect(&entry.bundle, program, answer, log, limit).await {
                Ok(shim) => shim,
                Err(Error::Dial(e)) if e.is_dead() => return Met::Dead,
                Err(e) => return Met::Silent { shim: None, reason: base::chain(&e) },
            },
        };
        match tokio::time::timeout(limit, self.converse(entry, &shim)).await {
            Ok(Ok(met)) => met,
            Ok(Err(CallError::Closed)) => Met::Dead,
            Ok(Err(e @ CallError::Timeout { .. })) => Met::Silent { shim: Some(shim), reason: e.to_string() },
            Ok(Err(e)) => {
                tracing::error!(id = entry.bundle.id, error = %e, "shim answers nonsense");
                Met::Dead
            }
            Err(_) => {
                let reason = format!("no answer within {limit:?}");
                Met::Silent { shim: Some(shim), reason }
            }
        }
    }

    async fn converse(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> Result<Met, CallError> {
        let bundle = &entry.bundle;
        let pid = shim.introduce(&bundle.id, &self.shared.options).await?;
        let records = &self.shared.records;
        let container = records.runtime_of(&bundle.namespace, &bundle.id).map(|name| name.is_some());
        let sandbox = records.has_sandbox(&bundle.namespace, &bundle.id);
        let ours = Met::Ours { shim: shim.clone(), pid, exit: None };
        match (container, sandbox) {
            (Ok(false), Ok(false)) => return Ok(Met::Nobodys(shim.clone())),
            (_, Ok(true)) => return Ok(ours),
            // Records that cannot be read condemn no one.
            (Err(_), _) | (_, Err(_)) => return Ok(ours),
            (Ok(true), Ok(false)) => {}
        }
        match self.ask_state(shim, &bundle.id, "").await {
            Ok(state) => {
                let pid = if state.pid == 0 { pid } else { state.pid };
                let exit = Exit { pid, status: state.exit_status, exited_at: state.exited_at };
                let exit = (state.status == Status::Stopped).then_some(exit);
                Ok(Met::Ours { shim: shim.clone(), pid, exit })
            }
            Err(Error::Call(e)) if e.kind() == ErrorKind::NotFound => Ok(Met::Nobodys(shim.clone())),
            Err(Error::Call(e @ CallError::Timeout { .. })) => Err(e),
            Err(Error::TaskNotFound { .. }) => Err(CallError::Closed),
            Err(error) => {
                let error = base::chain(&error);
                tracing::warn!(id = bundle.id, error, "shim does not tell the task's state, keeping it");
                Ok(ours)
            }
        }
    }
}
