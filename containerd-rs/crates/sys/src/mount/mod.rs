//! Mounts as containerd describes them, their removal, and what is mounted now.
//!
//! [`mount()`] does what containerd's mount helper does for each kind: binds (with the read-only remount that they need),
//! overlay with any number of layers, id-mapped layers, loop devices, FUSE helpers, and propagation as a step of its own.

mod apply;
mod fuse;
mod idmapped;
mod info;
mod lowers;
mod options;
mod overlay;
mod temp;
mod unmount;

pub use apply::{mount, mount_all};
pub use idmapped::set_temp_location;
pub use info::{MountInfo, is_mount_point, lookup, mountinfo, mounts_below};
pub use rustix::mount::UnmountFlags;
pub use temp::{TempMount, clean_temp_mounts, read_only, without_volatile};
pub use unmount::{unmount, unmount_all, unmount_recursive};
