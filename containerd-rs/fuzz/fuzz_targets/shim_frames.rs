//! What shims and daemons say to each other: bootstrap parameters and answers, and the frames and messages of ttrpc.
#![no_main]

use libfuzzer_sys::fuzz_target;
use protobuf::Message;
use protos::shim::bootstrap::{BootstrapParams, BootstrapResult};
use protos::shim::{events, task_v2, task_v3};
use ttrpc::proto::{MESSAGE_HEADER_LENGTH, MessageHeader, Request, Response};

/// Reads a message; what is read can be written, and read again.
fn message<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
    if let Ok(message) = M::parse_from_bytes(bytes) {
        let written = message.write_to_bytes().unwrap();
        M::parse_from_bytes(&written).unwrap();
    }
}

fuzz_target!(|bytes: &[u8]| {
    runtime::fuzzing::bootstrap_answer(bytes);
    message::<BootstrapParams>(bytes);
    message::<BootstrapResult>(bytes);
    message::<task_v3::CreateTaskRequest>(bytes);
    message::<task_v3::ExecProcessRequest>(bytes);
    message::<task_v2::StateResponse>(bytes);
    message::<events::TaskExit>(bytes);
    if bytes.len() >= MESSAGE_HEADER_LENGTH {
        let (head, body) = bytes.split_at(MESSAGE_HEADER_LENGTH);
        let header = MessageHeader::from(head);
        let body = &body[..body.len().min(header.length as usize)];
        message::<Request>(body);
        message::<Response>(body);
    }
});
