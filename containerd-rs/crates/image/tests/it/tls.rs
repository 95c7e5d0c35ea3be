//! TLS: authorities, client certificates, checks switched off, and what never goes out in the open.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::oci::media_type;
use image::registry::{HostDirs, Proxies, Resolver, ResolverOptions, Scheme};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::faulty::{Auth, Fault, Faulty};
use crate::resolve::{patient, with_login};

const MANIFEST: &str = r#"{"schemaVersion":2,"config":{},"layers":[]}"#;

pub fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Accepts TLS connections; broken handshakes are the client's affair.
struct TlsListener {
    tcp: TcpListener,
    tls: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, peer) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.tls.accept(stream).await {
                return (stream, peer);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

async fn start(auth: Auth, realm: &str, wants_client: bool) -> Faulty {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let ca = CertificateDer::from_pem_file(fixture("ca.pem")).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(ca).unwrap();
    let builder =
        ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match wants_client {
        true => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap(),
        ),
        false => builder.with_no_client_auth(),
    };
    let cert = CertificateDer::from_pem_file(fixture("server.pem")).unwrap();
    let key = PrivateKeyDer::from_pem_file(fixture("server.key")).unwrap();
    let config = builder.with_single_cert(vec![cert], key).unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = tcp.local_addr().unwrap().to_string();
    let listener = TlsListener { tcp, tls: TlsAcceptor::from(Arc::new(config)) };
    let registry = Faulty::start_on(listener, address, auth, realm);
    registry.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    registry
}

/// Resolves `reg.test/a:1` with `hosts.toml` sending it to the registry.
async fn resolve(registry: &Faulty, settings: &str, options: ResolverOptions) -> Result<(), String> {
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join("reg.test");
    std::fs::create_dir(&host).unwrap();
    let toml = format!("server = \"https://{}\"\n{settings}", registry.address());
    std::fs::write(host.join("hosts.toml"), toml).unwrap();
    for name in ["ca.pem", "client.pem", "client.key"] {
        std::fs::copy(fixture(name), host.join(name)).unwrap();
    }
    let options = ResolverOptions { hosts_dirs: HostDirs::parse(dir.path().to_str().unwrap()), ..options };
    let repository = Resolver::new(options).repository("reg.test/a:1").map_err(|e| base::chain(&e))?;
    repository.resolve().await.map(drop).map_err(|e| base::chain(&e))
}

#[tokio::test]
async fn authorities_are_checked() {
    let registry = start(Auth::Open, "", false).await;
    resolve(&registry, "ca = \"ca.pem\"\n", patient()).await.unwrap();
    resolve(&registry, "skip_verify = true\n", patient()).await.unwrap();
    let e = resolve(&registry, "", patient()).await.unwrap_err();
    assert!(e.contains("certificate"), "{e}");
    assert_eq!(registry.seen().len(), 2);
    let e = resolve(&registry, "ca = \"missing.pem\"\n", patient()).await.unwrap_err();
    assert!(e.contains("missing.pem") && e.contains("No such file"), "{e}");
    let e = resolve(&registry, "ca = \"client.key\"\n", patient()).await.unwrap_err();
    assert!(e.contains("no certificate in it"), "{e}");
}

#[tokio::test]
async fn clients_prove_themselves() {
    let registry = start(Auth::Open, "", true).await;
    let settings = "ca = \"ca.pem\"\nclient = [[\"client.pem\", \"client.key\"]]\n";
    resolve(&registry, settings, patient()).await.unwrap();
    let e = resolve(&registry, "ca = \"ca.pem\"\n", patient()).await.unwrap_err();
    assert!(e.contains("ertificate"), "{e}");
    let e = resolve(&registry, "ca = \"ca.pem\"\nclient = \"client.pem\"\n", patient()).await.unwrap_err();
    assert!(e.contains("unable to read key"), "{e}");
}

#[tokio::test]
async fn docker_style_directories() {
    let registry = start(Auth::Open, "", true).await;
    let dir = tempfile::tempdir().unwrap();
    let host = dir.path().join(registry.address());
    std::fs::create_dir(&host).unwrap();
    for (from, to) in [("ca.pem", "ca.crt"), ("client.pem", "client.cert"), ("client.key", "client.key")] {
        std::fs::copy(fixture(from), host.join(to)).unwrap();
    }
    let options = ResolverOptions { hosts_dirs: HostDirs::parse(dir.path().to_str().unwrap()), ..patient() };
    Resolver::new(options)
        .repository(&format!("{}/a:1", registry.address()))
        .unwrap()
        .resolve()
        .await
        .unwrap();
}

