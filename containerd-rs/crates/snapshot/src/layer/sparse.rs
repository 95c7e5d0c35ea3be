//! Files with holes: the old GNU form and the pax forms 0.0, 0.1 and 1.0.

use super::LayerError;
use super::entry::{BLOCK, number};
use super::pax::{Pax, decimal};

/// Most segments of one file; a map bigger than this is an attack.
const MAX_SEGMENTS: usize = 1 << 20;

/// Where the stored bytes of a file with holes go.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Sparse {
    /// Offset and length, in order, not overlapping.
    pub(crate) segments: Vec<(u64, u64)>,
    /// Size of the file with its holes.
    pub(crate) size: u64,
}

impl Sparse {
    /// Checks a map against the size of the file and the bytes that are stored for it.
    pub(crate) fn new(segments: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<Self, LayerError> {
        let bad = || LayerError::malformed("broken sparse map");
        let (mut end, mut sum) = (0u64, 0u64);
        for (offset, length) in &segments {
            if *offset < end {
                return Err(bad());
            }
            end = offset.checked_add(*length).filter(|e| *e <= size).ok_or_else(bad)?;
            sum += length;
        }
        if sum != stored || size > i64::MAX.cast_unsigned() {
            return Err(bad());
        }
        Ok(Sparse { segments, size })
    }
}

/// Adds the segments of one run of 24-byte fields; whether the run was full.
pub(crate) fn gnu_segments(out: &mut Vec<(u64, u64)>, fields: &[u8]) -> Result<(), LayerError> {
    for field in fields.as_chunks::<24>().0 {
        if field[0] == 0 {
            return Ok(());
        }
        push(out, number(&field[..12]), number(&field[12..]))?;
    }
    Ok(())
}

fn push(out: &mut Vec<(u64, u64)>, offset: Option<i64>, length: Option<i64>) -> Result<(), LayerError> {
    let unsigned = |n: Option<i64>| n.and_then(|n| u64::try_from(n).ok());
    match (unsigned(offset), unsigned(length)) {
        (Some(offset), Some(length)) if out.len() < MAX_SEGMENTS => {
            out.push((offset, length));
            Ok(())
        }
        _ => Err(LayerError::malformed("broken sparse map")),
    }
}

/// The pax form that a header asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PaxForm {
    /// No holes.
    None,
    /// The map is in the header (0.0 and 0.1).
    InHeader(Vec<(u64, u64)>),
    /// The map stands before the data (1.0).
    InData,
}

/// Which pax form a header uses, its map when it has one, the real size and name.
pub(crate) fn pax_form(pax: &Pax) -> Result<PaxForm, LayerError> {
    let version = (pax.get("GNU.sparse.major"), pax.get("GNU.sparse.minor"));
    match version {
        (Some(b"1"), Some(b"0")) => return Ok(PaxForm::InData),
        (None, None) | (Some(b"0"), Some(b"0" | b"1")) => {}
        _ => return Ok(PaxForm::None),
    }
    if let Some(map) = pax.get("GNU.sparse.map") {
        let numbers: Option<Vec<u64>> = map.split(|b| *b == b',').map(decimal).collect();
        let numbers = numbers.ok_or_else(|| LayerError::malformed("broken sparse map"))?;
        return pairs(&numbers).map(PaxForm::InHeader);
    }
    if pax.number("GNU.sparse.numblocks")?.is_some() {
        return pairs(&pax.sparse_pairs).map(PaxForm::InHeader);
    }
    Ok(PaxForm::None)
}

fn pairs(numbers: &[u64]) -> Result<Vec<(u64, u64)>, LayerError> {
    let (pairs, rest) = numbers.as_chunks::<2>();
    if !rest.is_empty() || pairs.len() > MAX_SEGMENTS {
        return Err(LayerError::malformed("broken sparse map"));
    }
    Ok(pairs.iter().map(|[offset, length]| (*offset, *length)).collect())
}

/// Collects the 1.0 map: a count, then offset and length of each segment, one decimal per line,
/// padded to whole blocks. Feed it blocks until it answers.
#[derive(Default)]
pub(crate) struct DataMap {
    text: Vec<u8>,
    lines: usize,
    wanted: Option<usize>,
}

impl DataMap {
    /// Takes the next block; the map when it is complete.
    pub(crate) fn feed(&mut self, block: &[u8; BLOCK]) -> Result<Option<Vec<(u64, u64)>>, LayerError> {
        let bad = || LayerError::malformed("broken sparse map");
        self.text.extend_from_slice(block);
        self.lines += block.iter().filter(|b| **b == b'\n').count();
        if self.wanted.is_none()
            && let Some(end) = self.text.iter().position(|b| *b == b'\n')
        {
            let count = decimal(&self.text[..end]).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
            if count > MAX_SEGMENTS {
                return Err(bad());
            }
            self.wanted = Some(1 + 2 * count);
        }
        match self.wanted {
            Some(wanted) if self.lines >= wanted => {
                let numbers: Option<Vec<u64>> =
                    self.text.split(|b| *b == b'\n').skip(1).take(wanted - 1).map(decimal).collect();
                pairs(&numbers.ok_or_else(bad)?).map(Some)
            }
            // A line is at most 20 digits; a first block without one is no map.
            None => Err(bad()),
            Some(_) => Ok(None),
        }
    }
}
