//! Where credentials come from.

use std::collections::HashMap;
use std::fmt;

use async_trait::async_trait;

/// What proves who we are to one host. `Debug` shows no secret.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// User and password, for Basic and for token servers.
    Password {
        /// The user.
        user: String,
        /// The password.
        secret: String,
    },
    /// A refresh (identity) token for the token server.
    RefreshToken(String),
    /// A complete `Authorization` value.
    Header(String),
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credential::Password { user, .. } => write!(f, "Password({user}, redacted)"),
            Credential::RefreshToken(_) => f.write_str("RefreshToken(redacted)"),
            Credential::Header(_) => f.write_str("Header(redacted)"),
        }
    }
}

/// Asked when a host answers 401.
#[derive(Clone, Debug)]
pub struct CredentialRequest {
    /// `name` or `name:port` of the host that asks (a mirror, not the registry it stands in for).
    pub host: String,
    /// The reference that is transferred.
    pub reference: String,
    /// The values of its `WWW-Authenticate` headers.
    pub challenges: Vec<String>,
}

/// A source of credentials.
#[async_trait]
pub trait Credentials: Send + Sync {
    /// The credential for this host and no other; `None`: go on without.
    async fn get(&self, request: &CredentialRequest) -> Option<Credential>;
}

/// Credentials known beforehand, by host.
#[derive(Clone, Debug, Default)]
pub struct StaticCredentials {
    by_host: HashMap<String, Credential>,
}

impl StaticCredentials {
    /// No credentials at all.
    pub fn new() -> StaticCredentials {
        StaticCredentials::default()
    }

    /// Adds the credential of one host (`name` or `name:port`).
    #[must_use]
    pub fn with(mut self, host: impl Into<String>, credential: Credential) -> StaticCredentials {
        self.by_host.insert(host.into(), credential);
        self
    }
}

#[async_trait]
impl Credentials for StaticCredentials {
    async fn get(&self, request: &CredentialRequest) -> Option<Credential> {
        self.by_host.get(&request.host).cloned()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn debug_shows_no_secret() {
        for c in [
            Credential::Password { user: "u".to_owned(), secret: "hunter2".to_owned() },
            Credential::RefreshToken("hunter2".to_owned()),
            Credential::Header("Bearer hunter2".to_owned()),
        ] {
            let all = StaticCredentials::new().with("h", c.clone());
            assert!(!format!("{c:?} {all:?}").contains("hunter2"));
        }
    }
}
