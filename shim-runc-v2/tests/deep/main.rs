//! The classes of hangs and leaks that such programs are known for, each as a test of its own (docs/behaviours/shim.md lists
//! them by their number). As root; needs runc, a static busybox, crun, criu, e2fsprogs and util-linux.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

#[path = "../driver/mod.rs"]
mod driver;

mod checkpoint;
mod classes;
mod crash;
mod disks;
mod loggers;
mod namespaces;
mod parts;
mod runtimes;
