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

/// Makes the content of `to` (an empty file, open for writing) that of `from`, holes included. Shares the blocks when the file system
/// can. Gives whether blocks are shared.
pub fn copy_sparse(from: &File, to: &File) -> Result<bool> {
    use rustix::fs::SeekFrom;
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(true);
    }
    let len = from.metadata().doing("stat file to copy")?.len();
    let mut at = 0;
    while at < len {
        let start = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(start) => start,
            // Nothing but a hole up to the end.
            Err(rustix::io::Errno::NXIO) => break,
            // This file system does not tell holes.
            Err(rustix::io::Errno::INVAL) => at,
            Err(e) => return Err(e).doing("find data to copy"),
        };
        let end = rustix::fs::seek(from, SeekFrom::Hole(start)).unwrap_or(len);
        rustix::fs::seek(from, SeekFrom::Start(start)).doing("seek in file to copy")?;
        rustix::fs::seek(to, SeekFrom::Start(start)).doing("seek in copied file")?;
        copy_range(from, to, end - start)?;
        at = end;
    }
    rustix::fs::ftruncate(to, len).doing("set length of copied file")?;
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
    #[test]
    fn holes_stay_holes() {
        use std::io::{Read, Seek, SeekFrom, Write};
        use std::os::unix::fs::MetadataExt;
        let disk = tempfile::tempdir().unwrap();
        let (source, target) = (disk.path().join("source"), disk.path().join("target"));
        let mut from = File::create(&source).unwrap();
        from.seek(SeekFrom::Start(8 << 20)).unwrap();
        from.write_all(&[7; 4096]).unwrap();
        from.set_len(64 << 20).unwrap();
        let to = File::create(&target).unwrap();
        copy_sparse(&File::open(&source).unwrap(), &to).unwrap();
        let meta = to.metadata().unwrap();
        assert_eq!(meta.len(), 64 << 20);
        assert!(meta.blocks() * 512 < 1 << 20, "{} blocks", meta.blocks());
        let mut copy = File::open(&target).unwrap();
        let mut bytes = [0; 4097];
        copy.seek(SeekFrom::Start((8 << 20) - 1)).unwrap();
        copy.read_exact(&mut bytes).unwrap();
        assert_eq!((bytes[0], bytes[1], bytes[4096]), (0, 7, 7));
    }
}
