//! `-info`: what this shim and the runtime behind it can do.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use base::Error;
use protobuf::Message;
use protos::shim::Any;
use protos::shim::any::pack;
use protos::shim::types::{RuntimeInfo, RuntimeVersion};

use crate::bootstrap::{self, MAX_STDIN};
use crate::runc::DEFAULT_BINARY;

/// Type of the features that the runtime prints in JSON.
const FEATURES: &str = "types.containerd.io/opencontainers/runtime-spec/1/features/Features";
/// Nothing larger is taken for features.
const MAX_FEATURES: u64 = 1 << 20;

/// Reads runtime options from standard input and prints a `RuntimeInfo`.
///
/// # Errors
/// Options that do not parse, a runtime that is not there.
pub(crate) fn main() -> Result<(), Error> {
    let mut stdin = Vec::new();
    std::io::stdin()
        .take(MAX_STDIN)
        .read_to_end(&mut stdin)
        .map_err(|e| Error::unknown("read stdin").with_source(e))?;
    let options = bootstrap::options(&stdin)?;
    let mut info = RuntimeInfo::new();
    info.name = "io.containerd.runc.v2".to_owned();
    let mut version = RuntimeVersion::new();
    version.version = env!("CARGO_PKG_VERSION").to_owned();
    info.version = Some(version).into();
    let binary = options.as_ref().map(|o| o.binary_name.clone()).filter(|b| !b.is_empty());
    if let Some(options) = &options {
        info.options = pack(options).ok().into();
    }
    let binary = binary.unwrap_or_else(|| DEFAULT_BINARY.to_owned());
    if let Some(json) = features(&binary)? {
        let mut any = Any::new();
        any.type_url = FEATURES.to_owned();
        any.value = json;
        info.features = Some(any).into();
    }
    let bytes = info.write_to_bytes().map_err(|e| Error::internal("encode runtime info").with_source(e))?;
    std::io::stdout().write_all(&bytes).map_err(|e| Error::unknown("print runtime info").with_source(e))
}

/// What the runtime says of itself; `None` from one that knows no `features`. The daemon that asks bounds the time.
fn features(binary: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut child = Command::new(binary)
        .arg("features")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|e| {
            Error::unknown(format!("failed to look up the path of {binary:?}: exec: {binary:?}: {e}"))
        })?;
    let mut json = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let _ = stdout.take(MAX_FEATURES).read_to_end(&mut json);
    }
    let good = child.wait().is_ok_and(|s| s.success())
        && serde_json::from_slice::<serde::de::IgnoredAny>(&json).is_ok();
    Ok(good.then_some(json))
}
