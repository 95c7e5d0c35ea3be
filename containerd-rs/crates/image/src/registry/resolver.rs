//! The resolver: from a reference to the hosts that serve it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::Reference;
use http::{HeaderMap, HeaderValue};

use super::credentials::{Credentials, StaticCredentials};
use super::error::RegistryError;
use super::hosts::{self, Capabilities, HostConfig, HostDirs, Scheme};
use super::proxy::Proxies;
use super::request::Host;

/// The largest manifest or index that is taken from a registry, in bytes. The original's number.
pub const MAX_MANIFEST_SIZE: u64 = 4 * 1048 * 1048;

/// The bounds of every wait on a registry.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// A TCP connect; `dial_timeout` of a host goes before it.
    pub connect: Duration,
    /// From the connect to the head of the answer.
    pub response: Duration,
    /// Between two pieces of a body. A slow body goes on, a silent one fails and is resumed.
    pub stall: Duration,
}

impl Default for Timeouts {
    fn default() -> Timeouts {
        Timeouts {
            connect: Duration::from_secs(30),
            response: Duration::from_secs(60),
            stall: Duration::from_secs(30),
        }
    }
}

/// How registries are spoken to.
#[derive(Clone)]
pub struct ResolverOptions {
    /// Directories with `hosts.toml` or certificates per registry.
    pub hosts_dirs: HostDirs,
    /// The scheme of registries without configuration; `None`: https, on loopback what works.
    pub default_scheme: Option<Scheme>,
    /// Where credentials come from.
    pub credentials: Arc<dyn Credentials>,
    /// Sent with each request to any host. `Accept` replaces the media types asked for on resolve.
    pub headers: HeaderMap,
    /// `User-Agent`, unless `headers` has one: `containerd/<version>`.
    pub user_agent: String,
    /// Bounds of the waits.
    pub timeouts: Timeouts,
    /// Proxies on the way to registries.
    pub proxies: Proxies,
}

impl Default for ResolverOptions {
    fn default() -> ResolverOptions {
        ResolverOptions {
            hosts_dirs: HostDirs::default(),
            default_scheme: None,
            credentials: Arc::new(StaticCredentials::new()),
            headers: HeaderMap::new(),
            user_agent: concat!("containerd/", env!("CARGO_PKG_VERSION")).to_owned(),
            timeouts: Timeouts::default(),
            proxies: Proxies::from_env(),
        }
    }
}

/// The hosts of one registry, in order of preference.
pub(crate) type Hosts = Arc<Vec<Arc<Host>>>;

/// What all hosts of a resolver have in common.
pub(crate) struct Shared {
    pub(crate) credentials: Arc<dyn Credentials>,
    pub(crate) headers: HeaderMap,
    pub(crate) accept: Option<HeaderValue>,
    pub(crate) user_agent: HeaderValue,
    pub(crate) timeouts: Timeouts,
    pub(crate) proxies: Proxies,
}

impl Shared {
    /// For hosts that an image names: no credentials, no headers of the caller.
    pub(crate) fn without_secrets(&self) -> Shared {
        Shared {
            credentials: Arc::new(StaticCredentials::new()),
            headers: HeaderMap::new(),
            accept: None,
            user_agent: self.user_agent.clone(),
            timeouts: self.timeouts,
            proxies: self.proxies.clone(),
        }
    }
}

/// Speaks to registries on behalf of one transfer. Clones share connections and tokens.
#[derive(Clone)]
pub struct Resolver {
    shared: Arc<Shared>,
    dirs: HostDirs,
    default_scheme: Option<Scheme>,
    known: Arc<Mutex<HashMap<String, Hosts>>>,
}

impl Resolver {
    /// A resolver without any connection yet.
    pub fn new(options: ResolverOptions) -> Resolver {
        let mut headers = options.headers;
        let accept = headers.remove(http::header::ACCEPT);
        let user_agent = HeaderValue::from_str(&options.user_agent)
            .unwrap_or_else(|_| HeaderValue::from_static(concat!("containerd/", env!("CARGO_PKG_VERSION"))));
        let (credentials, timeouts, proxies) = (options.credentials, options.timeouts, options.proxies);
        Resolver {
            shared: Arc::new(Shared { credentials, headers, accept, user_agent, timeouts, proxies }),
            dirs: options.hosts_dirs,
            default_scheme: options.default_scheme,
            known: Arc::default(),
        }
    }

    /// The repository that `reference` names, with the hosts that serve it.
    ///
    /// Errors: a reference without a registry, a host configuration that cannot be read, certificates
    /// that cannot be used.
    pub fn repository(&self, reference: &str) -> Result<Repository, RegistryError> {
        let bad = |problem: String| RegistryError::Reference { reference: reference.to_owned(), problem };
        let parsed = Reference::parse(reference).map_err(|e| bad(base::chain(&e)))?;
        let locator = parsed.locator();
        let (registry, name) = locator.split_once('/').ok_or_else(|| bad("hostname required".to_owned()))?;
        if registry.is_empty() || name.is_empty() || name.split('/').any(|p| matches!(p, "" | "." | "..")) {
            return Err(bad("invalid repository name".to_owned()));
        }
        Ok(Repository {
            hosts: self.hosts(registry, reference)?,
            shared: self.shared.clone(),
            reference: reference.to_owned(),
            registry: registry.to_owned(),
            name: name.to_owned(),
            object: parsed.object().to_owned(),
        })
    }

    fn hosts(&self, registry: &str, reference: &str) -> Result<Hosts, RegistryError> {
        let known = || self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hosts) = known().get(registry) {
            return Ok(hosts.clone());
        }
        let mut configs = self
            .dirs
            .load(registry)
            .map_err(|source| RegistryError::Config { registry: registry.to_owned(), source })?
            .unwrap_or_else(|| vec![HostConfig::new(Scheme::Https, "")]);
        hosts::complete(&mut configs, registry, self.default_scheme);
        let mut made = Vec::with_capacity(configs.len());
        for config in configs {
            made.push(Arc::new(Host::new(config, registry, reference, self.shared.clone())?));
        }
        let made = Arc::new(made);
        known().insert(registry.to_owned(), made.clone());
        Ok(made)
    }
}

/// One repository of one registry.
#[derive(Clone)]
pub struct Repository {
    pub(crate) hosts: Hosts,
    pub(crate) shared: Arc<Shared>,
    pub(crate) reference: String,
    pub(crate) registry: String,
    pub(crate) name: String,
    pub(crate) object: String,
}

impl Repository {
    /// The registry as the reference names it (`docker.io`, `localhost:5000`).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The repository's name within the registry (`library/busybox`).
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The hosts with these capabilities, in order of preference.
    pub(crate) fn hosts_for(
        &self,
        verb: &'static str,
        wanted: Capabilities,
    ) -> Result<Vec<Arc<Host>>, RegistryError> {
        let able: Vec<_> = self.hosts.iter().filter(|h| h.config.capabilities.has(wanted)).cloned().collect();
        match able.is_empty() {
            true => Err(RegistryError::NoHosts { verb, registry: self.registry.clone() }),
            false => Ok(able),
        }
    }

    pub(crate) fn path(&self, kind: &str, name: &str) -> String {
        format!("{}/{kind}/{name}", self.name)
    }

    /// The token scope for this repository.
    pub(crate) fn scopes(&self, push: bool) -> Vec<String> {
        let actions = if push { "pull,push" } else { "pull" };
        vec![format!("repository:{}:{actions}", self.name)]
    }
}
