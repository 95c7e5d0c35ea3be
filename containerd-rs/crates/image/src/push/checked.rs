//! Bytes that are compared with their digest while they are read: the last of them are not given
//! away when they are the wrong ones.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use base::{Descriptor, Digest, Hasher};

use crate::registry::BodySource;

/// A source whose bytes must have the digest of a descriptor.
pub(super) struct Checked {
    source: Arc<dyn BodySource>,
    expected: Digest,
    size: u64,
    hashed: Mutex<Hashed>,
    damaged: AtomicBool,
}

struct Hashed {
    upto: u64,
    hasher: Hasher,
}

impl Checked {
    pub(super) fn new(source: Arc<dyn BodySource>, descriptor: &Descriptor) -> Checked {
        let expected = descriptor.digest.clone();
        Checked {
            source,
            hashed: Mutex::new(Hashed { upto: 0, hasher: Hasher::new(expected.algorithm()) }),
            expected,
            size: descriptor.size.unsigned_abs(),
            damaged: AtomicBool::new(false),
        }
    }

    /// Whether all bytes came and were the wrong ones.
    pub(super) fn is_damaged(&self) -> bool {
        self.damaged.load(Ordering::Acquire)
    }

    /// Takes `bytes` at `offset` in; whether they are not the last ones of wrong content.
    fn is_sound(&self, offset: u64, bytes: &[u8]) -> bool {
        let mut hashed = self.hashed.lock().unwrap_or_else(PoisonError::into_inner);
        if offset == 0 {
            *hashed = Hashed { upto: 0, hasher: Hasher::new(self.expected.algorithm()) };
        }
        if offset != hashed.upto {
            // Not read in order: the registry's own check is what is left.
            return true;
        }
        hashed.hasher.update(bytes);
        hashed.upto += bytes.len() as u64;
        if hashed.upto < self.size {
            return true;
        }
        let fresh = Hashed { upto: u64::MAX, hasher: Hasher::new(self.expected.algorithm()) };
        std::mem::replace(&mut *hashed, fresh).hasher.finish() == self.expected
    }
}

impl BodySource for Checked {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.source.read_at(offset, buffer)?;
        if n > 0 && !self.is_sound(offset, &buffer[..n]) {
            self.damaged.store(true, Ordering::Release);
            let text = format!("its bytes do not have the digest {}", self.expected);
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    struct Memory(&'static [u8]);

    impl BodySource for Memory {
        fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
            let rest = &self.0[offset as usize..];
            let n = rest.len().min(buffer.len());
            buffer[..n].copy_from_slice(&rest[..n]);
            Ok(n)
        }
    }

    fn read(checked: &Checked) -> io::Result<Vec<u8>> {
        let (mut all, mut buffer) = (Vec::new(), [0; 3]);
        loop {
            match checked.read_at(all.len() as u64, &mut buffer)? {
                0 => return Ok(all),
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
    }

    #[test]
    fn wrong_bytes_do_not_get_through_and_right_ones_do_again_and_again() {
        let of = |bytes: &'static [u8]| {
            let descriptor = Descriptor::new("a/b", Digest::sha256(b"12345678"), 8);
            Checked::new(Arc::new(Memory(bytes)), &descriptor)
        };
        let good = of(b"12345678");
        // Broken off, then from the beginning.
        good.read_at(0, &mut [0; 5]).unwrap();
        for _ in 0..2 {
            assert_eq!(read(&good).unwrap(), b"12345678");
        }
        assert!(!good.is_damaged());
        let bad = of(b"12345679");
        assert_eq!(read(&bad).unwrap_err().kind(), io::ErrorKind::InvalidData);
        assert!(bad.is_damaged());
    }
}
