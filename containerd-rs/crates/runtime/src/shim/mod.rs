//! A running shim as the daemon sees it: a connection, a log, and what to do when either ends.

mod connect;
mod death;
mod leftovers;
mod process;

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use crate::binary::Answer;
use crate::rpc::TaskClient;
use crate::shimlog::ShimLog;

pub(crate) use death::{bury, publish_delete, publish_exit, watch};
pub(crate) use leftovers::Leftovers;
pub(crate) use process::{ShimProcess, kill_in_directory};

/// One connection to the shim of one task. Replaced as a whole when the connection is made anew.
pub(crate) struct Shim {
    /// Runs `delete` when the shim is dead; `None`: it cannot be found any more.
    pub(crate) program: Option<PathBuf>,
    /// The task lives in its sandbox's shim, which is not this task's to end.
    pub(crate) joined: bool,
    /// Where it listens.
    pub(crate) answer: Answer,
    /// Its Task service.
    pub(crate) client: TaskClient,
    /// The process, once it has told its pid and that was checked.
    pub(crate) process: OnceLock<ShimProcess>,
    /// Copies its log for as long as the task is there.
    pub(crate) log: Arc<ShimLog>,
}

impl Drop for Shim {
    fn drop(&mut self) {
        self.client.conn().close();
    }
}
