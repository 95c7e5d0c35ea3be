//! Where content came from, as a label: later pushes to the same registry can take it from there.

use base::{Labels, labels};

use crate::registry::Repository;

/// The label of one repository.
pub(crate) struct Source {
    key: String,
    repository: String,
}

impl Source {
    pub(crate) fn new(repository: &Repository) -> Source {
        // The label's key has the host without its port.
        let registry = repository.registry();
        let host = match registry.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => registry,
        };
        Source {
            key: labels::distribution_source(host.trim_start_matches('[').trim_end_matches(']')),
            repository: repository.name().to_owned(),
        }
    }

    /// The label with this repository added to what is there; nothing when it would get too long.
    pub(crate) fn label(&self, existing: &Labels) -> Option<(String, String)> {
        let old = existing.get(&self.key).map(String::as_str).unwrap_or_default();
        let mut all: Vec<&str> =
            old.split(',').filter(|r| !r.is_empty()).chain([self.repository.as_str()]).collect();
        all.sort_unstable();
        all.dedup();
        let value = all.join(",");
        labels::validate_label(&self.key, &value).ok()?;
        Some((self.key.clone(), value))
    }
}

/// The repository among `sources` (the value of a source label) that has most in common with
/// `target`, to mount a blob from.
pub(crate) fn mount_candidate<'a>(sources: &'a str, target: &str) -> Option<&'a str> {
    let shared =
        |repository: &str| repository.split('/').zip(target.split('/')).take_while(|(a, b)| a == b).count();
    sources.split(',').filter(|r| !r.is_empty() && *r != target).max_by_key(|r| shared(r))
}

/// The label key under which `registry` keeps its repositories.
pub(crate) fn source_key(repository: &Repository) -> String {
    Source::new(repository).key
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::registry::{Resolver, ResolverOptions};

    #[test]
    fn sorted_and_once() {
        let resolver = Resolver::new(ResolverOptions::default());
        let source = Source::new(&resolver.repository("localhost:5000/b/c:1").unwrap());
        let (key, value) = source.label(&Labels::new()).unwrap();
        assert_eq!((key.as_str(), value.as_str()), ("containerd.io/distribution.source.localhost", "b/c"));
        let labels = Labels::from([(key.clone(), "a,b/c,z".to_owned())]);
        assert_eq!(source.label(&labels).unwrap().1, "a,b/c,z");
        let labels = Labels::from([(key.clone(), "z,a".to_owned())]);
        assert_eq!(source.label(&labels).unwrap().1, "a,b/c,z");
        let labels = Labels::from([(key, "x".repeat(4096))]);
        assert_eq!(source.label(&labels), None);
    }

    #[test]
    fn longest_common_prefix_wins() {
        assert_eq!(mount_candidate("a,lib/x,lib/x/y", "lib/x/z"), Some("lib/x/y"));
        assert_eq!(mount_candidate("lib/x", "lib/x"), None);
        assert_eq!(mount_candidate("", "lib/x"), None);
        assert_eq!(mount_candidate("other", "lib/x"), Some("other"));
    }
}
