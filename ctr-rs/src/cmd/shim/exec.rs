//! `shim exec --spec FILE EXEC`.

use std::path::PathBuf;

use protos::shim::task_v3::{ExecProcessRequest, StartRequest, StartResponse};
use protos::shim::{Any, Empty};

use super::connect::Shim;
use crate::error::{Error, Result};
use crate::io::output;

/// Arguments of `shim exec`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the new process
    #[arg(value_name = "EXEC")]
    exec_id: String,
    /// Container to run it in; the shim's own without it
    #[arg(long, value_name = "ID")]
    task_id: Option<String>,
    /// The process as runtime-spec has it, in JSON
    #[arg(long, value_name = "FILE")]
    spec: PathBuf,
    /// FIFO for its input
    #[arg(long, value_name = "PATH", default_value = "")]
    stdin: String,
    /// FIFO, file:// or binary:// for its output
    #[arg(long, value_name = "PATH", default_value = "")]
    stdout: String,
    /// The same for its errors
    #[arg(long, value_name = "PATH", default_value = "")]
    stderr: String,
    /// Give it a terminal
    #[arg(long, short)]
    tty: bool,
}

/// Adds the process and starts it; does not wait for its end.
pub(super) async fn run(shim: &Shim, args: Args) -> Result<()> {
    let value =
        std::fs::read(&args.spec).map_err(Error::io(format!("cannot read {}", args.spec.display())))?;
    let mut request = ExecProcessRequest::new();
    request.id = shim.container(args.task_id)?;
    request.exec_id.clone_from(&args.exec_id);
    let url = base::any::type_url::PROCESS.to_owned();
    request.spec = Some(Any { type_url: url, value, ..Any::default() }).into();
    (request.stdin, request.stdout, request.stderr) = (args.stdin, args.stdout, args.stderr);
    request.terminal = args.tty;
    let what = format!("cannot exec {} in {}", args.exec_id, request.id);
    shim.call::<_, Empty>(&what, "Exec", &request).await?;
    let mut start = StartRequest::new();
    (start.id, start.exec_id) = (request.id, args.exec_id);
    let started: StartResponse = shim.call(&what, "Start", &start).await?;
    output::line(format!("exec running with pid {}", started.pid))
}
