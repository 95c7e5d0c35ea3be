//! A proxy in front of a registry that passes everything on, but for what it is told to spoil.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::{Method, header};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::task::JoinHandle;

use crate::faulty::{Fault, Rule, body_with, error, html, strike};

struct Inner {
    upstream: String,
    client: Client<HttpConnector, Body>,
    rules: Mutex<Vec<Rule>>,
    seen: Mutex<Vec<(Method, String)>>,
}

/// The proxy; it stops when dropped.
pub struct Proxied {
    inner: Arc<Inner>,
    pub address: String,
    task: JoinHandle<()>,
}

impl Drop for Proxied {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxied {
    /// In front of `host:port`, which speaks plain text.
    pub async fn before(upstream: &str) -> Proxied {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = Arc::new(Inner {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            rules: Mutex::default(),
            seen: Mutex::default(),
        });
        let app = Router::new().fallback(serve).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Proxied { inner, address, task }
    }

    pub fn fault(&self, method: &'static str, path: &str, times: usize, fault: Fault) {
        self.inner.rules.lock().unwrap().push(Rule { method, path: path.to_owned(), times, fault });
    }

    /// From now on nothing goes wrong.
    pub fn heal(&self) {
        self.inner.rules.lock().unwrap().clear();
    }

    /// Requests with this method whose URI contains `part`.
    pub fn count(&self, method: &str, part: &str) -> usize {
        self.inner
            .seen
            .lock()
            .unwrap()
            .iter()
            .filter(|(m, u)| m.as_str() == method && u.contains(part))
            .count()
    }
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let uri = parts.uri.to_string();
    inner.seen.lock().unwrap().push((parts.method.clone(), uri.clone()));
    let fault = strike(&inner.rules, &parts.method, &uri);
    match &fault {
        Some(Fault::Status(code)) => return error(*code, "SAID_SO", "the test wants it"),
        Some(Fault::Html) => return html(),
        Some(Fault::Silence) => return std::future::pending().await,
        _ => {}
    }
    // The Host header stays as it is: the registry names its uploads by it.
    parts.uri = format!("http://{}{uri}", inner.upstream).parse().unwrap();
    let answer = match inner.client.request(Request::from_parts(parts, body)).await {
        Ok(answer) => answer,
        Err(e) => return error(502, "UNAVAILABLE", &e.to_string()),
    };
    let (mut parts, body) = answer.into_parts();
    if fault.is_none() {
        return Response::from_parts(parts, Body::new(body));
    }
    let mut bytes = axum::body::to_bytes(Body::new(body), 1 << 30).await.unwrap();
    match &fault {
        Some(Fault::Garble) => bytes = bytes.iter().map(|b| b ^ 0x55).collect(),
        Some(Fault::WrongLength(n)) => {
            let mut all = bytes.to_vec();
            all.resize((all.len() as i64 + n) as usize, 0);
            bytes = all.into();
            parts.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
        Some(Fault::Endless) => {
            parts.headers.remove(header::CONTENT_LENGTH);
        }
        _ => {}
    }
    Response::from_parts(parts, body_with(bytes, fault))
}
