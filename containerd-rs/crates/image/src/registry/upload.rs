//! Uploading manifests and blobs.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use base::oci::media_type;
use base::{Descriptor, Digest};
use bytes::Bytes;
use http::{HeaderValue, Method, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::task::JoinHandle;

use super::answer::Answer;
use super::error::{Failure, RegistryError};
use super::hosts::Capabilities;
use super::location;
use super::request::{Host, Payload};
use super::resolver::Repository;
use super::transport::{self, Unreadable};

/// Bytes to upload, readable from the start as often as the upload is tried.
pub trait BodySource: Send + Sync + 'static {
    /// Fills `buffer` from `offset` on; 0 at the end. May block for a disk read.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;
}

/// How content came to be on the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It was there.
    Exists,
    /// The registry took it over from another of its repositories.
    Mounted(String),
    /// It was sent.
    Uploaded,
}

/// The registry's answer to an offer of content.
pub enum Offer {
    /// Nothing has to be sent.
    Settled(Pushed),
    /// It wants the bytes.
    Wanted(Box<Upload>),
}

impl Repository {
    /// Brings `descriptor` to the registry: [`Repository::offer`], and what it wants.
    pub async fn push(
        &self,
        descriptor: &Descriptor,
        source: Arc<dyn BodySource>,
        mount_from: Option<&str>,
        progress: Arc<AtomicU64>,
    ) -> Result<Pushed, RegistryError> {
        match self.offer(descriptor, mount_from).await? {
            Offer::Settled(how) => Ok(how),
            Offer::Wanted(upload) => upload.send(source, progress).await,
        }
    }

    /// Asks whether the registry has `descriptor` or can take it from `mount_from`, a repository of
    /// the same registry that probably has the blob. No bytes of it are needed for that. Manifests
    /// are asked for by the reference's tag when the reference names no digest or just this one.
    pub async fn offer(
        &self,
        descriptor: &Descriptor,
        mount_from: Option<&str>,
    ) -> Result<Offer, RegistryError> {
        let hosts = self.hosts_for("push", Capabilities::PUSH)?;
        let size = u64::try_from(descriptor.size)
            .map_err(|_| RegistryError::Descriptor(format!("negative size of {}", descriptor.digest)))?;
        let upload = Upload {
            repository: self.clone(),
            host: hosts[0].clone(),
            descriptor: descriptor.clone(),
            size,
            started: None,
        };
        let host = upload.host.clone();
        let outcome = match is_document(descriptor) {
            true => upload.offer_manifest().await,
            false => upload.offer_blob(mount_from).await,
        };
        outcome.map_err(|failure| failed(descriptor, &host, failure))
    }

    /// The tag to put a manifest under, or its digest.
    fn manifest_name(&self, digest: &Digest) -> String {
        let tag = match self.object.split_once('@') {
            Some((tag, text)) if text == digest.as_str() => tag,
            Some(_) => "",
            None => &self.object,
        };
        if tag.is_empty() { digest.to_string() } else { tag.to_owned() }
    }
}

fn is_document(descriptor: &Descriptor) -> bool {
    media_type::is_manifest(&descriptor.media_type) || media_type::is_index(&descriptor.media_type)
}

fn failed(descriptor: &Descriptor, host: &Host, failure: Failure) -> RegistryError {
    if let Failure::Transport { source, .. } = &failure
        && let Some(unreadable) = transport::unreadable(source.as_ref())
    {
        return RegistryError::Source(unreadable);
    }
    RegistryError::one(format!("push {}", descriptor.digest), &host.config.host, failure)
}

/// Content that a registry wants to have.
pub struct Upload {
    repository: Repository,
    host: Arc<Host>,
    descriptor: Descriptor,
    size: u64,
    /// The answer that opened an upload when a mount was asked for.
    started: Option<Answer>,
}

impl Upload {
    /// Sends the bytes. `progress` counts those sent.
    ///
    /// Dropping the future cancels the upload; nothing becomes visible on the registry then.
    pub async fn send(
        self,
        source: Arc<dyn BodySource>,
        progress: Arc<AtomicU64>,
    ) -> Result<Pushed, RegistryError> {
        let (descriptor, host) = (self.descriptor.clone(), self.host.clone());
        let body = self.body(source, progress);
        let outcome = match is_document(&descriptor) {
            true => self.send_manifest(body).await,
            false => self.send_blob(body).await,
        };
        outcome.map_err(|failure| failed(&descriptor, &host, failure))
    }

