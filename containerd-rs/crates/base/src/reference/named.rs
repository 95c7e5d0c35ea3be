//! Docker's references: what users type, normalised.

use std::fmt;

use super::Reference;
use super::grammar::{cut, is_identifier, is_tag};
use crate::digest::{Digest, DigestError};
use crate::error::{ErrorKind, Kinded};

const DEFAULT_DOMAIN: &str = "docker.io";
const LEGACY_DOMAIN: &str = "index.docker.io";
const OFFICIAL: &str = "library/";
const DEFAULT_TAG: &str = "latest";
/// Most bytes of a path.
const MAX_PATH: usize = 255;

/// Why text is not a Docker reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NamedError {
    /// Not in the grammar.
    #[error("invalid reference format")]
    Format,
    /// Would be in the grammar with lower case letters.
    #[error("repository name must be lowercase")]
    Uppercase,
    /// The same, found in the repository.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    UppercaseName(String),
    /// A bare image id.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    Identifier(String),
    /// No name.
    #[error("repository name must have at least one component")]
    Empty,
    /// The path is too long.
    #[error("repository name must not be more than {MAX_PATH} characters")]
    TooLong,
    /// Not a tag.
    #[error("invalid tag format")]
    Tag,
    /// The digest is wrong.
    #[error(transparent)]
    Digest(#[from] DigestError),
}

impl Kinded for NamedError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// A Docker reference: where, what, and which version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Named {
    domain: String,
    path: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl Named {
    /// Reads what a user typed and fills in what goes without saying, but for the tag: `docker.io`
    /// and, there, `library/`.
    pub fn parse_normalized(s: &str) -> Result<Self, NamedError> {
        if is_identifier(s) {
            return Err(NamedError::Identifier(s.to_owned()));
        }
        let (domain, remainder) = split_domain(s);
        let remote = remainder.split_once(':').map_or(&*remainder, |(remote, _)| remote);
        if remote.to_lowercase() != remote {
            return Err(NamedError::UppercaseName(remote.to_owned()));
        }
        Named::parse(&format!("{domain}/{remainder}"))
    }

    /// Reads a reference as it is, filling in nothing; the domain may be empty then.
    pub fn parse(s: &str) -> Result<Self, NamedError> {
        let Some(pieces) = cut(s) else {
            return Err(match () {
                () if s.is_empty() => NamedError::Empty,
                () if cut(&s.to_lowercase()).is_some() => NamedError::Uppercase,
                () => NamedError::Format,
            });
        };
        if pieces.path.len() > MAX_PATH {
            return Err(NamedError::TooLong);
        }
        Ok(Named {
            domain: pieces.domain.to_owned(),
            path: pieces.path.to_owned(),
            tag: pieces.tag.map(str::to_owned),
            digest: pieces.digest.map(Digest::parse).transpose()?,
        })
    }

    /// The registry host, with its port.
    pub fn domain(&self) -> &str {
        &self.domain
    }

    /// The repository on that host.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// `domain/path`.
    pub fn name(&self) -> String {
        if self.domain.is_empty() { self.path.clone() } else { format!("{}/{}", self.domain, self.path) }
    }

    /// The tag, when given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, when given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// One version: the digest alone when there is one, else the tag, `latest` when there is neither.
    #[must_use]
    pub fn pinned(mut self) -> Self {
        if self.digest.is_some() {
            self.tag = None;
        } else if self.tag.is_none() {
            self.tag = Some(DEFAULT_TAG.to_owned());
        }
        self
    }

    /// The same name with another tag and no digest.
    pub fn with_tag(&self, tag: &str) -> Result<Self, NamedError> {
        if !is_tag(tag) {
            return Err(NamedError::Tag);
        }
        Ok(Named { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same name with a digest and no tag.
    #[must_use]
    pub fn with_digest(&self, digest: &Digest) -> Self {
        Named { tag: None, digest: Some(digest.clone()), ..self.clone() }
    }

    /// The name without what goes without saying: `busybox`.
    pub fn familiar_name(&self) -> String {
        if self.domain != DEFAULT_DOMAIN {
            return self.name();
        }
        let official = self.path.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
        official.unwrap_or(&self.path).to_owned()
    }

    /// The familiar name with tag and digest.
    pub fn familiar(&self) -> String {
        self.versioned(self.familiar_name())
    }

    /// In containerd's form.
    pub fn to_reference(&self) -> Reference {
        let mut object = self.tag.clone().unwrap_or_default();
        if let Some(digest) = &self.digest {
            object = format!("{object}@{digest}");
        }
        Reference { locator: self.name(), object }
    }

    fn versioned(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text = format!("{text}:{tag}");
        }
        if let Some(digest) = &self.digest {
            text = format!("{text}@{digest}");
        }
        text
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.versioned(self.name()))
    }
}

/// Domain and the rest. The first part is a domain when it looks like one: `localhost`, with a dot,
/// a colon or a capital; else the domain is Docker's.
fn split_domain(s: &str) -> (&str, String) {
    let (domain, rest) = match s.split_once('/') {
        Some((LEGACY_DOMAIN, rest)) => (DEFAULT_DOMAIN, rest),
        Some((first, rest))
            if first == "localhost" || first.contains(['.', ':']) || first.to_lowercase() != first =>
        {
            (first, rest)
        }
        _ => (DEFAULT_DOMAIN, s),
    };
    if domain == DEFAULT_DOMAIN && !rest.contains('/') {
        return (domain, format!("{OFFICIAL}{rest}"));
    }
    (domain, rest.to_owned())
}
