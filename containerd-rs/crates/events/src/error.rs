use base::{ErrorKind, Kinded};

/// Why an event was refused. Nothing was delivered to anyone.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The topic is not `/component/component...`.
    #[error("envelope topic {topic:?}")]
    Topic {
        /// The refused topic.
        topic: String,
        /// What is wrong with it.
        #[source]
        source: base::Error,
    },
    /// A forwarded envelope names no usable namespace.
    #[error("event envelope has invalid namespace {namespace:?}")]
    Namespace {
        /// The refused namespace.
        namespace: String,
        /// What is wrong with it.
        #[source]
        source: base::Error,
    },
    /// A forwarded envelope carries no time.
    #[error("timestamp must be set on forwarded event")]
    Timestamp,
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}
