//! One object of an archive: the fields of a header block, after long names and pax records.

use super::LayerError;
use super::pax::Pax;
use super::sparse::Sparse;

/// Bytes of a header block.
pub(crate) const BLOCK: usize = 512;

/// Biggest device numbers of Linux: it cuts bigger ones, and they would be another device.
const MAX_MAJOR: u32 = 0xfff;
const MAX_MINOR: u32 = 0xf_ffff;

/// A time of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanos: u32,
}

impl Time {
    /// Times before 1970 or beyond what fits in nanoseconds become 1970, as Go's applier does.
    pub(crate) fn bounded(self) -> Self {
        if self.seconds < 0 || self.seconds > i64::MAX / 1_000_000_000 { Time::default() } else { self }
    }
}

/// What an entry makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    HardLink,
    Symlink,
    CharDevice,
    BlockDevice,
    Directory,
    Fifo,
}

/// One object of the archive.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) link: Vec<u8>,
    pub(crate) kind: Kind,
    /// Bytes that follow in the archive.
    pub(crate) stored: u64,
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) mtime: Time,
    pub(crate) atime: Option<Time>,
    pub(crate) device: (u32, u32),
    pub(crate) xattrs: Vec<(Vec<u8>, Vec<u8>)>,
    pub(crate) sparse: Option<Sparse>,
}

/// A header block whose checksum is right.
pub(crate) struct Header(tar::Header);

impl Header {
    /// Checks the sum of a block; wrong sums are not headers.
    pub(crate) fn new(block: &[u8; BLOCK]) -> Result<Self, LayerError> {
        let header = tar::Header::from_byte_slice(block).clone();
        let wanted =
            octal(&header.as_old().cksum).ok_or_else(|| LayerError::malformed("broken checksum field"))?;
        let (mut unsigned, mut signed) = (0i64, 0i64);
        for (i, byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { *byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte.cast_signed());
        }
        if wanted != unsigned && wanted != signed {
            return Err(LayerError::malformed("wrong header checksum"));
        }
        Ok(Header(header))
    }

    /// The type flag.
    pub(crate) fn flag(&self) -> u8 {
        self.0.as_old().linkflag[0]
    }

    /// The size field.
    pub(crate) fn size(&self) -> Result<u64, LayerError> {
        let n = self.number("size", &self.0.as_old().size)?;
        u64::try_from(n).map_err(|_| LayerError::malformed("negative size"))
    }

    /// The GNU view, for the old sparse form.
    pub(crate) fn gnu(&self) -> Option<&tar::GnuHeader> {
        self.0.as_gnu()
    }

    fn number(&self, what: &str, field: &[u8]) -> Result<i64, LayerError> {
        number(field).ok_or_else(|| LayerError::malformed(format!("broken {what} field")))
    }

    fn name(&self) -> Vec<u8> {
        let name = until_nul(&self.0.as_old().name);
        let Some(ustar) = self.0.as_ustar() else {
            return name.to_vec();
        };
        // The star dialect keeps times behind a shorter prefix.
        let star = self.0.as_bytes()[508..] == *b"tar\0";
        let prefix = until_nul(if star { &ustar.prefix[..131] } else { &ustar.prefix });
        if prefix.is_empty() { name.to_vec() } else { [prefix, b"/", name].concat() }
    }

    fn device(&self) -> Result<(u32, u32), LayerError> {
        let (major, minor) = match (self.0.as_ustar(), self.0.as_gnu()) {
            (Some(u), _) => (&u.dev_major, &u.dev_minor),
            (_, Some(g)) => (&g.dev_major, &g.dev_minor),
            _ => return Ok((0, 0)),
        };
        let (major, minor) = (self.number("devmajor", major)?, self.number("devminor", minor)?);
        match (u32::try_from(major), u32::try_from(minor)) {
            (Ok(major), Ok(minor)) if major <= MAX_MAJOR && minor <= MAX_MINOR => Ok((major, minor)),
            _ => Err(LayerError::malformed(format!("device number {major}:{minor} out of range"))),
        }
    }

