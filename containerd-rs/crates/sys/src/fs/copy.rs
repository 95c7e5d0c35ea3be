//! Copies of regular files, shared with the original where the file system can.

use std::fs::File;
use std::io::{Read, Write};

use crate::error::{Context, Result};

/// Makes the content of `to` (an empty file, open for writing) that of `from`. Shares the blocks when the file system can,
/// otherwise copies in the kernel, keeping holes only where the file system does. Gives whether blocks are shared.
pub fn reflink_or_copy(from: &File, to: &File) -> Result<bool> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(true);
    }
    let len = from.metadata().doing("stat file to copy")?.len();
    copy_range(from, to, len)?;
    Ok(false)
}

/// Copies up to `len` bytes from the current position of `from` to the current position of `to`; less at the end of the file.
pub fn copy_range(from: &File, to: &File, len: u64) -> Result<u64> {
    let mut done = 0;
    while done < len {
        let chunk = (len - done).min(1 << 30) as usize;
        match rustix::fs::copy_file_range(from, None, to, None, chunk) {
            Ok(0) => return Ok(done),
            Ok(n) => done += n as u64,
            Err(rustix::io::Errno::INTR) => {}
            // Not on this pair of file systems: through a buffer.
            Err(
                rustix::io::Errno::XDEV
                | rustix::io::Errno::INVAL
                | rustix::io::Errno::NOSYS
                | rustix::io::Errno::OPNOTSUPP
                | rustix::io::Errno::BADF
                | rustix::io::Errno::PERM,
            ) if done == 0 => return copy_through_buffer(from, to, len),
            Err(e) => return Err(e).doing("copy file"),
        }
    }
    Ok(done)
}

fn copy_through_buffer(mut from: &File, mut to: &File, len: u64) -> Result<u64> {
    let mut buffer = vec![0; 128 << 10];
    let mut done = 0;
    while done < len {
        let want = (len - done).min(buffer.len() as u64) as usize;
        let n = match from.read(&mut buffer[..want]) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e).doing("read file to copy"),
        };
        to.write_all(&buffer[..n]).doing("write copied file")?;
        done += n as u64;
    }
    Ok(done)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn copies_everything_within_and_between_file_systems() {
        let disk = tempfile::tempdir().unwrap();
        let memory = tempfile::tempdir_in("/dev/shm").unwrap();
        let data: Vec<u8> = (0..300_000u32).map(|i| (i % 251) as u8).collect();
        let source = disk.path().join("source");
        std::fs::write(&source, &data).unwrap();
        for target in [disk.path().join("copy"), memory.path().join("copy")] {
            let from = File::open(&source).unwrap();
            reflink_or_copy(&from, &File::create(&target).unwrap()).unwrap();
            assert_eq!(std::fs::read(&target).unwrap(), data);
        }
        let to = disk.path().join("part");
        assert_eq!(
            copy_range(&File::open(&source).unwrap(), &File::create(&to).unwrap(), 1000).unwrap(),
            1000
        );
        assert_eq!(std::fs::read(&to).unwrap(), data[..1000]);
        let file = File::create(&to).unwrap();
        assert_eq!(
            copy_through_buffer(&File::open(&source).unwrap(), &file, u64::MAX).unwrap(),
            data.len() as u64
        );
    }
}
