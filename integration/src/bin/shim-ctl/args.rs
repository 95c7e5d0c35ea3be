//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use integration::shim::{Dialect, Version};

/// Talk to a containerd shim without a daemon.
///
/// Calls take WHERE a shim listens: a bundle's directory (its bootstrap.json or address is read), the path of a socket, or
/// a URI (unix:///path).
#[derive(Parser, Debug)]
#[command(name = "shim-ctl", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The shim's program, or its service.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    #[command(flatten)]
    Verb(Verb),
    #[command(flatten)]
    Call(Call),
}

/// What needs no shim that runs.
#[derive(Subcommand, Debug)]
pub(crate) enum Verb {
    /// Run the shim's `start` in a bundle; prints its answer
    Start {
        #[command(flatten)]
        program: ProgramArgs,
        bundle: PathBuf,
        id: String,
        /// How to ask and be answered
        #[arg(long, value_enum, default_value = "params")]
        dialect: DialectArg,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Run the shim's `delete` verb: clean up after a shim that died. ENDS A CONTAINER THAT STILL RUNS
    Cleanup {
        #[command(flatten)]
        program: ProgramArgs,
        bundle: PathBuf,
        id: String,
    },
    /// Run the shim with `-info`
    Info {
        #[command(flatten)]
        program: ProgramArgs,
        #[command(flatten)]
        runtime: RuntimeArgs,
    },
    /// Run the shim with `-v`
    Version {
        #[command(flatten)]
        program: ProgramArgs,
    },
    /// Take events at SOCKET (as a daemon's `<address>.ttrpc`) and print them until interrupted
    Events { socket: PathBuf },
}

/// Which shim, and for which daemon.
#[derive(Args, Debug)]
pub(crate) struct ProgramArgs {
    /// The shim's program
    #[arg(long, default_value = "containerd-shim-runc-v2")]
    pub(crate) shim: PathBuf,
    /// The daemon's gRPC socket, which is part of the name of the shim's; events go to the same name with .ttrpc
    #[arg(long, short, default_value = "/run/containerd/containerd.sock")]
    pub(crate) address: PathBuf,
    /// Namespace of the containers
    #[arg(long, short, default_value = "default")]
    pub(crate) namespace: String,
    /// Let the shim log at debug level
    #[arg(long)]
    pub(crate) debug: bool,
}

/// Runtime options of runc.
#[derive(Args, Debug, Default)]
pub(crate) struct RuntimeArgs {
    /// The OCI runtime, when not runc
    #[arg(long)]
    pub(crate) binary_name: Option<String>,
    /// Where it keeps its state; the namespace is appended
    #[arg(long)]
    pub(crate) root: Option<String>,
    /// Cgroups through systemd
    #[arg(long)]
    pub(crate) systemd_cgroup: bool,
}

/// Where a shim listens.
#[derive(Args, Debug)]
pub(crate) struct At {
    /// Bundle, socket or URI
    #[arg(value_name = "WHERE")]
    pub(crate) place: String,
    /// Version of the Task service; without it 3 is tried, then 2
    #[arg(long, value_parser = version)]
    pub(crate) api_version: Option<Version>,
}

/// One process.
#[derive(Args, Debug)]
pub(crate) struct Which {
    #[command(flatten)]
    pub(crate) at: At,
    /// Container
    pub(crate) id: String,
    /// Exec; none is the container's first process
    #[arg(default_value = "")]
    pub(crate) exec_id: String,
}

/// One container.
#[derive(Args, Debug)]
pub(crate) struct Whole {
    #[command(flatten)]
    pub(crate) at: At,
    /// Container
    pub(crate) id: String,
}

/// Standard streams, as URIs or paths of FIFOs.
#[derive(Args, Debug, Default)]
pub(crate) struct Streams {
    #[arg(long, default_value = "")]
    pub(crate) stdin: String,
    #[arg(long, default_value = "")]
    pub(crate) stdout: String,
    #[arg(long, default_value = "")]
    pub(crate) stderr: String,
    /// Give it a terminal
    #[arg(long, short)]
    pub(crate) terminal: bool,
}

/// The methods of the Task service.
#[derive(Subcommand, Debug)]
pub(crate) enum Call {
    /// Make a container from a bundle
    Create {
        #[command(flatten)]
        which: Whole,
        bundle: PathBuf,
        #[command(flatten)]
        streams: Streams,
        #[command(flatten)]
        runtime: RuntimeArgs,
        /// Restore this checkpoint
        #[arg(long, default_value = "")]
        checkpoint: String,
        /// Mounts that make the root file system: TYPE,SOURCE[,OPTION...]
        #[arg(long)]
        rootfs: Vec<String>,
    },
    /// Start a container's first process, or an exec
    #[command(name = "start-task")]
    Run(Which),
    /// State of a process
    State(Which),
    /// Pids of a container, with the execs that they belong to
    #[command(visible_alias = "ps")]
    Pids(Whole),
    /// Wait for the end of a process
    Wait(Which),
    /// Send a signal
    Kill {
        #[command(flatten)]
        which: Which,
        /// Its number
        #[arg(long, short, default_value_t = 15)]
        signal: u32,
        /// To all processes of the container
        #[arg(long, short)]
        all: bool,
    },
    /// Describe a further process; start-task runs it
    Exec {
        #[command(flatten)]
        at: At,
        id: String,
        exec_id: String,
        #[command(flatten)]
        streams: Streams,
        /// OCI process in JSON, instead of ARGS
        #[arg(long)]
        spec: Option<PathBuf>,
        #[arg(last = true)]
        args: Vec<String>,
    },
    /// Set the size of a terminal
    Resize {
        #[command(flatten)]
        which: Which,
        #[arg(long)]
        width: u32,
        #[arg(long)]
        height: u32,
    },
    /// Close standard input
    CloseIo(Which),
    /// Freeze a container
    Pause(Whole),
    /// Thaw it
    Resume(Whole),
    /// Change its resources: OCI LinuxResources in JSON
    Update {
        #[command(flatten)]
        which: Whole,
        resources: String,
    },
    /// Numbers of its cgroup
    Stats(Whole),
    /// Checkpoint it into a directory
    Checkpoint {
        #[command(flatten)]
        which: Whole,
        path: PathBuf,
        /// Stop it when that is done
        #[arg(long)]
        exit: bool,
    },
    /// Forget a process that has ended
    #[command(name = "delete")]
    Delete(Which),
    /// The pids of shim and container, and the version
    Connect(Whole),
    /// Ask the shim to leave, which it does when it has no containers
    Shutdown {
        #[command(flatten)]
        at: At,
        /// A container, for shims that want one
        #[arg(default_value = "")]
        id: String,
        /// Do not wait for others
        #[arg(long)]
        now: bool,
    },
}

/// See [`Dialect`].
#[derive(ValueEnum, Clone, Copy, Debug)]
pub(crate) enum DialectArg {
    /// 2.3 and later: protobuf
    Params,
    /// 1.7 to 2.2: JSON
    Json,
    /// 1.6: a bare address
    Address,
}

impl From<DialectArg> for Dialect {
    fn from(arg: DialectArg) -> Dialect {
        match arg {
            DialectArg::Params => Dialect::Params,
            DialectArg::Json => Dialect::Json,
            DialectArg::Address => Dialect::Address,
        }
    }
}

fn version(text: &str) -> Result<Version, String> {
    match text {
        "2" => Ok(Version::V2),
        "3" => Ok(Version::V3),
        _ => Err("2 or 3".to_owned()),
    }
}
