//! Filters: no panic and no endless match, whatever they say.
#![no_main]

use std::borrow::Cow;

use base::filter::{Fields, FilterSet};
use libfuzzer_sys::fuzz_target;

struct Thing;

impl Fields for Thing {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["name"] => Some("docker.io/library/busybox:latest".into()),
            ["labels", rest @ ..] => Some(rest.join(".").into()),
            _ => None,
        }
    }
}

fuzz_target!(|text: &str| {
    let lines: Vec<&str> = text.lines().collect();
    if let Ok(filters) = FilterSet::parse(&lines) {
        let _answer = filters.matches(&Thing);
    }
});
