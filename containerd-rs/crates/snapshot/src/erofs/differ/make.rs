//! The image itself. What reads an attacker's tar is a program without any privilege: it has the bytes on its standard input and one
//! file, open, to write to.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, fchown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use sys::program::Running;

use crate::error::{Error, Result};

/// Longest that `mkfs.erofs` may go on after it has read everything.
const LIMIT: Duration = Duration::from_secs(1800);
/// Whoever owns nothing.
const NOBODY: u32 = 65534;
/// Where the program finds the file that it is to write.
const OUTPUT: &str = "/proc/self/fd/3";

/// A layer that is an image.
pub(super) fn copied(source: &mut dyn Read, fresh: &Path) -> Result<()> {
    let mut file = create(fresh)?;
    io::copy(source, &mut file).map_err(|e| Error::io("write", fresh, e))?;
    Ok(())
}

/// A tar, converted.
pub(super) fn converted(source: &mut dyn Read, fresh: &Path, options: &[String], uuid: &str) -> Result<()> {
    let mut arguments = vec!["--tar=f", "--aufs", "--quiet", "-Enoinline_data"];
    if !options.iter().any(|o| o.starts_with("-b")) {
        // Images of this block size mount on any page size.
        arguments.push("-b4096");
    }
    let failed = |e: Error| e.during("failed to convert tar to erofs");
    run(&arguments, source, None, fresh, options, uuid).map_err(failed)
}

/// The index of a tar, with the tar behind it.
pub(super) fn indexed(source: &mut dyn Read, fresh: &Path, options: &[String], uuid: &str) -> Result<()> {
    let path = fresh.with_extension("tar");
    let mut tar = create(&path)?;
    // It has no name: whatever happens, it goes with this descriptor.
    std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
    let failed = |e: Error| e.during("failed to generate tar index");
    run(&["--tar=i", "--aufs", "--quiet"], source, Some(&mut tar), fresh, options, uuid).map_err(failed)?;
    let mut append = || -> io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(fresh)?;
        tar.seek(SeekFrom::Start(0))?;
        io::copy(&mut tar, &mut file).map(|_| ())
    };
    append().map_err(|e| Error::io("append tar to", fresh, e))
}

fn run(
    arguments: &[&str],
    source: &mut dyn Read,
    copy: Option<&mut File>,
    fresh: &Path,
    options: &[String],
    uuid: &str,
) -> Result<()> {
    let file = create(fresh)?;
    fchown(&file, Some(NOBODY), Some(NOBODY)).map_err(|e| Error::io("chown", fresh, e))?;
    let output = OwnedFd::from(file.try_clone().map_err(|e| Error::io("open", fresh, e))?);
    let mut command = Command::new("mkfs.erofs");
    command.args(arguments).args(options).args(["-U", uuid, OUTPUT]);
    command.stdin(Stdio::piped()).current_dir("/").uid(NOBODY).gid(NOBODY);
    sys::spawn::pass_fds(&mut command, vec![output]).map_err(|e| Error::io("pass", fresh, e))?;
    let mut running = Running::start(command, "mkfs.erofs")?;
    let fed = match running.input() {
        Some(input) => pour(source, input, copy),
        None => Ok(()),
    };
    // What it says of a tar that it cannot read is better than that it does not read on.
    running.finish(LIMIT)?;
    fed.map_err(|e| Error::io("read layer for", fresh, e))?;
    // What follows the end of the archive belongs to the layer's digest all the same.
    io::copy(source, &mut io::sink()).map_err(|e| Error::io("read layer for", fresh, e))?;
    fchown(&file, Some(0), Some(0)).map_err(|e| Error::io("chown", fresh, e))
}

/// A reader that goes away has read to the end of the archive, or says itself why not.
fn pour(source: &mut dyn Read, mut input: impl Write, mut copy: Option<&mut File>) -> io::Result<()> {
    let mut buffer = vec![0; 256 << 10];
    let mut reads = true;
    loop {
        let n = match source.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        if let Some(copy) = &mut copy {
            copy.write_all(&buffer[..n])?;
        }
        if reads && let Err(e) = input.write_all(&buffer[..n]) {
            match e.kind() {
                io::ErrorKind::BrokenPipe => reads = false,
                _ => return Err(e),
            }
        }
    }
}

/// A new file that nobody else can open.
fn create(path: &Path) -> Result<File> {
    let mut options = OpenOptions::new();
    let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(path);
    file.map_err(|e| Error::io("create", path, e))
}
