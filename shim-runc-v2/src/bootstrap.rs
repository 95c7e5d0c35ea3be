//! How a daemon tells a shim what to start, and how it wants to be told where the shim listens.
//!
//! Three dialects are alive:
//! * 2.3 and later write a `BootstrapParams` message to stdin and read a `BootstrapResult`;
//! * 1.7 to 2.2 write the runtime options (an `Any`, or nothing), set `MAX_SHIM_VERSION`, and read JSON;
//! * 1.6 and earlier write the options and read a plain address.
//!
//! An `Any` can happen to be a valid `BootstrapParams` (both begin with two strings), so a message
//! only counts as one when it names the instance and namespace of the command line.

use base::Error;
use protobuf::Message;
use protos::shim::bootstrap::{BootstrapParams, BootstrapResult};
use protos::shim::options::Options;

use crate::flags::Flags;

/// Nothing larger is read from stdin.
pub(crate) const MAX_STDIN: u64 = 10 << 20;

/// The directory of shim sockets where the caller names none.
pub(crate) const SOCKET_DIR: &str = "/run/containerd/s";

const OPTIONS_TYPE: &str = "containerd.runc.v1.Options";

/// In which form the caller reads the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// `BootstrapResult`, version 3.
    Protobuf,
    /// `{"version":2,...}`.
    Json,
    /// `unix://...` and nothing else.
    Plain,
}

/// What `start` needs to know, whoever asked.
#[derive(Debug)]
pub(crate) struct Params {
    /// How to answer.
    pub(crate) dialect: Dialect,
    /// Log at debug level.
    pub(crate) debug: bool,
    /// Where the socket goes.
    pub(crate) socket_dir: String,
    /// Whether the caller named that directory.
    pub(crate) socket_dir_given: bool,
    /// The daemon's gRPC socket.
    pub(crate) grpc_address: String,
    /// The daemon's ttrpc socket; empty: from the environment.
    pub(crate) ttrpc_address: String,
    /// Runtime options, when there are any.
    pub(crate) options: Option<Options>,
}

/// Reads the caller's wishes out of its stdin and flags. `max_version` is `MAX_SHIM_VERSION`.
///
/// # Errors
/// Options that name runc's type and do not parse; a socket directory that is not absolute.
pub(crate) fn read(stdin: &[u8], flags: &Flags, max_version: Option<&str>) -> Result<Params, Error> {
    if let Some(message) = as_bootstrap(stdin, flags) {
        return from_message(&message, flags);
    }
    // From 1.7 on a daemon says which version it can take at most, and reads JSON.
    let json = max_version.and_then(|v| v.parse::<u32>().ok()).is_some_and(|v| v >= 2);
    Ok(Params {
        dialect: if json { Dialect::Json } else { Dialect::Plain },
        debug: flags.debug,
        socket_dir: SOCKET_DIR.to_owned(),
        socket_dir_given: false,
        grpc_address: flags.address.clone(),
        ttrpc_address: String::new(),
        options: options(stdin)?,
    })
}

fn as_bootstrap(stdin: &[u8], flags: &Flags) -> Option<BootstrapParams> {
    if stdin.is_empty() {
        return None;
    }
    let message = BootstrapParams::parse_from_bytes(stdin).ok()?;
    (message.instance_id == flags.id && message.namespace == flags.namespace).then_some(message)
}

fn from_message(message: &BootstrapParams, flags: &Flags) -> Result<Params, Error> {
    let given = message.socket_dir.as_deref().filter(|d| !d.is_empty());
    if let Some(dir) = given
        && !dir.starts_with('/')
    {
        return Err(Error::invalid(format!("socket directory {dir:?} is not absolute")));
    }
    let mut found = None;
    for extension in &message.extensions {
        if is_runc_options(&extension.value.type_url) {
            found = Some(parse_options(&extension.value.value)?);
            break;
        }
    }
    let or_flag = |text: &str, flag: &str| if text.is_empty() { flag.to_owned() } else { text.to_owned() };
    Ok(Params {
        dialect: Dialect::Protobuf,
        debug: flags.debug || message.log_level.value() <= -4,
        socket_dir: given.unwrap_or(SOCKET_DIR).to_owned(),
        socket_dir_given: given.is_some(),
        grpc_address: or_flag(&message.containerd_grpc_address, &flags.address),
        ttrpc_address: message.containerd_ttrpc_address.clone(),
        options: found,
    })
}

/// Runtime options out of a marshalled `Any`; `None` for nothing, garbage, or another runtime's.
///
/// # Errors
/// The `Any` names runc's options and holds something else.
pub(crate) fn options(bytes: &[u8]) -> Result<Option<Options>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    match protobuf::well_known_types::any::Any::parse_from_bytes(bytes) {
        Ok(any) if is_runc_options(&any.type_url) => parse_options(&any.value).map(Some),
        _ => Ok(None),
    }
}

/// Whether a type URL names runc's options, with or without a host before the slash.
pub(crate) fn is_runc_options(type_url: &str) -> bool {
    type_url.rsplit('/').next() == Some(OPTIONS_TYPE)
}

/// The message itself.
pub(crate) fn parse_options(bytes: &[u8]) -> Result<Options, Error> {
    Options::parse_from_bytes(bytes)
        .map_err(|e| Error::invalid("failed to read runtime options").with_source(e))
}

/// The bytes to print: the address in the caller's dialect.
///
/// # Errors
/// The message cannot be encoded.
pub(crate) fn answer(dialect: Dialect, address: &str) -> Result<Vec<u8>, Error> {
    match dialect {
        Dialect::Plain => Ok(address.as_bytes().to_vec()),
        // An address is made of a path that we chose or checked, but a caller's directory may need escapes.
        Dialect::Json => {
            let address = serde_json::to_string(address)
                .map_err(|e| Error::internal("encode shim address").with_source(e))?;
            Ok(format!("{{\"version\":2,\"address\":{address},\"protocol\":\"ttrpc\"}}").into_bytes())
        }
        Dialect::Protobuf => {
            let mut result = BootstrapResult::new();
            result.version = 3;
            result.address = address.to_owned();
            result.protocol = "ttrpc".to_owned();
            result.write_to_bytes().map_err(|e| Error::internal("encode bootstrap result").with_source(e))
        }
    }
}
