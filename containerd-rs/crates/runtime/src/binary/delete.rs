//! `<shim> ... delete`: cleans up what a dead shim left, and tells how its process ended.

use std::path::Path;

use protobuf::Message;
use protos::shim::task_v2::DeleteResponse;

use super::invoke::{Invocation, printable};
use super::start::{arguments, environment};
use crate::bundle::Bundle;
use crate::error::Error;
use crate::model::Exit;
use crate::options::RuntimeOptions;
use crate::rpc::CallError;
use crate::wire;

/// Runs `delete` in the bundle, within the clean-up bound. The bundle stays.
pub(crate) async fn delete(program: &Path, bundle: &Bundle, options: &RuntimeOptions) -> Result<Exit, Error> {
    let env = environment(options, bundle.namespace.as_str(), false);
    let invocation = Invocation {
        program,
        action: "delete",
        args: arguments(options, bundle, true, "delete"),
        cwd: Some(&bundle.path),
        env: &env,
        stdin: Vec::new(),
        merged: false,
        limit: options.timeouts.cleanup,
    };
    let output = invocation.run().await?;
    if !output.stderr.is_empty() {
        let warnings = printable(&output.stderr, 2000);
        tracing::warn!(id = bundle.id, namespace = %bundle.namespace, warnings, "warnings while cleaning up dead shim");
    }
    let malformed = |e: protobuf::Error| CallError::Malformed { method: "delete", reason: e.to_string() };
    let response = DeleteResponse::parse_from_bytes(&output.stdout).map_err(malformed)?;
    Ok(Exit {
        pid: response.pid,
        status: response.exit_status,
        exited_at: wire::time(response.exited_at.as_ref()),
    })
}
