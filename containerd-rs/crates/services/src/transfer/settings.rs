//! What the operator configured for transfers.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use image::registry::{Credentials, HostDirs, Resolver, ResolverOptions, Scheme};
use image::unpack::UnpackTarget;
use protos::api::types_transfer::{RegistryResolver, UnpackConfiguration};
use tonic::Status;

use crate::convert::platform_in;
use crate::parts::Parts;
use crate::status::invalid;

/// Settings of `io.containerd.transfer.v1.local`.
#[derive(Clone)]
pub struct TransferSettings {
    /// Directories with `hosts.toml` files, separated by `:`; a request may name its own.
    pub config_path: String,
    /// Limits that all transfers share.
    pub throttle: image::throttle::Throttle,
    /// Layers of unpacked images are not kept.
    pub discard_unpacked_layers: bool,
    /// An unpack platform that cannot be served is an error, not left out.
    pub check_platform_supported: bool,
    pub max_concurrent_uploads: usize,
    pub user_agent: String,
    /// Who must allow an image before it is pulled.
    pub verifiers: Option<image::verify::Verifiers>,
}

impl TransferSettings {
    /// A resolver as a request wants it.
    pub(super) fn resolver(
        &self,
        wanted: &RegistryResolver,
        credentials: Option<super::auth::StreamCredentials>,
    ) -> Result<Resolver, Status> {
        let dirs = if wanted.host_dir.is_empty() { &self.config_path } else { &wanted.host_dir };
        let default_scheme = match wanted.default_scheme.as_str() {
            "" => None,
            "http" => Some(Scheme::Http),
            "https" => Some(Scheme::Https),
            other => return Err(invalid(format!("unknown default scheme {other:?}: use http or https"))),
        };
        let mut headers = HeaderMap::new();
        for (name, value) in &wanted.headers {
            let name: HeaderName = name.parse().map_err(|_| invalid(format!("header name {name:?}")))?;
            let value: HeaderValue = value.parse().map_err(|_| invalid(format!("value of header {name}")))?;
            headers.append(name, value);
        }
        let mut options = ResolverOptions {
            hosts_dirs: HostDirs::parse(dirs),
            default_scheme,
            headers,
            user_agent: self.user_agent.clone(),
            ..ResolverOptions::default()
        };
        if let Some(credentials) = credentials {
            options.credentials = Arc::new(credentials) as Arc<dyn Credentials>;
        }
        Ok(Resolver::new(options))
    }

    /// Where the layers go that a request wants unpacked.
    pub(super) fn unpack_targets(
        &self,
        parts: &Parts,
        wanted: Vec<UnpackConfiguration>,
    ) -> Result<Vec<UnpackTarget>, Status> {
        let wanted = wanted.into_iter().filter(|unpack| self.serves(unpack));
        let one = |unpack: UnpackConfiguration| {
            let name =
                if unpack.snapshotter.is_empty() { base::defaults::SNAPSHOTTER } else { &unpack.snapshotter };
            let snapshots = parts.snapshotter(name)?;
            let differ = parts.differs.first().ok_or_else(|| invalid("no differ is loaded"))?;
            let platform = match unpack.platform {
                Some(platform) => base::platform::Matcher::only(&platform_in(platform)),
                None => base::platform::Matcher::host_default(),
            };
            Ok(UnpackTarget { snapshots, differ: Arc::clone(differ), platform })
        };
        wanted.map(one).collect()
    }

    /// Whether this host unpacks for the platform: its own ones when that is checked, else those of its
    /// operating system. Others are left out, as in the original.
    fn serves(&self, unpack: &UnpackConfiguration) -> bool {
        let Some(platform) = unpack.platform.clone() else { return true };
        let wanted = platform_in(platform).normalize();
        let host = base::platform::Platform::host();
        let served = match self.check_platform_supported {
            true => base::platform::Matcher::host_best().matches(&wanted),
            false => wanted.os.is_empty() || wanted.os == host.os,
        };
        if !served {
            let snapshotter = &unpack.snapshotter;
            tracing::warn!(platform = %wanted, snapshotter, "unpacking for this platform is not supported: left out");
        }
        served
    }
}
