//! Sending a request: authorisation, redirects, retries.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use tokio::time::{sleep, timeout};

use super::answer::Answer;
use super::auth::Authorizer;
use super::error::{Failure, RegistryError};
use super::hosts::{HostConfig, Scheme};
use super::location;
use super::resolver::{Shared, Timeouts};
use super::transport::{self, Transport};

pub(crate) use super::transport::Body;

/// Redirects followed for one request.
const MAX_REDIRECTS: usize = 10;
/// Requests sent to one host for one answer.
const MAX_ATTEMPTS: usize = 5;
/// Longest pause that a host may ask for between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(5);

/// A body that can be sent again.
#[derive(Clone)]
pub(crate) struct Payload {
    /// Makes the body anew for each attempt.
    pub(crate) make: Arc<dyn Fn() -> Body + Send + Sync>,
    /// For long bodies: the count of bytes that were sent, and how many there are.
    pub(crate) watch: Option<(Arc<AtomicU64>, u64)>,
}

/// A request that is ready to go.
pub(crate) struct Outgoing {
    pub(crate) method: Method,
    pub(crate) url: Uri,
    /// Headers that any host may see.
    pub(crate) headers: HeaderMap,
    /// Headers for the first host only.
    pub(crate) private: HeaderMap,
    /// For the first host only.
    pub(crate) authorization: Option<HeaderValue>,
    pub(crate) body: Option<Payload>,
}

/// An answer, and whether it came from the host that was asked.
pub(crate) struct Followed {
    pub(crate) answer: Answer,
    pub(crate) own_host: bool,
}

/// Sends one request and follows its redirects. Credentials and private headers stay with the first
/// host; requests with a body are repeated elsewhere only for 307 and 308.
pub(crate) async fn follow(
    transport: &Transport,
    out: &Outgoing,
    timeouts: &Timeouts,
) -> Result<Followed, Failure> {
    let mut url = out.url.clone();
    let mut method = out.method.clone();
    for _ in 0..=MAX_REDIRECTS {
        let own_host = location::same_host(&out.url, &url);
        let answer = send_once(transport, out, &method, &url, own_host, timeouts).await?;
        let Some(next) = redirect(out, &answer, &mut method)? else {
            return Ok(Followed { answer, own_host });
        };
        url = next;
    }
    Err(Failure::BadAnswer {
        url: location::redacted(&out.url),
        problem: format!("stopped after {MAX_REDIRECTS} redirects"),
    })
}

/// Where the answer sends us, if it does.
fn redirect(out: &Outgoing, answer: &Answer, method: &mut Method) -> Result<Option<Uri>, Failure> {
    let keeps_method = match answer.status.as_u16() {
        307 | 308 => true,
        301..=303 => false,
        _ => return Ok(None),
    };
    let reading = matches!(*method, Method::GET | Method::HEAD);
    if !reading && (!keeps_method || out.body.is_none()) {
        return Ok(None);
    }
    let Some(target) = answer.header(header::LOCATION) else {
        return Err(answer.bad("redirect without a location"));
    };
    location::join(&answer.url, target)
        .map(Some)
        .ok_or_else(|| answer.bad("redirect to something that is no http(s) URL"))
}

async fn send_once(
    transport: &Transport,
    out: &Outgoing,
    method: &Method,
    url: &Uri,
    own_host: bool,
    timeouts: &Timeouts,
) -> Result<Answer, Failure> {
    let body = match &out.body {
        Some(payload) => (payload.make)(),
        None => Empty::<Bytes>::new().map_err(|never| match never {}).boxed_unsync(),
    };
    let mut request = Request::new(body);
    *request.method_mut() = method.clone();
    *request.uri_mut() = url.clone();
    *request.headers_mut() = out.headers.clone();
    if own_host {
        for (name, value) in &out.private {
            request.headers_mut().append(name.clone(), value.clone());
        }
        if let Some(value) = &out.authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value.clone());
        }
    }
    tracing::debug!(%method, url = location::redacted(url), "do request");
    let sending = transport.send(request);
    let stalled = |waited_for, after| Failure::Stalled {
        method: method.clone(),
        url: location::redacted(url),
        waited_for,
        after,
    };
    let response = match out.body.as_ref().and_then(|b| b.watch.clone()) {
        Some((sent, size)) => tokio::select! {
            response = sending => response,
            (what, after) = silence(&sent, size, timeouts) => return Err(stalled(what, after)),
        },
        None => match timeout(timeouts.response, sending).await {
            Ok(response) => response,
            Err(_) => return Err(stalled("response", timeouts.response)),
        },
    };
    match response {
        Ok(response) => Ok(Answer::new(method.clone(), url.clone(), response, timeouts.stall)),
        Err(error) => Err(Failure::Transport {
            method: method.clone(),
            url: location::redacted(url),
            source: Arc::new(error),
        }),
    }
}

