//! Block devices made of files (loop(4)).

use std::fs::{File, OpenOptions};
use std::os::fd::{AsRawFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::io::Errno;

use crate::error::{Context, Error, Result};

// <linux/loop.h>
const LOOP_CLR_FD: u32 = 0x4C01;
const LOOP_SET_STATUS64: u32 = 0x4C04;
const LOOP_GET_STATUS64: u32 = 0x4C05;
const LOOP_CONFIGURE: u32 = 0x4C0A;
const LOOP_CTL_GET_FREE: u32 = 0x4C82;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_info64`.
#[repr(C)]
struct LoopInfo64 {
    device: u64,
    inode: u64,
    rdevice: u64,
    offset: u64,
    sizelimit: u64,
    number: u32,
    encrypt_type: u32,
    encrypt_key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    crypt_name: [u8; 64],
    encrypt_key: [u8; 32],
    init: [u64; 2],
}

impl LoopInfo64 {
    fn new(options: LoopOptions) -> Self {
        let bit = |on: bool, bit: u32| if on { bit } else { 0 };
        LoopInfo64 {
            device: 0,
            inode: 0,
            rdevice: 0,
            offset: 0,
            sizelimit: 0,
            number: 0,
            encrypt_type: 0,
            encrypt_key_size: 0,
            flags: bit(options.read_only, LO_FLAGS_READ_ONLY)
                | bit(options.autoclear, LO_FLAGS_AUTOCLEAR)
                | bit(options.direct_io, LO_FLAGS_DIRECT_IO),
            file_name: [0; 64],
            crypt_name: [0; 64],
            encrypt_key: [0; 32],
            init: [0; 2],
        }
    }
}

/// `struct loop_config`, Linux 5.8.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    info: LoopInfo64,
    reserved: [u64; 8],
}

/// How a file is attached.
#[derive(Clone, Copy, Debug, Default)]
pub struct LoopOptions {
    /// Forbid writing.
    pub read_only: bool,
    /// Let the kernel free the device when its last user closes it.
    pub autoclear: bool,
    /// Read and write the file past the page cache.
    pub direct_io: bool,
}

/// An attached device. With `autoclear` the device lasts until this value is dropped and whatever mounted it is unmounted; without it
/// until [`detach`].
#[derive(Debug)]
pub struct LoopDevice {
    path: PathBuf,
    /// Keeps an autoclear device.
    device: File,
}

impl LoopDevice {
    /// The block device, `/dev/loopN`.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Takes `autoclear` back: the device lasts until [`detach`].
    pub fn keep(self) -> Result<()> {
        let mut info = LoopInfo64::new(LoopOptions::default());
        let fd = self.device.as_raw_fd();
        ioctl(fd, LOOP_GET_STATUS64, (&raw mut info).expose_provenance() as _)
            .on("read status of", &self.path)?;
        info.flags &= !LO_FLAGS_AUTOCLEAR;
        let address = (&raw const info).expose_provenance() as _;
        ioctl(fd, LOOP_SET_STATUS64, address).map(|_| ()).on("keep", &self.path)
    }
}

/// The file behind a device; none when it is free.
pub fn backing_file(device: &Path) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let mut path = PathBuf::from("/sys/block");
    path.push(device.file_name()?);
    path.push("loop/backing_file");
    let mut text = std::fs::read(path).ok()?;
    if text.last() == Some(&b'\n') {
        text.pop();
    }
    Some(PathBuf::from(std::ffi::OsString::from_vec(text)))
}

/// Attaches `file` to a free loop device. Tries again when others take the free one first, about three seconds at most.
pub fn attach(file: &Path, options: LoopOptions) -> Result<LoopDevice> {
    let open = |path: &Path| OpenOptions::new().read(true).write(!options.read_only).open(path);
    let backing = open(file).on("open", file)?;
    let control_path = Path::new("/dev/loop-control");
    let control = OpenOptions::new().read(true).write(true).open(control_path).on("open", control_path)?;
    for attempt in 0..80 {
        let number = ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE, 0).doing("find a free loop device")?;
        let path = PathBuf::from(format!("/dev/loop{number}"));
        let configured =
            open(&path).and_then(|device| configure(&device, &backing, file, options).map(|()| device));
        match configured {
            Ok(device) => return Ok(LoopDevice { path, device }),
            // Somebody else was quicker, or the device node is still on its way.
            Err(e) if matches!(e.raw_os_error(), Some(libc::EBUSY | libc::ENXIO | libc::ENOENT)) => {
                std::thread::sleep(Duration::from_millis(attempt));
            }
            Err(e) => return Err(e).on("attach loop device to", file),
        }
    }
    Err(Error::path("attach loop device to", file, Errno::BUSY))
}

fn configure(device: &File, backing: &File, name: &Path, options: LoopOptions) -> std::io::Result<()> {
    let mut info = LoopInfo64::new(options);
    let bytes = name.as_os_str().as_encoded_bytes();
    let shown = bytes.len().min(info.file_name.len() - 1);
    info.file_name[..shown].copy_from_slice(&bytes[..shown]);
    let config = LoopConfig { fd: backing.as_raw_fd() as u32, block_size: 0, info, reserved: [0; 8] };
    ioctl(device.as_raw_fd(), LOOP_CONFIGURE, (&raw const config) as libc::c_ulong).map(|_| ())
}

/// Frees a device that was attached without `autoclear`. While it is in use the kernel only marks it to be freed.
pub fn detach(device: &Path) -> Result<()> {
    let file = File::open(device).on("open", device)?;
    ioctl(file.as_raw_fd(), LOOP_CLR_FD, 0).map(|_| ()).on("detach", device)
}

fn ioctl(fd: RawFd, request: u32, argument: libc::c_ulong) -> std::io::Result<i32> {
    // SAFETY: the requests used here take no argument, or the address of a `loop_config` (LOOP_CONFIGURE, read only) or of a
    // `loop_info64` (LOOP_GET_STATUS64, LOOP_SET_STATUS64) that the caller keeps alive, and touch nothing beyond it.
    let rc = unsafe { libc::ioctl(fd, request as _, argument) };
    if rc < 0 { Err(std::io::Error::last_os_error()) } else { Ok(rc) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::io::Read;

    fn backing_of(device: &Path) -> Option<String> {
        backing_file(device).map(|f| f.display().to_string())
    }

    #[test]
    fn a_kept_device_outlives_its_handle() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, vec![0u8; 1 << 20]).unwrap();
        let device = attach(&image, LoopOptions { autoclear: true, ..LoopOptions::default() }).unwrap();
        let path = device.path().to_owned();
        device.keep().unwrap();
        // The last close would have freed it.
        assert_eq!(backing_of(&path).as_deref(), image.to_str());
        detach(&path).unwrap();
    }

    #[test]
    fn attaches_reads_and_detaches() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, vec![7u8; 1 << 20]).unwrap();
        let kept = attach(&image, LoopOptions { read_only: true, ..LoopOptions::default() }).unwrap();
        let path = kept.path().to_owned();
        drop(kept);
        assert_eq!(backing_of(&path).as_deref(), image.to_str());
        let mut first = [0; 4];
        File::open(&path).unwrap().read_exact(&mut first).unwrap();
        assert_eq!(first, [7; 4]);
        assert!(
            OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|mut f| std::io::Write::write_all(&mut f, b"x"))
                .is_err()
        );
        detach(&path).unwrap();
        assert_ne!(backing_of(&path).as_deref(), image.to_str());
    }

    #[test]
    fn autoclear_devices_go_with_their_handle() {
        let dir = tempfile::tempdir().unwrap();
        let image = dir.path().join("image");
        std::fs::write(&image, vec![0u8; 1 << 20]).unwrap();
        let device = attach(&image, LoopOptions { autoclear: true, ..LoopOptions::default() }).unwrap();
        let path = device.path().to_owned();
        assert_eq!(backing_of(&path).as_deref(), image.to_str());
        drop(device);
        // The kernel frees it in the last close, which udev or a scanner may hold for a moment.
        let start = std::time::Instant::now();
        while backing_of(&path).as_deref() == image.to_str() {
            assert!(start.elapsed() < Duration::from_secs(10));
            std::thread::yield_now();
        }
        assert!(attach(&dir.path().join("missing"), LoopOptions::default()).unwrap_err().is_not_found());
    }
}
