//! Identifiers: the rule of Go containerd's `pkg/identifiers`, and newtypes that can only hold valid ones.
//!
//! A valid identifier is safe as one path component.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{ErrorKind, Kinded};

/// The longest identifier, in bytes.
pub const MAX_IDENTIFIER: usize = 76;

const PATTERN: &str = "^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$";

/// Why a string is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Nothing was given.
    #[error("identifier must not be empty")]
    Empty,
    /// More than [`MAX_IDENTIFIER`] bytes; the id is kept for the message.
    #[error("identifier {0:?} greater than maximum length ({MAX_IDENTIFIER} characters)")]
    TooLong(String),
    /// A character, or a separator in a place, that the rule does not allow.
    #[error("identifier {0:?} must match {PATTERN}")]
    Mismatch(String),
}

impl Kinded for IdError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Checks `[A-Za-z0-9]+(?:[._-][A-Za-z0-9]+)*`, at most 76 bytes.
pub fn validate_identifier(s: &str) -> Result<(), IdError> {
    if s.is_empty() {
        return Err(IdError::Empty);
    }
    if s.len() > MAX_IDENTIFIER {
        return Err(IdError::TooLong(s.to_owned()));
    }
    let whole = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    if s.split(['.', '_', '-']).all(whole) { Ok(()) } else { Err(IdError::Mismatch(s.to_owned())) }
}

fn validate_lease(s: &str) -> Result<(), IdError> {
    if s.is_empty() { Err(IdError::Empty) } else { Ok(()) }
}

macro_rules! id_type {
    ($(#[$doc:meta])* $name:ident, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Takes a string that keeps the rule of this id.
            pub fn new(s: impl AsRef<str>) -> Result<Self, IdError> {
                $check(s.as_ref())?;
                Ok($name(Arc::from(s.as_ref())))
            }

            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl PartialEq<str> for $name {
            fn eq(&self, other: &str) -> bool {
                &*self.0 == other
            }
        }

        impl PartialEq<&str> for $name {
            fn eq(&self, other: &&str) -> bool {
                &*self.0 == *other
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(s: &str) -> Result<Self, IdError> {
                $name::new(s)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                let s = String::deserialize(d)?;
                $name::new(s).map_err(serde::de::Error::custom)
            }
        }
    };
}

id_type!(
    /// The namespace that a request and its objects belong to.
    Namespace,
    validate_identifier
);
id_type!(
    /// The id of a container, and of its task.
    ContainerId,
    validate_identifier
);
id_type!(
    /// The id of an extra process in a task.
    ExecId,
    validate_identifier
);
id_type!(
    /// The id of a sandbox (a pod).
    SandboxId,
    validate_identifier
);
id_type!(
    /// The id of a lease: any text but the empty one.
    LeaseId,
    validate_lease
);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rule() {
        let long = "a".repeat(76);
        for good in
            ["a", "0912341234", "task.1", "foo.boo", "swarmkit.docker.io", "hyphen-ated", "A_b-c.D", &long]
        {
            assert_eq!(validate_identifier(good), Ok(()), "{good}");
        }
        let too_long = "a".repeat(77);
        for bad in [
            "",
            ".foo..foo",
            "foo/foo",
            "foo..foo",
            "-a",
            "a-",
            "a_",
            "_a",
            "a__b",
            "a b",
            "ü",
            "a\n",
            "../x",
            ".",
            "..",
            "a/..",
            &too_long,
        ] {
            assert!(validate_identifier(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn texts() {
        assert_eq!(IdError::Empty.to_string(), "identifier must not be empty");
        assert_eq!(
            validate_identifier("a/b").unwrap_err().to_string(),
            r#"identifier "a/b" must match ^[A-Za-z0-9]+(?:[._-](?:[A-Za-z0-9]+))*$"#
        );
        let id = "x".repeat(77);
        assert_eq!(
            validate_identifier(&id).unwrap_err().to_string(),
            format!("identifier {id:?} greater than maximum length (76 characters)")
        );
        assert_eq!(IdError::Empty.kind(), ErrorKind::InvalidArgument);
    }

    #[test]
    fn newtypes_check_on_every_way_in() {
        assert_eq!(ContainerId::new("web-1").unwrap(), "web-1");
        assert!("a//b".parse::<Namespace>().is_err());
        assert!(serde_json::from_str::<ExecId>(r#""a b""#).is_err());
        assert_eq!(serde_json::to_string(&Namespace::new("k8s.io").unwrap()).unwrap(), r#""k8s.io""#);
        assert!(LeaseId::new("").is_err());
        assert_eq!(LeaseId::new("any thing/at all").unwrap().to_string(), "any thing/at all");
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn valid_ids_are_one_path_component(s in "\\PC{0,90}") {
            if validate_identifier(&s).is_ok() {
                prop_assert!(!s.contains('/') && s != "." && s != ".." && s.len() <= MAX_IDENTIFIER);
            }
        }

        #[test]
        fn made_from_the_rule_is_valid(s in "[A-Za-z0-9]{1,8}([._-][A-Za-z0-9]{1,8}){0,7}") {
            prop_assert!(validate_identifier(&s).is_ok());
        }
    }
}
