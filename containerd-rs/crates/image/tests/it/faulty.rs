//! A registry in this process that authenticates, serves ranges, cuts, lies, hangs and redirects.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base::Digest;
use bytes::Bytes;
use futures_util::StreamExt;
use http::{HeaderMap, Method, StatusCode, header};
use tokio::task::JoinHandle;

/// What goes wrong with one request.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This status, with a registry error as body.
    Status(u16),
    /// The connection breaks after so many bytes of the body.
    CutAfter(usize),
    /// Nothing more comes after so many bytes of the body.
    HangAfter(usize),
    /// A byte now and then.
    Trickle,
    /// The answer never begins.
    Silence,
    /// Other bytes of the same length.
    Garble,
    /// A body that is longer (or shorter) than it should be, honestly announced.
    WrongLength(i64),
    /// The right bytes and more, without any announced length.
    Endless,
    /// `Range` is not looked at.
    IgnoreRange,
    /// A 206 for another range than the one asked for.
    OtherRange,
    /// To this URL.
    Redirect(String),
    /// No `Docker-Content-Digest` and no length on HEAD.
    BareHead,
    /// A digest header that belongs to something else.
    LyingDigestHeader,
    /// Another media type than the content has.
    MediaType(&'static str),
    /// With this `Link` header.
    Link(&'static str),
    /// A web page, as from a captive portal.
    Html,
}

/// When a fault strikes: method (any if empty), part of the path, how often.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: &'static str,
    pub path: String,
    pub times: usize,
    pub fault: Fault,
}

/// Who may come in.
#[derive(Clone, Debug)]
pub enum Auth {
    Open,
    Basic {
        user: &'static str,
        password: &'static str,
    },
    /// Tokens from `/token` of the same server. `post`: OAuth2 works. `anonymous`: without a login too.
    Bearer {
        user: &'static str,
        password: &'static str,
        post: bool,
        anonymous: bool,
    },
}

/// One request as it came in.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: Method,
    pub uri: String,
    pub headers: HeaderMap,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }
}

struct Inner {
    auth: Auth,
    /// Where the token server is said to be; this server if empty.
    realm: String,
    address: String,
    content: Mutex<HashMap<String, (String, Bytes)>>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<Seen>>,
    tokens: Mutex<u32>,
}

/// The registry; it stops when dropped.
pub struct Faulty {
    inner: Arc<Inner>,
    task: JoinHandle<()>,
}

impl Drop for Faulty {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Faulty {
    pub async fn start(auth: Auth) -> Faulty {
        Faulty::start_with_realm(auth, "").await
    }

    pub async fn start_with_realm(auth: Auth, realm: &str) -> Faulty {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        Faulty::start_on(listener, address, auth, realm)
    }

    /// On a listener of the caller, which may speak TLS.
    pub fn start_on<L: axum::serve::Listener<Addr: std::fmt::Debug>>(
        listener: L,
        address: String,
        auth: Auth,
        realm: &str,
    ) -> Faulty {
        let inner = Arc::new(Inner {
            auth,
            realm: realm.to_owned(),
            address,
            content: Mutex::default(),
            rules: Mutex::default(),
            seen: Mutex::default(),
            tokens: Mutex::new(0),
        });
        let app = Router::new().fallback(serve).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Faulty { inner, task }
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> String {
        self.inner.address.clone()
    }

    pub fn blob(&self, repository: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        let path = format!("/v2/{repository}/blobs/{digest}");
        self.inner.content.lock().unwrap().insert(path, ("application/octet-stream".to_owned(), bytes));
        digest
    }

    pub fn manifest(&self, repository: &str, tag: &str, media_type: &str, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256(&bytes);
        for name in [tag, digest.as_str()].iter().filter(|n| !n.is_empty()) {
            let path = format!("/v2/{repository}/manifests/{name}");
            self.inner.content.lock().unwrap().insert(path, (media_type.to_owned(), bytes.clone()));
        }
        digest
    }

    /// Anything under any path.
    pub fn raw(&self, path: &str, media_type: &str, bytes: impl Into<Bytes>) {
        self.inner.content.lock().unwrap().insert(path.to_owned(), (media_type.to_owned(), bytes.into()));
    }

    /// Whether the registry has something under this path.
    pub fn has(&self, path: &str) -> bool {
        self.inner.content.lock().unwrap().contains_key(path)
    }

    pub fn fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.inner.rules.lock().unwrap().push(Rule { method, path: path.to_owned(), times, fault });
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.inner.rules.lock().unwrap().clear();
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.inner.seen.lock().unwrap().clone()
    }

