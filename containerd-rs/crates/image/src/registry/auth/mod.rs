//! Authorisation at one host: Basic, Bearer with a token server, or a given header.
//!
//! ```text
//!   Open --401, Basic + password--> Fixed          Open --401, Bearer--> Token
//!   Open --401, credential is a header--> Fixed    Token --401--> Token (cached token dropped, once)
//! ```

mod challenge;
mod token;

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use http::HeaderValue;

use self::challenge::{Challenge, Scheme};
use self::token::TokenServer;
use super::credentials::{Credential, CredentialRequest};
use super::error::Failure;
use super::resolver::Shared;
use super::transport::Transport;

pub(crate) use challenge::parse as parse_challenges;

/// What is known about authorisation at one host.
#[derive(Clone)]
enum State {
    /// Nothing asked for yet.
    Open,
    /// The same header each time.
    Fixed(HeaderValue),
    /// Tokens by scope.
    Token(Arc<TokenServer>),
}

/// Answers the challenges of one host.
pub(crate) struct Authorizer {
    host: String,
    https: bool,
    reference: String,
    shared: Arc<Shared>,
    state: Mutex<State>,
}

impl Authorizer {
    pub(crate) fn new(host: &str, https: bool, reference: &str, shared: Arc<Shared>) -> Authorizer {
        Authorizer {
            host: host.to_owned(),
            https,
            reference: reference.to_owned(),
            shared,
            state: Mutex::new(State::Open),
        }
    }

    fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was learned first counts: who learned the same at the same time uses it too.
    fn set(&self, new: State) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Open) {
            *state = new;
        }
    }

    /// The `Authorization` value for a request that needs `scopes`; fetches a token if need be.
    pub(crate) async fn header(
        &self,
        transport: &Transport,
        scopes: &[String],
    ) -> Result<Option<HeaderValue>, Failure> {
        match self.state() {
            State::Open => Ok(None),
            State::Fixed(value) => Ok(Some(value)),
            State::Token(server) => server.token(transport, scopes).await.map(Some),
        }
    }

    /// Learns from a 401. `sent`: what the refused request carried. `Ok`: worth another try.
    pub(crate) async fn learn(
        &self,
        values: Vec<String>,
        sent: Option<&HeaderValue>,
        scopes: &[String],
    ) -> Result<(), Failure> {
        if let (State::Token(server), Some(sent)) = (self.state(), sent) {
            server.forget(scopes, sent);
            return Ok(());
        }
        if sent.is_none() && !matches!(self.state(), State::Open) {
            // Another request has learned it meanwhile.
            return Ok(());
        }
        let challenges: Vec<Challenge> = values.iter().flat_map(|v| parse_challenges(v)).collect();
        if sent.is_some() {
            return Err(denied("the credentials were refused"));
        }
        let bearer = challenges.iter().find(|c| c.scheme == Scheme::Bearer);
        let basic = challenges.iter().any(|c| c.scheme == Scheme::Basic);
        if bearer.is_none() && !basic {
            return Err(denied("no supported authentication scheme is offered"));
        }
        let request = CredentialRequest {
            host: self.host.clone(),
            reference: self.reference.clone(),
            challenges: values,
        };
        let credential = self.shared.credentials.get(&request).await;
        if let Some(Credential::Header(value)) = &credential {
            self.set(State::Fixed(secret(value)?));
            return Ok(());
        }
        if let Some(bearer) = bearer {
            let server = TokenServer::new(bearer, credential, self.https, self.shared.clone())?;
            self.set(State::Token(Arc::new(server)));
            return Ok(());
        }
        match credential {
            Some(Credential::Password { user, secret }) if !user.is_empty() && !secret.is_empty() => {
                self.set(State::Fixed(basic_header(&user, &secret)?));
                Ok(())
            }
            _ => Err(denied("no basic auth credentials")),
        }
    }
}

fn denied(reason: impl Into<String>) -> Failure {
    Failure::Denied { reason: reason.into() }
}

/// A header value that `Debug` hides.
fn secret(text: &str) -> Result<HeaderValue, Failure> {
    let mut value =
        HeaderValue::from_str(text).map_err(|_| denied("the credential cannot be sent in a header"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn basic_header(user: &str, password: &str) -> Result<HeaderValue, Failure> {
    let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
    secret(&format!("Basic {pair}"))
}
