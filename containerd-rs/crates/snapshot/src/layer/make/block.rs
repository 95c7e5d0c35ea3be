//! Header blocks of an archive: ustar, with pax records for what does not fit.

use std::collections::BTreeMap;
use std::io::{self, Write};

use crate::layer::entry::BLOCK;

/// Biggest numbers of octal fields of 8 and 12 bytes.
const MAX_8: u64 = 0o777_7777;
const MAX_12: u64 = 0o777_7777_7777;

/// The fields of one header.
#[derive(Debug, Clone, Default)]
pub(super) struct Fields {
    pub(super) name: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) flag: u8,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) size: u64,
    pub(super) mtime: i64,
    pub(super) device: (u32, u32),
    /// Records that are to be written in any case.
    pub(super) records: BTreeMap<String, Vec<u8>>,
}

impl Fields {
    /// Writes the header, after an extended one when that is needed.
    pub(super) fn write(mut self, out: &mut impl Write) -> io::Result<()> {
        self.find_misfits();
        if !self.records.is_empty() {
            let records: Vec<u8> = self.records.iter().flat_map(|(k, v)| record(k, v)).collect();
            let extended = Fields {
                name: pax_name(&self.name),
                flag: b'x',
                size: records.len() as u64,
                ..Fields::default()
            };
            out.write_all(&extended.block())?;
            out.write_all(&records)?;
            pad(out, records.len() as u64)?;
        }
        out.write_all(&self.block())
    }

    fn find_misfits(&mut self) {
        let mut put = |key: &str, value: Vec<u8>| {
            self.records.insert(key.to_owned(), value);
        };
        if self.name.len() > 100 || !self.name.is_ascii() {
            put("path", self.name.clone());
        }
        if self.link.len() > 100 || !self.link.is_ascii() {
            put("linkpath", self.link.clone());
        }
        for (key, value, max) in [
            ("uid", u64::from(self.uid), MAX_8),
            ("gid", u64::from(self.gid), MAX_8),
            ("size", self.size, MAX_12),
        ] {
            if value > max {
                put(key, value.to_string().into_bytes());
            }
        }
        if u64::try_from(self.mtime).map_or(true, |t| t > MAX_12) {
            put("mtime", self.mtime.to_string().into_bytes());
        }
    }

    fn block(&self) -> [u8; BLOCK] {
        let mut block = [0u8; BLOCK];
        text(&mut block[..100], &self.name);
        octal(&mut block[100..108], u64::from(self.mode));
        octal(&mut block[108..116], u64::from(self.uid));
        octal(&mut block[116..124], u64::from(self.gid));
        octal(&mut block[124..136], self.size);
        octal(&mut block[136..148], u64::try_from(self.mtime).unwrap_or(0));
        block[148..156].fill(b' ');
        block[156] = self.flag;
        text(&mut block[157..257], &self.link);
        block[257..265].copy_from_slice(b"ustar\x0000");
        octal(&mut block[329..337], u64::from(self.device.0));
        octal(&mut block[337..345], u64::from(self.device.1));
        let sum: u64 = block.iter().map(|b| u64::from(*b)).sum();
        octal(&mut block[148..155], sum);
        block
    }
}

/// Zeros up to the next block.
pub(super) fn pad(out: &mut impl Write, size: u64) -> io::Result<()> {
    let rest = (size.next_multiple_of(BLOCK as u64) - size) as usize;
    out.write_all(&[0u8; BLOCK][..rest])
}

/// As much of the ASCII part as fits.
fn text(field: &mut [u8], value: &[u8]) {
    let ascii = value.iter().filter(|b| b.is_ascii() && **b != 0);
    for (to, from) in field.iter_mut().zip(ascii) {
        *to = *from;
    }
}

/// Octal digits and a NUL; a number that does not fit is in a record, and zero here.
fn octal(field: &mut [u8], value: u64) {
    let digits = field.len() - 1;
    let text = format!("{value:0digits$o}");
    let text = if text.len() > digits { "0".repeat(digits) } else { text };
    field[..digits].copy_from_slice(text.as_bytes());
    field[digits] = 0;
}

fn record(key: &str, value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
}

/// Name of an extended header: what an old reader would see as a file beside.
fn pax_name(name: &[u8]) -> Vec<u8> {
    let name = name.strip_suffix(b"/").unwrap_or(name);
    let (dir, base) = crate::layer::name::split(name);
    let mut out = if dir.is_empty() { Vec::new() } else { [dir, b"/"].concat() };
    out.extend_from_slice(b"PaxHeaders.0/");
    out.extend_from_slice(base);
    out.truncate(100);
    while out.last() == Some(&b'/') {
        out.pop();
    }
    out
}