    fn manifest_path(&self) -> (String, bool) {
        let name = self.repository.manifest_name(&self.descriptor.digest);
        (self.repository.path("manifests", &name), name != self.descriptor.digest.as_str())
    }

    async fn offer_manifest(self) -> Result<Offer, Failure> {
        let (path, by_tag) = self.manifest_path();
        match self.exists(&path, by_tag).await? {
            true => Ok(Offer::Settled(Pushed::Exists)),
            false => Ok(Offer::Wanted(Box::new(self))),
        }
    }

    async fn send_manifest(self, body: Payload) -> Result<Pushed, Failure> {
        let call = self
            .host
            .call(Method::PUT, &self.manifest_path().0, &self.repository.scopes(true))?
            .header(header::CONTENT_TYPE, &self.descriptor.media_type)
            .body(body);
        self.done(call.send().await?).await
    }

    async fn offer_blob(mut self, mount_from: Option<&str>) -> Result<Offer, Failure> {
        let path = self.repository.path("blobs", self.descriptor.digest.as_str());
        if self.exists(&path, false).await? {
            return Ok(Offer::Settled(Pushed::Exists));
        }
        if let Some(from) = mount_from {
            self.started = self.start(Some(from)).await?;
        }
        match self.started.as_ref().map(|answer| answer.status) {
            Some(StatusCode::CREATED) => {
                return Ok(Offer::Settled(Pushed::Mounted(mount_from.unwrap_or_default().to_owned())));
            }
            Some(StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT) | None => {}
            // It cannot mount: that says nothing of an upload.
            Some(_) => self.started = None,
        }
        Ok(Offer::Wanted(Box::new(self)))
    }

    async fn send_blob(mut self, body: Payload) -> Result<Pushed, Failure> {
        let answer = match self.started.take() {
            Some(answer) => answer,
            None => self.start(None).await?.ok_or_else(denied_push)?,
        };
        match answer.status {
            StatusCode::CREATED => return Ok(Pushed::Exists),
            StatusCode::OK | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {}
            _ => return Err(answer.into_failure().await),
        }
        let target = answer.header(header::LOCATION).and_then(|l| location::join(&answer.url, l));
        let url = target
            .and_then(|u| location::add_query(&u, "digest", self.descriptor.digest.as_str()))
            .ok_or_else(|| answer.bad("upload without a usable location"))?;
        // A location on another host gets neither credentials nor configured headers.
        let elsewhere = match location::same_host(&answer.url, &url) {
            true => None,
            false => Some(
                Host::anonymous(&url, &self.repository.shared).map_err(|e| answer.bad(base::chain(&e)))?,
            ),
        };
        // The connection is free for the upload only when this answer is.
        drop(answer);
        let call = match &elsewhere {
            Some(host) => host.call_url(Method::PUT, url, &[]),
            None => self.host.call_url(Method::PUT, url, &self.repository.scopes(true)),
        };
        let call = call.header(header::CONTENT_TYPE, "application/octet-stream").body(body);
        self.done(call.send().await?).await
    }

    /// Whether the registry has it already. `by_tag`: the tag must stand for this digest.
    async fn exists(&self, path: &str, by_tag: bool) -> Result<bool, Failure> {
        let accept = format!("{}, */*", self.descriptor.media_type);
        let scopes = self.repository.scopes(true);
        let call = self.host.call(Method::HEAD, path, &scopes)?.header(header::ACCEPT, &accept);
        let answer = match call.send().await {
            Ok(answer) => answer,
            // Some registries refuse the question but not the upload.
            Err(Failure::Denied { .. }) => return Ok(false),
            Err(failure) => return Err(failure),
        };
        match answer.status {
            StatusCode::OK if by_tag => Ok(digest_header(&answer) == Some(self.descriptor.digest.as_str())),
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND => Ok(false),
            StatusCode::FORBIDDEN => {
                let call = self.host.call(Method::GET, path, &scopes)?.header(header::ACCEPT, &accept);
                let again = call.send().await?;
                Err(if again.status == StatusCode::FORBIDDEN { again } else { answer }.into_failure().await)
            }
            _ => Err(answer.into_failure().await),
        }
    }

