//! Reads a tar stream that may be compressed, on a thread that may block.
//!
//! ```text
//!  channel of bytes --> gunzip/unzstd --> entries --> channel of pieces
//! ```
//! Only what a layout has is looked at: regular files and links. Names and links are capped; sizes
//! are the stream's, so memory does not depend on what an archive claims.

use std::io::{self, BufRead, BufReader, Read};

use bytes::Bytes;
use tar::{EntryType, Header};
use tokio::sync::mpsc;

const BLOCK: usize = 512;
/// Longest extended header or long name.
const MAX_EXTENSION: u64 = 1 << 20;
/// Most entries of an archive.
const MAX_ENTRIES: usize = 200_000;
/// Bytes after the end mark that are taken and thrown away.
const MAX_PADDING: u64 = 64 << 20;
/// Bytes given on at once.
const CHUNK: usize = 128 << 10;

/// A part of an archive.
#[derive(Debug)]
pub(super) enum Piece {
    /// A regular file begins.
    File { name: String, size: u64 },
    /// Bytes of it.
    Data(Bytes),
    /// A symbolic or hard link.
    Link { name: String, target: String },
}

/// What follows the end mark of an archive.
type Rest = BufReader<Box<dyn Read>>;

/// Starts reading. The thread ends with the archive, or when either channel is closed.
pub(super) fn start(source: mpsc::Receiver<io::Result<Bytes>>) -> mpsc::Receiver<io::Result<Piece>> {
    let (sender, pieces) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        match read(source, &sender) {
            Ok(rest) => {
                drop(sender);
                // Whoever writes the archive may still be padding it, and should not see a broken pipe.
                let _ = io::copy(&mut rest.take(MAX_PADDING), &mut io::sink());
            }
            // A receiver that is gone does not want to know.
            Err(e) => drop(sender.blocking_send(Err(e))),
        }
    });
    pieces
}

fn bad(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

/// Turns the channel into a stream.
struct Incoming {
    source: mpsc::Receiver<io::Result<Bytes>>,
    chunk: Bytes,
}

impl Read for Incoming {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.chunk.is_empty() {
            match self.source.blocking_recv() {
                None => return Ok(0),
                Some(chunk) => self.chunk = chunk?,
            }
        }
        let n = self.chunk.len().min(buffer.len());
        buffer[..n].copy_from_slice(&self.chunk.split_to(n));
        Ok(n)
    }
}

fn read(
    source: mpsc::Receiver<io::Result<Bytes>>,
    pieces: &mpsc::Sender<io::Result<Piece>>,
) -> io::Result<Rest> {
    let mut raw = BufReader::with_capacity(64 << 10, Incoming { source, chunk: Bytes::new() });
    let head = peek(&mut raw)?;
    let stream: Box<dyn Read> = match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(raw)),
        [0x28, 0xb5, 0x2f, 0xfd] => Box::new(zstd::stream::read::Decoder::with_buffer(raw)?),
        _ => Box::new(raw),
    };
    let mut entries = Entries { stream: BufReader::with_capacity(64 << 10, stream), pieces };
    entries.all()?;
    Ok(entries.stream)
}

/// The first four bytes, left in the stream.
fn peek(raw: &mut BufReader<Incoming>) -> io::Result<[u8; 4]> {
    let mut head = [0; 4];
    let at_hand = raw.fill_buf()?;
    if at_hand.len() >= 4 {
        head.copy_from_slice(&at_hand[..4]);
        return Ok(head);
    }
    // A first chunk this small: put it and what follows together.
    let mut joined = at_hand.to_vec();
    raw.consume(joined.len());
    while joined.len() < 4 {
        let more = raw.fill_buf()?.to_vec();
        if more.is_empty() {
            break;
        }
        raw.consume(more.len());
        joined.extend_from_slice(&more);
    }
    let n = joined.len().min(4);
    head[..n].copy_from_slice(&joined[..n]);
    let incoming = raw.get_mut();
    joined.extend_from_slice(&incoming.chunk);
    incoming.chunk = joined.into();
    Ok(head)
}

struct Entries<'a> {
    stream: Rest,
    pieces: &'a mpsc::Sender<io::Result<Piece>>,
}

/// What extended headers say about the next entry.
#[derive(Default)]
struct Extended {
    name: Option<String>,
    link: Option<String>,
    size: Option<u64>,
}

