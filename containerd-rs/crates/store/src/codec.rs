//! How records become bytes: a version byte, then fields in a fixed order. Numbers are LEB128,
//! strings and byte strings carry their length, maps and options their count. Values of type `Any`
//! are kept byte for byte.
//!
//! A decoder takes every older version of its record; bytes after the last known field are an error,
//! so a database written by a newer daemon is refused, not half understood.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base::Any;
use bytes::Bytes;

/// Why bytes are not a record.
pub(crate) type Reason = &'static str;

/// A value of one table.
pub(crate) trait Record: Sized {
    /// Format written by this build.
    const VERSION: u8;
    fn encode(&self, out: &mut Encoder);
    fn decode(version: u8, from: &mut Decoder<'_>) -> Result<Self, Reason>;

    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Encoder(Vec::with_capacity(128));
        out.0.push(Self::VERSION);
        self.encode(&mut out);
        out.0
    }

    fn from_bytes(bytes: &[u8]) -> Result<Self, Reason> {
        let (&version, rest) = bytes.split_first().ok_or("empty value")?;
        if version == 0 || version > Self::VERSION {
            return Err("written by a newer version");
        }
        let mut from = Decoder(rest);
        let value = Self::decode(version, &mut from)?;
        if from.0.is_empty() { Ok(value) } else { Err("bytes after the end") }
    }
}

/// Appends fields.
pub(crate) struct Encoder(Vec<u8>);

impl Encoder {
    pub(crate) fn uint(&mut self, mut v: u64) {
        while v >= 0x80 {
            self.0.push(v as u8 | 0x80);
            v >>= 7;
        }
        self.0.push(v as u8);
    }

    pub(crate) fn int(&mut self, v: i64) {
        self.uint(((v << 1) ^ (v >> 63)) as u64);
    }

    pub(crate) fn bytes(&mut self, v: &[u8]) {
        self.uint(v.len() as u64);
        self.0.extend_from_slice(v);
    }

    pub(crate) fn str(&mut self, v: &str) {
        self.bytes(v.as_bytes());
    }

    pub(crate) fn map(&mut self, v: &BTreeMap<String, String>) {
        self.uint(v.len() as u64);
        for (key, value) in v {
            self.str(key);
            self.str(value);
        }
    }

    pub(crate) fn any(&mut self, v: &Any) {
        self.str(&v.type_url);
        self.bytes(&v.value);
    }

    pub(crate) fn option<T>(&mut self, v: Option<&T>, put: impl FnOnce(&mut Self, &T)) {
        self.0.push(u8::from(v.is_some()));
        if let Some(v) = v {
            put(self, v);
        }
    }

    pub(crate) fn anys(&mut self, v: &BTreeMap<String, Any>) {
        self.uint(v.len() as u64);
        for (key, value) in v {
            self.str(key);
            self.any(value);
        }
    }

    /// Nanosecond exact, before and after 1970.
    pub(crate) fn time(&mut self, v: SystemTime) {
        let (secs, nanos) = match v.duration_since(UNIX_EPOCH) {
            Ok(d) => (d.as_secs() as i64, d.subsec_nanos()),
            Err(e) => {
                let d = e.duration();
                let secs = -(d.as_secs() as i64);
                if d.subsec_nanos() == 0 { (secs, 0) } else { (secs - 1, 1_000_000_000 - d.subsec_nanos()) }
            }
        };
        self.int(secs);
        self.uint(u64::from(nanos));
    }
}

/// Takes fields off the front.
pub(crate) struct Decoder<'a>(&'a [u8]);

impl<'a> Decoder<'a> {
    pub(crate) fn byte(&mut self) -> Result<u8, Reason> {
        let (&first, rest) = self.0.split_first().ok_or("cut short")?;
        self.0 = rest;
        Ok(first)
    }

