//! A token server for a real registry: it signs what the registry checks.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{Method, header};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::{Value, json};
use tokio::task::JoinHandle;

/// A token that was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    pub method: Method,
    /// `password`, `refresh_token`, `basic` or nothing.
    pub by: String,
    pub scopes: Vec<String>,
}

struct Inner {
    dir: tempfile::TempDir,
    post: bool,
    expires_in: u64,
    grants: Mutex<Vec<Grant>>,
}

/// Gives tokens to the user "me" with the password "pa" or the refresh token "refresh-me": for
/// everything; to anybody for pulling below "public/". It stops when dropped.
pub struct Tokens {
    inner: Arc<Inner>,
    address: String,
    task: JoinHandle<()>,
}

impl Drop for Tokens {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tokens {
    /// `post`: it knows OAuth2. `expires_in`: what it says of its tokens, in seconds.
    pub async fn start(post: bool, expires_in: u64) -> Tokens {
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args([
                "req",
                "-x509",
                "-newkey",
                "rsa:2048",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=tokens",
                "-keyout",
            ])
            .arg(dir.path().join("key.pem"))
            .arg("-out")
            .arg(dir.path().join("cert.pem"))
            .output()
            .expect("these tests need openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let inner = Arc::new(Inner { dir, post, expires_in, grants: Mutex::default() });
        let app = Router::new().fallback(serve).with_state(inner.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Tokens { inner, address, task }
    }

    /// What the registry's configuration must say.
    pub fn auth(&self) -> String {
        format!(
            "auth:\n  token: {{realm: 'http://{}/token', service: here, issuer: tests, rootcertbundle: {}}}\n",
            self.address,
            self.file("cert.pem").display()
        )
    }

    fn file(&self, name: &str) -> PathBuf {
        self.inner.dir.path().join(name)
    }

    pub fn grants(&self) -> Vec<Grant> {
        self.inner.grants.lock().unwrap().clone()
    }
}

/// Pairs of a query or form.
fn pairs(text: &str) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = text.replace('+', " ");
        let mut parts = text.split('%');
        let mut out: Vec<u8> = parts.next().unwrap_or_default().into();
        for part in parts {
            out.push(u8::from_str_radix(&part[..2], 16).unwrap());
            out.extend(part[2..].bytes());
        }
        String::from_utf8(out).unwrap()
    };
    text.split('&').filter_map(|p| p.split_once('=')).map(|(k, v)| (decode(k), decode(v))).collect()
}

fn refused(status: u16) -> Response {
    Response::builder().status(status).body(Body::from(r#"{"error":"refused"}"#)).unwrap()
}

async fn serve(State(inner): State<Arc<Inner>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let form = match parts.method {
        Method::POST if !inner.post => return refused(404),
        Method::POST => pairs(std::str::from_utf8(&body).unwrap()),
        _ => pairs(parts.uri.query().unwrap_or_default()),
    };
    let value = |key: &str| form.iter().find(|(k, _)| k == key).map(|(_, v)| v.as_str()).unwrap_or_default();
    let basic = parts.headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
    let by = match (value("grant_type"), basic) {
        ("password", _) if (value("username"), value("password")) == ("me", "pa") => "password",
        ("refresh_token", _) if value("refresh_token") == "refresh-me" => "refresh_token",
        ("", Some(basic)) if basic == format!("Basic {}", STANDARD.encode("me:pa")) => "basic",
        ("", None) => "",
        _ => return refused(401),
    };
    assert_eq!(value("service"), "here");
    let scopes: Vec<String> = form
        .iter()
        .filter(|(k, _)| k == "scope")
        .flat_map(|(_, v)| v.split(' ').map(str::to_owned))
        .collect();
    let access: Vec<Value> = scopes.iter().filter_map(|scope| access(scope, by.is_empty())).collect();
    inner.grants.lock().unwrap().push(Grant { method: parts.method.clone(), by: by.to_owned(), scopes });
    let key = inner.dir.path().join("key.pem");
    let cert = inner.dir.path().join("cert.pem");
    let token = tokio::task::spawn_blocking(move || sign(&key, &cert, &json!(access))).await.unwrap();
    let name = if parts.method == Method::POST { "access_token" } else { "token" };
    let reply = json!({name: token, "expires_in": inner.expires_in});
    Response::builder()
        .header(header::CONTENT_TYPE, "application/json")
        .body(reply.to_string().into())
        .unwrap()
}

/// What a scope gets: everything it asks for, but strangers only look at what is public.
fn access(scope: &str, stranger: bool) -> Option<Value> {
    let mut parts = scope.splitn(3, ':');
    let (kind, name, actions) = (parts.next()?, parts.next()?, parts.next()?);
    let actions: Vec<&str> =
        actions.split(',').filter(|a| !stranger || (name.starts_with("public/") && *a == "pull")).collect();
    Some(json!({"type": kind, "name": name, "actions": actions}))
}

/// A JSON web token.
fn sign(key: &Path, cert: &Path, access: &Value) -> String {
    let der = CertificateDer::from_pem_file(cert).unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let header = json!({"typ": "JWT", "alg": "RS256", "x5c": [STANDARD.encode(&der)]});
    let claims = json!({
        "iss": "tests", "sub": "me", "aud": "here", "jti": now.to_string(),
        "iat": now, "nbf": now - 600, "exp": now + 3600, "access": access,
    });
    let text = format!(
        "{}.{}",
        URL_SAFE_NO_PAD.encode(header.to_string()),
        URL_SAFE_NO_PAD.encode(claims.to_string())
    );
    let mut openssl = Command::new("openssl")
        .args(["dgst", "-sha256", "-sign"])
        .arg(key)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    openssl.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let signed = openssl.wait_with_output().unwrap();
    assert!(signed.status.success());
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(&signed.stdout))
}
