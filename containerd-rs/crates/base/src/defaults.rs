//! Names and places that containerd's clients take for granted.

/// Namespace used when the operator gives none.
pub const NAMESPACE: &str = "default";
/// Main socket.
pub const ADDRESS: &str = "/run/containerd/containerd.sock";
/// ttrpc socket: the main address with this at the end.
pub const TTRPC_SUFFIX: &str = ".ttrpc";
/// Debug socket.
pub const DEBUG_ADDRESS: &str = "/run/containerd/debug.sock";
/// Where the client library puts FIFOs.
pub const FIFO_DIR: &str = "/run/containerd/fifo";
/// Config file directory.
pub const CONFIG_DIR: &str = "/etc/containerd";
/// Main config file.
pub const CONFIG_FILE: &str = "/etc/containerd/config.toml";
/// Drop-in config files.
pub const CONFIG_INCLUDE: &str = "/etc/containerd/conf.d/*.toml";
/// Lasting data.
pub const ROOT_DIR: &str = "/var/lib/containerd";
/// Data of this boot.
pub const STATE_DIR: &str = "/run/containerd";
/// Runtime used when a container names none.
pub const RUNTIME: &str = "io.containerd.runc.v2";
/// Snapshotter used when nobody names one.
pub const SNAPSHOTTER: &str = "overlayfs";
/// Differ used when nobody names one.
pub const DIFFER: &str = "walking";
/// Sandboxer used when nobody names one.
pub const SANDBOXER: &str = "shim";
/// Largest gRPC message either way, in bytes.
pub const MAX_MESSAGE: usize = 16 << 20;
