//! Between what the tasks know and what travels.

use std::time::SystemTime;

use protobuf::well_known_types::timestamp::Timestamp;
use protos::shim::any::pack;
use protos::shim::options::ProcessDetails;
use protos::shim::task_v3::{DeleteResponse, PidsResponse, StateResponse, WaitResponse};
use protos::shim::types::{ProcessInfo, Status};

use crate::reaper::Exit;
use crate::task::decide::Phase;
use crate::task::delete::Deleted;
use crate::task::pids::Member;
use crate::task::state::Snapshot;

/// A time as protobuf has it.
pub(crate) fn timestamp(time: SystemTime) -> Timestamp {
    let (seconds, nanos) = base::timestamp::to_parts(time);
    let mut stamp = Timestamp::new();
    stamp.seconds = seconds;
    stamp.nanos = nanos;
    stamp
}

fn status(phase: Phase) -> Status {
    match phase {
        Phase::Created | Phase::CreatedFromCheckpoint | Phase::Failed => Status::CREATED,
        Phase::Running => Status::RUNNING,
        Phase::Pausing => Status::PAUSING,
        Phase::Paused => Status::PAUSED,
        Phase::Stopped => Status::STOPPED,
    }
}

/// State's answer. `id` is the exec's where one is asked for, as in the original.
pub(crate) fn state(id: &str, exec_id: &str, snapshot: Snapshot) -> StateResponse {
    let mut response = StateResponse::new();
    response.id = if exec_id.is_empty() { id } else { exec_id }.to_owned();
    response.exec_id = exec_id.to_owned();
    response.bundle = snapshot.bundle;
    response.pid = snapshot.pid;
    response.status = status(snapshot.phase).into();
    response.stdin = snapshot.stdio.stdin;
    response.stdout = snapshot.stdio.stdout;
    response.stderr = snapshot.stdio.stderr;
    response.terminal = snapshot.stdio.terminal;
    response.exit_status = snapshot.exit.map_or(0, |exit| exit.code);
    // The original sends the zero time of Go for none.
    let at = snapshot.exit.map_or_else(base::timestamp::zero, |exit| exit.at);
    response.exited_at = Some(timestamp(at)).into();
    response
}

/// Wait's answer.
pub(crate) fn waited(exit: Exit) -> WaitResponse {
    let mut response = WaitResponse::new();
    response.exit_status = exit.code;
    response.exited_at = Some(timestamp(exit.at)).into();
    response
}

/// Delete's answer.
pub(crate) fn deleted(deleted: Deleted) -> DeleteResponse {
    let mut response = DeleteResponse::new();
    response.pid = deleted.pid;
    if let Some(exit) = deleted.exit {
        response.exit_status = exit.code;
        response.exited_at = Some(timestamp(exit.at)).into();
    }
    response
}

/// Pids' answer.
pub(crate) fn pids(members: Vec<Member>) -> PidsResponse {
    let mut response = PidsResponse::new();
    for (pid, exec_id) in members {
        let mut process = ProcessInfo::new();
        process.pid = pid;
        if let Some(exec_id) = exec_id {
            let mut details = ProcessDetails::new();
            details.exec_id = exec_id;
            process.info = pack(&details).ok().into();
        }
        response.processes.push(process);
    }
    response
}