    pub(crate) fn uint(&mut self) -> Result<u64, Reason> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let part = u64::from(byte & 0x7f);
            if shift == 63 && part > 1 {
                return Err("number too large");
            }
            v |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(v);
            }
        }
        Err("number too long")
    }

    pub(crate) fn int(&mut self) -> Result<i64, Reason> {
        let v = self.uint()?;
        Ok((v >> 1) as i64 ^ -((v & 1) as i64))
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], Reason> {
        let len = usize::try_from(self.uint()?).map_err(|_| "length too large")?;
        let (head, rest) = self.0.split_at_checked(len).ok_or("cut short")?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn str(&mut self) -> Result<String, Reason> {
        std::str::from_utf8(self.bytes()?).map(str::to_owned).map_err(|_| "not utf-8")
    }

    /// How many entries follow; never more than the bytes that are left could hold.
    fn count(&mut self) -> Result<usize, Reason> {
        let n = usize::try_from(self.uint()?).map_err(|_| "count too large")?;
        if n > self.0.len() { Err("count too large") } else { Ok(n) }
    }

    pub(crate) fn map(&mut self) -> Result<BTreeMap<String, String>, Reason> {
        (0..self.count()?).map(|_| Ok((self.str()?, self.str()?))).collect()
    }

    pub(crate) fn any(&mut self) -> Result<Any, Reason> {
        Ok(Any { type_url: self.str()?, value: Bytes::copy_from_slice(self.bytes()?) })
    }

    pub(crate) fn anys(&mut self) -> Result<BTreeMap<String, Any>, Reason> {
        (0..self.count()?).map(|_| Ok((self.str()?, self.any()?))).collect()
    }

    pub(crate) fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Self) -> Result<T, Reason>,
    ) -> Result<Option<T>, Reason> {
        match self.byte()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            _ => Err("bad presence byte"),
        }
    }

    pub(crate) fn time(&mut self) -> Result<SystemTime, Reason> {
        let secs = self.int()?;
        let nanos = u32::try_from(self.uint()?).ok().filter(|n| *n < 1_000_000_000).ok_or("bad time")?;
        let whole = Duration::from_secs(secs.unsigned_abs());
        let base = if secs < 0 { UNIX_EPOCH.checked_sub(whole) } else { UNIX_EPOCH.checked_add(whole) };
        base.and_then(|t| t.checked_add(Duration::new(0, nanos))).ok_or("bad time")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Clone)]
    struct All {
        u: u64,
        i: i64,
        s: String,
        m: BTreeMap<String, String>,
        a: Option<Any>,
        t: SystemTime,
    }

    impl Record for All {
        const VERSION: u8 = 1;
        fn encode(&self, out: &mut Encoder) {
            out.uint(self.u);
            out.int(self.i);
            out.str(&self.s);
            out.map(&self.m);
            out.option(self.a.as_ref(), Encoder::any);
            out.time(self.t);
        }
        fn decode(_: u8, from: &mut Decoder<'_>) -> Result<Self, Reason> {
            Ok(All {
                u: from.uint()?,
                i: from.int()?,
                s: from.str()?,
                m: from.map()?,
                a: from.option(Decoder::any)?,
                t: from.time()?,
            })
        }
    }

    fn time() -> impl Strategy<Value = SystemTime> {
        (-10_000_000_000i64..10_000_000_000, 0u32..1_000_000_000).prop_map(|(s, n)| {
            let d = Duration::from_secs(s.unsigned_abs());
            let t = if s < 0 { UNIX_EPOCH - d } else { UNIX_EPOCH + d };
            t + Duration::new(0, n)
        })
    }

    proptest! {
        #[test]
        fn round_trip(u: u64, i: i64, s: String, m in proptest::collection::btree_map(".*", ".*", 0..4),
                      any in proptest::option::of(("[a-z.]*", proptest::collection::vec(any::<u8>(), 0..64))), t in time()) {
            let all = All { u, i, s, m, a: any.map(|(url, v)| Any { type_url: url, value: v.into() }), t };
            let bytes = all.to_bytes();
            prop_assert_eq!(All::from_bytes(&bytes).unwrap(), all);
            // nothing shorter is a record, nothing longer either
            for cut in 0..bytes.len() {
                prop_assert!(All::from_bytes(&bytes[..cut]).is_err());
            }
            let mut long = bytes;
            long.push(0);
            prop_assert!(All::from_bytes(&long).is_err());
        }

        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = All::from_bytes(&bytes);
        }
    }

    #[test]
    fn newer_versions_are_refused() {
        assert_eq!(All::from_bytes(&[2]), Err("written by a newer version"));
        assert_eq!(All::from_bytes(&[0]), Err("written by a newer version"));
        assert_eq!(All::from_bytes(&[]), Err("empty value"));
    }
}
