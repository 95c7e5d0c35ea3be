//! The fstab-style options of a mount, sorted into flags and data.

use crate::error::{Error, Result};

/// What the options of one mount ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// `MS_*` bits without propagation.
    pub flags: u32,
    /// Propagation changes, in order, each with `MS_REC` where it is recursive.
    pub propagation: Vec<u32>,
    /// What the file system itself reads.
    pub data: Vec<String>,
    /// Whether the source is a file that needs a loop device.
    pub looped: bool,
    /// Whether that loop device bypasses the page cache.
    pub direct_io: bool,
    /// `uidmap=` value.
    pub uidmap: Option<String>,
    /// `gidmap=` value.
    pub gidmap: Option<String>,
}

impl Parsed {
    /// Whether all these bits are set.
    pub fn has(&self, bits: libc::c_ulong) -> bool {
        self.flags & bits as u32 == bits as u32
    }

    /// The two maps; id mapping happens only when both are given.
    pub fn maps(&self) -> Option<(&str, &str)> {
        Some((self.uidmap.as_deref()?, self.gidmap.as_deref()?))
    }
}

/// Option name, whether it takes the bit away, the bit.
const FLAGS: &[(&str, bool, libc::c_ulong)] = &[
    ("async", true, libc::MS_SYNCHRONOUS),
    ("atime", true, libc::MS_NOATIME),
    ("bind", false, libc::MS_BIND),
    ("defaults", false, 0),
    ("dev", true, libc::MS_NODEV),
    ("diratime", true, libc::MS_NODIRATIME),
    ("dirsync", false, libc::MS_DIRSYNC),
    ("exec", true, libc::MS_NOEXEC),
    ("lazytime", false, libc::MS_LAZYTIME),
    ("mand", false, libc::MS_MANDLOCK),
    ("noatime", false, libc::MS_NOATIME),
    ("nodev", false, libc::MS_NODEV),
    ("nodiratime", false, libc::MS_NODIRATIME),
    ("noexec", false, libc::MS_NOEXEC),
    ("nomand", true, libc::MS_MANDLOCK),
    ("norelatime", true, libc::MS_RELATIME),
    ("nostrictatime", true, libc::MS_STRICTATIME),
    ("nosuid", false, libc::MS_NOSUID),
    ("nosymfollow", false, libc::MS_NOSYMFOLLOW),
    ("rbind", false, libc::MS_BIND | libc::MS_REC),
    ("relatime", false, libc::MS_RELATIME),
    ("remount", false, libc::MS_REMOUNT),
    ("ro", false, libc::MS_RDONLY),
    ("rw", true, libc::MS_RDONLY),
    ("strictatime", false, libc::MS_STRICTATIME),
    ("suid", true, libc::MS_NOSUID),
    ("sync", false, libc::MS_SYNCHRONOUS),
];

const PROPAGATIONS: &[(&str, libc::c_ulong)] = &[
    ("private", libc::MS_PRIVATE),
    ("rprivate", libc::MS_PRIVATE | libc::MS_REC),
    ("shared", libc::MS_SHARED),
    ("rshared", libc::MS_SHARED | libc::MS_REC),
    ("slave", libc::MS_SLAVE),
    ("rslave", libc::MS_SLAVE | libc::MS_REC),
    ("unbindable", libc::MS_UNBINDABLE),
    ("runbindable", libc::MS_UNBINDABLE | libc::MS_REC),
];

/// Sorts options. `X-containerd.*` ones are for the mount manager: one that comes as far as here would be lost, so it is refused.
pub(super) fn parse(options: &[String]) -> Result<Parsed> {
    let mut parsed = Parsed::default();
    for option in options {
        if option.starts_with("X-containerd.") {
            let text = format!("internal mount option {option:?} was not consumed by the mount manager");
            return Err(Error::Invalid(text));
        }
        if option.contains('\0') {
            return Err(Error::Invalid(format!("mount option {option:?} holds a zero byte")));
        }
        if let Some((_, clear, bit)) = FLAGS.iter().find(|(name, ..)| name == option) {
            if *clear {
                parsed.flags &= !(*bit as u32);
            } else {
                parsed.flags |= *bit as u32;
            }
        } else if let Some((_, bits)) = PROPAGATIONS.iter().find(|(name, _)| name == option) {
            parsed.propagation.push(*bits as u32);
        } else if option == "loop" {
            parsed.looped = true;
        } else if let Some(map) = option.strip_prefix("uidmap=") {
            parsed.uidmap = Some(map.to_owned());
        } else if let Some(map) = option.strip_prefix("gidmap=") {
            parsed.gidmap = Some(map.to_owned());
        } else {
            parsed.data.push(option.clone());
        }
    }
    if parsed.looped {
        let before = parsed.data.len();
        parsed.data.retain(|o| o != "direct-io");
        parsed.direct_io = parsed.data.len() != before;
    }
    Ok(parsed)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(options: &[&str]) -> Parsed {
        parse(&options.iter().map(|o| (*o).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn flags_data_and_propagation_are_told_apart() {
        let p = of(&["rbind", "ro", "nosuid", "suid", "nodev", "rslave", "defaults"]);
        assert!(p.has(libc::MS_BIND | libc::MS_REC | libc::MS_RDONLY | libc::MS_NODEV));
        assert!(!p.has(libc::MS_NOSUID));
        assert_eq!(p.propagation, [(libc::MS_SLAVE | libc::MS_REC) as u32]);
        assert_eq!(p.flags & (libc::MS_SLAVE | libc::MS_SHARED | libc::MS_PRIVATE) as u32, 0);
        assert!(p.data.is_empty());
        let p = of(&["ro", "rw", "lowerdir=/a:/b", "index=off", "userxattr"]);
        assert_eq!((p.flags, p.data.join(",").as_str()), (0, "lowerdir=/a:/b,index=off,userxattr"));
    }

    #[test]
    fn loop_and_maps_are_taken_out_of_the_data() {
        let p = of(&["loop", "direct-io", "ro", "uidmap=0:1000:10", "gidmap=0:1000:10"]);
        assert!(p.looped && p.direct_io && p.data.is_empty());
        assert_eq!(p.maps(), Some(("0:1000:10", "0:1000:10")));
        // Without a loop device it is the file system's own option.
        assert_eq!(of(&["direct-io"]).data, ["direct-io"]);
        assert_eq!(of(&["uidmap=0:1:2"]).maps(), None);
    }

    #[test]
    fn options_of_the_mount_manager_are_refused() {
        let error = parse(&["ro".to_owned(), "X-containerd.mkfs.size=1".to_owned()]).unwrap_err();
        assert!(matches!(&error, Error::Invalid(m) if m.contains("X-containerd.mkfs.size=1")), "{error}");
        assert!(parse(&["a\0b".to_owned()]).is_err());
    }
}
