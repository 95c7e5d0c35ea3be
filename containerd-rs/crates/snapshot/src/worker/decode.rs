//! Plain bytes out of a layer, however it is packed.

use std::io::{self, BufRead, BufReader, Cursor, Read};

use super::job::Packing;

/// Bytes that tell a packing: enough for the longest mark.
const MARK: usize = 4;
/// Bytes asked of the source at a time.
const READ: usize = 256 * 1024;

/// A reader of the plain bytes of `source`.
pub(crate) fn plain<'a>(
    mut source: impl Read + Send + 'a,
    packing: Packing,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    if packing == Packing::Plain {
        return Ok(Box::new(source));
    }
    let mut mark = Vec::with_capacity(MARK);
    source.by_ref().take(MARK as u64).read_to_end(&mut mark)?;
    let gzip = mark.starts_with(&[0x1f, 0x8b, 0x08]);
    let zstd = is_zstd(&mark);
    let whole = BufReader::with_capacity(READ, Cursor::new(mark).chain(source));
    if gzip {
        return Ok(Box::new(flate2::bufread::MultiGzDecoder::new(whole)));
    }
    if zstd {
        return Ok(Box::new(zstd::stream::read::Decoder::with_buffer(EndsCleanly(whole))?));
    }
    Ok(Box::new(whole))
}

/// A frame, or one of the frames that are to be skipped.
fn is_zstd(mark: &[u8]) -> bool {
    match mark.first_chunk::<4>().map(|m| u32::from_le_bytes(*m)) {
        Some(0xfd2f_b528) => true,
        Some(skippable) => skippable & 0xffff_fff0 == 0x184d_2a50,
        None => false,
    }
}

/// Interrupted reads are tried again: the zstd decoder hands them on.
struct EndsCleanly<R>(R);

impl<R: Read> Read for EndsCleanly<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.0.read(buf) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}

impl<R: BufRead> BufRead for EndsCleanly<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.0.fill_buf()
    }
    fn consume(&mut self, n: usize) {
        self.0.consume(n);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn decode(bytes: &[u8], packing: Packing) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        plain(bytes, packing)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn every_packing() {
        let body = b"some bytes ".repeat(100_000);
        let parts = [gzip(b"one "), gzip(b"two")].concat();
        let frames =
            [zstd::encode_all(&b"one "[..], 3).unwrap(), zstd::encode_all(&b"two"[..], 3).unwrap()].concat();
        let skippable = [&0x184d_2a53u32.to_le_bytes()[..], &3u32.to_le_bytes(), b"xyz", &frames].concat();
        for (packed, wanted) in [
            (gzip(&body), body.clone()),
            (zstd::encode_all(&body[..], 3).unwrap(), body.clone()),
            (body.clone(), body.clone()),
            (parts, b"one two".to_vec()),
            (frames, b"one two".to_vec()),
            (skippable, b"one two".to_vec()),
            (b"ab".to_vec(), b"ab".to_vec()),
            (Vec::new(), Vec::new()),
        ] {
            assert!(decode(&packed, Packing::Detect).unwrap() == wanted);
            assert!(decode(&packed, Packing::Plain).unwrap() == packed);
        }
    }

    #[test]
    fn broken_bytes_are_errors() {
        let packed = gzip(&b"some bytes ".repeat(1000));
        let mut bad_sum = packed.clone();
        let at = bad_sum.len() - 6;
        bad_sum[at] ^= 1;
        let frame = zstd::encode_all(&b"some bytes ".repeat(1000)[..], 3).unwrap();
        for broken in
            [&packed[..packed.len() / 2], &packed[..packed.len() - 4], &bad_sum, &frame[..frame.len() - 2]]
        {
            assert!(decode(broken, Packing::Detect).is_err());
        }
    }
}
