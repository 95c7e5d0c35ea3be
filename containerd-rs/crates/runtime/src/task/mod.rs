//! What can be done to tasks: one verb per file.

mod checkpoint;
mod close;
mod close_io;
mod create;
mod delete;
mod delete_process;
mod exec;
mod features;
mod kill;
mod launch;
mod list;
mod pause;
mod pids;
mod resize;
mod resume;
mod rootfs;
mod start;
mod state;
mod stats;
mod undo;
mod update;
mod wait;

pub(crate) use close::{clean_up, shut_down, take_away};
