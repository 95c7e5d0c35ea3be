//! The few fields of a bundle's `config.json` that the shim looks at. The file itself is the
//! runtime's; it is never written or re-encoded here.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;

use base::Error;
use serde::Deserialize;

/// A spec larger than this is refused (the daemon's message limit is 16 MiB).
const MAX_SPEC: u64 = 32 << 20;

const FILE: &str = "config.json";

/// Annotations that name the group a container belongs to, in order.
const GROUPS: [&str; 2] = ["io.containerd.runc.v2.group", "io.kubernetes.cri.sandbox-id"];

/// See the module.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Spec {
    #[serde(default)]
    annotations: Option<BTreeMap<String, String>>,
    #[serde(default)]
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
struct Linux {
    #[serde(default)]
    namespaces: Option<Vec<LinuxNamespace>>,
    #[serde(rename = "cgroupsPath", default)]
    cgroups_path: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LinuxNamespace {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    path: String,
}

/// Reads what the caller wants to know of a bundle's `config.json`; `None`: there is no such file, as in a sandbox of which
/// nothing is specified.
///
/// # Errors
/// It cannot be read, is too large, or is not a spec.
pub(crate) fn read_config<T: serde::de::DeserializeOwned>(bundle: &Path) -> Result<Option<T>, Error> {
    let path = bundle.join(FILE);
    let mut text = Vec::new();
    match std::fs::File::open(&path).and_then(|f| f.take(MAX_SPEC + 1).read_to_end(&mut text)) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(Error::invalid(format!("open {}", path.display())).with_source(e)),
    }
    if text.len() as u64 > MAX_SPEC {
        return Err(Error::invalid(format!("{} is larger than {MAX_SPEC} bytes", path.display())));
    }
    serde_json::from_slice(&text)
        .map(Some)
        .map_err(|e| Error::invalid(format!("parse {}", path.display())).with_source(e))
}

impl Spec {
    /// Reads `config.json` of a bundle.
    ///
    /// # Errors
    /// The file is missing, too large, or not a spec; Go's words for a missing one.
    pub(crate) fn read(bundle: &Path) -> Result<Spec, Error> {
        read_config(bundle)?.ok_or_else(|| {
            let missing = std::io::Error::from(rustix::io::Errno::NOENT);
            Error::invalid(format!("open {}", bundle.join(FILE).display())).with_source(missing)
        })
    }

    /// The group that shares one shim; `id` when no annotation names one.
    pub(crate) fn group<'a>(&'a self, id: &'a str) -> &'a str {
        let annotations = self.annotations.as_ref();
        GROUPS.iter().find_map(|key| annotations?.get(*key)).map_or(id, String::as_str)
    }

    /// The cgroup that the runtime was told to make, a path or `slice:prefix:name`, when its name shows that it is this
    /// container's alone.
    pub(crate) fn own_cgroup(&self, id: &str) -> Option<&str> {
        let named = self.linux.as_ref()?.cgroups_path.as_deref()?;
        let name = match named.strip_prefix('/') {
            Some(path) => path.rsplit_once('/')?.1,
            None => named.splitn(3, ':').nth(2)?,
        };
        (!id.is_empty() && name.ends_with(id)).then_some(named)
    }

    /// Whether the container has a PID namespace of its own, so that the kernel kills the rest of it with its init.
    pub(crate) fn has_own_pid_namespace(&self) -> bool {
        let namespaces = self.linux.as_ref().and_then(|l| l.namespaces.as_deref()).unwrap_or_default();
        namespaces.iter().any(|n| n.kind == "pid" && n.path.is_empty())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn of(text: &str) -> Spec {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn groups_by_the_first_known_annotation() {
        assert_eq!(of("{}").group("me"), "me");
        assert_eq!(of(r#"{"annotations":null}"#).group("me"), "me");
        assert_eq!(of(r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod"}}"#).group("me"), "pod");
        let both =
            r#"{"annotations":{"io.kubernetes.cri.sandbox-id":"pod","io.containerd.runc.v2.group":"g"}}"#;
        assert_eq!(of(both).group("me"), "g");
    }

    #[test]
    fn a_cgroup_is_the_containers_own_by_its_name() {
        for (path, want) in [
            ("/ns/c1", true),
            ("/pod/cri-c1", true),
            ("/ns/other", false),
            ("/c1", false),
            ("system.slice:x:c1", true),
            ("system.slice:c1:x", false),
            ("a:c1", false),
            ("c1", false),
        ] {
            let spec = of(&format!(r#"{{"linux":{{"cgroupsPath":"{path}"}}}}"#));
            assert_eq!(spec.own_cgroup("c1").is_some(), want, "{path}");
        }
        assert_eq!(of("{}").own_cgroup("c1"), None);
    }

    #[test]
    fn own_pid_namespace() {
        for (text, want) in [
            ("{}", false),
            (r#"{"linux":{"namespaces":null}}"#, false),
            (r#"{"linux":{"namespaces":[{"type":"pid"}]}}"#, true),
            (r#"{"linux":{"namespaces":[{"type":"mount"}]}}"#, false),
            (r#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/7/ns/pid"}]}}"#, false),
        ] {
            assert_eq!(of(text).has_own_pid_namespace(), want, "{text}");
        }
    }
}
