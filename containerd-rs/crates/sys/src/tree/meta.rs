//! What stands at a name.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{FileType, Stat};

/// Type of an inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Dir,
    /// Symbolic link.
    Symlink,
    /// Character device.
    Char,
    /// Block device.
    Block,
    /// Named pipe.
    Fifo,
    /// Socket.
    Socket,
    /// Something this kernel does not tell.
    Unknown,
}

impl Kind {
    pub(super) fn of(kind: FileType) -> Kind {
        match kind {
            FileType::RegularFile => Kind::File,
            FileType::Directory => Kind::Dir,
            FileType::Symlink => Kind::Symlink,
            FileType::CharacterDevice => Kind::Char,
            FileType::BlockDevice => Kind::Block,
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::Unknown => Kind::Unknown,
        }
    }
}

/// A point in time since 1970, before it when `secs` is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct Time {
    /// Seconds.
    pub secs: i64,
    /// Nanoseconds, 0 to 999 999 999, always forward.
    pub nanos: u32,
}

impl From<SystemTime> for Time {
    fn from(time: SystemTime) -> Time {
        match time.duration_since(UNIX_EPOCH) {
            Ok(d) => Time { secs: d.as_secs() as i64, nanos: d.subsec_nanos() },
            Err(before) => {
                let d = before.duration();
                let whole = -(d.as_secs() as i64);
                match d.subsec_nanos() {
                    0 => Time { secs: whole, nanos: 0 },
                    n => Time { secs: whole - 1, nanos: 1_000_000_000 - n },
                }
            }
        }
    }
}

impl From<Time> for SystemTime {
    /// Saturates at 1970 and forever when the platform cannot hold it.
    fn from(time: Time) -> SystemTime {
        let nanos = Duration::from_nanos(u64::from(time.nanos));
        let whole = Duration::from_secs(time.secs.unsigned_abs());
        let base = if time.secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        base.and_then(|t| t.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
    }
}

/// Attributes of an inode, as lstat(2) gives them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Type.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Length in bytes.
    pub size: u64,
    /// Blocks of 512 bytes on disk.
    pub blocks: u64,
    /// Number of names.
    pub nlink: u64,
    /// Device that it is on.
    pub dev: u64,
    /// Number of the inode on that device.
    pub ino: u64,
    /// Major and minor number of a device node.
    pub rdev: (u32, u32),
    /// Last access.
    pub accessed: Time,
    /// Last change of content.
    pub modified: Time,
    /// Last change of content or attributes.
    pub changed: Time,
}

impl Meta {
    #[allow(clippy::unnecessary_cast)] // the number of names has another width on other architectures
    pub(super) fn of(stat: &Stat) -> Meta {
        let time = |secs: i64, nanos: u64| Time { secs, nanos: nanos as u32 };
        Meta {
            kind: Kind::of(FileType::from_raw_mode(stat.st_mode)),
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: stat.st_size as u64,
            blocks: stat.st_blocks as u64,
            nlink: stat.st_nlink as u64,
            dev: stat.st_dev,
            ino: stat.st_ino,
            rdev: (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev)),
            accessed: time(stat.st_atime, stat.st_atime_nsec),
            modified: time(stat.st_mtime, stat.st_mtime_nsec),
            changed: time(stat.st_ctime, stat.st_ctime_nsec),
        }
    }

    /// Whether this is overlay's mark for "removed": a character device 0/0.
    pub fn is_whiteout(&self) -> bool {
        self.kind == Kind::Char && self.rdev == (0, 0)
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name.
    pub name: OsString,
    /// Its type; `Unknown` when the file system does not keep it in the directory.
    pub kind: Kind,
    /// Its inode.
    pub ino: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch() {
        for (time, secs, nanos) in [
            (UNIX_EPOCH + Duration::new(5, 7), 5, 7),
            (UNIX_EPOCH - Duration::new(5, 0), -5, 0),
            (UNIX_EPOCH - Duration::from_nanos(1), -1, 999_999_999),
        ] {
            let t = Time::from(time);
            assert_eq!(t, Time { secs, nanos });
            assert_eq!(SystemTime::from(t), time);
        }
    }
}