#[tokio::test]
async fn loopback_with_tls_needs_no_settings() {
    let registry = start(Auth::Open, "", false).await;
    let reference = format!("{}/a:1", registry.address());
    Resolver::new(patient()).repository(&reference).unwrap().resolve().await.unwrap();
    // Whoever insists on plain text gets it, and fails.
    let options = ResolverOptions { default_scheme: Some(Scheme::Http), ..patient() };
    assert!(Resolver::new(options).repository(&reference).unwrap().resolve().await.is_err());
}

#[tokio::test]
async fn credentials_do_not_step_down_to_plain_text() {
    let registry = start(Auth::Basic { user: "u", password: "p" }, "", false).await;
    let plain = Faulty::start(Auth::Open).await;
    plain.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    registry.fault(
        "",
        "/manifests/",
        9,
        Fault::Redirect(format!("http://{}/v2/a/manifests/1", plain.address())),
    );
    let options = with_login(&registry.address(), "u", "p");
    let settings = "ca = \"ca.pem\"\n[header]\nx-secret = \"hunter2\"\n";
    resolve(&registry, settings, options).await.unwrap();
    assert!(registry.seen().iter().all(|s| s.header("x-secret") == "hunter2"));
    assert!(
        plain.seen().iter().all(|s| s.header("authorization").is_empty() && s.header("x-secret").is_empty())
    );
}

#[tokio::test]
async fn a_token_server_in_the_open_is_refused() {
    let auth = Auth::Bearer { user: "u", password: "p", post: true, anonymous: true };
    let registry = start(auth, "http://tokens.example.com/token", false).await;
    let e =
        resolve(&registry, "ca = \"ca.pem\"\n", with_login(&registry.address(), "u", "p")).await.unwrap_err();
    assert!(e.contains("is not https while the registry is"), "{e}");
}

/// A proxy that leads every tunnel to `target`; gives its address and what it was asked.
async fn tunnels(target: String) -> (String, Arc<std::sync::Mutex<Vec<String>>>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let asked = Arc::new(std::sync::Mutex::new(Vec::new()));
    let told = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut client, _) = listener.accept().await.unwrap();
            let (target, told) = (target.clone(), told.clone());
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                told.lock().unwrap().push(String::from_utf8(head).unwrap());
                let mut server = TcpStream::connect(target).await.unwrap();
                client.write_all(b"HTTP/1.1 200 go on\r\n\r\n").await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (address, asked)
}

#[tokio::test]
async fn through_a_proxy() {
    let registry = start(Auth::Open, "", false).await;
    let (proxy, asked) = tunnels(registry.address()).await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("reg.test")).unwrap();
    std::fs::write(
        dir.path().join("reg.test/hosts.toml"),
        "server = \"https://reg.test\"\nskip_verify = true\n",
    )
    .unwrap();
    let options = ResolverOptions {
        hosts_dirs: HostDirs::parse(dir.path().to_str().unwrap()),
        proxies: Proxies::new("", &format!("http://me:word@{proxy}"), ""),
        ..patient()
    };
    Resolver::new(options).repository("reg.test/a:1").unwrap().resolve().await.unwrap();
    let head = asked.lock().unwrap()[0].clone();
    assert!(head.starts_with("CONNECT reg.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.to_lowercase().contains("proxy-authorization: basic "), "{head}");
    assert!(registry.seen().iter().all(|s| s.header("proxy-authorization").is_empty()));

    // Plain text: the proxy gets the whole URL and its own login.
    let plain = Faulty::start(Auth::Open).await;
    plain.manifest("a", "1", media_type::OCI_MANIFEST, MANIFEST);
    let options = ResolverOptions {
        default_scheme: Some(Scheme::Http),
        proxies: Proxies::new(&format!("http://me:word@{}", plain.address()), "", ""),
        ..patient()
    };
    Resolver::new(options).repository("reg.test/a:1").unwrap().resolve().await.unwrap();
    let seen = &plain.seen()[0];
    assert!(seen.uri.starts_with("http://reg.test/v2/a/manifests/1"), "{}", seen.uri);
    assert!(seen.header("proxy-authorization").starts_with("Basic "));
}
