//! Exec: another process of a container, described now and run by Start.

use std::collections::BTreeMap;

use base::Error;
use protos::shim::events::TaskExecAdded;
use protos::shim::task_v3::ExecProcessRequest;
use serde_json::value::RawValue;

use crate::io::Stdio;
use crate::task::Tasks;
use crate::task::decide::{self, Ask, Phase};
use crate::task::process::Proc;

impl Tasks {
    /// Adds a process to a container.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` for the id, `InvalidArgument` for an id or spec that is none, a phase that
    /// does not allow it.
    pub(crate) fn exec(&self, request: &ExecProcessRequest) -> Result<(), Error> {
        let container = self.get(&request.id)?;
        base::validate_identifier(&request.exec_id).map_err(|e| Error::wrap("invalid exec id", e))?;
        let spec = with_terminal(request.spec.as_ref().map_or(&[], |any| &any.value), request.terminal)?;
        {
            let mut state = container.state();
            if state.execs.contains_key(&request.exec_id) {
                return Err(Error::already_exists(format!("id {}", request.exec_id)));
            }
            decide::init(state.init.phase, Ask::Exec)?;
            let stdio = Stdio {
                stdin: request.stdin.clone(),
                stdout: request.stdout.clone(),
                stderr: request.stderr.clone(),
                terminal: request.terminal,
            };
            let mut proc = Proc::new(stdio, Phase::Created);
            proc.spec = Some(spec);
            state.execs.insert(request.exec_id.clone(), proc);
        }
        let mut event = TaskExecAdded::new();
        event.container_id = container.id.clone();
        event.exec_id = request.exec_id.clone();
        self.events().send("/tasks/exec-added", &event);
        Ok(())
    }
}

/// The process description with the request's word on the terminal; all else stays as it was written.
fn with_terminal(spec: &[u8], terminal: bool) -> Result<Vec<u8>, Error> {
    let bad = |e: serde_json::Error| Error::invalid("failed to read process spec").with_source(e);
    let mut fields: BTreeMap<&str, &RawValue> = serde_json::from_slice(spec).map_err(bad)?;
    let word = RawValue::from_string(terminal.to_string()).map_err(bad)?;
    fields.insert("terminal", &word);
    serde_json::to_vec(&fields).map_err(bad)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_the_terminal_changes() {
        let of = |text: &str, terminal| {
            String::from_utf8(with_terminal(text.as_bytes(), terminal).unwrap()).unwrap()
        };
        assert_eq!(
            of(r#"{"args":["a", "b"],"x":1.50}"#, true),
            r#"{"args":["a", "b"],"terminal":true,"x":1.50}"#
        );
        assert_eq!(of(r#"{"terminal":true}"#, false), r#"{"terminal":false}"#);
        for bad in ["", "[]", "{", "null"] {
            assert!(with_terminal(bad.as_bytes(), false).is_err(), "{bad}");
        }
    }
}
