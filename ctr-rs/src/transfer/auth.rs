//! Answering the daemon when it asks for credentials of a registry.

use protos::api::types_transfer::{AuthRequest, AuthResponse, AuthType};

use crate::client::stream::Stream;
use crate::error::{Error, Result};
use crate::io::terminal;

/// What the flags say.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    username: String,
    secret: String,
    refresh: bool,
}

impl Credentials {
    /// Reads `--user NAME[:PASSWORD]` and `--refresh TOKEN`; asks for a password that is missing. `None`: neither is given.
    pub fn read(user: Option<&str>, refresh: Option<&str>) -> Result<Option<Self>> {
        let (username, password) =
            match user.map(|u| u.split_once(':').map_or((u, None), |(u, p)| (u, Some(p)))) {
                None => ("", None),
                Some((name, password)) => (name, password),
            };
        if let Some(token) = refresh {
            return Ok(Some(Credentials { username: username.into(), secret: token.into(), refresh: true }));
        }
        if user.is_none() {
            return Ok(None);
        }
        let secret = match password {
            Some(password) => password.to_owned(),
            None => terminal::read_password(&format!("Password of {username}: "))?,
        };
        Ok(Some(Credentials { username: username.into(), secret, refresh: false }))
    }

    /// Answers until the daemon asks no more. The credentials are for `registry` only: other hosts (redirections) get none.
    pub async fn answer(self, mut stream: Stream, registry: &str) -> Result<()> {
        while let Some(message) = stream.from.next().await? {
            let request: AuthRequest = message.unpack().map_err(|e| {
                Error::invalid(format!("the daemon asked for credentials in a way that is not known: {e}"))
            })?;
            if !stream.to.send(&self.response(&request, registry)).await {
                break;
            }
        }
        Ok(())
    }

    fn response(&self, request: &AuthRequest, registry: &str) -> AuthResponse {
        if request.host != registry && canonical(&request.host) != canonical(registry) {
            return AuthResponse { auth_type: AuthType::None as i32, ..AuthResponse::default() };
        }
        let auth_type = if self.refresh { AuthType::Refresh } else { AuthType::Credentials };
        AuthResponse {
            auth_type: auth_type as i32,
            username: self.username.clone(),
            secret: self.secret.clone(),
            ..AuthResponse::default()
        }
    }
}

/// Docker Hub answers under several names.
fn canonical(host: &str) -> &str {
    match host {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" => "docker.io",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_the_registry_itself_gets_them() {
        let credentials = Credentials::read(Some("joe:s:cret"), None).unwrap().unwrap();
        let ask = |host: &str| {
            let request = AuthRequest { host: host.into(), ..AuthRequest::default() };
            let answer = credentials.response(&request, "docker.io");
            (answer.auth_type(), answer.secret)
        };
        assert_eq!(ask("registry-1.docker.io"), (AuthType::Credentials, "s:cret".into()));
        assert_eq!(ask("evil.example"), (AuthType::None, String::new()));
    }

    #[test]
    fn tokens_and_nothing() {
        assert!(Credentials::read(None, None).unwrap().is_none());
        let token = Credentials::read(Some("joe"), Some("t")).unwrap().unwrap();
        assert!(token.refresh && token.secret == "t");
    }
}
