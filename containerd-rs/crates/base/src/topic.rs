//! Event topics: `/tasks/exit`.

use crate::error::{ErrorKind, Kinded};
use crate::ids::{IdError, validate_identifier};

/// Why a string is not a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// Nothing was given.
    #[error("must not be empty")]
    Empty,
    /// The first character is not a slash.
    #[error("must start with '/'")]
    NoSlash,
    /// Only the slash.
    #[error("must have at least one component")]
    NoComponent,
    /// A part between slashes that is not an identifier.
    #[error("failed validation on component {component:?}")]
    Component {
        /// The part.
        component: String,
        /// What is wrong with it.
        source: IdError,
    },
}

impl Kinded for TopicError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Checks `/component[/component]*`, each component an identifier, as containerd's exchange does.
pub fn validate_topic(topic: &str) -> Result<(), TopicError> {
    if topic.is_empty() {
        return Err(TopicError::Empty);
    }
    let Some(rest) = topic.strip_prefix('/') else {
        return Err(TopicError::NoSlash);
    };
    if rest.is_empty() {
        return Err(TopicError::NoComponent);
    }
    for component in rest.split('/') {
        validate_identifier(component)
            .map_err(|source| TopicError::Component { component: component.to_owned(), source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::chain;

    #[test]
    fn table() {
        for good in ["/tasks/exit", "/a", "/images/create", "/containers/update.x"] {
            assert_eq!(validate_topic(good), Ok(()), "{good}");
        }
        for (bad, text) in [
            ("", "must not be empty"),
            ("tasks", "must start with '/'"),
            ("/", "must have at least one component"),
            ("/tasks/", "failed validation on component \"\": identifier must not be empty"),
        ] {
            assert_eq!(chain(&validate_topic(bad).unwrap_err()), text, "{bad}");
        }
        for bad in ["//", "/a//b", "/a b", "/-a", "/a/../b"] {
            assert!(validate_topic(bad).is_err(), "{bad}");
        }
    }
}
