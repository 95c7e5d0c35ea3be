//! Tokens from a token server: OAuth2 POST with credentials, GET otherwise and as fall-back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared as SharedFuture};
use http::{HeaderMap, HeaderValue, Method, Uri, header};
use http_body_util::{BodyExt, Full};

use super::challenge::Challenge;
use super::{basic_header, denied, secret};
use crate::registry::answer::Answer;
use crate::registry::credentials::Credential;
use crate::registry::error::Failure;
use crate::registry::hosts::is_localhost;
use crate::registry::location;
use crate::registry::request::{Body, Outgoing, Payload, follow};
use crate::registry::resolver::Shared;
use crate::registry::transport::Transport;

/// Longest answer of a token server.
const MAX_TOKEN_ANSWER: usize = 1 << 20;
/// Name of this client towards token servers.
const CLIENT_ID: &str = "containerd-client";

type Fetching = SharedFuture<BoxFuture<'static, Result<Token, Failure>>>;

#[derive(Clone)]
struct Token {
    header: HeaderValue,
    expires: Option<Instant>,
}

/// One token server and the tokens it gave, by scope.
pub(crate) struct TokenServer {
    realm: Uri,
    service: Option<String>,
    scopes: Vec<String>,
    credential: Option<Credential>,
    shared: Arc<Shared>,
    tokens: Mutex<HashMap<String, Fetching>>,
}

impl TokenServer {
    /// Reads a Bearer challenge. A realm in plain text is refused when the registry speaks TLS,
    /// unless it is on this machine: it would carry the credential in the open.
    pub(crate) fn new(
        challenge: &Challenge,
        credential: Option<Credential>,
        registry_is_https: bool,
        shared: Arc<Shared>,
    ) -> Result<TokenServer, Failure> {
        let text = challenge.params.get("realm").map(String::as_str).unwrap_or_default();
        let realm = location::check(text)
            .ok_or_else(|| denied(format!("the token server {text:?} is not an http(s) URL")))?;
        let local = realm.authority().is_some_and(|a| is_localhost(a.as_str()));
        if registry_is_https && realm.scheme_str() != Some("https") && !local {
            return Err(denied(format!("the token server {text:?} is not https while the registry is")));
        }
        let scopes = challenge.params.get("scope").map(String::as_str).unwrap_or_default();
        Ok(TokenServer {
            realm,
            service: challenge.params.get("service").filter(|s| !s.is_empty()).cloned(),
            scopes: scopes.split(' ').filter(|s| !s.is_empty()).map(str::to_owned).collect(),
            credential,
            shared,
            tokens: Mutex::new(HashMap::new()),
        })
    }

