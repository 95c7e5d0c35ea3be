//! What the worker gives up before it looks at the first byte.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Mode;
use sys::jail::{JailOptions, Purpose, Walls, enclosed};

use super::job::Job;
use crate::layer::LayerError;

/// All that the worker has inside.
#[derive(Debug)]
pub struct Inside {
    /// Directory to write below; also "/".
    pub root: OwnedFd,
    /// Directories of the layers below, top first.
    pub lowers: Vec<OwnedFd>,
    /// The bytes of the layer.
    pub layer: OwnedFd,
    /// Whether root and lowers are private mounts, which nothing leads out of.
    pub private: bool,
    /// What else this kernel holds it with.
    pub walls: Walls,
}

/// Opens what the job names and goes to jail, for good. The process must still have one thread.
pub(super) fn enter(job: &Job) -> Result<Inside, LayerError> {
    // What somebody left open for the daemon or its starter is none of the worker's.
    sys::process::close_inherited(3).map_err(failed)?;
    rustix::process::umask(Mode::empty());
    let root = enclosed::directory(&job.root, Purpose::Change).map_err(failed)?;
    let mut private = root.private;
    let mut lowers = Vec::with_capacity(job.lowers.len());
    for path in &job.lowers {
        let lower = enclosed::directory(path, Purpose::Look).map_err(failed)?;
        private &= lower.private;
        lowers.push(lower.fd);
    }
    let layer = enclosed::file(io::stdin()).map_err(failed)?.fd;
    // The first descriptor of the blob could still change its mode and owner.
    let nothing = rustix::fs::open(c"/dev/null", rustix::fs::OFlags::RDONLY, Mode::empty());
    nothing.and_then(rustix::stdio::dup2_stdin).map_err(|e| LayerError::Read(e.into()))?;
    let shown: Vec<BorrowedFd<'_>> = lowers.iter().map(AsFd::as_fd).collect();
    let options = JailOptions {
        root: Some(root.fd.as_fd()),
        lowers: &shown,
        memory_limit: Some(job.memory),
        ..JailOptions::default()
    };
    let walls = sys::jail::enter(&options).map_err(failed)?;
    Ok(Inside { root: root.fd, lowers, layer, private, walls })
}

fn failed(e: sys::Error) -> LayerError {
    LayerError::Read(io::Error::other(format!("jail: {}", base::chain(&e))))
}
