//! Image references, in the two forms that containerd knows.
//!
//! [`Reference`] is containerd's own: a URL without a scheme, cut into *locator* (host and path) and
//! *object* (tag, digest or both). Image names in the store have this form.
//! [`Named`] is Docker's: what users type (`busybox`), with a strict grammar.
//! [`Reference::parse_normalized`] leads from the one to the other.

mod grammar;
mod named;
mod url;

pub use named::{Named, NamedError};

use std::fmt;
use std::str::FromStr;

use crate::digest::Digest;
use crate::error::{ErrorKind, Kinded};

/// Why text is not a reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// With a scheme.
    #[error("invalid reference")]
    Invalid,
    /// Nothing before the first slash.
    #[error("hostname required")]
    HostnameRequired,
    /// Neither tag nor digest, where one is needed.
    #[error("object required")]
    ObjectRequired,
    /// Not a URL.
    #[error("parse {input:?}: {reason}")]
    Url {
        /// What was read: the reference with a scheme in front.
        input: String,
        /// In the words of Go's net/url.
        reason: String,
    },
    /// Not a Docker reference.
    #[error(transparent)]
    Named(#[from] NamedError),
}

impl Kinded for ReferenceError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A parsed image reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    locator: String,
    object: String,
}

impl Reference {
    /// Reads containerd's form. It is lax: anything that is a URL without a scheme. As in a URL,
    /// percent escapes in the path are decoded, `.` and `..` are resolved, and user, query and
    /// fragment are dropped.
    pub fn parse(s: &str) -> Result<Self, ReferenceError> {
        if s.contains("://") {
            return Err(ReferenceError::Invalid);
        }
        let (host, mut path) =
            url::split(s).map_err(|reason| ReferenceError::Url { input: format!("dummy://{s}"), reason })?;
        if host.is_empty() {
            return Err(ReferenceError::HostnameRequired);
        }
        let mut object = String::new();
        if let Some(at) = path.find([':', '@']) {
            object = path.split_off(at);
            if object.starts_with(':') {
                object.remove(0);
            }
        }
        Ok(Reference { locator: url::join(&host, &path), object })
    }

    /// Reads what a user typed, as Docker does: `busybox` is `docker.io/library/busybox:latest`. With
    /// both tag and digest the digest alone is kept.
    pub fn parse_normalized(s: &str) -> Result<Self, ReferenceError> {
        Ok(Named::parse_normalized(s)?.pinned().to_reference())
    }

    /// Host and path.
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// `tag`, `tag@digest`, `@digest` or empty.
    pub fn object(&self) -> &str {
        &self.object
    }

    /// The registry host, with its port.
    pub fn domain(&self) -> &str {
        self.locator.split_once('/').map_or(&*self.locator, |(domain, _)| domain)
    }

    /// The repository on that host.
    pub fn path(&self) -> &str {
        self.locator.split_once('/').map_or("", |(_, path)| path)
    }

    /// What is before the `@` of the object.
    pub fn tag(&self) -> Option<&str> {
        let tag = self.object.split_once('@').map_or(&*self.object, |(tag, _)| tag);
        Some(tag).filter(|t| !t.is_empty())
    }

    /// What is after the `@` of the object; it need not be a whole digest.
    pub fn digest_text(&self) -> Option<&str> {
        self.object.split_once('@').map(|(_, digest)| digest)
    }

    /// The digest, when it is a whole and valid one.
    pub fn digest(&self) -> Option<Digest> {
        Digest::parse(self.digest_text()?).ok()
    }

    /// Itself when it names one thing (has a tag or a digest).
    pub fn require_object(&self) -> Result<&Self, ReferenceError> {
        if self.object.is_empty() { Err(ReferenceError::ObjectRequired) } else { Ok(self) }
    }

    /// The short form that users know (`busybox:latest`); the whole text when Docker's grammar does
    /// not allow it.
    pub fn familiar(&self) -> String {
        let text = self.to_string();
        Named::parse_normalized(&text).map_or(text, |named| named.familiar())
    }

    /// The same repository with a digest instead of the tag.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Reference { locator: self.locator.clone(), object: format!("@{digest}") }
    }

    /// The same repository with another tag.
    #[must_use]
    pub fn with_tag(&self, tag: &str) -> Self {
        Reference { locator: self.locator.clone(), object: tag.to_owned() }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.object.as_bytes().first() {
            None => f.write_str(&self.locator),
            Some(b'@') => write!(f, "{}{}", self.locator, self.object),
            Some(_) => write!(f, "{}:{}", self.locator, self.object),
        }
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;
    fn from_str(s: &str) -> Result<Self, ReferenceError> {
        Reference::parse(s)
    }
}

#[cfg(test)]
mod tests;