    /// Opens an upload, with an attempt to mount when `from` is given. `None`: mounting is not allowed.
    async fn start(&self, from: Option<&str>) -> Result<Option<Answer>, Failure> {
        let path = format!("{}/blobs/uploads/", self.repository.name);
        let mut scopes = self.repository.scopes(true);
        scopes.extend(from.map(|f| format!("repository:{f}:pull")));
        let mut call = self.host.call(Method::POST, &path, &scopes)?.header(header::CONTENT_LENGTH, "0");
        if let Some(from) = from {
            call = call.query("mount", self.descriptor.digest.as_str()).query("from", from);
        }
        match call.send().await {
            Ok(answer) if from.is_some() && answer.status == StatusCode::UNAUTHORIZED => Ok(None),
            Err(Failure::Denied { .. }) if from.is_some() => Ok(None),
            other => other.map(Some),
        }
    }

    async fn done(&self, answer: Answer) -> Result<Pushed, Failure> {
        match answer.status {
            StatusCode::OK | StatusCode::CREATED | StatusCode::ACCEPTED | StatusCode::NO_CONTENT => {}
            _ => return Err(answer.into_failure().await),
        }
        match digest_header(&answer) {
            Some(found) if found != self.descriptor.digest.as_str() => {
                Err(answer.bad(format!("got digest {found}, expected {}", self.descriptor.digest)))
            }
            _ => Ok(Pushed::Uploaded),
        }
    }

    fn body(&self, source: Arc<dyn BodySource>, sent: Arc<AtomicU64>) -> Payload {
        let size = self.size;
        let watched = sent.clone();
        Payload {
            make: Arc::new(move || {
                sent.store(0, Ordering::Relaxed);
                let (source, sent) = (source.clone(), sent.clone());
                UploadBody { source, size, offset: 0, sent, reading: None }.boxed_unsync()
            }),
            watch: Some((watched, size)),
        }
    }
}

fn denied_push() -> Failure {
    Failure::Denied { reason: "push access denied".to_owned() }
}

fn digest_header(answer: &Answer) -> Option<&str> {
    answer.headers.get("docker-content-digest").map(HeaderValue::to_str)?.ok().filter(|d| !d.is_empty())
}

/// Bytes read and sent at once.
const PIECE: u64 = 128 << 10;

/// A body that reads one piece ahead of nothing: a piece is read when the connection wants it.
struct UploadBody {
    source: Arc<dyn BodySource>,
    size: u64,
    offset: u64,
    sent: Arc<AtomicU64>,
    reading: Option<JoinHandle<io::Result<Vec<u8>>>>,
}

impl UploadBody {
    fn read_piece(&self) -> JoinHandle<io::Result<Vec<u8>>> {
        let (source, offset) = (self.source.clone(), self.offset);
        let wanted = (self.size - offset).min(PIECE) as usize;
        tokio::task::spawn_blocking(move || {
            let mut buffer = vec![0; wanted];
            let mut filled = 0;
            while filled < wanted {
                match source.read_at(offset + filled as u64, &mut buffer[filled..])? {
                    0 => {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            "content is shorter than its descriptor",
                        ));
                    }
                    n => filled += n,
                }
            }
            Ok(buffer)
        })
    }
}

impl HttpBody for UploadBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.offset == self.size {
            return Poll::Ready(None);
        }
        let mut reading = match self.reading.take() {
            Some(reading) => reading,
            None => self.read_piece(),
        };
        match Pin::new(&mut reading).poll(cx) {
            Poll::Pending => {
                self.reading = Some(reading);
                Poll::Pending
            }
            Poll::Ready(done) => {
                let piece = done.map_err(io::Error::other).and_then(|piece| piece);
                let piece = piece.map_err(Unreadable::wrap)?;
                self.offset += piece.len() as u64;
                self.sent.store(self.offset, Ordering::Relaxed);
                Poll::Ready(Some(Ok(Frame::data(Bytes::from(piece)))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.offset == self.size
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.size - self.offset)
    }
}
