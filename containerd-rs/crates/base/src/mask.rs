//! Update masks: which fields an update request writes.

use std::collections::BTreeMap;

use crate::labels::Labels;

/// One path of a mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaskPath<'a> {
    /// A whole field: `labels`, `image`.
    Field(&'a str),
    /// One key of a map field: `labels.<key>`, `extensions.<key>`; the key may hold dots.
    Key(&'a str, &'a str),
}

/// Reads a path; only the first dot counts, as the rest belongs to the key.
pub fn parse_path(path: &str) -> MaskPath<'_> {
    match path.split_once('.') {
        Some((field, key)) => MaskPath::Key(field, key),
        None => MaskPath::Field(path),
    }
}

/// What a mask says about one map field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touch {
    Nothing,
    Keys,
    All,
}

/// A parsed mask. No paths at all: every field that may change is replaced.
#[derive(Clone, Debug)]
pub struct Mask<'a>(Vec<MaskPath<'a>>);

/// Reads the paths of an update request.
pub fn parse_mask(paths: &[String]) -> Mask<'_> {
    Mask(paths.iter().map(|p| parse_path(p)).collect())
}

impl<'a> Mask<'a> {
    /// No paths: replace all that may change.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The paths, in the order given.
    pub fn paths(&self) -> &[MaskPath<'a>] {
        &self.0
    }

    /// Whether the field as a whole is replaced.
    pub fn has(&self, field: &str) -> bool {
        self.is_everything() || self.0.contains(&MaskPath::Field(field))
    }

    /// The first path that is neither one of the whole `fields` nor a key of one of the `maps`;
    /// the caller refuses the request with it.
    pub fn unknown(&self, fields: &[&str], maps: &[&str]) -> Option<String> {
        self.0.iter().find_map(|path| match path {
            MaskPath::Field(f) if fields.contains(f) || maps.contains(f) => None,
            MaskPath::Key(f, _) if maps.contains(f) => None,
            MaskPath::Field(f) => Some((*f).to_owned()),
            MaskPath::Key(f, key) => Some(format!("{f}.{key}")),
        })
    }

    /// Writes the masked keys of `new` into `current`: all of them replaced when the field is named
    /// whole (or the mask is empty), else key by key, a key missing in `new` being removed.
    /// Returns whether the mask touches the field.
    pub fn apply_map<V: Clone>(
        &self,
        field: &str,
        current: &mut BTreeMap<String, V>,
        new: &BTreeMap<String, V>,
    ) -> bool {
        match self.touch(field) {
            Touch::Nothing => return false,
            Touch::All => current.clone_from(new),
            Touch::Keys => {}
        }
        for path in &self.0 {
            if let MaskPath::Key(f, key) = path
                && *f == field
            {
                match new.get(*key) {
                    Some(value) => current.insert((*key).to_owned(), value.clone()),
                    None => current.remove(*key),
                };
            }
        }
        true
    }

    /// [`Mask::apply_map`] for `labels`; then labels with an empty value go, as Go containerd does not keep them.
    pub fn apply_labels(&self, current: &mut Labels, new: &Labels) -> bool {
        let touched = self.apply_map("labels", current, new);
        current.retain(|_, value| !value.is_empty());
        touched
    }

    fn touch(&self, field: &str) -> Touch {
        if self.has(field) {
            Touch::All
        } else if self.0.iter().any(|p| matches!(p, MaskPath::Key(f, _) if *f == field)) {
            Touch::Keys
        } else {
            Touch::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> Labels {
        text.split(' ')
            .filter_map(|kv| kv.split_once('='))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect()
    }

    #[test]
    fn table() {
        for (paths, new, want, touched) in [
            (&[][..], "c=3", "c=3", true),
            (&["labels"], "c=3", "c=3", true),
            (&["labels.b"], "b=9", "a=1 b=9 x.y/z=0", true),
            (&["labels.x.y/z"], "x.y/z=5", "a=1 b=2 x.y/z=5", true),
            (&["labels.b"], "", "a=1 x.y/z=0", true),
            (&["labels.b"], "b=", "a=1 x.y/z=0", true),
            (&["image"], "b=9", "a=1 b=2 x.y/z=0", false),
            (&["labels", "labels.b"], "b=9", "b=9", true),
        ] {
            let paths: Vec<String> = paths.iter().map(|p| (*p).to_owned()).collect();
            let mut current = labels("a=1 b=2 x.y/z=0");
            let mask = parse_mask(&paths);
            assert_eq!(mask.apply_labels(&mut current, &labels(new)), touched, "{paths:?}");
            assert_eq!(current, labels(want), "{paths:?}");
        }
    }

    #[test]
    fn unknown_paths_are_found() {
        let paths: Vec<String> = ["labels.a.b", "spec", "runtime.name"].map(str::to_owned).to_vec();
        let mask = parse_mask(&paths);
        assert_eq!(mask.unknown(&["spec"], &["labels"]), Some("runtime.name".to_owned()));
        assert_eq!(mask.unknown(&["spec"], &["labels", "runtime"]), None);
        assert_eq!(mask.unknown(&[], &["labels"]), Some("spec".to_owned()));
        assert!(!mask.has("labels"));
        assert!(mask.has("spec"));
    }
}
