//! containerd's filter language: `name==foo,labels."a b"~=/^x/`.
//!
//! A filter is a comma list of selectors, all of which must hold. A selector is a field path alone
//! (the field is present) or with `==`, `!=` or `~=` (regular expression) and a value. Path parts
//! and values may be quoted with `"`; the value of `~=` also with `/` or `|`. Of several filters one
//! has to hold; no filters, and the empty filter, match everything.
//!
//! Kept from Go containerd because clients rely on it: an absent field counts as empty for `!=` and
//! `~=`, and a regular expression that does not compile matches nothing instead of being an error.

mod parse;
mod scan;
mod unquote;

use std::borrow::Cow;
use std::fmt;

use regex_lite::{Regex, RegexBuilder};

use crate::error::{ErrorKind, Kinded};
use crate::labels::Labels;

/// Largest compiled regular expression, in bytes.
const REGEX_LIMIT: usize = 1 << 20;

/// An object that filters can ask for fields.
pub trait Fields {
    /// The value at a path (`["labels", "a", "b"]`); `None`: the field is absent.
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>>;
}

/// The value of a label by the rest of a field path: `labels.a.b` asks for the label `a.b`.
pub fn label_field<'a>(labels: &'a Labels, rest: &[&str]) -> Option<Cow<'a, str>> {
    labels.get(rest.join(".").as_str()).map(|v| Cow::Borrowed(v.as_str()))
}

/// A filter that cannot be read: where and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilterError {
    input: String,
    position: usize,
    message: String,
}

impl FilterError {
    /// Byte offset in the filter.
    pub fn position(&self) -> usize {
        self.position
    }
}

impl fmt::Display for FilterError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (before, rest) = self.input.split_at_checked(self.position).unwrap_or((&self.input, ""));
        let mut rest = rest.chars();
        match rest.next() {
            Some(at) => {
                write!(f, "filters: parse error: [{before} >|{at}|< {}]: {}", rest.as_str(), self.message)
            }
            None => write!(f, "filters: parse error: [{}]: {}", self.input, self.message),
        }
    }
}

impl std::error::Error for FilterError {}

impl Kinded for FilterError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

/// Filters of a request. The default matches everything.
#[derive(Clone, Debug, Default)]
pub struct FilterSet(Vec<Vec<Selector>>);

impl FilterSet {
    /// Reads all filters of a request.
    pub fn parse(filters: &[impl AsRef<str>]) -> Result<Self, FilterError> {
        filters.iter().map(|f| parse::filter(f.as_ref())).collect::<Result<_, _>>().map(FilterSet)
    }

    /// The set that matches everything.
    pub fn all() -> Self {
        FilterSet::default()
    }

    /// Whether everything matches without looking.
    pub fn is_all(&self) -> bool {
        self.0.is_empty() || self.0.iter().any(Vec::is_empty)
    }

    /// Whether one of the filters holds for the object.
    pub fn matches(&self, object: &dyn Fields) -> bool {
        self.0.is_empty() || self.0.iter().any(|selectors| selectors.iter().all(|s| s.matches(object)))
    }
}

/// One condition on one field.
#[derive(Clone, Debug)]
struct Selector {
    path: Vec<String>,
    test: Test,
}

#[derive(Clone, Debug)]
enum Test {
    Present,
    /// Bytes, as an escape can make text that is not UTF-8 (and then equals nothing).
    Equal(Vec<u8>),
    NotEqual(Vec<u8>),
    /// `None`: the expression does not compile.
    Matches(Option<Regex>),
}

impl Test {
    fn regex(expression: &[u8]) -> Self {
        let text = std::str::from_utf8(expression).ok();
        Test::Matches(text.and_then(|t| RegexBuilder::new(t).size_limit(REGEX_LIMIT).build().ok()))
    }
}

impl Selector {
    fn matches(&self, object: &dyn Fields) -> bool {
        let path: Vec<&str> = self.path.iter().map(String::as_str).collect();
        let value = object.field(&path);
        let text = value.as_deref().unwrap_or_default();
        match &self.test {
            Test::Present => value.is_some(),
            Test::Equal(want) => value.is_some() && text.as_bytes() == want,
            Test::NotEqual(other) => text.as_bytes() != other,
            Test::Matches(regex) => regex.as_ref().is_some_and(|r| r.is_match(text)),
        }
    }
}

#[cfg(test)]
mod tests;
