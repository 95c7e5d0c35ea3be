//! Writes differences as entries of a layer.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;

use rustix::fs::{FileType, Stat, fstat, major, minor, readlinkat};

use super::block::{Fields, pad};
use super::same::{Object, capability};
use super::walk::{Became, Change};
use crate::layer::entry::BLOCK;
use crate::layer::name::split;
use crate::layer::tree::open_below;
use crate::layer::{WHITEOUT_PREFIX, XATTR_RECORD};

/// Bytes read from a file at a time.
const READ: usize = 128 * 1024;

/// An archive in the making.
pub(super) struct LayerWriter<W> {
    out: W,
    upper: OwnedFd,
    latest: Option<i64>,
    /// Directories that have an entry.
    listed: HashSet<Vec<u8>>,
    /// First name of each file with several names, by inode.
    first_names: HashMap<(u64, u64), Vec<u8>>,
    /// Names of files with several names that have not changed under any name so far.
    waiting: HashMap<(u64, u64), Vec<Vec<u8>>>,
    buffer: Vec<u8>,
}

impl<W: Write> LayerWriter<W> {
    pub(super) fn new(out: W, upper: OwnedFd, latest: Option<i64>) -> Self {
        LayerWriter {
            out,
            upper,
            latest,
            listed: HashSet::new(),
            first_names: HashMap::new(),
            waiting: HashMap::new(),
            buffer: vec![0; READ],
        }
    }

    /// Adds one difference.
    pub(super) fn add(&mut self, change: &Change<'_>) -> io::Result<()> {
        if change.became == Became::Deleted {
            return self.whiteout(change.path);
        }
        let Some(mut fields) = self.fields(change.path, change.object.stat, change.object.kind()) else {
            return Ok(());
        };
        if change.object.kind() == FileType::Symlink {
            fields.link = readlinkat(change.object.parent, change.object.name, Vec::new())?.into_bytes();
        }
        let several = change.object.kind() != FileType::Directory && change.object.stat.st_nlink > 1;
        if !several {
            return match change.became {
                Became::LinkedSame => Ok(()),
                _ => self.object(fields, change.path, Some(change.object)),
            };
        }
        let inode = (change.object.stat.st_dev, change.object.stat.st_ino);
        if let Some(first) = self.first_names.get(&inode).cloned() {
            return self.object(as_link(fields, first), change.path, None);
        }
        if change.became == Became::LinkedSame {
            self.waiting.entry(inode).or_default().push(change.path.to_vec());
            return Ok(());
        }
        self.first_names.insert(inode, change.path.to_vec());
        let link = as_link(fields.clone(), change.path.to_vec());
        self.object(fields, change.path, Some(change.object))?;
        // The other names would go on showing the old file.
        for path in self.waiting.remove(&inode).unwrap_or_default() {
            self.object(Fields { name: path.clone(), ..link.clone() }, &path, None)?;
        }
        Ok(())
    }

    /// Writes the end mark.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&[0; 2 * BLOCK])?;
        self.out.flush()
    }

    fn whiteout(&mut self, path: &[u8]) -> io::Result<()> {
        self.parents(path)?;
        let (dir, base) = split(path);
        let base = [WHITEOUT_PREFIX, base].concat();
        let name = if dir.is_empty() { base } else { [dir, b"/", &base].concat() };
        Fields { name, flag: b'0', ..Fields::default() }.write(&mut self.out)
    }

    /// Header of an object; `None` for what has no place in a layer.
    fn fields(&self, path: &[u8], stat: &Stat, kind: FileType) -> Option<Fields> {
        let flag = match kind {
            FileType::RegularFile => b'0',
            FileType::Symlink => b'2',
            FileType::CharacterDevice => b'3',
            FileType::BlockDevice => b'4',
            FileType::Directory => b'5',
            FileType::Fifo => b'6',
            _ => return None,
        };
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let mut name = path.to_vec();
        if kind == FileType::Directory {
            name.push(b'/');
        }
        Some(Fields {
            name,
            flag,
            mode: stat.st_mode & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: if kind == FileType::RegularFile { stat.st_size.cast_unsigned() } else { 0 },
            mtime: self.latest.map_or(stat.st_mtime, |latest| stat.st_mtime.min(latest)),
            device: if is_device { (major(stat.st_rdev), minor(stat.st_rdev)) } else { (0, 0) },
            ..Fields::default()
        })
    }

    /// Writes header and bytes. `object`: what to read the bytes from; `None` for another name.
    fn object(&mut self, mut fields: Fields, path: &[u8], object: Option<Object<'_>>) -> io::Result<()> {
        self.parents(path)?;
        if fields.flag == b'5' {
            self.listed.insert(path.to_vec());
        }
        let Some(object) = object.filter(|o| o.kind() == FileType::RegularFile) else {
            return fields.write(&mut self.out);
        };
        let file = object.open()?;
        if let Some(value) = capability(&file)? {
            let key = [XATTR_RECORD, b"security.capability"].concat();
            fields.records.insert(String::from_utf8_lossy(&key).into_owned(), value);
        }
        let size = fields.size;
        fields.write(&mut self.out)?;
        self.bytes(&file, size)
    }

    fn bytes(&mut self, mut file: &File, size: u64) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let n = self.buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            match file.read(&mut self.buffer[..n]) {
                Ok(0) => return Err(io::Error::other("file became shorter while it was read")),
                Ok(n) => {
                    self.out.write_all(&self.buffer[..n])?;
                    left -= n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        pad(&mut self.out, size)
    }

    /// Lists the directories above `path` that are not listed yet.
    fn parents(&mut self, path: &[u8]) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut at = split(path).0;
        while !at.is_empty() && !self.listed.contains(at) {
            missing.push(at);
            at = split(at).0;
        }
        for dir in missing.into_iter().rev() {
            let stat = fstat(open_below(&self.upper, dir)?)?;
            self.listed.insert(dir.to_vec());
            if let Some(fields) = self.fields(dir, &stat, FileType::Directory) {
                fields.write(&mut self.out)?;
            }
        }
        Ok(())
    }
}

fn as_link(fields: Fields, to: Vec<u8>) -> Fields {
    Fields { flag: b'1', link: to, size: 0, device: (0, 0), ..fields }
}
