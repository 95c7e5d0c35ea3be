//! Flags of `run` and `containers create` that say what the container is.

use std::path::PathBuf;

use super::super::flags::SnapshotterFlag;

/// Flags of the container.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ContainerFlags {
    #[command(flatten)]
    pub snapshotter: SnapshotterFlag,
    /// Label (key=value) of the container's snapshot
    #[arg(long, value_name = "KEY=VALUE")]
    pub snapshotter_label: Vec<String>,
    #[command(flatten)]
    pub runtime: RuntimeFlags,
    #[command(flatten)]
    pub process: ProcessFlags,
    #[command(flatten)]
    pub limits: LimitFlags,
    #[command(flatten)]
    pub security: SecurityFlags,
    /// Read the whole runtime spec from this file; then only the container's id is given
    #[arg(long, short, value_name = "FILE")]
    pub config: Option<String>,
    /// Run the image of this platform (linux/arm64)
    #[arg(long)]
    pub platform: Option<String>,
    /// Label (key=value) of the container
    #[arg(long, value_name = "KEY=VALUE")]
    pub label: Vec<String>,
    /// OCI annotation (key=value)
    #[arg(long, value_name = "KEY=VALUE")]
    pub annotation: Vec<String>,
    /// Mount: type=bind,src=/a,dst=/b,options=rbind:ro
    #[arg(long, value_name = "SPEC")]
    pub mount: Vec<String>,
    /// Use the network of the host
    #[arg(long)]
    pub net_host: bool,
    /// The first argument is a directory to use as root file system, not an image
    #[arg(long)]
    pub rootfs: bool,
    /// Mount the root file system read-only
    #[arg(long)]
    pub read_only: bool,
    /// Propagation of the root file system's mount (private, shared, slave..)
    #[arg(long, value_name = "MODE")]
    pub rootfs_propagation: Option<String>,
    /// Join a namespace: TYPE:PATH
    #[arg(long, value_name = "TYPE:PATH")]
    pub with_ns: Vec<String>,
    /// Host name of the container
    #[arg(long)]
    pub hostname: Option<String>,
    /// Device of the host, or directory of devices, to add
    #[arg(long, value_name = "PATH")]
    pub device: Vec<String>,
    /// Sandbox that the container belongs to
    #[arg(long, value_name = "ID")]
    pub sandbox: Option<String>,
    /// User namespace: CONTAINER-UID:HOST-UID:LENGTH, with --gidmap and --remap-labels
    #[arg(long, value_name = "C:H:N", requires = "gidmap")]
    pub uidmap: Vec<String>,
    /// User namespace: CONTAINER-GID:HOST-GID:LENGTH
    #[arg(long, value_name = "C:H:N", requires = "uidmap")]
    pub gidmap: Vec<String>,
    /// Let the snapshotter map ids by labels
    #[arg(long)]
    pub remap_labels: bool,
    /// Flush the file system after each layer that must be unpacked
    #[arg(long)]
    pub sync_fs: bool,
}

/// Flags of the runtime.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RuntimeFlags {
    /// Name of the runtime, or absolute path of its shim
    #[arg(long, default_value = base::defaults::RUNTIME)]
    pub runtime: String,
    /// Configuration file for a runtime other than runc
    #[arg(long, value_name = "FILE")]
    pub runtime_config_path: Option<String>,
    /// OCI runtime to use in place of runc
    #[arg(long, value_name = "PROGRAM")]
    pub runc_binary: Option<String>,
    /// State directory of the OCI runtime
    #[arg(long, value_name = "DIR")]
    pub runc_root: Option<String>,
    /// Manage cgroups by way of systemd; needs --cgroup
    #[arg(long)]
    pub runc_systemd_cgroup: bool,
}

