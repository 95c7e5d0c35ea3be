//! Bytes of a manifest or blob, from the first host that gives them, with resume.

use std::sync::Arc;
use std::time::Duration;

use base::oci::media_type;
use base::{Descriptor, Digest};
use bytes::{Bytes, BytesMut};
use http::{Method, StatusCode, Uri, header};
use tokio::time::sleep;

use super::answer::Answer;
use super::error::{Attempt, Failure, RegistryError};
use super::hosts::Capabilities;
use super::location;
use super::request::Host;
use super::resolver::{MAX_MANIFEST_SIZE, Repository};

/// Broken connections in a row, without much gained in between, that are put up with.
const MAX_BREAKS: u32 = 5;
/// Bytes that count as progress: after them broken connections are forgiven.
const PROGRESS: u64 = 1 << 20;

/// One place that may have the content.
struct Place {
    host: Arc<Host>,
    url: Uri,
    scopes: Vec<String>,
}

/// The bytes of one descriptor from an offset on. Never gives more than the descriptor's size; the
/// digest is for the reader to check.
///
/// A connection that breaks or goes silent is replaced by one that continues (`Range`), at the same
/// host or the next, a bounded number of times. Reading is cancel-safe.
pub struct BlobStream {
    subject: String,
    accept: String,
    places: Vec<Place>,
    /// The place in use.
    current: usize,
    size: u64,
    /// Where to stop; beyond it, nothing is asked for if the host serves ranges.
    end: u64,
    offset: u64,
    answer: Option<Answer>,
    /// Bytes still to be thrown away: the host ignored the range.
    skip: u64,
    breaks: u32,
    last_break: u64,
    attempts: Vec<Attempt>,
}

impl Repository {
    /// The content of `descriptor` from `offset` on. Nothing is sent before the first read.
    ///
    /// Errors: an impossible size, or no host that may be asked.
    pub fn fetch(&self, descriptor: &Descriptor, offset: u64) -> Result<BlobStream, RegistryError> {
        let subject =
            format!("could not fetch content descriptor {} ({})", descriptor.digest, descriptor.media_type);
        let size =
            u64::try_from(descriptor.size).ok().filter(|s| *s > 0 && *s >= offset).ok_or_else(|| {
                RegistryError::Descriptor(format!(
                    "unable to fetch descriptor ({}) of size {} from {offset} on",
                    descriptor.digest, descriptor.size
                ))
            })?;
        let mut places = self.alternatives(descriptor)?;
        let is_manifest =
            media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type);
        let path = self.path(if is_manifest { "manifests" } else { "blobs" }, descriptor.digest.as_str());
        let mut attempts = Vec::new();
        for host in self.hosts_for("pull", Capabilities::PULL)? {
            match host.url(&path) {
                Ok(url) => places.push(Place { host, url, scopes: self.scopes(false) }),
                Err(failure) => attempts.push(Attempt { host: host.config.host.clone(), failure }),
            }
        }
        let accept = match descriptor.media_type.as_str() {
            "" => "*/*".to_owned(),
            kind => format!("{kind}, */*"),
        };
        Ok(BlobStream {
            subject,
            accept,
            places,
            current: 0,
            size,
            end: size,
            offset,
            answer: None,
            skip: 0,
            breaks: 0,
            last_break: offset,
            attempts,
        })
    }

    /// The bytes of a manifest or index, with the right digest; a host that gives others is passed over.
    ///
    /// Errors: larger than [`MAX_MANIFEST_SIZE`], or no host gives it.
    pub async fn document(&self, descriptor: &Descriptor) -> Result<Bytes, RegistryError> {
        if descriptor.size.unsigned_abs() > MAX_MANIFEST_SIZE {
            let text = format!("rejecting {} byte manifest {}", descriptor.size, descriptor.digest);
            return Err(RegistryError::Descriptor(text));
        }
        let mut stream = self.fetch(descriptor, 0)?;
        loop {
            let mut bytes = BytesMut::new();
            while let Some(chunk) = stream.next().await? {
                bytes.extend_from_slice(&chunk);
            }
            if descriptor.digest.verifies(&bytes) {
                return Ok(bytes.freeze());
            }
            let found = Digest::of(descriptor.digest.algorithm(), &bytes);
            if !stream.restart_elsewhere(found.as_str()) {
                return Err(stream.failed());
            }
        }
    }

    /// The descriptor's own URLs. They are asked without any credential, header or certificate of ours.
    fn alternatives(&self, descriptor: &Descriptor) -> Result<Vec<Place>, RegistryError> {
        let mut places = Vec::new();
        for url in descriptor.urls.iter().take(8).filter_map(|u| location::check(u)) {
            let host = Host::anonymous(&url, &self.shared)?;
            places.push(Place { host: Arc::new(host), url, scopes: Vec::new() });
        }
        Ok(places)
    }
}

impl BlobStream {
    /// Where the next bytes belong.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The descriptor's size.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Asks for no more than what is before `end`. Call it before the first read. A host that does not
    /// serve ranges sends all the same: then [`BlobStream::end`] is the size, and so much is given.
    pub fn stop_at(&mut self, end: u64) {
        self.end = end.clamp(self.offset, self.size);
    }

