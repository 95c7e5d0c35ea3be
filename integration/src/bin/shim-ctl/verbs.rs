//! The shim as a program, and the receiver of events.

use std::path::{Path, PathBuf};

use anyhow::Context;
use integration::shim::{Program, Seen, record, summary};
use protos::shim::Any;
use protos::shim::any::pack;
use protos::shim::options::Options;

use crate::args::{ProgramArgs, RuntimeArgs, Verb};
use crate::show;

pub(crate) async fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Start { program, bundle, id, dialect, runtime } => {
            let bundle = absolute(&bundle)?;
            let _log = hold_log(&bundle)?;
            let options = runtime.options()?;
            let started = program.program().start(&bundle, &id, dialect.into(), options.as_ref())?;
            let answer = started.answer;
            println!("{} version={} protocol={}", answer.address, answer.version, answer.protocol);
            Ok(())
        }
        Verb::Cleanup { program, bundle, id } => {
            let bundle = absolute(&bundle)?;
            show::deleted(&program.program().delete(&bundle, &id)?);
            Ok(())
        }
        Verb::Info { program, runtime } => {
            show::info(&program.program().info(runtime.options()?.as_ref())?);
            Ok(())
        }
        Verb::Version { program } => {
            print!("{}", program.program().version()?);
            Ok(())
        }
        Verb::Events { socket } => events(&socket).await,
    }
}

impl ProgramArgs {
    fn program(&self) -> Program {
        let mut program = Program::new(self.shim.clone(), &self.namespace, &self.address);
        program.debug = self.debug;
        program
    }
}

impl RuntimeArgs {
    /// Options of runc, when any were given.
    pub(crate) fn options(&self) -> anyhow::Result<Option<Any>> {
        if self.binary_name.is_none() && self.root.is_none() && !self.systemd_cgroup {
            return Ok(None);
        }
        let mut options = Options::new();
        options.binary_name = self.binary_name.clone().unwrap_or_default();
        options.root = self.root.clone().unwrap_or_default();
        options.systemd_cgroup = self.systemd_cgroup;
        Ok(Some(pack(&options)?))
    }
}

fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}

/// Makes the bundle's log FIFO where there is none, and holds it open while the shim starts: older Go shims wait for a
/// reader before they serve.
fn hold_log(bundle: &Path) -> anyhow::Result<std::fs::File> {
    let path = bundle.join("log");
    if !path.exists() {
        sys::fifo::create(&path, 0o700)?;
    }
    Ok(sys::fifo::open_read_write(&path)?)
}

async fn events(socket: &Path) -> anyhow::Result<()> {
    let seen = Seen::default();
    let server = record(socket, &seen).await?;
    let mut told = 0;
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        for envelope in seen.since(told) {
            told += 1;
            println!("{} {}", envelope.namespace, summary(&envelope));
        }
        tokio::select! {
            () = seen.more_than(told) => {}
            done = &mut interrupted => {
                done?;
                break;
            }
        }
    }
    server.stop().await?;
    std::fs::remove_file(socket).with_context(|| format!("remove {}", socket.display()))
}
