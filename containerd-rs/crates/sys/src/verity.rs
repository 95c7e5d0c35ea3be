//! Files that the kernel checks when it reads them (fs-verity, `<linux/fsverity.h>`).

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, StatxFlags};
use rustix::io::Errno;

use crate::error::{Context, Result};

/// `_IOW('f', 133, struct fsverity_enable_arg)`
const ENABLE: u32 = 0x4080_6685;
const SHA256: u32 = 1;
/// `STATX_ATTR_VERITY`
const ATTRIBUTE: u64 = 0x0010_0000;

/// `struct fsverity_enable_arg`.
#[repr(C)]
struct Arguments {
    version: u32,
    hash: u32,
    block_size: u32,
    salt_size: u32,
    salt: u64,
    signature_size: u32,
    reserved: u32,
    signature: u64,
    reserved2: [u64; 11],
}

/// Has the kernel check every later read of the file, which cannot be written any more. One that has it already is fine.
pub fn enable(path: &Path) -> Result<()> {
    let file = File::open(path).on("open", path)?;
    let arguments = Arguments {
        version: 1,
        hash: SHA256,
        block_size: 4096,
        salt_size: 0,
        salt: 0,
        signature_size: 0,
        reserved: 0,
        signature: 0,
        reserved2: [0; 11],
    };
    // SAFETY: the request takes the address of a struct of 128 bytes, as its number says, which lives through the call and is only read.
    let rc = unsafe { libc::ioctl(file.as_raw_fd(), ENABLE as _, &raw const arguments) };
    let error = std::io::Error::last_os_error();
    match rc {
        0 => Ok(()),
        _ if error.raw_os_error() == Some(libc::EEXIST) => Ok(()),
        _ => Err(error).on("enable fs-verity on", path),
    }
}

/// Whether the kernel checks the file.
pub fn is_enabled(path: &Path) -> Result<bool> {
    let stat = rustix::fs::statx(CWD, path, AtFlags::empty(), StatxFlags::TYPE).on("stat", path)?;
    Ok(stat.stx_attributes.bits() & ATTRIBUTE != 0)
}

/// Whether the file system of a directory can do that, found out by trying.
pub fn is_supported(directory: &Path) -> Result<bool> {
    let trial = directory.join(format!(".verity{}", crate::fs::unique_suffix()));
    std::fs::write(&trial, b"trial").on("write", &trial)?;
    let enabled = enable(&trial);
    std::fs::remove_file(&trial).on("remove", &trial)?;
    match enabled {
        Ok(()) => Ok(true),
        Err(e) if [Errno::OPNOTSUPP, Errno::NOTTY, Errno::NOSYS].iter().any(|errno| e.is_errno(*errno)) => {
            Ok(false)
        }
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_it_works_it_holds_and_elsewhere_it_says_so() {
        assert_eq!(size_of::<Arguments>(), 128);
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "body").unwrap();
        assert!(!is_enabled(&file).unwrap());
        if is_supported(dir.path()).unwrap() {
            enable(&file).unwrap();
            enable(&file).unwrap();
            assert!(is_enabled(&file).unwrap() && std::fs::write(&file, "other").is_err());
        } else {
            assert!(enable(&file).is_err());
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