    /// Requests with this method whose URI contains `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.seen().iter().filter(|s| s.method.as_str() == method && s.uri.contains(part)).count()
    }
}

fn reply(status: u16, body: impl Into<Body>) -> Response {
    Response::builder().status(status).body(body.into()).unwrap()
}

pub fn error(status: u16, code: &str, message: &str) -> Response {
    let mut r = reply(status, format!(r#"{{"errors":[{{"code":"{code}","message":"{message}"}}]}}"#));
    r.headers_mut().insert(header::CONTENT_TYPE, "application/json".parse().unwrap());
    r
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let uri = parts.uri.to_string();
    let seen = Seen { method: parts.method.clone(), uri: uri.clone(), headers: parts.headers.clone() };
    inner.seen.lock().unwrap().push(seen);
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if path == "/token" {
        let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
        return token(&inner, &parts.method, &parts.headers, &query, &body);
    }
    if let Some(refusal) = challenge(&inner, &parts.headers) {
        return refusal;
    }
    let fault = strike(&inner.rules, &parts.method, &uri);
    match &fault {
        Some(Fault::Status(code)) => return error(*code, "SAID_SO", "the test wants it"),
        Some(Fault::Html) => return html(),
        Some(Fault::Redirect(to)) => {
            let mut r = reply(307, "");
            r.headers_mut().insert(header::LOCATION, to.parse().unwrap());
            return r;
        }
        Some(Fault::Silence) => return std::future::pending().await,
        _ => {}
    }
    match parts.method {
        Method::GET | Method::HEAD => read(&inner, &path, &parts.method, &parts.headers, fault),
        Method::POST => start_upload(&inner, &path, &query),
        Method::PUT => {
            let kind = parts.headers.get(header::CONTENT_TYPE).map(|v| v.to_str().unwrap().to_owned());
            match axum::body::to_bytes(body, 1 << 30).await {
                Ok(bytes) => put(&inner, &path, &query, kind.unwrap_or_default(), bytes),
                Err(_) => reply(400, ""),
            }
        }
        _ => reply(405, ""),
    }
}

pub fn html() -> Response {
    let mut r = reply(200, "<html><body>Please log in</body></html>");
    r.headers_mut().insert(header::CONTENT_TYPE, "text/html; charset=utf-8".parse().unwrap());
    r
}

/// What goes wrong with this request, if anything does.
pub fn strike(rules: &Mutex<Vec<Rule>>, method: &Method, uri: &str) -> Option<Fault> {
    let mut rules = rules.lock().unwrap();
    let rule = rules.iter_mut().find(|r| {
        r.times > 0 && (r.method.is_empty() || r.method == method.as_str()) && uri.contains(&r.path)
    })?;
    rule.times -= 1;
    Some(rule.fault.clone())
}

fn login(user: &str, password: &str) -> String {
    use base64::Engine;
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}")))
}

fn challenge(inner: &Inner, headers: &HeaderMap) -> Option<Response> {
    let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok()).unwrap_or_default();
    let wanted = match &inner.auth {
        Auth::Open => return None,
        Auth::Basic { user, password } if sent == login(user, password) => return None,
        Auth::Basic { .. } => "Basic realm=\"here\"".to_owned(),
        Auth::Bearer { .. } => {
            if sent == format!("Bearer token-{}", inner.tokens.lock().unwrap()) {
                return None;
            }
            let realm = match inner.realm.as_str() {
                "" => format!("http://{}/token", inner.address),
                realm => realm.to_owned(),
            };
            format!("Bearer realm=\"{realm}\",service=\"test\",error=\"invalid_token\"")
        }
    };
    let mut r = error(401, "UNAUTHORIZED", "authentication required");
    r.headers_mut().insert(header::WWW_AUTHENTICATE, wanted.parse().unwrap());
    Some(r)
}

