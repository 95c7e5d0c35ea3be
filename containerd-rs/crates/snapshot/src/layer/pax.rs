//! Pax extended headers: `<length> <key>=<value>\n` records.

use std::collections::BTreeMap;

use super::entry::Time;
use super::{LayerError, XATTR_RECORD};

/// The records of one extended header, by key. An empty value takes an earlier one back.
#[derive(Debug, Default)]
pub(crate) struct Pax {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    /// `offset, length` pairs of the 0.0 sparse form, where the same keys repeat.
    pub(crate) sparse_pairs: Vec<u64>,
}

impl Pax {
    /// Parses the body of an `x` header.
    pub(crate) fn parse(mut body: &[u8]) -> Result<Self, LayerError> {
        let bad = || LayerError::malformed("broken pax record");
        let mut pax = Pax::default();
        while !body.is_empty() {
            // Some writers pad with NULs.
            if body.iter().all(|b| *b == 0) {
                break;
            }
            let space = body.iter().take(21).position(|b| *b == b' ').ok_or_else(bad)?;
            let length = decimal(&body[..space]).ok_or_else(bad)?;
            let length = usize::try_from(length).map_err(|_| bad())?;
            if length <= space + 1 || length > body.len() || body[length - 1] != b'\n' {
                return Err(bad());
            }
            let record = &body[space + 1..length - 1];
            let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
            pax.put(&record[..equals], &record[equals + 1..])?;
            body = &body[length..];
        }
        Ok(pax)
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), LayerError> {
        if key.is_empty() || key.contains(&0) {
            return Err(LayerError::malformed("pax record with an empty or broken key"));
        }
        if matches!(key, b"path" | b"linkpath") && value.contains(&0) {
            return Err(LayerError::malformed("pax path with a NUL"));
        }
        if matches!(key, b"GNU.sparse.offset" | b"GNU.sparse.numbytes") {
            let n = decimal(value).ok_or_else(|| LayerError::malformed("broken sparse pax record"))?;
            // Offsets and lengths take turns; an offset comes first.
            if self.sparse_pairs.len().is_multiple_of(2) != (key == b"GNU.sparse.offset") {
                return Err(LayerError::malformed("sparse pax records out of order"));
            }
            self.sparse_pairs.push(n);
            return Ok(());
        }
        self.records.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    /// The value of a key, unless it is empty.
    pub(crate) fn get(&self, key: &str) -> Option<&[u8]> {
        self.records.get(key.as_bytes()).map(Vec::as_slice).filter(|v| !v.is_empty())
    }

    /// A decimal value.
    pub(crate) fn number(&self, key: &str) -> Result<Option<u64>, LayerError> {
        match self.get(key) {
            None => Ok(None),
            Some(text) => match decimal(text) {
                Some(n) => Ok(Some(n)),
                None => Err(LayerError::malformed(format!("pax {key} is not a number"))),
            },
        }
    }

    /// A `seconds[.fraction]` value, possibly negative.
    pub(crate) fn time(&self, key: &str) -> Result<Option<Time>, LayerError> {
        match self.get(key) {
            None => Ok(None),
            Some(text) => match time(text) {
                Some(t) => Ok(Some(t)),
                None => Err(LayerError::malformed(format!("pax {key} is not a time"))),
            },
        }
    }

    /// Extended attributes, name and value.
    pub(crate) fn xattrs(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.records
            .iter()
            .filter_map(|(k, v)| k.strip_prefix(XATTR_RECORD).map(|name| (name.to_vec(), v.clone())))
            .filter(|(name, _)| !name.is_empty())
            .collect()
    }
}

/// Plain digits, no sign.
pub(crate) fn decimal(text: &[u8]) -> Option<u64> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

fn time(text: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    if !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let mut nanos: u32 = 0;
    for i in 0..9 {
        let digit = fraction.as_bytes().get(i).map_or(0, |b| u32::from(b - b'0'));
        nanos = nanos * 10 + digit;
    }
    // Negative times are cut to zero by the caller, so the sign of the fraction does not matter.
    Some(Time { seconds, nanos })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn record(key: &str, value: &[u8]) -> Vec<u8> {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + 1;
        while length != rest + length.to_string().len() {
            length = rest + length.to_string().len();
        }
        [length.to_string().as_bytes(), b" ", key.as_bytes(), b"=", value, b"\n"].concat()
    }

    #[test]
    fn records() {
        let body = [
            record("path", b"a/b"),
            record("mtime", b"12.0034"),
            record("SCHILY.xattr.user.k", b"v=1\nx\0z"),
            record("size", b"42"),
            record("uid", b"7"),
            record("uid", b""),
        ]
        .concat();
        let pax = Pax::parse(&body).unwrap();
        assert_eq!(pax.get("path"), Some(&b"a/b"[..]));
        assert_eq!(pax.time("mtime").unwrap(), Some(Time { seconds: 12, nanos: 3_400_000 }));
        assert_eq!(pax.number("size").unwrap(), Some(42));
        assert_eq!(pax.number("uid").unwrap(), None);
        assert_eq!(pax.xattrs(), vec![(b"user.k".to_vec(), b"v=1\nx\0z".to_vec())]);
    }

    #[test]
    fn broken_records() {
        for bad in [
            &b"5 a=b"[..],
            b"6 a=b\n\n",
            b"x a=b\n",
            b"99 a=b\n",
            b"3 \n",
            b"5 ab\n",
            b"4294967296 a=b\n",
            b"5 =b\n",
        ] {
            assert!(Pax::parse(bad).is_err(), "{:?}", String::from_utf8_lossy(bad));
        }
        assert!(Pax::parse(b"11 path=a\0b\n").is_err());
    }
}