/// Flags of the process.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ProcessFlags {
    /// Directory to start in
    #[arg(long)]
    pub cwd: Option<String>,
    /// Variable (NAME=value) to set; a bare NAME removes it
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// File of variables, one per line
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<String>,
    /// User: name or uid, and optionally :group or :gid
    #[arg(long, short)]
    pub user: Option<String>,
    /// Give the process a terminal
    #[arg(long, short)]
    pub tty: bool,
    /// Limit of open files: SOFT or SOFT:HARD
    #[arg(long, value_name = "SOFT:HARD")]
    pub rlimit_nofile: Option<String>,
}

/// Flags of resources.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitFlags {
    /// Most memory, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
    pub memory_limit: u64,
    /// Most processors, as a fraction
    #[arg(long, value_name = "NUMBER", default_value_t = 0.0, hide_default_value = true)]
    pub cpus: f64,
    /// Share of processor time
    #[arg(long, value_name = "NUMBER", default_value_t = 1024)]
    pub cpu_shares: u64,
    /// Processor time per period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = -1, allow_negative_numbers = true, hide_default_value = true)]
    pub cpu_quota: i64,
    /// Length of a period, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, hide_default_value = true)]
    pub cpu_period: u64,
    /// Processor time that may be saved up, in microseconds
    #[arg(long, value_name = "MICROSECONDS", default_value_t = 0, hide_default_value = true)]
    pub cpu_burst: u64,
    /// Processors to run on (0-2,4)
    #[arg(long, value_name = "LIST")]
    pub cpuset_cpus: Option<String>,
    /// Memory nodes to use (0-1)
    #[arg(long, value_name = "LIST")]
    pub cpuset_mems: Option<String>,
    /// Class of service for cache and memory bandwidth
    #[arg(long, value_name = "CLASS")]
    pub rdt_class: Option<String>,
    /// Path of the cgroup; an empty one: none
    #[arg(long, value_name = "PATH")]
    pub cgroup: Option<String>,
}

/// Flags of what the process may do.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SecurityFlags {
    /// All capabilities and devices, nothing masked
    #[arg(long)]
    pub privileged: bool,
    /// Leave the host's devices out of a privileged container
    #[arg(long)]
    pub privileged_without_host_devices: bool,
    /// Let programs gain privileges (setuid)
    #[arg(long)]
    pub allow_new_privs: bool,
    /// Capability to add (CAP_NET_ADMIN)
    #[arg(long, value_name = "CAP")]
    pub cap_add: Vec<String>,
    /// Capability to take away
    #[arg(long, value_name = "CAP")]
    pub cap_drop: Vec<String>,
    /// Use the default seccomp profile
    #[arg(long)]
    pub seccomp: bool,
    /// Use the seccomp profile in this file; needs --seccomp
    #[arg(long, value_name = "FILE")]
    pub seccomp_profile: Option<String>,
    /// AppArmor profile, which must be loaded
    #[arg(long, value_name = "NAME")]
    pub apparmor_profile: Option<String>,
}

/// Flags of a task's start.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TaskFlags {
    /// Read and write nothing
    #[arg(long)]
    pub null_io: bool,
    /// Where the shim writes output: file:///path or binary:///program
    #[arg(long, value_name = "URI")]
    pub log_uri: Option<String>,
    /// Do not stay
    #[arg(long, short)]
    pub detach: bool,
    /// Directory for the FIFOs of standard streams
    #[arg(long, value_name = "DIR")]
    pub fifo_dir: Option<PathBuf>,
    /// Write the process id to this file
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,
    /// Do not use pivot_root
    #[arg(long)]
    pub no_pivot: bool,
}

impl TaskFlags {
    /// What they say of the standard streams.
    pub fn stdio(&self, terminal: bool) -> crate::task::stdio::StdioFlags {
        crate::task::stdio::StdioFlags {
            null: self.null_io,
            log_uri: self.log_uri.clone(),
            fifo_dir: self.fifo_dir.clone(),
            terminal,
            detach: self.detach,
        }
    }
}
