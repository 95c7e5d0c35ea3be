//! Flags of commands that talk to a registry, and the registry as source or destination.

use std::collections::BTreeMap;

use base::reference::Reference;
use protos::api::Any;
use protos::api::types_transfer::{OciRegistry, RegistryResolver};

use super::auth::Credentials;
use super::tls::TlsFlags;
use crate::client::{Client, stream};
use crate::error::{Error, Result};

/// Which registry, and how to talk to it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RegistryFlags {
    /// User of the registry: NAME, which asks for the password, or NAME:PASSWORD
    #[arg(long, short, value_name = "NAME:PASSWORD")]
    pub user: Option<String>,
    /// Refresh token of the authorization server
    #[arg(long, value_name = "TOKEN")]
    pub refresh: Option<String>,
    /// Plain HTTP in place of HTTPS
    #[arg(long, conflicts_with_all = ["skip_verify", "tlscacert", "tlscert"])]
    pub plain_http: bool,
    /// Directory of hosts.toml files
    #[arg(long, value_name = "DIR", conflicts_with_all = ["skip_verify", "tlscacert", "tlscert"])]
    pub hosts_dir: Option<String>,
    /// How to check the registry, and what to show it.
    #[command(flatten)]
    pub tls: TlsFlags,
    /// Header (Name: value) of every request
    #[arg(long, value_name = "NAME:VALUE")]
    pub header: Vec<String>,
}

/// Answers to questions of the daemon, for as long as the transfer takes.
pub type Answers = std::pin::Pin<Box<dyn Future<Output = Result<()>>>>;

impl RegistryFlags {
    /// The registry of `reference` for a request, and what to do beside it.
    pub async fn registry(&self, client: &Client, reference: &str) -> Result<(Any, Answers)> {
        let mut resolver = RegistryResolver {
            headers: headers(&self.header)?,
            host_dir: self.hosts_dir.clone().unwrap_or_default(),
            default_scheme: if self.plain_http { "http".into() } else { String::new() },
            ..RegistryResolver::default()
        };
        let credentials = Credentials::read(self.user.as_deref(), self.refresh.as_deref())?;
        let domain = parse(reference)?.domain().to_owned();
        let mut settings = None;
        if !self.tls.is_empty() {
            let dir = self.tls.write(&domain)?;
            resolver.host_dir = dir.path.display().to_string();
            settings = Some(dir);
        }
        let mut auth = None;
        if let Some(credentials) = credentials {
            let stream = stream::open(client, "auth").await?;
            resolver.auth_stream.clone_from(&stream.id);
            auth = Some((credentials, stream));
        }
        let answers: Answers = Box::pin(async move {
            if let Some((credentials, stream)) = auth {
                credentials.answer(stream, &domain).await?;
            }
            match settings {
                // The daemon may read them as long as the transfer goes on.
                Some(_settings) => std::future::pending().await,
                None => Ok(()),
            }
        });
        let registry = OciRegistry { reference: reference.into(), resolver: Some(resolver) };
        Ok((Any::pack(&registry), answers))
    }
}

fn headers(flags: &[String]) -> Result<BTreeMap<String, String>> {
    let pair = |flag: &String| {
        let (name, value) = flag.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned())).filter(|(name, _)| !name.is_empty())
    };
    flags
        .iter()
        .map(|flag| pair(flag).ok_or_else(|| Error::invalid(format!("header {flag:?} is not NAME: VALUE"))))
        .collect()
}

fn parse(reference: &str) -> Result<Reference> {
    Reference::parse(reference)
        .map_err(|e| Error::refused(format!("image name {reference:?} cannot be used"), e))
}

/// The full name of an image: short ones (`busybox`) are Docker Hub's. Full ones stay as they are.
pub fn full_name(name: &str) -> Result<String> {
    let host = name.split_once('/').map(|(host, _)| host);
    if host.is_some_and(|h| h.contains(['.', ':']) || h == "localhost") {
        return Ok(parse(name)?.to_string());
    }
    let full = Reference::parse_normalized(name);
    Ok(full.map_err(|e| Error::refused(format!("image name {name:?} cannot be used"), e))?.to_string())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn short_names_are_completed_and_full_ones_kept() {
        for (name, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("me/tool:1", "docker.io/me/tool:1"),
            ("127.0.0.1:5000/demo/busybox:latest", "127.0.0.1:5000/demo/busybox:latest"),
            ("ghcr.io/a/b:1", "ghcr.io/a/b:1"),
        ] {
            assert_eq!(full_name(name).unwrap(), full);
        }
        assert!(full_name("BAD NAME").is_err());
    }

    #[test]
    fn headers_are_pairs() {
        assert_eq!(headers(&["X-A: b:c".into()]).unwrap()["X-A"], "b:c");
        assert!(headers(&["nope".into()]).is_err() && headers(&[": x".into()]).is_err());
    }
}
