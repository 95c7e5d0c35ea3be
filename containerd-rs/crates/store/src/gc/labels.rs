//! What labels mean to garbage collection.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use base::labels::{Labels, gc};
use base::timestamp::parse_rfc3339;

use super::node::{Kind, Node};

/// One meaning of one label.
#[derive(Debug, PartialEq)]
pub(super) enum Meaning {
    /// The object keeps this.
    Keeps(Node),
    /// The object is kept by this.
    KeptBy(Node),
    /// The object is a root.
    Root,
    /// The object keeps this while the test holds for a value on it.
    KeepsWhile(Node, UsedAt),
    /// The value that such a test looks at: when the object was last used.
    UsedAt(SystemTime),
}

/// `usedat<DURATION` or `usedat>DURATION`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct UsedAt {
    younger: bool,
    age: Duration,
}

impl UsedAt {
    pub(super) fn holds(self, used: SystemTime, now: SystemTime) -> bool {
        // a time to come is younger than any age
        match now.duration_since(used) {
            Ok(age) if self.younger => age < self.age,
            Ok(age) => age > self.age,
            Err(_) => self.younger,
        }
    }
}

/// Labels of collectors: what stands after `containerd.io/gc.ref.`, and the kind it refers to.
pub(super) type External = Vec<(String, &'static str)>;

/// All meanings of an object's labels.
pub(super) fn meanings(labels: &Labels, ns: &Arc<str>, external: &External, mut tell: impl FnMut(Meaning)) {
    let all =
        labels.range::<str, _>((std::ops::Bound::Included("containerd.io/gc."), std::ops::Bound::Unbounded));
    for (key, value) in all.take_while(|(key, _)| key.starts_with("containerd.io/gc.")) {
        one(key, value, ns, external, &mut tell);
    }
}

fn one(key: &str, value: &str, ns: &Arc<str>, external: &External, tell: &mut impl FnMut(Meaning)) {
    let node = |kind| Node::new(kind, ns, value);
    if key.starts_with(gc::ROOT) {
        tell(Meaning::Root);
    } else if let Some(name) = key.strip_prefix(gc::REF_SNAPSHOT) {
        tell(Meaning::Keeps(Node::snapshot(ns, before_slash(name), value)));
    } else if named(key, gc::REF_CONTENT) {
        tell(Meaning::Keeps(node(Kind::Content)));
    } else if named(key, gc::REF_IMAGE) {
        tell(Meaning::Keeps(node(Kind::Image)));
    } else if let Some(name) = key.strip_prefix(gc::BACK_REF_SNAPSHOT) {
        tell(Meaning::KeptBy(Node::snapshot(ns, before_slash(name), value)));
    } else if named(key, gc::BACK_REF_CONTAINER) {
        tell(Meaning::KeptBy(node(Kind::Container)));
    } else if named(key, gc::BACK_REF_CONTENT) {
        tell(Meaning::KeptBy(node(Kind::Content)));
    } else if named(key, gc::BACK_REF_IMAGE) {
        tell(Meaning::KeptBy(node(Kind::Image)));
    } else if key.starts_with(gc::COND_USED_AT) {
        if let Ok(used) = parse_rfc3339(value) {
            tell(Meaning::UsedAt(used));
        }
    } else if let Some(name) = key.strip_prefix(gc::COND_SNAPSHOT) {
        conditions(before_slash(name.trim_start_matches(['.', '/'])), value, ns, tell);
    } else if let Some(rest) = key.strip_prefix(gc::REF) {
        for (_, kind) in external.iter().filter(|(label, _)| named(rest, label)) {
            tell(Meaning::Keeps(node(Kind::External(kind))));
        }
    }
}

/// `base` itself, or `base` and a name after `.` or `/`.
fn named(key: &str, base: &str) -> bool {
    key.strip_prefix(base).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '/']))
}

fn before_slash(name: &str) -> &str {
    name.split('/').next().unwrap_or(name)
}

/// `usedat<DURATION[,...]|KEY`: any one of the conditions keeps snapshot KEY.
fn conditions(snapshotter: &str, value: &str, ns: &Arc<str>, tell: &mut impl FnMut(Meaning)) {
    let Some((conditions, key)) = value.split_once('|') else { return };
    for condition in conditions.split(',') {
        let Some(rest) = condition.strip_prefix("usedat") else { continue };
        let younger = match rest.as_bytes().first() {
            Some(b'<') => true,
            Some(b'>') => false,
            _ => continue,
        };
        // `<=` and `>=` are other operators, which this condition does not have
        if let Some(age) = super::duration::parse(&rest[1..]) {
            tell(Meaning::KeepsWhile(Node::snapshot(ns, snapshotter, key), UsedAt { younger, age }));
        }
    }
}

