//! Which hosts serve a registry, and how they are spoken to: `hosts.toml` directories, Docker style
//! certificate directories, and the defaults for registries nobody configured.

mod defaults;
mod dirs;
mod duration;
mod file;

use std::path::PathBuf;
use std::time::Duration;

use http::HeaderMap;

pub(crate) use defaults::complete;
pub use defaults::is_localhost;
pub use dirs::HostDirs;
pub use file::{HostsFileError, parse_hosts_file};

/// What a host may be asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities(u8);

impl Capabilities {
    /// Fetching manifests and blobs by digest.
    pub const PULL: Capabilities = Capabilities(1);
    /// Turning a tag into a digest: the host is trusted to name content.
    pub const RESOLVE: Capabilities = Capabilities(2);
    /// Uploading.
    pub const PUSH: Capabilities = Capabilities(4);
    /// Listing what refers to a manifest.
    pub const REFERRERS: Capabilities = Capabilities(8);
    /// Everything: what a host without a `capabilities` key has.
    pub const ALL: Capabilities = Capabilities(15);
    /// Nothing.
    pub const NONE: Capabilities = Capabilities(0);

    /// Whether all of `other` is included.
    pub fn has(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets together.
    pub fn with(self, other: Capabilities) -> Capabilities {
        Capabilities(self.0 | other.0)
    }
}

/// `http` or `https`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scheme {
    /// Plain text.
    Http,
    /// TLS.
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }
}

/// One host that may serve a registry.
#[derive(Clone, PartialEq, Debug)]
pub struct HostConfig {
    /// The scheme to begin with.
    pub scheme: Scheme,
    /// `name` or `name:port`. Empty in a parsed file that names no `server`: the registry itself.
    pub host: String,
    /// Root of the API, usually `/v2`; no slash at the end.
    pub path: String,
    /// What the host may be asked for.
    pub capabilities: Capabilities,
    /// Extra certificate authorities, PEM.
    pub ca: Vec<PathBuf>,
    /// Client certificates; without a key file the certificate file holds the key as well.
    pub client: Vec<(PathBuf, Option<PathBuf>)>,
    /// `Some(true)`: the server's certificate is not checked.
    pub skip_verify: Option<bool>,
    /// Sent with each request to this host, and to no other.
    pub headers: HeaderMap,
    /// Longest time a TCP connect may take.
    pub dial_timeout: Option<Duration>,
    /// The host is configured for http and TLS at once: TLS is tried, plain text is the fall-back.
    pub http_fallback: bool,
}

impl HostConfig {
    /// A host with every capability at `/v2` and nothing else set.
    pub fn new(scheme: Scheme, host: impl Into<String>) -> HostConfig {
        HostConfig {
            scheme,
            host: host.into(),
            path: "/v2".to_owned(),
            capabilities: Capabilities::ALL,
            ca: Vec::new(),
            client: Vec::new(),
            skip_verify: None,
            headers: HeaderMap::new(),
            dial_timeout: None,
            http_fallback: false,
        }
    }

    /// Whether this host stands in for `registry` and has to be told so (`?ns=`).
    pub fn is_proxy_of(&self, registry: &str) -> bool {
        self.host != registry && !(registry == "docker.io" && self.host == "registry-1.docker.io")
    }

    /// Whether TLS was configured for this host in particular.
    pub(crate) fn has_tls_settings(&self) -> bool {
        !self.ca.is_empty() || !self.client.is_empty() || self.skip_verify.is_some()
    }
}

/// The port of `host:port` or `[v6]:port`, if there is one.
pub(crate) fn port_of(host: &str) -> Option<&str> {
    match host.rfind(']') {
        Some(end) => host[end + 1..].strip_prefix(':'),
        None => match host.split_once(':') {
            Some((_, port)) if !port.contains(':') => Some(port),
            _ => None,
        },
    }
}
