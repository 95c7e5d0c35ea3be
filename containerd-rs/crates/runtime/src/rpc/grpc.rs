//! gRPC to shims that answer `start` with that protocol: one HTTP/2 connection, unary calls, no TLS.
//!
//! Bounds are those of ttrpc: a request or an answer is at most [`MAX_PAYLOAD`] bytes.

use std::future::Future;
use std::time::Duration;

use base::ErrorKind;
use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;

use super::conn::{CallError, FOR_EVER};
use super::frame::MAX_PAYLOAD;

/// Bytes before a message: a flag that says "not compressed", and the length.
const PREFIX: usize = 5;
/// The longest deadline that the header can say in seconds (eight digits).
const MAX_DEADLINE: u64 = 99_999_999;

/// Makes requests on one connection; clones share it.
#[derive(Clone)]
pub(super) struct Requests(SendRequest<Full<Bytes>>);

/// Takes over a connected socket: the requests, and the work that must be driven for them until the connection ends.
pub(super) async fn handshake(
    stream: UnixStream,
) -> Result<(Requests, impl Future<Output = Result<(), hyper::Error>> + Send), hyper::Error> {
    let (sender, connection) = Builder::new(TokioExecutor::new()).handshake(TokioIo::new(stream)).await?;
    Ok((Requests(sender), connection))
}

impl Requests {
    /// Makes one unary call with an encoded message; gives the encoded answer.
    pub(super) async fn call(
        &self,
        service: &str,
        method: &'static str,
        namespace: &str,
        message: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, CallError> {
        let malformed = |reason: String| CallError::Malformed { method, reason };
        if message.len() > MAX_PAYLOAD {
            return Err(CallError::TooLarge { size: message.len() });
        }
        let request =
            request(service, method, namespace, message, limit).map_err(|e| malformed(e.to_string()))?;
        let mut sender = self.0.clone();
        sender.ready().await.map_err(|_| CallError::Closed)?;
        let response = sender.send_request(request).await.map_err(|e| broken(method, &e))?;
        answer(method, response).await
    }
}

/// An error is the end of the connection, unless the shim broke off only this call.
fn broken(method: &'static str, error: &hyper::Error) -> CallError {
    let http2 = std::error::Error::source(error).and_then(|source| source.downcast_ref::<h2::Error>());
    match http2.is_some_and(h2::Error::is_reset) {
        true => CallError::Malformed { method, reason: base::chain(error) },
        false => CallError::Closed,
    }
}

fn request(
    service: &str,
    method: &str,
    namespace: &str,
    message: &[u8],
    limit: Duration,
) -> Result<Request<Full<Bytes>>, http::Error> {
    let mut body = Vec::with_capacity(PREFIX + message.len());
    body.push(0);
    body.extend_from_slice(&u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes());
    body.extend_from_slice(message);
    let request = Request::post(format!("http://shim/{service}/{method}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("containerd-namespace", namespace);
    let request = match limit < FOR_EVER {
        true => request.header("grpc-timeout", deadline(limit)),
        false => request,
    };
    request.body(Full::new(Bytes::from(body)))
}

fn deadline(limit: Duration) -> String {
    match u64::try_from(limit.as_millis()) {
        Ok(millis) if millis <= MAX_DEADLINE => format!("{millis}m"),
        _ => format!("{}S", limit.as_secs().min(MAX_DEADLINE)),
    }
}

async fn answer(method: &'static str, response: Response<Incoming>) -> Result<Vec<u8>, CallError> {
    let malformed = |reason: String| CallError::Malformed { method, reason };
    let (head, body) = response.into_parts();
    // A refusal may come without a body; then its status stands in the header.
    if let Some(refusal) = status(&head.headers) {
        refusal?;
    }
    if head.status != http::StatusCode::OK {
        return Err(malformed(format!("HTTP status {}", head.status)));
    }
    let collected = Limited::new(body, PREFIX + MAX_PAYLOAD).collect().await;
    let collected = collected.map_err(|e| match e.downcast_ref::<hyper::Error>() {
        Some(error) => broken(method, error),
        None => malformed(e.to_string()),
    })?;
    match collected.trailers().and_then(status) {
        Some(told) => told?,
        None => return Err(malformed("no status".to_owned())),
    }
    let bytes = collected.to_bytes();
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(malformed("no message".to_owned()));
    };
    let [compressed, a, b, c, d] = *prefix;
    if compressed != 0 || u32::from_be_bytes([a, b, c, d]) as usize != message.len() {
        return Err(malformed("not one plain message".to_owned()));
    }
    Ok(message.to_vec())
}

/// What `grpc-status` and `grpc-message` say; `None`: nothing.
fn status(headers: &HeaderMap) -> Option<Result<(), CallError>> {
    let code = headers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse::<i32>().ok());
    let code = code.unwrap_or(ErrorKind::Unknown.code());
    if code == 0 {
        return Some(Ok(()));
    }
    let message = headers.get("grpc-message").map(|text| unescape(text.as_bytes())).unwrap_or_default();
    Some(Err(CallError::Status { code, message }))
}

/// gRPC writes bytes that a header cannot hold as `%XX`. What is not written that way stays as it is.
fn unescape(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|b| char::from(*b).to_digit(16));
        match (*first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                rest = &after[2..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_a_status_are_unescaped() {
        for (text, plain) in [
            ("task c1 not found", "task c1 not found"),
            ("100%25 of %22x%22%0A", "100% of \"x\"\n"),
            ("caf%C3%A9 %zz %4", "caf\u{e9} %zz %4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(unescape(text.as_bytes()), plain);
        }
    }

    #[test]
    fn deadlines_fit_their_header() {
        for (limit, text) in [
            (Duration::from_millis(1500), "1500m"),
            (Duration::from_secs(600), "600000m"),
            (Duration::from_secs(200_000), "200000S"),
            (FOR_EVER, "99999999S"),
        ] {
            assert_eq!(deadline(limit), text);
        }
    }
}
