//! Subvolumes of a btrfs file system (`<linux/btrfs.h>`).

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::error::{Context, Error, Result};

/// The root directory of every subvolume has this inode number.
const FIRST_FREE_OBJECT: u64 = 256;

// _IOW(0x94, n, 4096 bytes) and _IOWR(0x94, n, 4096 bytes)
const SUBVOL_CREATE: u32 = 0x5000_940e;
const SNAP_DESTROY: u32 = 0x5000_940f;
const INO_LOOKUP: u32 = 0xd000_9412;
const SNAP_CREATE_V2: u32 = 0x5000_9417;
const READ_ONLY: u64 = 1 << 1;

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Named {
    fd: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct NamedV2 {
    fd: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct Lookup {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// Makes an empty subvolume at `path`.
pub fn create_subvolume(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    let mut arguments = Named { fd: 0, name: [0; 4088] };
    fill(&mut arguments.name, name, path)?;
    let parent = File::open(parent).on("open", parent)?;
    ioctl(parent.as_raw_fd(), SUBVOL_CREATE, (&raw mut arguments).cast()).on("create subvolume", path)
}

/// Makes a snapshot of the subvolume `source` at `path`.
pub fn snapshot(source: &Path, path: &Path, read_only: bool) -> Result<()> {
    let (parent, name) = split(path)?;
    let from = File::open(source).on("open subvolume", source)?;
    let mut arguments = NamedV2 {
        fd: i64::from(from.as_raw_fd()),
        transaction: 0,
        flags: if read_only { READ_ONLY } else { 0 },
        unused: [0; 4],
        name: [0; 4040],
    };
    fill(&mut arguments.name, name, path)?;
    let parent = File::open(parent).on("open", parent)?;
    ioctl(parent.as_raw_fd(), SNAP_CREATE_V2, (&raw mut arguments).cast()).on("create snapshot", path)
}

/// Deletes the subvolume at `path` with the subvolumes in it; one that is gone is fine.
pub fn delete_subvolume(path: &Path) -> Result<()> {
    match destroy(path) {
        Err(e) if e.is_not_found() => Ok(()),
        Err(e) if e.is_errno(Errno::NOTEMPTY) => {
            for nested in subvolumes_below(path)? {
                destroy(&nested)?;
            }
            destroy(path)
        }
        other => other,
    }
}

/// The id of the subvolume that holds `path`, as the mount option `subvolid` takes it.
pub fn subvolume_id(path: &Path) -> Result<u64> {
    let file = File::open(path).on("open subvolume", path)?;
    let mut arguments = Lookup { tree: 0, object: FIRST_FREE_OBJECT, name: [0; 4080] };
    ioctl(file.as_raw_fd(), INO_LOOKUP, (&raw mut arguments).cast()).on("look up subvolume", path)?;
    Ok(arguments.tree)
}

fn destroy(path: &Path) -> Result<()> {
    let (parent, name) = split(path)?;
    let mut arguments = Named { fd: 0, name: [0; 4088] };
    fill(&mut arguments.name, name, path)?;
    let parent = File::open(parent).on("open", parent)?;
    ioctl(parent.as_raw_fd(), SNAP_DESTROY, (&raw mut arguments).cast()).on("delete subvolume", path)
}

/// The deepest first. Other file systems mounted below are not entered.
fn subvolumes_below(path: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo = vec![path.to_owned()];
    while let Some(directory) = todo.pop() {
        for entry in std::fs::read_dir(&directory).on("read directory", &directory)? {
            let entry = entry.on("read directory", &directory)?;
            let meta = entry.metadata().on("stat", &directory)?;
            if !meta.is_dir() {
                continue;
            }
            if meta.ino() == FIRST_FREE_OBJECT {
                found.push(entry.path());
            }
            todo.push(entry.path());
        }
    }
    found.sort_by_key(|p| std::cmp::Reverse(p.components().count()));
    Ok(found)
}

fn split(path: &Path) -> Result<(&Path, &[u8])> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name.as_bytes())),
        _ => Err(Error::Invalid(format!("{} does not name a subvolume", path.display()))),
    }
}

/// A name with the zero after it.
fn fill(buffer: &mut [u8], name: &[u8], path: &Path) -> Result<()> {
    if name.len() >= buffer.len() || name.contains(&0) {
        return Err(Error::path("name subvolume", path, Errno::NAMETOOLONG));
    }
    buffer[..name.len()].copy_from_slice(name);
    Ok(())
}

fn ioctl(fd: RawFd, request: u32, arguments: *mut libc::c_void) -> io::Result<()> {
    // SAFETY: each request used here takes the address of one of the three structs above, all of them 4096 bytes as the
    // request's number says; the caller keeps it alive, and the kernel reads and writes nothing beyond it.
    let rc = unsafe { libc::ioctl(fd, request as _, arguments) };
    if rc < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structs_are_what_the_request_numbers_say() {
        assert_eq!(size_of::<Named>(), 4096);
        assert_eq!(size_of::<NamedV2>(), 4096);
        assert_eq!(size_of::<Lookup>(), 4096);
    }

    #[test]
    fn names_are_checked() {
        let long = "x".repeat(5000);
        assert!(create_subvolume(&Path::new("/tmp").join(long)).is_err());
        assert!(create_subvolume(Path::new("/")).is_err());
        assert!(delete_subvolume(Path::new("/tmp/not-there-at-all")).is_err());
    }
}
