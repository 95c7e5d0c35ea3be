//! The OCI spec of a container: containerd's default, what the image asks for, what the flags ask for.

pub mod capability;
pub mod defaults;
pub mod devices;
pub mod env;
pub mod host_mount;
pub mod model;
pub mod mount_flag;
pub mod rootfs;
pub mod seccomp;
pub mod user;

pub use model::Spec;