    /// Where the stream ends; known for sure after the first read.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Starts again from the beginning at the next place: what came so far has the wrong digest.
    /// `false`: there is no other place.
    pub fn restart_elsewhere(&mut self, found: &str) -> bool {
        let failure = Failure::BadAnswer {
            url: self.places.get(self.current).map(|p| location::redacted(&p.url)).unwrap_or_default(),
            problem: format!("its content has the digest {found}"),
        };
        self.give_up_place(failure);
        (self.offset, self.skip, self.last_break) = (0, 0, 0);
        self.current < self.places.len()
    }

    /// The error with every place that was tried.
    pub fn failed(&mut self) -> RegistryError {
        RegistryError::Hosts {
            subject: std::mem::take(&mut self.subject),
            attempts: std::mem::take(&mut self.attempts),
        }
    }

    /// The next piece, `None` at the end of the content.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.offset == self.end {
                // Whatever else the host sends is nobody's business.
                self.answer = None;
                return Ok(None);
            }
            let Some(answer) = &mut self.answer else {
                self.open().await?;
                continue;
            };
            match answer.chunk().await {
                Ok(Some(chunk)) => {
                    let skipped = self.skip.min(chunk.len() as u64);
                    self.skip -= skipped;
                    let wanted = (chunk.len() as u64 - skipped).min(self.end - self.offset);
                    if wanted > 0 {
                        self.offset += wanted;
                        return Ok(Some(chunk.slice(skipped as usize..(skipped + wanted) as usize)));
                    }
                }
                Ok(None) => {
                    let failure = answer.bad(format!("ends after {} of {} bytes", self.offset, self.end));
                    self.broke(failure).await?;
                }
                Err(failure) => self.broke(failure).await?,
            }
        }
    }

    /// A connection ended too early: continue here, or elsewhere when that happens too often.
    async fn broke(&mut self, failure: Failure) -> Result<(), RegistryError> {
        self.answer = None;
        if self.offset >= self.last_break + PROGRESS {
            self.breaks = 0;
        }
        self.last_break = self.offset;
        self.breaks += 1;
        tracing::debug!(subject = self.subject, offset = self.offset, %failure, "connection broke, resuming");
        if self.breaks > MAX_BREAKS {
            self.give_up_place(failure);
            return Ok(());
        }
        sleep(Duration::from_millis(50 << self.breaks)).await;
        Ok(())
    }

    fn give_up_place(&mut self, failure: Failure) {
        self.answer = None;
        self.breaks = 0;
        if let Some(place) = self.places.get(self.current) {
            self.attempts.push(Attempt { host: place.host.config.host.clone(), failure });
        }
        self.current += 1;
    }

    /// Opens a connection at the current place or at the first one after it that answers well.
    async fn open(&mut self) -> Result<(), RegistryError> {
        while let Some(place) = self.places.get(self.current) {
            let last = self.current + 1 == self.places.len();
            let mut call = place
                .host
                .call_url(Method::GET, place.url.clone(), &place.scopes)
                .header(header::ACCEPT, &self.accept)
                .header(header::ACCEPT_ENCODING, "identity")
                .last_host(last);
            if self.end < self.size {
                call = call.header(header::RANGE, format!("bytes={}-{}", self.offset, self.end - 1));
            } else if self.offset > 0 {
                call = call.header(header::RANGE, format!("bytes={}-", self.offset));
            }
            let outcome = match call.send().await {
                Ok(answer) => accept(answer, self.offset, self.end, self.size).await,
                Err(failure) => Err(failure),
            };
            match outcome {
                Ok((answer, skip)) => {
                    if answer.status != StatusCode::PARTIAL_CONTENT {
                        self.end = self.size;
                    }
                    self.answer = Some(answer);
                    self.skip = skip;
                    return Ok(());
                }
                Err(failure) => self.give_up_place(failure),
            }
        }
        Err(self.failed())
    }
}

/// Checks the head of an answer against what was asked. Gives the bytes to skip as well.
async fn accept(answer: Answer, offset: u64, end: u64, size: u64) -> Result<(Answer, u64), Failure> {
    if !answer.status.is_success() {
        return Err(answer.into_failure().await);
    }
    if let Some(encoding) =
        answer.header(header::CONTENT_ENCODING).filter(|e| !e.is_empty() && *e != "identity")
    {
        return Err(answer.bad(format!("unsupported Content-Encoding {encoding:?}, identity was asked for")));
    }
    let partial = answer.status == StatusCode::PARTIAL_CONTENT;
    let (start, end) = if partial { (offset, end) } else { (0, size) };
    if partial {
        check_range(&answer, offset, size)?;
    }
    match answer.content_length() {
        Some(length) if length != end - start => {
            Err(answer.bad(format!("announces {length} bytes where the descriptor leaves {}", end - start)))
        }
        _ => Ok((answer, offset - start)),
    }
}

fn check_range(answer: &Answer, offset: u64, size: u64) -> Result<(), Failure> {
    let Some(range) = answer.header(header::CONTENT_RANGE) else { return Ok(()) };
    let fits = range.strip_prefix("bytes ").and_then(|r| r.split_once('/')).is_some_and(|(span, total)| {
        let start = span.split_once('-').and_then(|(s, _)| s.trim().parse::<u64>().ok());
        start == Some(offset) && (total == "*" || total.trim().parse() == Ok(size))
    });
    match fits {
        true => Ok(()),
        false => Err(answer.bad(format!("unhandled content range in response: {range:?}"))),
    }
}
