//! Reads an archive entry by entry from a stream.

use std::io::{BufRead, ErrorKind};

use super::LayerError;
use super::entry::{BLOCK, Entry, Header, Kind, until_nul};
use super::pax::Pax;
use super::sparse::{DataMap, PaxForm, Sparse, gnu_segments, pax_form};

/// Most bytes of one extended header or long name, as Go's reader allows.
const MAX_EXTENSION: u64 = 1 << 20;

/// An archive on a buffered stream. `next` gives an entry; its bytes are taken with `chunk` and
/// `consume`, what is left of them is skipped by the following `next`.
pub(crate) struct Archive<R> {
    stream: R,
    body: u64,
    padding: u64,
}

impl<R: BufRead> Archive<R> {
    pub(crate) fn new(stream: R) -> Self {
        Archive { stream, body: 0, padding: 0 }
    }

    /// The next entry; `None` at the end mark, or where the stream ends between entries.
    pub(crate) fn next(&mut self) -> Result<Option<Entry>, LayerError> {
        let mut pax: Option<Pax> = None;
        let (mut long_name, mut long_link) = (None, None);
        loop {
            self.skip_rest()?;
            let Some(block) = self.block()? else {
                return self.end(pax.is_some() || long_name.is_some() || long_link.is_some());
            };
            if block.iter().all(|b| *b == 0) {
                return match self.block()? {
                    Some(second) if second.iter().any(|b| *b != 0) => {
                        Err(LayerError::malformed("data after a block of zeros"))
                    }
                    _ => Ok(None),
                };
            }
            let header = Header::new(&block)?;
            match header.flag() {
                b'x' => pax = Some(Pax::parse(&self.extension(&header)?)?),
                b'L' => long_name = Some(until_nul(&self.extension(&header)?).to_vec()),
                b'K' => long_link = Some(until_nul(&self.extension(&header)?).to_vec()),
                // Global records do not reach the entries: they would change files at a distance.
                b'g' => self.begin(header.size()?)?,
                _ => {
                    let pax = pax.take().unwrap_or_default();
                    let mut entry = header.entry(&pax, long_name.take(), long_link.take())?;
                    self.begin(entry.stored)?;
                    self.find_holes(&header, &pax, &mut entry)?;
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Bytes of the current entry that are at hand; empty at its end.
    pub(crate) fn chunk(&mut self) -> Result<&[u8], LayerError> {
        if self.body == 0 {
            return Ok(&[]);
        }
        let chunk = fill(&mut self.stream)?;
        if chunk.is_empty() {
            return Err(cut_short());
        }
        let n = chunk.len().min(usize::try_from(self.body).unwrap_or(usize::MAX));
        Ok(&chunk[..n])
    }

    /// Takes `n` bytes of the last chunk.
    pub(crate) fn consume(&mut self, n: usize) {
        self.stream.consume(n);
        self.body -= n as u64;
    }

    /// Gives the stream back, for what follows the end mark.
    pub(crate) fn into_inner(self) -> R {
        self.stream
    }

    fn end(&self, dangling: bool) -> Result<Option<Entry>, LayerError> {
        if dangling { Err(cut_short()) } else { Ok(None) }
    }

    fn begin(&mut self, size: u64) -> Result<(), LayerError> {
        if size > i64::MAX.cast_unsigned() {
            return Err(LayerError::malformed("entry size out of range"));
        }
        self.body = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
        Ok(())
    }

    fn skip_rest(&mut self) -> Result<(), LayerError> {
        let mut left = self.body + self.padding;
        (self.body, self.padding) = (0, 0);
        while left > 0 {
            let at_hand = fill(&mut self.stream)?.len();
            if at_hand == 0 {
                return Err(cut_short());
            }
            let n = at_hand.min(usize::try_from(left).unwrap_or(usize::MAX));
            self.stream.consume(n);
            left -= n as u64;
        }
        Ok(())
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, LayerError> {
        let mut block = [0u8; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            match self.stream.read(&mut block[have..]) {
                Ok(0) if have == 0 => return Ok(None),
                Ok(0) => return Err(cut_short()),
                Ok(n) => have += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(LayerError::Read(e)),
            }
        }
        Ok(Some(block))
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, LayerError> {
        let size = header.size()?;
        if size > MAX_EXTENSION {
            return Err(LayerError::Limit { what: "bytes in an extended header", limit: MAX_EXTENSION });
        }
        self.begin(size)?;
        let mut out = Vec::with_capacity(usize::try_from(size).unwrap_or(0));
        while self.body > 0 {
            let chunk = self.chunk()?;
            out.extend_from_slice(chunk);
            let n = chunk.len();
            self.consume(n);
        }
        Ok(out)
    }

    fn find_holes(&mut self, header: &Header, pax: &Pax, entry: &mut Entry) -> Result<(), LayerError> {
        if entry.kind != Kind::File {
            return Ok(());
        }
        if header.flag() == b'S' {
            return self.old_gnu_map(header, entry);
        }
        let segments = match pax_form(pax)? {
            PaxForm::None => return Ok(()),
            PaxForm::InHeader(segments) => segments,
            PaxForm::InData => self.data_map()?,
        };
        if let Some(name) = pax.get("GNU.sparse.name") {
            entry.name = name.to_vec();
        }
        let size = match pax.number("GNU.sparse.realsize")? {
            Some(n) => Some(n),
            None => pax.number("GNU.sparse.size")?,
        };
        let size = size.ok_or_else(|| LayerError::malformed("sparse file without a size"))?;
        entry.stored = self.body;
        entry.sparse = Some(Sparse::new(segments, size, self.body)?);
        Ok(())
    }

    fn old_gnu_map(&mut self, header: &Header, entry: &mut Entry) -> Result<(), LayerError> {
        let gnu = header.gnu().ok_or_else(|| LayerError::malformed("sparse file outside the GNU dialect"))?;
        let size = super::entry::number(&gnu.realsize).and_then(|n| u64::try_from(n).ok());
        let size = size.ok_or_else(|| LayerError::malformed("broken realsize field"))?;
        let mut segments = Vec::new();
        let mut fields = Vec::with_capacity(96);
        for field in &gnu.sparse {
            fields.extend_from_slice(&field.offset);
            fields.extend_from_slice(&field.numbytes);
        }
        gnu_segments(&mut segments, &fields)?;
        let mut more = gnu.isextended[0] != 0;
        while more {
            // These blocks stand between header and data and do not count as stored bytes.
            let block = self.block()?.ok_or_else(cut_short)?;
            gnu_segments(&mut segments, &block[..504])?;
            more = block[504] != 0;
        }
        entry.sparse = Some(Sparse::new(segments, size, self.body)?);
        Ok(())
    }

    fn data_map(&mut self) -> Result<Vec<(u64, u64)>, LayerError> {
        let mut map = DataMap::default();
        loop {
            if self.body < BLOCK as u64 {
                return Err(LayerError::malformed("broken sparse map"));
            }
            let block = self.block()?.ok_or_else(cut_short)?;
            self.body -= BLOCK as u64;
            if let Some(segments) = map.feed(&block)? {
                return Ok(segments);
            }
        }
    }
}

fn fill<R: BufRead>(stream: &mut R) -> Result<&[u8], LayerError> {
    // A loop around `fill_buf` that returns its borrow is not accepted, so ask twice.
    loop {
        match stream.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == ErrorKind::Interrupted => {}
            Err(e) => return Err(LayerError::Read(e)),
        }
    }
    stream.fill_buf().map_err(LayerError::Read)
}

fn cut_short() -> LayerError {
    LayerError::malformed("archive is cut short")
}
