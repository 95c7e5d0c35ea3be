//! `<shim> ... start`: a new shim, or the one of the container's group, and where it listens.

use std::ffi::OsString;
use std::path::Path;

use base::Any;
use protobuf::Message;
use protos::shim::bootstrap::{BootstrapParams, Extension, LogLevel};

use super::answer::Answer;
use super::dialect::{Dialect, Dialects};
use super::invoke::{Invocation, InvokeError};
use crate::bundle::Bundle;
use crate::error::Error;
use crate::options::RuntimeOptions;
use crate::wire;

/// A shim to be started.
pub(crate) struct Start<'a> {
    pub(crate) program: &'a Path,
    pub(crate) bundle: &'a Bundle,
    pub(crate) options: &'a RuntimeOptions,
    pub(crate) dialect: Dialect,
    pub(crate) runtime_options: Option<&'a Any>,
}

/// Runs `start` in the bundle and reads its answer.
pub(crate) async fn start(start: Start<'_>, dialects: &Dialects) -> Result<Answer, Error> {
    let first = start.run(start.dialect).await;
    let output = match first {
        Err(InvokeError::Failed { .. }) if start.dialect == Dialect::Guess => {
            let second = start.run(Dialect::Options).await;
            match second {
                Ok(output) => {
                    dialects.learn(start.program, Dialect::Options);
                    output
                }
                // The first complaint is the one about what we meant to say.
                Err(_) => first?,
            }
        }
        Ok(output) => {
            if start.dialect == Dialect::Guess {
                dialects.learn(start.program, Dialect::Bootstrap);
            }
            output
        }
        Err(e) => return Err(e.into()),
    };
    Ok(Answer::parse(&output)?)
}

impl Start<'_> {
    async fn run(&self, dialect: Dialect) -> Result<Vec<u8>, InvokeError> {
        let stdin = match dialect {
            Dialect::Bootstrap | Dialect::Guess => self.bootstrap_params(),
            Dialect::Options => options_any(self.runtime_options),
        };
        let env = environment(self.options, self.bundle.namespace.as_str(), true);
        let invocation = Invocation {
            program: self.program,
            action: "start",
            args: arguments(self.options, self.bundle, false, "start"),
            cwd: Some(&self.bundle.path),
            env: &env,
            stdin,
            merged: true,
            limit: self.options.timeouts.start,
        };
        Ok(invocation.run().await?.stdout)
    }

    fn bootstrap_params(&self) -> Vec<u8> {
        let options = self.options;
        let mut params = BootstrapParams {
            instance_id: self.bundle.id.clone(),
            namespace: self.bundle.namespace.to_string(),
            log_level: if options.debug { LogLevel::LOG_LEVEL_DEBUG } else { LogLevel::LOG_LEVEL_INFO }
                .into(),
            containerd_version: options.version.clone(),
            containerd_ttrpc_address: options.ttrpc_address.clone(),
            containerd_grpc_address: options.address.clone(),
            containerd_binary: options.daemon_binary.display().to_string(),
            socket_dir: options.socket_dir.as_ref().map(|dir| dir.display().to_string()),
            ..BootstrapParams::default()
        };
        if let Some(any) = self.runtime_options {
            params.extensions.push(Extension { value: Some(wire::any(any)).into(), ..Extension::default() });
        }
        params.write_to_bytes().unwrap_or_default()
    }
}

/// The marshalled Any that older shims and `-info` read; nothing without options.
pub(crate) fn options_any(options: Option<&Any>) -> Vec<u8> {
    options.and_then(|any| wire::any(any).write_to_bytes().ok()).unwrap_or_default()
}

/// `-namespace NS -address SOCK -publish-binary DAEMON -id ID [-bundle PATH] [-debug] ACTION`
pub(crate) fn arguments(
    options: &RuntimeOptions,
    bundle: &Bundle,
    name_bundle: bool,
    action: &str,
) -> Vec<OsString> {
    let mut args: Vec<OsString> = vec![
        "-namespace".into(),
        bundle.namespace.as_str().into(),
        "-address".into(),
        options.address.clone().into(),
        "-publish-binary".into(),
        options.daemon_binary.clone().into(),
        "-id".into(),
        bundle.id.clone().into(),
    ];
    if name_bundle {
        args.extend(["-bundle".into(), bundle.path.clone().into()]);
    }
    if options.debug {
        args.push("-debug".into());
    }
    args.push(action.into());
    args
}

/// What is added to the daemon's environment; the configured extras only for `start`, as the original does.
pub(crate) fn environment(
    options: &RuntimeOptions,
    namespace: &str,
    extras: bool,
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> = vec![
        ("GOMAXPROCS".into(), "2".into()),
        ("MAX_SHIM_VERSION".into(), "2".into()),
        ("TTRPC_ADDRESS".into(), options.ttrpc_address.clone().into()),
        ("GRPC_ADDRESS".into(), options.address.clone().into()),
        ("NAMESPACE".into(), namespace.into()),
    ];
    if extras {
        let pairs = options.shim_env.iter().filter_map(|pair| pair.split_once('='));
        env.extend(pairs.map(|(key, value)| (key.into(), value.into())));
    }
    env
}