/// Ends when an upload makes no progress for the stall time, or, once all is sent, when the answer
/// does not come: registries check and move large blobs before they answer.
async fn silence(sent: &AtomicU64, size: u64, timeouts: &Timeouts) -> (&'static str, Duration) {
    loop {
        let before = sent.load(Ordering::Relaxed);
        if before >= size {
            let patience = timeouts.response * 5;
            sleep(patience).await;
            return ("answer to the upload", patience);
        }
        sleep(timeouts.stall).await;
        if sent.load(Ordering::Relaxed) == before {
            return ("progress of the upload", timeouts.stall);
        }
    }
}

/// One host that serves a registry: its settings, connections, and what it told us so far.
pub(crate) struct Host {
    pub(crate) config: HostConfig,
    /// The registry it serves, as the reference names it.
    registry: String,
    transport: Transport,
    authorizer: Authorizer,
    shared: Arc<Shared>,
    /// TLS was tried and the host speaks plain text.
    plain: AtomicBool,
}

impl Host {
    pub(crate) fn new(
        config: HostConfig,
        registry: &str,
        reference: &str,
        shared: Arc<Shared>,
    ) -> Result<Host, RegistryError> {
        let https = config.scheme == Scheme::Https && !config.http_fallback;
        Ok(Host {
            transport: Transport::new(&config, shared.timeouts.connect, shared.proxies.clone())?,
            authorizer: Authorizer::new(&config.host, https, reference, shared.clone()),
            registry: registry.to_owned(),
            plain: AtomicBool::new(false),
            config,
            shared,
        })
    }

    /// A host that some answer named: no configuration, no credentials.
    pub(crate) fn anonymous(url: &Uri, shared: &Shared) -> Result<Host, RegistryError> {
        let authority = url.authority().map(Authority::as_str).unwrap_or_default();
        let scheme = if url.scheme_str() == Some("http") { Scheme::Http } else { Scheme::Https };
        Host::new(HostConfig::new(scheme, authority), authority, "", Arc::new(shared.without_secrets()))
    }

    fn scheme(&self) -> Scheme {
        match self.plain.load(Ordering::Relaxed) {
            true => Scheme::Http,
            false => self.config.scheme,
        }
    }

    /// The URL of `path` below the API root, with `?ns=` where this host is a mirror.
    pub(crate) fn url(&self, path: &str) -> Result<Uri, Failure> {
        let text = format!("{}://{}{}/{path}", self.scheme().as_str(), self.config.host, self.config.path);
        location::check(&text).and_then(|url| self.with_namespace(url)).ok_or_else(|| Failure::BadAnswer {
            url: text.clone(),
            problem: "the URL cannot be used".to_owned(),
        })
    }

    fn with_namespace(&self, url: Uri) -> Option<Uri> {
        match self.config.is_proxy_of(&self.registry) {
            true => location::add_query(&url, "ns", &self.registry),
            false => Some(url),
        }
    }

    /// A request without body to `path`.
    pub(crate) fn call(&self, method: Method, path: &str, scopes: &[String]) -> Result<Call<'_>, Failure> {
        Ok(self.call_url(method, self.url(path)?, scopes))
    }

    /// A request to a URL that this host gave.
    pub(crate) fn call_url(&self, method: Method, url: Uri, scopes: &[String]) -> Call<'_> {
        let mut headers = self.shared.headers.clone();
        if !headers.contains_key(header::USER_AGENT) {
            headers.insert(header::USER_AGENT, self.shared.user_agent.clone());
        }
        Call { host: self, method, url, headers, body: None, scopes: scopes.to_vec(), last_host: true }
    }
}

/// A request to one host, with its retries.
pub(crate) struct Call<'a> {
    host: &'a Host,
    method: Method,
    url: Uri,
    headers: HeaderMap,
    body: Option<Payload>,
    scopes: Vec<String>,
    last_host: bool,
}

