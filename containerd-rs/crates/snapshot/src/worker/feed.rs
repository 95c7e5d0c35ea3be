//! Gives a worker the bytes of a layer that is still on its way. Pages of the file that it is written
//! to go through a pipe without being copied.

use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use rustix::pipe::{SpliceFlags, splice};

use crate::differ::Arriving;
use crate::error::{Error, Result, blocking};

/// Bytes that are moved at a time.
const STEP: usize = 1 << 20;

/// Feeds the pipe until the layer ends or the worker goes; `starved` tells when there is nothing to
/// feed yet. A worker that has failed says so itself.
pub(super) async fn feed_arriving(
    pipe: OwnedFd,
    arriving: &dyn Arriving,
    starved: &AtomicBool,
) -> Result<()> {
    let failed = |e| Error::io("read", Path::new("layer on its way"), e);
    let file = Arc::new(arriving.file().try_clone().map_err(failed)?);
    let pipe = Arc::new(pipe);
    let mut offset = 0;
    loop {
        starved.store(true, Ordering::Relaxed);
        let end = arriving.beyond(offset).await;
        starved.store(false, Ordering::Relaxed);
        let end = end?;
        if end <= offset {
            return Ok(());
        }
        let (from, pipe, start) = (Arc::clone(&file), Arc::clone(&pipe), offset);
        let moved = blocking(move || move_range(&from, &pipe, start, end).map_err(failed)).await?;
        if !moved {
            return Ok(());
        }
        offset = end;
    }
}

/// Moves `start..end` of the file into the pipe; `false`: nobody reads it any more.
fn move_range(file: &File, pipe: &OwnedFd, start: u64, end: u64) -> std::io::Result<bool> {
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(STEP).min(STEP);
        let before = at;
        match splice(file, Some(&mut at), pipe, None, want, SpliceFlags::MOVE) {
            Ok(0) => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            // The offset has been moved on by the call.
            Ok(n) => at = before + n as u64,
            Err(Errno::INTR) => at = before,
            Err(Errno::PIPE) => return Ok(false),
            // A file system that cannot: copy.
            Err(Errno::INVAL) => return copy_range(file, pipe, before, end),
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(true)
}

fn copy_range(file: &File, pipe: &OwnedFd, start: u64, end: u64) -> std::io::Result<bool> {
    let mut pipe = File::from(pipe.try_clone()?);
    let mut chunk = vec![0; STEP];
    let mut at = start;
    while at < end {
        let want = usize::try_from(end - at).unwrap_or(STEP).min(STEP);
        match file.read_at(&mut chunk[..want], at)? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                if pipe.write_all(&chunk[..n]).is_err() {
                    return Ok(false);
                }
                at += n as u64;
            }
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::io::Read;

    use rustix::pipe::{PipeFlags, pipe_with};

    use super::*;

    /// Both ways of moving bytes give a reader the same.
    #[test]
    fn a_range_goes_through_the_pipe_whole() {
        let body: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&body).unwrap();
        type Move = fn(&File, &OwnedFd, u64, u64) -> std::io::Result<bool>;
        for way in [move_range as Move, copy_range] {
            let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            let reader = std::thread::spawn(move || {
                let mut seen = Vec::new();
                File::from(reading).read_to_end(&mut seen).unwrap();
                seen
            });
            assert!(way(&file, &writing, 17, 2_500_000).unwrap());
            drop(writing);
            assert!(reader.join().unwrap() == body[17..2_500_000]);
            let (reading, writing) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            drop(reading);
            assert!(!way(&file, &writing, 0, 2_500_000).unwrap(), "nobody reads");
            let (_reading, writing) = pipe_with(PipeFlags::CLOEXEC).unwrap();
            assert!(way(&file, &writing, 3_000_000, 3_000_001).is_err(), "the file is too short");
        }
    }
}
