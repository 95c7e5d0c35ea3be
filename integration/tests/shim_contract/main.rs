//! The contract of a shim: everything that daemons ask of it and lean on, told as stories that run against our shim and
//! against the original (the distribution's, as the oracle).
//!
//! `SHIM_CONTRACT_PEER=/path/to/containerd-shim-runc-v2` puts another original in the oracle's place (2.3.4 is known);
//! `SHIM_CONTRACT_SHOW=1` prints every answer. Where ours answers otherwise, the case says why, and
//! `docs/behaviours/shim-contract.md` lists it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

mod bad_creates;
mod command_line;
mod document;
mod execs;
mod frames;
mod life;
mod operators;
mod refusals;
mod sockets;
mod stage;
mod streams;

use integration::shim::Version;
use stage::{Stage, Subject};

macro_rules! stories {
    ($who:ident, $subject:expr, $version:expr; $($module:ident::$story:ident),* $(,)?) => {
        mod $who { $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $story() {
                let mut stage = super::Stage::new($subject, $version, stringify!($story)).await;
                super::$module::$story(&mut stage).await;
                stage.end().await;
            }
        )* }
    };
}

macro_rules! for_each_shim {
    ($($story:tt)*) => {
        stories! { ours, super::Subject::Ours, super::Version::V3; $($story)* }
        stories! { original, super::Subject::peer(), super::Subject::peer().version(); $($story)* }
    };
}

for_each_shim! {
    command_line::flags, command_line::start_that_cannot, command_line::delete_verb, command_line::info,
    command_line::dialects,
    sockets::names_and_modes, sockets::paths_that_are_too_long, sockets::groups, sockets::a_dead_socket_is_rebound,
    sockets::strangers_are_refused,
    life::one_life, life::quick_deaths, life::numbers_and_pids, life::frozen, life::signals, life::waiting,
    refusals::ids_that_nobody_has, refusals::execs_that_nobody_has, refusals::created, refusals::running,
    refusals::stopped,
    bad_creates::impossible_requests, bad_creates::runtimes, bad_creates::root_file_systems,
    execs::bad_ones, execs::no_process_at_all, execs::lives, execs::order_of_ends,
    streams::none_and_files, streams::fifos, streams::loggers, streams::terminals,
    frames::odd_requests, frames::broken_frames,
    operators::log_and_dump, operators::asked_to_leave,
}

// The older version of the service, on the same socket.
stories! { ours_v2, super::Subject::Ours, super::Version::V2;
    life::one_life, life::numbers_and_pids, life::frozen, refusals::ids_that_nobody_has, execs::lives,
}