impl Entries<'_> {
    fn all(&mut self) -> io::Result<()> {
        let mut extended = Extended::default();
        for _ in 0..MAX_ENTRIES {
            let Some(header) = self.header()? else { return Ok(()) };
            let kind = header.entry_type();
            let size = header.entry_size().map_err(|_| bad("broken size of an entry"))?;
            match kind {
                EntryType::GNULongName => extended.name = Some(self.long(size)?),
                EntryType::GNULongLink => extended.link = Some(self.long(size)?),
                EntryType::XHeader => self.pax(size, &mut extended)?,
                EntryType::XGlobalHeader => self.skip(size)?,
                _ => {
                    let said = std::mem::take(&mut extended);
                    self.entry(&header, kind, said, size)?;
                }
            }
        }
        Err(bad(format!("more than {MAX_ENTRIES} entries")))
    }

    /// The next header; `None` at the end mark or the end of the stream.
    fn header(&mut self) -> io::Result<Option<Header>> {
        let mut header = Header::new_old();
        let block = header.as_mut_bytes();
        let mut have = 0;
        while have < BLOCK {
            match self.stream.read(&mut block[have..])? {
                0 if have == 0 => return Ok(None),
                0 => return Err(bad("archive is cut short")),
                n => have += n,
            }
        }
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let sum: u32 = block
            .iter()
            .enumerate()
            .map(|(n, b)| if (148..156).contains(&n) { 32 } else { u32::from(*b) })
            .sum();
        match header.cksum() {
            Ok(said) if said == sum => Ok(Some(header)),
            _ => Err(bad("not a tar archive: wrong checksum of a header")),
        }
    }

    fn entry(&mut self, header: &Header, kind: EntryType, said: Extended, size: u64) -> io::Result<()> {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| bad("name of an entry is not UTF-8"))
        };
        let name = match said.name {
            Some(name) => name,
            None => text(&header.path_bytes())?,
        };
        let size = said.size.unwrap_or(size);
        match kind {
            EntryType::Regular | EntryType::Continuous => {
                self.give(Piece::File { name: clean(&name), size })?;
                self.body(size, |entries, chunk| entries.give(Piece::Data(chunk)))
            }
            EntryType::Symlink | EntryType::Link => {
                let target = match said.link {
                    Some(link) => link,
                    None => text(&header.link_name_bytes().unwrap_or_default())?,
                };
                let target = match kind {
                    EntryType::Symlink if !target.starts_with('/') => {
                        format!(
                            "{}/{target}",
                            name.trim_end_matches('/').rsplit_once('/').map_or("", |(dir, _)| dir)
                        )
                    }
                    _ => target,
                };
                self.give(Piece::Link { name: clean(&name), target: clean(&target) })?;
                self.skip(size)
            }
            // Directories, devices, pipes: nothing a layout needs.
            _ => self.skip(size),
        }
    }

    fn give(&self, piece: Piece) -> io::Result<()> {
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::Error::other("import was given up"))
    }

    /// Reads the bytes of an entry and its padding.
    fn body(
        &mut self,
        size: u64,
        mut each: impl FnMut(&mut Self, Bytes) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut left = size;
        while left > 0 {
            let mut chunk = vec![0; left.min(CHUNK as u64) as usize];
            self.stream.read_exact(&mut chunk).map_err(cut_short)?;
            left -= chunk.len() as u64;
            each(self, chunk.into())?;
        }
        let padding =
            size.checked_next_multiple_of(BLOCK as u64).ok_or_else(|| bad("size out of range"))? - size;
        self.stream.read_exact(&mut [0; BLOCK][..padding as usize]).map_err(cut_short)
    }

    fn skip(&mut self, size: u64) -> io::Result<()> {
        self.body(size, |_, _| Ok(()))
    }

    fn extension(&mut self, size: u64) -> io::Result<Vec<u8>> {
        if size > MAX_EXTENSION {
            return Err(bad(format!("extended header of {size} bytes")));
        }
        let mut all = Vec::new();
        self.body(size, |_, chunk| {
            all.extend_from_slice(&chunk);
            Ok(())
        })?;
        Ok(all)
    }

    fn long(&mut self, size: u64) -> io::Result<String> {
        let mut bytes = self.extension(size)?;
        bytes.truncate(bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len()));
        String::from_utf8(bytes).map_err(|_| bad("name of an entry is not UTF-8"))
    }

    fn pax(&mut self, size: u64, said: &mut Extended) -> io::Result<()> {
        let body = self.extension(size)?;
        let mut rest = body.as_slice();
        while !rest.is_empty() {
            let space =
                rest.iter().take(20).position(|b| *b == b' ').ok_or_else(|| bad("broken pax record"))?;
            let length = std::str::from_utf8(&rest[..space]).ok().and_then(|l| l.parse::<usize>().ok());
            let record = length
                .filter(|l| *l > space + 1)
                .and_then(|l| rest.get(..l))
                .ok_or_else(|| bad("broken pax record"))?;
            rest = &rest[record.len()..];
            let text = std::str::from_utf8(&record[space + 1..]).unwrap_or_default().trim_end_matches('\n');
            match text.split_once('=') {
                Some(("path", value)) => said.name = Some(value.to_owned()),
                Some(("linkpath", value)) => said.link = Some(value.to_owned()),
                Some(("size", value)) => {
                    said.size = Some(value.parse().map_err(|_| bad("broken size in a pax record"))?)
                }
                Some((key, _)) if key.starts_with("GNU.sparse.") => {
                    return Err(bad("sparse files are not supported in image archives"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

fn cut_short(e: io::Error) -> io::Error {
    match e.kind() {
        io::ErrorKind::UnexpectedEof => bad("archive is cut short"),
        _ => e,
    }
}

/// The path without `.`, `..`, doubled and leading slashes. It only ever names things in the archive.
pub(super) fn clean(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    async fn pieces(bytes: Vec<u8>, step: usize) -> io::Result<Vec<(String, String)>> {
        let (sender, source) = mpsc::channel(2);
        let chunks: Vec<Bytes> = bytes.chunks(step).map(Bytes::copy_from_slice).collect();
        tokio::spawn(async move {
            for chunk in chunks {
                if sender.send(Ok(chunk)).await.is_err() {
                    return;
                }
            }
        });
        let mut found: Vec<(String, String)> = Vec::new();
        let mut pieces = start(source);
        while let Some(piece) = pieces.recv().await {
            match piece? {
                Piece::File { name, .. } => found.push((name, String::new())),
                Piece::Data(data) => {
                    found.last_mut().unwrap().1.push_str(std::str::from_utf8(&data).unwrap())
                }
                Piece::Link { name, target } => found.push((name, format!("-> {target}"))),
            }
        }
        Ok(found)
    }

    fn sample() -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        let mut add = |name: &str, data: &[u8]| {
            let mut header = Header::new_gnu();
            header.set_size(data.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, data).unwrap();
        };
        add("./a/b", b"hello");
        add(&format!("long/{}", "x".repeat(200)), b"world");
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, "c/link", "../a/b").unwrap();
        builder.into_inner().unwrap()
    }

    #[tokio::test]
    async fn plain_and_compressed() {
        use std::io::Write;
        let plain = sample();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gz.write_all(&plain).unwrap();
        let zst = zstd::encode_all(&plain[..], 1).unwrap();
        for bytes in [plain, gz.finish().unwrap(), zst] {
            for step in [1, 3, 1000, 1 << 20] {
                let found = pieces(bytes.clone(), step).await.unwrap();
                assert_eq!(found[0], ("a/b".to_owned(), "hello".to_owned()));
                assert_eq!(found[1].0.len(), 205);
                assert_eq!(found[1].1, "world");
                assert_eq!(found[2], ("c/link".to_owned(), "-> a/b".to_owned()));
            }
        }
    }

    #[tokio::test]
    async fn hostile_archives_end_in_errors() {
        let good = sample();
        let mut huge_name = Header::new_gnu();
        huge_name.set_entry_type(EntryType::GNULongName);
        huge_name.set_size(1 << 40);
        huge_name.set_cksum();
        let mut huge_file = Header::new_gnu();
        huge_file.set_path("x").unwrap();
        huge_file.set_size(u64::MAX / 2);
        huge_file.set_cksum();
        let mut flipped = good.clone();
        flipped[0] ^= 1;
        for (what, bytes) in [
            ("cut", good[..700].to_vec()),
            ("no tar", b"x".repeat(2000)),
            ("long name", huge_name.as_bytes().to_vec()),
            ("huge file", huge_file.as_bytes().to_vec()),
            ("checksum", flipped),
            ("cut gzip", vec![0x1f, 0x8b, 8, 0, 0]),
            ("cut zstd", vec![0x28, 0xb5, 0x2f, 0xfd, 0]),
        ] {
            assert!(pieces(bytes, 100).await.is_err(), "{what}");
        }
        assert!(pieces(Vec::new(), 1).await.unwrap().is_empty());
    }
}
