//! Which names an image gets once it is in the store.

use std::time::SystemTime;

use base::oci::annotation;
use base::{Descriptor, Labels, Reference, Scope, timestamp};
use store::{Image, Metadata};

use crate::error::{Error, Result};

/// A further name, or a rule that makes names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExtraReference {
    /// The name, or the prefix of names.
    pub name: String,
    /// `name` is a prefix without tag: tags are put behind it, full names must begin with it.
    pub is_prefix: bool,
    /// Full names from the archive are taken even when they do not begin with the prefix.
    pub allow_overwrite: bool,
    /// `name@digest` is made as well.
    pub add_digest: bool,
    /// ... but not when the archive gave a name.
    pub skip_named_digest: bool,
}

/// The names and labels of what a transfer brings into the image store.
#[derive(Clone, Debug, Default)]
pub struct Destination {
    /// The name of the image; empty: only what the extra references make.
    pub name: String,
    /// Labels of the image records.
    pub labels: Labels,
    /// Further names.
    pub extra_references: Vec<ExtraReference>,
}

impl Destination {
    /// Just one name, no labels.
    pub fn named(name: impl Into<String>) -> Destination {
        Destination { name: name.into(), ..Destination::default() }
    }

    /// Labels of a name that shall go when the main image goes.
    fn extra_labels(&self) -> Labels {
        let mut labels = self.labels.clone();
        if !self.name.is_empty() {
            labels.insert("containerd.io/gc.bref.image".to_owned(), self.name.clone());
            labels.insert(base::labels::gc::EXPIRE.to_owned(), timestamp::to_rfc3339_nano(SystemTime::now()));
        }
        labels
    }

    /// Name and labels of each record for a whole image (a pull, a tag, an imported index).
    pub(crate) fn names(&self, target: &Descriptor) -> Vec<(String, Labels)> {
        let mut names = Vec::new();
        if !self.name.is_empty() {
            names.push((self.name.clone(), self.labels.clone()));
        }
        for extra in &self.extra_references {
            match (extra.is_prefix, extra.add_digest) {
                (true, false) => {}
                (_, true) => names.push((format!("{}@{}", extra.name, target.digest), self.extra_labels())),
                (false, false) => names.push((extra.name.clone(), self.extra_labels())),
            }
        }
        names
    }

    /// Name and labels of each record for one manifest of an archive's index: only names that a
    /// prefix allows, since an archive says what it likes.
    pub(crate) fn names_in_archive(&self, target: &Descriptor) -> Vec<(String, Labels)> {
        let mut names = Vec::new();
        for extra in self.extra_references.iter().filter(|e| e.is_prefix) {
            let named = archived_name(target, extra);
            let digest = match &named {
                None => extra.add_digest,
                Some(_) => extra.add_digest && !extra.skip_named_digest,
            };
            names.extend(named.map(|n| (n, self.extra_labels())));
            if digest {
                names.push((format!("{}@{}", extra.name, target.digest), self.extra_labels()));
            }
        }
        names
    }
}

/// The name that an archive gives a manifest, as far as `rule` lets it.
fn archived_name(target: &Descriptor, rule: &ExtraReference) -> Option<String> {
    let given = |key: &str| target.annotations.get(key).filter(|v| !v.is_empty());
    let name = match given(annotation::IMAGE_NAME) {
        // A full name is taken as it is or not at all.
        Some(name) => translate(name, rule).filter(|translated| translated == name),
        None => given(annotation::REF_NAME).and_then(|name| translate(name, rule)),
    }?;
    let valid = Reference::parse(&name).is_ok_and(|r| !r.object().is_empty());
    if !valid {
        tracing::warn!(name, "name in the archive ignored: not a reference");
    }
    valid.then_some(name)
}

/// A tag behind the prefix, or a full name that is allowed.
fn translate(name: &str, rule: &ExtraReference) -> Option<String> {
    if rule.name.is_empty() {
        return None;
    }
    if !name.contains(['/', ':', '@']) {
        return Some(format!("{}:{name}", rule.name));
    }
    let below = name
        .strip_prefix(&rule.name)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', ':', '@']));
    (rule.allow_overwrite || below).then(|| name.to_owned())
}