fn token(inner: &Inner, method: &Method, headers: &HeaderMap, query: &str, body: &[u8]) -> Response {
    let Auth::Bearer { user, password, post, anonymous } = &inner.auth else { return reply(404, "") };
    let sent = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let form = String::from_utf8_lossy(body).into_owned();
    let granted = match *method {
        Method::POST if !post => return reply(404, ""),
        Method::POST => {
            form.contains(&format!("username={user}")) && form.contains(&format!("password={password}"))
        }
        Method::GET => match sent {
            Some(sent) => sent == login(user, password),
            None => *anonymous,
        },
        _ => false,
    };
    let scoped = query.contains("scope=repository%3A") || form.contains("scope=repository%3A");
    if !granted || !scoped {
        return error(401, "UNAUTHORIZED", "wrong login");
    }
    let mut tokens = inner.tokens.lock().unwrap();
    *tokens += 1;
    let key = if *method == Method::POST { "access_token" } else { "token" };
    reply(200, format!(r#"{{"{key}":"token-{tokens}","expires_in":300}}"#))
}

impl Faulty {
    /// Makes every token given so far invalid.
    pub fn revoke(&self) {
        *self.inner.tokens.lock().unwrap() += 1;
    }
}

fn read(inner: &Inner, path: &str, method: &Method, headers: &HeaderMap, fault: Option<Fault>) -> Response {
    let found = inner.content.lock().unwrap().get(path).cloned();
    let Some((mut kind, bytes)) = found else { return error(404, "NAME_UNKNOWN", "no such thing") };
    let mut digest = Digest::sha256(&bytes).to_string();
    match &fault {
        Some(Fault::MediaType(other)) => kind = (*other).to_owned(),
        Some(Fault::LyingDigestHeader) => digest = Digest::sha256(b"something else").to_string(),
        _ => {}
    }
    if method == Method::HEAD {
        return head(&kind, &digest, bytes.len(), matches!(fault, Some(Fault::BareHead)));
    }
    let total = bytes.len();
    let range =
        headers.get(header::RANGE).and_then(|v| v.to_str().unwrap().strip_prefix("bytes=")?.split_once('-'));
    let asked = range.and_then(|(start, _)| start.parse::<usize>().ok());
    let last = range.and_then(|(_, last)| last.parse().ok()).unwrap_or(total - 1).min(total - 1);
    let (start, partial) = match (asked, &fault) {
        (_, Some(Fault::IgnoreRange)) | (None, _) => (0, false),
        (Some(n), Some(Fault::OtherRange)) => (n + 1, true),
        (Some(n), _) => (n, true),
    };
    let end = if partial { last + 1 } else { total };
    let mut bytes = bytes.slice(start.min(end)..end);
    match &fault {
        Some(Fault::Garble) => bytes = bytes.iter().map(|b| b ^ 0x55).collect(),
        Some(Fault::WrongLength(n)) => {
            let mut v = bytes.to_vec();
            v.resize((v.len() as i64 + n) as usize, 0);
            bytes = v.into();
        }
        _ => {}
    }
    let mut r = Response::builder()
        .status(if partial { StatusCode::PARTIAL_CONTENT } else { StatusCode::OK })
        .header(header::CONTENT_TYPE, kind)
        .header("docker-content-digest", digest);
    if partial {
        r = r.header(header::CONTENT_RANGE, format!("bytes {start}-{last}/{total}"));
    }
    if let Some(Fault::Link(link)) = &fault {
        r = r.header(header::LINK, *link);
    }
    if !matches!(fault, Some(Fault::Endless)) {
        r = r.header(header::CONTENT_LENGTH, bytes.len());
    }
    r.body(body_with(bytes, fault)).unwrap()
}

fn head(kind: &str, digest: &str, size: usize, bare: bool) -> Response {
    let r = Response::builder().header(header::CONTENT_TYPE, kind);
    match bare {
        true => r.header(header::TRANSFER_ENCODING, "chunked").body(Body::empty()).unwrap(),
        false => r
            .header("docker-content-digest", digest)
            .header(header::CONTENT_LENGTH, size)
            .body(Body::empty())
            .unwrap(),
    }
}

pub fn body_with(bytes: Bytes, fault: Option<Fault>) -> Body {
    let pieces = |b: Bytes| -> Vec<Result<Bytes, std::io::Error>> {
        b.chunks(16 << 10).map(|c| Ok(Bytes::copy_from_slice(c))).collect()
    };
    match fault {
        Some(Fault::CutAfter(n)) => {
            let mut all = pieces(bytes.slice(..n.min(bytes.len())));
            all.push(Err(std::io::Error::other("cut")));
            // A pause lets what was sent reach the wire before the connection is torn down.
            Body::from_stream(futures_util::stream::iter(all).then(|piece| async {
                if piece.is_err() {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                piece
            }))
        }
        Some(Fault::HangAfter(n)) => {
            let all = pieces(bytes.slice(..n.min(bytes.len())));
            Body::from_stream(futures_util::stream::iter(all).chain(futures_util::stream::pending()))
        }
        Some(Fault::Trickle) => {
            let bytes: Vec<u8> = bytes.to_vec();
            Body::from_stream(futures_util::stream::iter(bytes).then(|byte| async move {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                Ok::<_, Infallible>(Bytes::copy_from_slice(&[byte]))
            }))
        }
        Some(Fault::Endless) => {
            let more =
                futures_util::stream::repeat_with(|| Ok::<_, Infallible>(Bytes::from_static(&[7; 4096])));
            let first = futures_util::stream::iter(vec![Ok::<_, Infallible>(bytes)]);
            Body::from_stream(first.chain(more))
        }
        _ => Body::from(bytes),
    }
}

fn start_upload(inner: &Inner, path: &str, query: &str) -> Response {
    let value = |key: &str| {
        query
            .split('&')
            .find_map(|p| p.strip_prefix(&format!("{key}=")))
            .map(|v| v.replace("%3A", ":").replace("%2F", "/"))
    };
    let repository =
        path.strip_prefix("/v2/").and_then(|p| p.strip_suffix("/blobs/uploads/")).unwrap_or_default();
    if let (Some(digest), Some(from)) = (value("mount"), value("from")) {
        let mut content = inner.content.lock().unwrap();
        if let Some(found) = content.get(&format!("/v2/{from}/blobs/{digest}")).cloned() {
            content.insert(format!("/v2/{repository}/blobs/{digest}"), found);
            return reply(201, "");
        }
    }
    let mut r = reply(202, "");
    r.headers_mut()
        .insert(header::LOCATION, format!("/v2/{repository}/blobs/uploads/1?state=secret").parse().unwrap());
    r
}

fn put(inner: &Inner, path: &str, query: &str, kind: String, bytes: Bytes) -> Response {
    let digest = Digest::sha256(&bytes).to_string();
    let mut content = inner.content.lock().unwrap();
    if let Some((repository, _)) = path.split_once("/blobs/uploads/") {
        if !query.contains(&digest.replace(':', "%3A")) {
            return error(400, "DIGEST_INVALID", "digest does not match");
        }
        content.insert(format!("{repository}/blobs/{digest}"), (kind, bytes));
    } else if let Some((repository, name)) = path.split_once("/manifests/") {
        content.insert(format!("{repository}/manifests/{name}"), (kind.clone(), bytes.clone()));
        content.insert(format!("{repository}/manifests/{digest}"), (kind, bytes));
    }
    let mut r = reply(201, "");
    r.headers_mut().insert("docker-content-digest", digest.parse().unwrap());
    r
}