impl Call<'_> {
    pub(crate) fn header(mut self, name: header::HeaderName, value: impl AsRef<str>) -> Self {
        if let Ok(value) = HeaderValue::from_str(value.as_ref()) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn query(mut self, key: &str, value: &str) -> Self {
        if let Some(url) = location::add_query(&self.url, key, value) {
            self.url = url;
        }
        self
    }

    pub(crate) fn body(mut self, body: Payload) -> Self {
        self.body = Some(body);
        self
    }

    /// Whether there is nobody else to ask: only then are errors of the host retried.
    pub(crate) fn last_host(mut self, last: bool) -> Self {
        self.last_host = last;
        self
    }

    /// Sends until there is an answer that another attempt would not change.
    pub(crate) async fn send(mut self) -> Result<Answer, Failure> {
        let mut refused = 0;
        let mut last_status: Option<StatusCode> = None;
        let mut attempt = 0;
        loop {
            attempt += 1;
            let more = attempt < MAX_ATTEMPTS;
            let (followed, authorization) = match self.attempt().await {
                Ok(done) => done,
                Err(failure) if more && self.last_host && failure.is_transient() => {
                    tracing::debug!(%failure, attempt, "transient failure, retrying");
                    sleep(Duration::from_millis(50 << attempt)).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let answer = followed.answer;
            let pause = match answer.status.as_u16() {
                401 if followed.own_host => {
                    refused += 1;
                    if refused > 2 || !more {
                        return Err(Failure::Denied { reason: challenge_error(&answer) });
                    }
                    let values = challenges(&answer.headers);
                    self.host.authorizer.learn(values, authorization.as_ref(), &self.scopes).await?;
                    Duration::ZERO
                }
                405 if self.method == Method::HEAD && self.url.path().contains("/manifests/") => {
                    self.method = Method::GET;
                    Duration::ZERO
                }
                408 | 429 => asked_pause(&answer.headers, attempt),
                500 | 502 | 503 | 504 if self.last_host && last_status != Some(answer.status) => {
                    asked_pause(&answer.headers, attempt)
                }
                _ => return Ok(answer),
            };
            if !more {
                return Ok(answer);
            }
            last_status = Some(answer.status);
            sleep(pause).await;
        }
    }

    /// One attempt; a TLS-first host that speaks plain text is asked again in plain text.
    async fn attempt(&mut self) -> Result<(Followed, Option<HeaderValue>), Failure> {
        let host = self.host;
        let authorization = host.authorizer.header(&host.transport, &self.scopes).await?;
        let outgoing = Outgoing {
            method: self.method.clone(),
            url: self.url.clone(),
            headers: self.headers.clone(),
            private: host.config.headers.clone(),
            authorization: authorization.clone(),
            body: self.body.clone(),
        };
        match follow(&host.transport, &outgoing, &host.shared.timeouts).await {
            Err(Failure::Transport { source, .. }) if self.falls_back(source.as_ref()) => {
                tracing::debug!(host = host.config.host, "host speaks plain text, going on without TLS");
                host.plain.store(true, Ordering::Relaxed);
                let url = plain(&self.url).unwrap_or_else(|| self.url.clone());
                self.url = url.clone();
                let outgoing = Outgoing { url, ..outgoing };
                Ok((follow(&host.transport, &outgoing, &host.shared.timeouts).await?, authorization))
            }
            other => Ok((other?, authorization)),
        }
    }

    fn falls_back(&self, error: &(dyn std::error::Error + Send + Sync + 'static)) -> bool {
        self.host.config.http_fallback
            && self.url.scheme_str() == Some("https")
            && error.downcast_ref().is_some_and(|e| transport::is_plain_text(e, &self.url))
    }
}

/// The same URL in plain text.
fn plain(url: &Uri) -> Option<Uri> {
    let authority: &Authority = url.authority()?;
    let path = url.path_and_query().map(|p| p.as_str()).unwrap_or("/");
    format!("http://{authority}{path}").parse().ok()
}

fn challenges(headers: &HeaderMap) -> Vec<String> {
    headers
        .get_all(header::WWW_AUTHENTICATE)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .take(16)
        .map(str::to_owned)
        .collect()
}

/// What the registry says is wrong with our authorisation.
fn challenge_error(answer: &Answer) -> String {
    challenges(&answer.headers)
        .iter()
        .flat_map(|v| super::auth::parse_challenges(v))
        .find_map(|c| {
            c.params
                .get("error")
                .map(|e| format!("server message: {}", e.chars().take(64).collect::<String>()))
        })
        .unwrap_or_else(|| format!("{} answered 401", location::redacted(&answer.url)))
}

/// The pause before the next attempt: what the host asks for within limits, else a growing one.
fn asked_pause(headers: &HeaderMap, attempt: usize) -> Duration {
    headers
        .get(header::RETRY_AFTER)
        .and_then(|v| v.to_str().ok()?.trim().parse().ok())
        .map_or(Duration::from_millis(50 << attempt), |secs| Duration::from_secs(secs).min(MAX_PAUSE))
}