    /// The challenge's scopes and the request's, sorted, one for each resource.
    fn all_scopes(&self, scopes: &[String]) -> Vec<String> {
        merge(self.scopes.iter().chain(scopes))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Fetching>> {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The `Authorization` value for `scopes`. Concurrent callers share one request.
    pub(crate) async fn token(
        self: &Arc<Self>,
        transport: &Transport,
        scopes: &[String],
    ) -> Result<HeaderValue, Failure> {
        let all = self.all_scopes(scopes);
        let key = all.join(" ");
        let fetching = {
            let mut tokens = self.lock();
            let stale = match tokens.get(&key).and_then(|f| f.peek()) {
                Some(Ok(token)) => token.expires.is_some_and(|at| at <= Instant::now()),
                Some(Err(_)) => true,
                None => false,
            };
            if stale {
                tokens.remove(&key);
            }
            tokens
                .entry(key)
                .or_insert_with(|| {
                    let (server, transport) = (self.clone(), transport.clone());
                    async move { server.fetch(&transport, &all).await }.boxed().shared()
                })
                .clone()
        };
        fetching.await.map(|t| t.header)
    }

    /// Drops the token for `scopes` if it still is the refused one.
    pub(crate) fn forget(&self, scopes: &[String], refused: &HeaderValue) {
        let key = self.all_scopes(scopes).join(" ");
        let mut tokens = self.lock();
        let known = tokens.get(&key).and_then(|f| f.peek());
        if known.is_some_and(|t| t.as_ref().is_ok_and(|t| t.header == *refused)) {
            tokens.remove(&key);
        }
    }

    async fn fetch(&self, transport: &Transport, scopes: &[String]) -> Result<Token, Failure> {
        let (user, secret, grant) = match &self.credential {
            Some(Credential::Password { user, secret }) if !secret.is_empty() => {
                (user.as_str(), secret.as_str(), "password")
            }
            Some(Credential::RefreshToken(token)) if !token.is_empty() => {
                ("", token.as_str(), "refresh_token")
            }
            _ => return self.get(transport, scopes, None).await.map_err(|f| explain("anonymous", f)),
        };
        match self.post(transport, scopes, user, secret, grant).await {
            // Servers that know no POST answer one of these.
            Err(Failure::Status { status, .. }) if matches!(status.as_u16(), 400 | 401 | 405) => {}
            Err(Failure::NotFound) => {}
            done => return done.map_err(|f| explain("oauth", f)),
        }
        self.get(transport, scopes, Some((user, secret))).await.map_err(|f| explain("oauth", f))
    }

    async fn post(
        &self,
        transport: &Transport,
        scopes: &[String],
        user: &str,
        secret: &str,
        grant: &str,
    ) -> Result<Token, Failure> {
        let mut form = vec![("grant_type", grant), ("client_id", CLIENT_ID)];
        let scope = scopes.join(" ");
        if !scope.is_empty() {
            form.push(("scope", &scope));
        }
        form.push(("service", self.service.as_deref().unwrap_or_default()));
        if grant == "password" {
            form.extend([("username", user), ("password", secret)]);
        } else {
            form.push(("refresh_token", secret));
        }
        let text: Vec<String> = form.iter().map(|(k, v)| format!("{k}={}", location::encode(v))).collect();
        let body = Bytes::from(text.join("&"));
        let mut outgoing = self.outgoing(Method::POST, self.realm.clone());
        let kind = HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8");
        outgoing.headers.insert(header::CONTENT_TYPE, kind);
        outgoing.body = Some(Payload { make: Arc::new(move || full(body.clone())), watch: None });
        self.send(transport, outgoing).await
    }

    async fn get(
        &self,
        transport: &Transport,
        scopes: &[String],
        login: Option<(&str, &str)>,
    ) -> Result<Token, Failure> {
        let mut pairs: Vec<(&str, &str)> = self.service.iter().map(|s| ("service", s.as_str())).collect();
        pairs.extend(scopes.iter().map(|s| ("scope", s.as_str())));
        let mut url = self.realm.clone();
        for (key, value) in pairs {
            url = location::add_query(&url, key, value)
                .ok_or_else(|| denied("the token server's URL cannot be used"))?;
        }
        let mut outgoing = self.outgoing(Method::GET, url);
        if let Some((user, secret)) = login {
            outgoing.authorization = Some(basic_header(user, secret)?);
        }
        self.send(transport, outgoing).await
    }

    fn outgoing(&self, method: Method, url: Uri) -> Outgoing {
        let mut headers = HeaderMap::new();
        headers.insert(header::USER_AGENT, self.shared.user_agent.clone());
        Outgoing { method, url, headers, private: HeaderMap::new(), authorization: None, body: None }
    }

    async fn send(&self, transport: &Transport, outgoing: Outgoing) -> Result<Token, Failure> {
        let mut answer = follow(transport, &outgoing, &self.shared.timeouts).await?.answer;
        if !answer.status.is_success() {
            return Err(answer.into_failure().await);
        }
        let body =
            answer.read(MAX_TOKEN_ANSWER).await?.ok_or_else(|| answer.bad("token answer is too long"))?;
        parse_token(&body, &answer)
    }
}

/// Scopes are `type:name:action,action`: those of one resource become one, with the actions of all.
fn merge<'a>(scopes: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut actions: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for scope in scopes {
        let (resource, wanted) = scope.rsplit_once(':').unwrap_or((scope, ""));
        actions.entry(resource).or_default().extend(wanted.split(',').filter(|a| !a.is_empty()));
    }
    let join = |(resource, actions): (&str, BTreeSet<&str>)| match actions.is_empty() {
        true => resource.to_owned(),
        false => format!("{resource}:{}", actions.into_iter().collect::<Vec<_>>().join(",")),
    };
    actions.into_iter().map(join).collect()
}

fn full(bytes: Bytes) -> Body {
    Full::new(bytes).map_err(|never| match never {}).boxed_unsync()
}

fn parse_token(body: &[u8], answer: &Answer) -> Result<Token, Failure> {
    #[derive(serde::Deserialize)]
    struct Reply {
        #[serde(default)]
        token: String,
        #[serde(default)]
        access_token: String,
        #[serde(default)]
        expires_in: i64,
    }
    // The text of a JSON error could quote the token, so it is not passed on.
    let reply: Reply =
        serde_json::from_slice(body).map_err(|_| answer.bad("unable to decode token response"))?;
    let text = if reply.access_token.is_empty() { reply.token } else { reply.access_token };
    if text.is_empty() {
        return Err(answer.bad("authorization server did not include a token in the response"));
    }
    let expires = u64::try_from(reply.expires_in)
        .ok()
        .filter(|s| *s > 0)
        .and_then(|s| Instant::now().checked_add(Duration::from_secs(s)));
    Ok(Token { header: secret(&format!("Bearer {text}"))?, expires })
}

/// Refusals of the token server are refusals of the credentials.
fn explain(kind: &str, failure: Failure) -> Failure {
    match failure {
        Failure::Status { status, message, .. } if matches!(status.as_u16(), 400 | 401 | 403) => {
            let message = message.map(|m| format!(": {m}")).unwrap_or_default();
            denied(format!("failed to fetch {kind} token: token server answered {status}{message}"))
        }
        Failure::NotFound => denied(format!("failed to fetch {kind} token: token server answered 404")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_one_resource_become_one() {
        for (scopes, want) in [
            (vec!["repository:a:pull,push", "repository:a:pull"], vec!["repository:a:pull,push"]),
            (
                vec!["repository:b:pull", "repository:a:push,pull"],
                vec!["repository:a:pull,push", "repository:b:pull"],
            ),
            (
                vec!["repository:h:5000/a:pull", "registry:catalog:*"],
                vec!["registry:catalog:*", "repository:h:5000/a:pull"],
            ),
            (vec!["plain", "plain", ""], vec!["", "plain"]),
        ] {
            let scopes: Vec<String> = scopes.into_iter().map(str::to_owned).collect();
            assert_eq!(merge(scopes.iter()), want);
        }
    }
}
