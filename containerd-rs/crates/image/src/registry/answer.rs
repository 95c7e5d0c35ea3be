//! A response whose body is read with limits.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, Method, StatusCode, Uri, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use super::error::Failure;
use super::location;

/// A body must bring so many bytes within the stall time, or end.
const MIN_PROGRESS: usize = 1024;
/// Longest error body that is looked at.
const MAX_ERROR_BODY: usize = 64_000;
/// Longest message of a registry that goes into an error.
const MAX_MESSAGE: usize = 256;

/// What a host answered, after redirects.
pub(crate) struct Answer {
    pub(crate) method: Method,
    /// Where the answer came from in the end.
    pub(crate) url: Uri,
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    body: Incoming,
    stall: Duration,
    /// Time spent waiting for the body, and bytes that came, since the last real progress.
    waited: Duration,
    trickled: usize,
}

impl Answer {
    pub(crate) fn new(
        method: Method,
        url: Uri,
        response: http::Response<Incoming>,
        stall: Duration,
    ) -> Answer {
        let (parts, body) = response.into_parts();
        let (status, headers) = (parts.status, parts.headers);
        Answer { method, url, status, headers, body, stall, waited: Duration::ZERO, trickled: 0 }
    }

    pub(crate) fn header(&self, name: HeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// The announced length of the body (of the GET's body, for a HEAD).
    pub(crate) fn content_length(&self) -> Option<u64> {
        self.header(header::CONTENT_LENGTH).and_then(|v| v.trim().parse().ok())
    }

    /// The media type without parameters; empty when there is none.
    pub(crate) fn content_type(&self) -> &str {
        let value = self.header(header::CONTENT_TYPE).unwrap_or_default();
        value.split(';').next().unwrap_or_default().trim()
    }

    /// The next piece of the body. A body that is silent for the stall time fails, and so does one
    /// that only trickles; the time that the caller takes between pieces does not count.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            let began = Instant::now();
            let left = self.stall.saturating_sub(self.waited);
            let frame = match timeout(left, self.body.frame()).await {
                Err(_) => return Err(self.stalled()),
                Ok(None) => return Ok(None),
                Ok(Some(Err(e))) => {
                    return Err(Failure::Transport {
                        method: self.method.clone(),
                        url: location::redacted(&self.url),
                        source: Arc::new(e),
                    });
                }
                Ok(Some(Ok(frame))) => frame,
            };
            self.waited += began.elapsed();
            if let Some(data) = frame.into_data().ok().filter(|data| !data.is_empty()) {
                self.trickled += data.len();
                if self.trickled >= MIN_PROGRESS {
                    (self.waited, self.trickled) = (Duration::ZERO, 0);
                }
                return Ok(Some(data));
            }
        }
    }

    fn stalled(&self) -> Failure {
        Failure::Stalled {
            method: self.method.clone(),
            url: location::redacted(&self.url),
            waited_for: "progress of the body",
            after: self.stall,
        }
    }

    /// The whole body, `None` when it is longer than `limit` bytes.
    pub(crate) async fn read(&mut self, limit: usize) -> Result<Option<Bytes>, Failure> {
        let mut all = BytesMut::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Ok(None);
            }
            all.extend_from_slice(&chunk);
        }
        Ok(Some(all.freeze()))
    }

    /// Turns an unwanted status into the failure to report, with the registry's own words.
    pub(crate) async fn into_failure(mut self) -> Failure {
        if self.status == StatusCode::NOT_FOUND {
            return Failure::NotFound;
        }
        let message = match self.method {
            Method::HEAD => None,
            _ => self.read(MAX_ERROR_BODY).await.ok().flatten().and_then(|b| message(&b)),
        };
        Failure::Status {
            method: self.method,
            url: location::redacted(&self.url),
            status: self.status,
            message,
        }
    }

    /// A protocol violation of this answer.
    pub(crate) fn bad(&self, problem: impl Into<String>) -> Failure {
        Failure::BadAnswer { url: location::redacted(&self.url), problem: problem.into() }
    }
}

/// The registry's error list (`{"errors":[{"code","message"}]}`) as one line.
fn message(body: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default)]
        code: String,
        #[serde(default)]
        message: String,
    }
    #[derive(serde::Deserialize)]
    struct List {
        errors: Vec<Item>,
    }
    let list: List = serde_json::from_slice(body).ok()?;
    let lines: Vec<String> = list
        .errors
        .iter()
        .take(4)
        .map(|e| match (e.code.as_str(), e.message.as_str()) {
            ("", m) => m.to_owned(),
            (c, "") => c.to_lowercase(),
            (c, m) => format!("{}: {m}", c.to_lowercase()),
        })
        .collect();
    let text: String =
        lines.join(", ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_MESSAGE).collect();
    (!text.trim().is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn messages_are_cleaned_and_cut() {
        assert_eq!(
            message(br#"{"errors":[{"code":"DENIED","message":"no\u001b[31m way"}]}"#).unwrap(),
            "denied: no [31m way"
        );
        assert_eq!(message(b"<html>"), None);
        assert_eq!(message(br#"{"errors":[]}"#), None);
        let long = format!(r#"{{"errors":[{{"message":"{}"}}]}}"#, "x".repeat(9999));
        assert_eq!(message(long.as_bytes()).unwrap().len(), MAX_MESSAGE);
    }
}