/// The time in `containerd.io/gc.expire`; a malformed one counts as absent.
pub(super) fn expiry(labels: &Labels, what: &dyn std::fmt::Display) -> Option<SystemTime> {
    let text = labels.get(gc::EXPIRE)?;
    parse_rfc3339(text)
        .inspect_err(|e| tracing::info!(object = %what, value = text, error = %e, "malformed expiry ignored"))
        .ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn told(key: &str, value: &str) -> Vec<Meaning> {
        let ns: Arc<str> = Arc::from("ns");
        let labels = Labels::from([(key.to_owned(), value.to_owned())]);
        let mut out = Vec::new();
        meanings(&labels, &ns, &vec![("mount".to_owned(), "mounts")], |m| out.push(m));
        out
    }

    fn snapshot(key: &str) -> Node {
        Node::snapshot(&Arc::from("ns"), "overlayfs", key)
    }

    fn node(kind: Kind, key: &str) -> Node {
        Node::new(kind, &Arc::from("ns"), key)
    }

    #[test]
    fn references() {
        for key in ["content", "content.config", "content.l.0", "content/x"] {
            let want = [Meaning::Keeps(node(Kind::Content, "d"))];
            assert_eq!(told(&format!("containerd.io/gc.ref.{key}"), "d"), want, "{key}");
        }
        for key in ["snapshot.overlayfs", "snapshot.overlayfs/1"] {
            let want = [Meaning::Keeps(snapshot("s/1"))];
            assert_eq!(told(&format!("containerd.io/gc.ref.{key}"), "s/1"), want, "{key}");
        }
        assert_eq!(told("containerd.io/gc.ref.image.a", "i"), [Meaning::Keeps(node(Kind::Image, "i"))]);
        let mount = node(Kind::External("mounts"), "m");
        assert_eq!(told("containerd.io/gc.ref.mount.1", "m"), [Meaning::Keeps(mount)]);
        for key in ["contents", "imagex", "mounts", "other", "snapshot"] {
            assert_eq!(told(&format!("containerd.io/gc.ref.{key}"), "d"), [], "{key}");
        }
    }

    #[test]
    fn back_references_and_roots() {
        let back = |key: &str, n: Node| {
            assert_eq!(
                told(&format!("containerd.io/gc.bref.{key}"), &n.key.clone()),
                [Meaning::KeptBy(n)],
                "{key}"
            );
        };
        back("container", node(Kind::Container, "c"));
        back("content/1", node(Kind::Content, "d"));
        back("image.a", node(Kind::Image, "i"));
        assert_eq!(told("containerd.io/gc.bref.snapshot.overlayfs", "s"), [Meaning::KeptBy(snapshot("s"))]);
        assert_eq!(told("containerd.io/gc.root", "x"), [Meaning::Root]);
        assert_eq!(told("containerd.io/other", "x"), []);
    }

    #[test]
    fn conditional() {
        let hour = Duration::from_secs(3600);
        let young = UsedAt { younger: true, age: hour };
        let old = UsedAt { younger: false, age: 2 * hour };
        for key in ["snapshot.overlayfs", "snapshot/overlayfs/1"] {
            let told = told(&format!("containerd.io/gc.cond.{key}"), "usedat<1h,usedat>2h|s|1");
            let want = [young, old].map(|test| Meaning::KeepsWhile(snapshot("s|1"), test));
            assert_eq!(told, want, "{key}");
        }
        for value in ["usedat<1h", "usedat=1h|s", "usedat<=1h|s", "other<1h|s", "usedat<x|s", "|s"] {
            assert_eq!(told("containerd.io/gc.cond.snapshot.overlayfs", value), [], "{value}");
        }
        let now = SystemTime::now();
        assert!(young.holds(now - hour / 2, now) && !young.holds(now - hour * 3, now));
        assert!(old.holds(now - hour * 3, now) && !old.holds(now - hour, now));
        assert!(young.holds(now + hour, now) && !old.holds(now + hour, now));
        let used = told("containerd.io/gc.cond.value-usedat", "2024-01-02T03:04:05Z");
        assert!(matches!(used.as_slice(), [Meaning::UsedAt(_)]));
    }
}
