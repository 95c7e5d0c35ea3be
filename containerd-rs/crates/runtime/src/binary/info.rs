//! `<shim> -info`: what a runtime says about itself.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use base::Any;
use protobuf::Message;
use protos::shim::types::RuntimeInfo as Wire;

use super::invoke::Invocation;
use super::start::options_any;
use crate::error::Error;
use crate::rpc::CallError;
use crate::wire;

/// How long a runtime may take to describe itself.
const LIMIT: Duration = Duration::from_secs(10);

/// `containerd.types.RuntimeInfo`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuntimeInfo {
    /// The shim's name (`io.containerd.runc.v2`).
    pub name: String,
    /// The shim's version.
    pub version: String,
    /// The shim's revision.
    pub revision: String,
    /// The options that it was asked with.
    pub options: Option<Any>,
    /// OCI runtime features, JSON.
    pub features: Option<Any>,
    /// Anything else.
    pub annotations: BTreeMap<String, String>,
}

/// Runs `-info` with the runtime options on standard input.
pub(crate) async fn info(program: &Path, options: Option<&Any>) -> Result<RuntimeInfo, Error> {
    let invocation = Invocation {
        program,
        action: "-info",
        args: vec!["-info".into()],
        cwd: None,
        env: &[],
        stdin: options_any(options),
        merged: false,
        limit: LIMIT,
    };
    let output = invocation.run().await?;
    let malformed = |e: protobuf::Error| CallError::Malformed { method: "-info", reason: e.to_string() };
    let info = Wire::parse_from_bytes(&output.stdout).map_err(malformed)?;
    let version = info.version.into_option().unwrap_or_default();
    Ok(RuntimeInfo {
        name: info.name,
        version: version.version,
        revision: version.revision,
        options: info.options.into_option().map(wire::from_any),
        features: info.features.into_option().map(wire::from_any),
        annotations: info.annotations.into_iter().collect(),
    })
}