/// Creates or replaces the image records. The target is stored as it is, annotations included.
pub(crate) async fn store_images(
    meta: &Metadata,
    scope: &Scope,
    names: Vec<(String, Labels)>,
    target: &Descriptor,
) -> Result<Vec<Image>> {
    let mut stored = Vec::with_capacity(names.len());
    for (name, labels) in names {
        let now = SystemTime::now();
        let image = Image { name, labels, target: target.clone(), created_at: now, updated_at: now };
        stored.push(store_one(meta, scope, image).await?);
    }
    Ok(stored)
}

async fn store_one(meta: &Metadata, scope: &Scope, image: Image) -> Result<Image> {
    // Somebody may delete the image between the two calls.
    for _ in 0..16 {
        match meta.images().create(scope, image.clone(), None).await {
            Err(e) if e.is_already_exists() => {}
            done => return Ok(done?),
        }
        match meta.images().update(scope, image.clone(), &[], None).await {
            Err(e) if e.is_not_found() => {}
            done => return Ok(done?),
        }
    }
    Err(Error::refused(
        base::ErrorKind::Unavailable,
        format!("image {} keeps being removed and created", image.name),
    ))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Digest;

    fn target(image_name: &str, ref_name: &str) -> Descriptor {
        let mut d = Descriptor::new(base::oci::media_type::OCI_MANIFEST, Digest::sha256("x"), 1);
        for (k, v) in [(annotation::IMAGE_NAME, image_name), (annotation::REF_NAME, ref_name)] {
            if !v.is_empty() {
                d.annotations.insert(k.to_owned(), v.to_owned());
            }
        }
        d
    }

    fn rule(flags: &str) -> ExtraReference {
        ExtraReference {
            name: "r.io/a".to_owned(),
            is_prefix: true,
            allow_overwrite: flags.contains('o'),
            add_digest: flags.contains('d'),
            skip_named_digest: flags.contains('s'),
        }
    }

    #[test]
    fn archives_name_only_what_they_may() {
        let digest = format!("r.io/a@{}", Digest::sha256("x"));
        // image name, ref name, flags -> names
        let table: [(&str, &str, &str, Vec<&str>); 13] = [
            ("", "v1", "", vec!["r.io/a:v1"]),
            ("", "", "", vec![]),
            ("", "", "d", vec![&digest]),
            ("", "v1", "d", vec!["r.io/a:v1", &digest]),
            ("", "v1", "ds", vec!["r.io/a:v1"]),
            ("r.io/a:v2", "v2", "", vec!["r.io/a:v2"]),
            ("r.io/ab:v2", "v2", "", vec![]),
            ("evil.io/x:1", "1", "", vec![]),
            ("evil.io/x:1", "1", "o", vec!["evil.io/x:1"]),
            ("evil.io/x:1", "1", "d", vec![&digest]),
            ("", "evil.io/x:1", "", vec![]),
            ("", "r.io/a:v3", "", vec!["r.io/a:v3"]),
            ("", "not a tag/:", "o", vec![]),
        ];
        for (image_name, ref_name, flags, want) in table {
            let destination = Destination { extra_references: vec![rule(flags)], ..Destination::default() };
            let got = destination.names_in_archive(&target(image_name, ref_name));
            let got: Vec<&str> = got.iter().map(|(n, _)| n.as_str()).collect();
            assert_eq!(got, want, "{image_name:?} {ref_name:?} {flags:?}");
        }
        // Without any prefix an archive names nothing.
        let destination = Destination::named("x.io/y:1");
        assert!(destination.names_in_archive(&target("evil.io/x:1", "1")).is_empty());
    }

    #[test]
    fn extra_names_go_with_the_main_one() {
        let mut destination = Destination::named("r.io/a:1");
        destination.extra_references = vec![
            ExtraReference { name: "r.io/b:1".to_owned(), ..ExtraReference::default() },
            rule("d"),
            rule(""),
        ];
        let names = destination.names(&target("", ""));
        assert_eq!(names.len(), 3);
        assert!(names[0].1.is_empty());
        assert_eq!(names[1].0, "r.io/b:1");
        assert_eq!(names[1].1["containerd.io/gc.bref.image"], "r.io/a:1");
        assert!(names[2].0.starts_with("r.io/a@sha256:"));
    }
}