    /// The entry that this header, the long names before it and the pax records make together.
    pub(crate) fn entry(
        &self,
        pax: &Pax,
        long_name: Option<Vec<u8>>,
        long_link: Option<Vec<u8>>,
    ) -> Result<Entry, LayerError> {
        let old = self.0.as_old();
        let text = |key: &str| pax.get(key).map(<[u8]>::to_vec);
        let name = long_name.or_else(|| text("path")).unwrap_or_else(|| self.name());
        let link =
            long_link.or_else(|| text("linkpath")).unwrap_or_else(|| until_nul(&old.linkname).to_vec());
        let kind = kind(self.flag(), &name)?;
        let stored = match kind {
            Kind::File => match pax.number("size")? {
                Some(n) => n,
                None => self.size()?,
            },
            _ => 0,
        };
        let id = |key: &str, field: &[u8]| -> Result<u32, LayerError> {
            let n = match pax.number(key)? {
                Some(n) => i64::try_from(n).unwrap_or(i64::MAX),
                None => self.number(key, field)?,
            };
            match u32::try_from(n) {
                Ok(id) if id != u32::MAX => Ok(id),
                _ => Err(LayerError::malformed(format!("{key} {n} out of range"))),
            }
        };
        let mtime = match pax.time("mtime")? {
            Some(t) => t,
            None => Time { seconds: self.number("mtime", &old.mtime)?, nanos: 0 },
        };
        let atime = match (pax.time("atime")?, self.gnu()) {
            (Some(t), _) => Some(t),
            (None, Some(gnu)) if gnu.atime[0] != 0 => {
                Some(Time { seconds: self.number("atime", &gnu.atime)?, nanos: 0 })
            }
            _ => None,
        };
        Ok(Entry {
            link,
            kind,
            stored,
            mode: (self.number("mode", &old.mode)? & 0o7777) as u32,
            uid: id("uid", &old.uid)?,
            gid: id("gid", &old.gid)?,
            mtime,
            atime,
            device: if matches!(kind, Kind::CharDevice | Kind::BlockDevice) {
                self.device()?
            } else {
                (0, 0)
            },
            xattrs: pax.xattrs(),
            sparse: None,
            name,
        })
    }
}

fn kind(flag: u8, name: &[u8]) -> Result<Kind, LayerError> {
    Ok(match flag {
        // In the oldest dialect a directory is a file with a slash at the end.
        0 if name.ends_with(b"/") => Kind::Directory,
        0 | b'0' | b'S' => Kind::File,
        b'1' => Kind::HardLink,
        b'2' => Kind::Symlink,
        b'3' => Kind::CharDevice,
        b'4' => Kind::BlockDevice,
        b'5' => Kind::Directory,
        b'6' => Kind::Fifo,
        flag => return Err(LayerError::malformed(format!("unhandled tar header type {flag}"))),
    })
}

/// The bytes before the first NUL.
pub(crate) fn until_nul(field: &[u8]) -> &[u8] {
    &field[..field.iter().position(|b| *b == 0).unwrap_or(field.len())]
}

/// A numeric field: octal text, or big-endian two's complement when its first bit is set.
pub(crate) fn number(field: &[u8]) -> Option<i64> {
    if field.first()? & 0x80 == 0 {
        return octal(field);
    }
    let negative = field[0] & 0x40 != 0;
    let mut value: i64 = if negative { -1 } else { 0 };
    for (i, byte) in field.iter().enumerate() {
        // The marker bit is not part of the number: it takes the value of the sign.
        let byte = match (i, negative) {
            (0, false) => byte & 0x7f,
            _ => *byte,
        };
        value = value.checked_mul(256)?.checked_add(i64::from(byte)).filter(|v| (*v < 0) == negative)?;
    }
    Some(value)
}

fn octal(field: &[u8]) -> Option<i64> {
    let text = until_nul(field.trim_ascii_start()).trim_ascii();
    if text.is_empty() {
        return Some(0);
    }
    i64::from_str_radix(std::str::from_utf8(text).ok().filter(|t| !t.starts_with(['+', '-']))?, 8).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn numbers() {
        for (field, want) in [
            (&b"0000644\0"[..], Some(0o644)),
            (b"   644 \0", Some(0o644)),
            (b"\0\0\0\0", Some(0)),
            (b"12345678", None),
            (b"-1\0", None),
            (b"\x80\0\0\0\0\0\0\x01", Some(1)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(-1)),
            (b"\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", Some(i64::MAX)),
            (b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff", None),
            (b"\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", Some(i64::MIN)),
        ] {
            assert_eq!(number(field), want, "{field:?}");
        }
    }
}
