//! Credentials that the client gives when it is asked, over the stream that it named.

use async_trait::async_trait;
use image::registry::{Credential, CredentialRequest, Credentials};
use protos::api::Any;
use protos::api::types_transfer::{AuthRequest, AuthResponse, AuthType};
use tokio::sync::Mutex;

use crate::streams::StreamEnd;

/// How long a client may take to answer: a person may have to type a password.
const ANSWER: std::time::Duration = std::time::Duration::from_secs(300);

/// One question at a time: answers have no number that says what they answer.
pub(super) struct StreamCredentials(Mutex<StreamEnd>);

impl StreamCredentials {
    pub(super) fn new(stream: StreamEnd) -> Self {
        Self(Mutex::new(stream))
    }
}

#[async_trait]
impl Credentials for StreamCredentials {
    async fn get(&self, request: &CredentialRequest) -> Option<Credential> {
        let question = AuthRequest {
            host: request.host.clone(),
            reference: request.reference.clone(),
            wwwauthenticate: request.challenges.clone(),
        };
        // An async mutex, held over the exchange on purpose: it is the turn to speak.
        let mut stream = self.0.lock().await;
        stream.to_client.send(Any::pack(&question)).await.ok()?;
        let answer = match tokio::time::timeout(ANSWER, stream.from_client.recv()).await {
            Ok(answer) => answer?,
            Err(_) => {
                tracing::warn!(host = request.host, "no credentials from the client within {ANSWER:?}");
                return None;
            }
        };
        let answer: AuthResponse = answer.unpack().ok()?;
        match answer.auth_type() {
            AuthType::None => None,
            AuthType::Credentials => {
                Some(Credential::Password { user: answer.username, secret: answer.secret })
            }
            AuthType::Refresh => Some(Credential::RefreshToken(answer.secret)),
            AuthType::Header => Some(Credential::Header(answer.secret)),
        }
    }
}
