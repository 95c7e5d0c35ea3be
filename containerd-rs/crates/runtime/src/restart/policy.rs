//! `containerd.io/restart.policy`.

use std::fmt;

/// When a container whose task ended is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Never.
    No,
    /// Whatever the exit status.
    Always,
    /// After a failure, at most so often (0: without end).
    OnFailure(i64),
    /// Unless a user stopped it.
    UnlessStopped,
}

/// Why a policy is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A count on a policy that has none.
    #[error("restart policy {0:?} not support max retry count")]
    Count(String),
    /// A count that is no number.
    #[error("invalid max retry count: {0}")]
    Number(String),
    /// No such policy.
    #[error("restart policy {0:?} not supported")]
    Unknown(String),
}

impl Policy {
    /// Reads the label's value; empty means `always`.
    pub fn parse(text: &str) -> Result<Self, PolicyError> {
        let mut parts = text.split(':');
        let name = parts.next().unwrap_or_default();
        let count = parts.next();
        let plain = match name {
            "" | "always" => Policy::Always,
            "no" => Policy::No,
            "unless-stopped" => Policy::UnlessStopped,
            "on-failure" => {
                let number = |n: &str| n.parse().map_err(|_| PolicyError::Number(n.to_owned()));
                return Ok(Policy::OnFailure(count.map_or(Ok(0), number)?));
            }
            _ => return Err(PolicyError::Unknown(text.to_owned())),
        };
        match count {
            None => Ok(plain),
            Some(_) => Err(PolicyError::Count(name.to_owned())),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Policy::No => f.write_str("no"),
            Policy::Always => f.write_str("always"),
            Policy::OnFailure(0) => f.write_str("on-failure"),
            Policy::OnFailure(most) => write!(f, "on-failure:{most}"),
            Policy::UnlessStopped => f.write_str("unless-stopped"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_as_clients_write_them() {
        for (text, want) in [
            ("", Ok(Policy::Always)),
            ("always", Ok(Policy::Always)),
            ("no", Ok(Policy::No)),
            ("unless-stopped", Ok(Policy::UnlessStopped)),
            ("on-failure", Ok(Policy::OnFailure(0))),
            ("on-failure:3", Ok(Policy::OnFailure(3))),
            ("on-failure:x", Err(PolicyError::Number("x".into()))),
            ("on-failure:", Err(PolicyError::Number(String::new()))),
            ("always:3", Err(PolicyError::Count("always".into()))),
            ("sometimes", Err(PolicyError::Unknown("sometimes".into()))),
        ] {
            assert_eq!(Policy::parse(text), want, "{text}");
        }
        assert_eq!(Policy::OnFailure(3).to_string(), "on-failure:3");
        assert_eq!(
            PolicyError::Count("no".into()).to_string(),
            "restart policy \"no\" not support max retry count"
        );
    }
}
