//! What is mounted where: `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};

use crate::error::{Context, Error, Result};

/// One line of mountinfo.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountInfo {
    /// Id of the mount, unique while it lasts.
    pub id: u64,
    /// Id of the mount that this one is on.
    pub parent: u64,
    /// Device of the file system.
    pub major: u32,
    /// Device of the file system.
    pub minor: u32,
    /// Directory of the file system that is mounted.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// Options of the mount, comma-separated.
    pub options: String,
    /// Propagation: "shared:1", "master:2", ...
    pub propagation: Vec<String>,
    /// Type of the file system.
    pub fstype: String,
    /// Where it comes from, as the file system sees it.
    pub source: String,
    /// Options of the file system, comma-separated.
    pub super_options: String,
}

/// All mounts of this mount namespace, in the order of the kernel (later ones may lie over earlier ones).
pub fn mountinfo() -> Result<Vec<MountInfo>> {
    let path = Path::new("/proc/self/mountinfo");
    let bytes = std::fs::read(path).on("read", path)?;
    let lines = bytes.split(|b| *b == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            parse(line).ok_or_else(|| {
                let what = String::from_utf8_lossy(&line[..line.len().min(200)]).into_owned();
                Error::Malformed { path: path.to_owned(), what }
            })
        })
        .collect()
}

/// The mounts on `path` and below it. `path` must be absolute and without symlinks.
pub fn mounts_below(path: &Path) -> Result<Vec<MountInfo>> {
    Ok(mountinfo()?.into_iter().filter(|m| m.mount_point.starts_with(path)).collect())
}

/// The mount that `path` lies in. `path` must exist; symlinks are followed.
pub fn lookup(path: &Path) -> Result<MountInfo> {
    let real = path.canonicalize().on("resolve", path)?;
    let all = mountinfo()?.into_iter().filter(|m| real.starts_with(&m.mount_point));
    // Of several mounts on one point the last one listed is the one on top.
    all.max_by_key(|m| m.mount_point.as_os_str().len())
        .ok_or_else(|| Error::path("find the mount of", path, rustix::io::Errno::NOENT))
}

/// Whether something is mounted right on `path` (symlinks are not followed). A missing path is `false`.
pub fn is_mount_point(path: &Path) -> Result<bool> {
    match rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT, StatxFlags::TYPE) {
        Ok(stat) if stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT) => {
            Ok(stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
        }
        // Before Linux 5.8.
        Ok(_) => {
            let real = path.canonicalize().on("resolve", path)?;
            Ok(mountinfo()?.iter().any(|m| m.mount_point == real))
        }
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(e) => Err(e).on("stat", path),
    }
}

fn parse(line: &[u8]) -> Option<MountInfo> {
    let fields: Vec<&[u8]> = line.split(|b| *b == b' ').collect();
    let separator = fields.iter().position(|f| *f == b"-")?;
    if separator < 6 || fields.len() < separator + 4 {
        return None;
    }
    let text = |i: usize| String::from_utf8_lossy(&unescape(fields[i])).into_owned();
    let path = |i: usize| PathBuf::from(OsString::from_vec(unescape(fields[i])));
    let (major, minor) = std::str::from_utf8(fields[2]).ok()?.split_once(':')?;
    Some(MountInfo {
        id: std::str::from_utf8(fields[0]).ok()?.parse().ok()?,
        parent: std::str::from_utf8(fields[1]).ok()?.parse().ok()?,
        major: major.parse().ok()?,
        minor: minor.parse().ok()?,
        root: path(3),
        mount_point: path(4),
        options: text(5),
        propagation: (6..separator).map(text).collect(),
        fstype: text(separator + 1),
        source: text(separator + 2),
        super_options: text(separator + 3),
    })
}

/// Space, tab, line feed and backslash are written as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        if let (b'\\', Some(&[a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7'])) =
            (*first, after.first_chunk::<3>())
        {
            out.push((a - b'0') << 6 | (b - b'0') << 3 | (c - b'0'));
            rest = &after[3..];
        } else {
            out.push(*first);
            rest = after;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn lines_with_escapes_and_propagation_parse() {
        let line = br"36 35 98:0 /mnt1 /mnt\0402\134x rw,noatime shared:7 master:1 - ext3 /dev/ro\011ot rw,errors=continue";
        let m = parse(line).unwrap();
        assert_eq!((m.id, m.parent, m.major, m.minor), (36, 35, 98, 0));
        assert_eq!(m.mount_point, Path::new(r"/mnt 2\x"));
        assert_eq!(m.propagation, ["shared:7", "master:1"]);
        assert_eq!((m.fstype.as_str(), m.source.as_str()), ("ext3", "/dev/ro\tot"));
        assert_eq!(m.super_options, "rw,errors=continue");
        assert!(parse(b"36 35 98:0 / / rw - ext3").is_none());
        assert!(parse(b"").is_none());
    }

    #[test]
    fn the_machines_own_mounts_are_found() {
        assert!(
            mountinfo().unwrap().iter().any(|m| m.mount_point == Path::new("/proc") && m.fstype == "proc")
        );
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(Path::new("/proc/self")).unwrap());
        assert!(!is_mount_point(Path::new("/no/such/path")).unwrap());
        assert_eq!(lookup(Path::new("/proc/self/status")).unwrap().fstype, "proc");
        assert!(mounts_below(Path::new("/pro")).unwrap().is_empty(), "prefixes count by component");
    }
}
