//! One mount, applied.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use base::Mount;
use rustix::fs::{Mode, OFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};

use super::options::{Parsed, parse};
use super::{fuse, idmapped, overlay};
use crate::error::{Context, Error, Result};
use crate::loopdev::{self, LoopOptions};

/// Applies the mounts in order, each below `root`. Those that went well before a failure stay.
pub fn mount_all(mounts: &[Mount], root: &Path) -> Result<()> {
    mounts.iter().try_for_each(|m| mount(m, root))
}

/// Applies one mount onto `root`, or onto its `target` below `root` (symlinks in it stay inside `root`; it must exist).
///
/// Options are as in containerd's mount helper. The errno is kept in the error. May wait for the kernel, and for a FUSE helper at most
/// a minute.
pub fn mount(m: &Mount, root: &Path) -> Result<()> {
    let root = std::path::absolute(root).on("make absolute", root)?;
    let target = Target::below(&root, &m.target)?;
    let fstype = m.fstype.as_str();
    let parsed = parse(&m.options)?;
    if let Some((helper, program)) = fuse::helper_for(fstype) {
        return fuse::mount(helper, program, m, &target);
    }
    if fstype == "overlay" {
        overlay::mount(m, parsed.clone(), &target)?;
    } else if !parsed.has(libc::MS_REMOUNT)
        || !parsed.data.is_empty()
        || !parsed.has(libc::MS_BIND | libc::MS_RDONLY)
    {
        initial(m, &parsed, &target)?;
    }
    for bits in &parsed.propagation {
        propagate(*bits, &target)?;
    }
    if parsed.has(libc::MS_BIND | libc::MS_RDONLY) {
        remount_read_only(&parsed, &target)?;
    }
    match parsed.maps() {
        Some((uids, gids)) if fstype != "overlay" => idmapped::remap_in_place(uids, gids, &target),
        _ => Ok(()),
    }
}

/// Where a mount goes: a path for the kernel and one for people.
pub(super) struct Target {
    /// What the kernel is given: an absolute path, or a link to the descriptor.
    pub kernel: PathBuf,
    /// What errors show.
    pub shown: PathBuf,
    /// Keeps the link in `kernel` valid.
    _handle: Option<OwnedFd>,
}

impl Target {
    /// Right on an absolute path.
    pub fn at(path: &Path) -> Target {
        Target { kernel: path.to_owned(), shown: path.to_owned(), _handle: None }
    }

    fn below(root: &Path, target: &str) -> Result<Target> {
        let relative = target.trim_matches('/');
        if relative.is_empty() {
            return Ok(Target::at(root));
        }
        let shown = root.join(relative);
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let top = rustix::fs::open(root, flags, Mode::empty()).on("open mount root", root)?;
        let handle = crate::tree::open_in_root(&top, Path::new(relative), OFlags::PATH)
            .on("open mount target", &shown)?;
        let kernel = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd()));
        Ok(Target { kernel, shown, _handle: Some(handle) })
    }
}

/// The first call: everything but propagation and the read-only bit of binds.
fn initial(m: &Mount, parsed: &Parsed, target: &Target) -> Result<()> {
    let data = parsed.data.join(",");
    if data.len() >= page_size() {
        return Err(Error::Invalid(format!("mount options of {} bytes are too long", data.len())));
    }
    if parsed.looped {
        return through_loop(m, parsed, target, &data);
    }
    match classic(&m.source, target, &m.fstype, parsed.flags, &data) {
        // A kernel that cannot mount this image from a file wants a block device.
        Err(e) if m.fstype == "erofs" && e.is_errno(Errno::NOTBLK) => through_loop(m, parsed, target, &data),
        other => other,
    }
}

fn through_loop(m: &Mount, parsed: &Parsed, target: &Target, data: &str) -> Result<()> {
    let read_only = parsed.has(libc::MS_RDONLY) || m.fstype == "erofs";
    let options = LoopOptions { read_only, autoclear: true, direct_io: parsed.direct_io };
    // Dropped after the mount: from then on the mount itself keeps the device.
    let device = loopdev::attach(Path::new(&m.source), options)?;
    let flags = if read_only { parsed.flags | libc::MS_RDONLY as u32 } else { parsed.flags };
    classic(&device.path().to_string_lossy(), target, &m.fstype, flags, data)
}

/// mount(2). The error names all that was asked for.
pub(super) fn classic(source: &str, target: &Target, fstype: &str, flags: u32, data: &str) -> Result<()> {
    let failed = |errno: Errno| mount_error(source, target, fstype, flags, data, errno);
    let words = CString::new(data).map_err(|_| failed(Errno::INVAL))?;
    let bits = MountFlags::from_bits_retain(flags);
    rustix::mount::mount(source, &target.kernel, fstype, bits, words.as_c_str()).map_err(failed)
}

/// An error of a mount with the option string cut to what a person reads.
pub(super) fn mount_error(
    source: &str,
    target: &Target,
    fstype: &str,
    flags: u32,
    data: &str,
    errno: Errno,
) -> Error {
    const SHOWN: usize = 400;
    let shown: String = data.chars().take(SHOWN).collect();
    let more = if shown.len() < data.len() { format!("... ({} bytes)", data.len()) } else { String::new() };
    Error::Mount {
        fstype: fstype.to_owned(),
        from: source.to_owned(),
        target: target.shown.clone(),
        flags,
        data: shown + &more,
        source: errno.into(),
    }
}

fn propagate(bits: u32, target: &Target) -> Result<()> {
    rustix::mount::mount_change(&target.kernel, MountPropagationFlags::from_bits_retain(bits))
        .on("change propagation of", &target.shown)
}

/// A bind takes its read-only bit only in a second call. In a user namespace the flags that the mount inherited are locked and have to
/// be given again.
fn remount_read_only(parsed: &Parsed, target: &Target) -> Result<()> {
    let locked = if in_user_namespace() { locked_flags(target)? } else { 0 };
    let flags = parsed.flags | locked | libc::MS_REMOUNT as u32;
    classic("", target, "", flags, "")
}

fn locked_flags(target: &Target) -> Result<u32> {
    let have = rustix::fs::statvfs(&target.kernel).on("statfs", &target.shown)?.f_flag;
    let table = [
        (StatVfsMountFlags::RDONLY, libc::MS_RDONLY),
        (StatVfsMountFlags::NODEV, libc::MS_NODEV),
        (StatVfsMountFlags::NOEXEC, libc::MS_NOEXEC),
        (StatVfsMountFlags::NOSUID, libc::MS_NOSUID),
        (StatVfsMountFlags::NOATIME, libc::MS_NOATIME),
        (StatVfsMountFlags::RELATIME, libc::MS_RELATIME),
        (StatVfsMountFlags::NODIRATIME, libc::MS_NODIRATIME),
    ];
    Ok(table.iter().filter(|(flag, _)| have.contains(*flag)).fold(0, |bits, (_, ms)| bits | *ms as u32))
}

/// Whether this process is root of less than the whole machine.
pub(super) fn in_user_namespace() -> bool {
    let Ok(map) = crate::fs::read_text(Path::new("/proc/self/uid_map"), 1 << 16) else { return false };
    let fields: Vec<&str> = map.split_ascii_whitespace().collect();
    fields != ["0", "0", "4294967295"]
}

/// What mount(2) takes of options at most, terminator included.
pub(super) fn page_size() -> usize {
    // SAFETY: sysconf reads a constant of the system and touches no memory of ours.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
