//! Names of cgroups as systemd has them.
//!
//! With the systemd driver `cgroupsPath` is `slice:prefix:name`: the unit `prefix-name.scope` in that slice, whose own name
//! says which slices it is in ("a-b.slice" is in "a.slice"). See systemd.slice(5) and `cgroups-path` of the OCI runtime spec.

use base::Error;

/// The slice of units that name none.
const SYSTEM: &str = "system.slice";

/// The path of the group that a spec names ("/pods/p1/c1"), in whichever form it is.
///
/// # Errors
/// The slice is no slice.
pub(crate) fn cgroup_path(named: &str) -> Result<String, Error> {
    let mut parts = named.splitn(3, ':');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(slice), Some(prefix), Some(name)) if !slice.contains('/') && !name.contains('/') => {
            let parents = slices(if slice.is_empty() { SYSTEM } else { slice })?;
            Ok(format!("{parents}/{}", unit(prefix, name)))
        }
        _ => Ok(format!("/{}", named.trim_start_matches('/'))),
    }
}

/// "a-b.slice" is "/a.slice/a-b.slice"; "-.slice" is the root.
fn slices(slice: &str) -> Result<String, Error> {
    let wrong = || Error::invalid(format!("invalid slice name {slice:?}"));
    let stem = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if stem == "-" {
        return Ok(String::new());
    }
    let mut path = String::new();
    let mut whole = String::new();
    for part in stem.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        if !whole.is_empty() {
            whole.push('-');
        }
        whole.push_str(part);
        path.push_str(&format!("/{whole}.slice"));
    }
    Ok(path)
}

fn unit(prefix: &str, name: &str) -> String {
    if name.ends_with(".slice") {
        return name.to_owned();
    }
    let dash = if prefix.is_empty() { "" } else { "-" };
    format!("{prefix}{dash}{name}.scope")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn both_forms() {
        for (named, want) in [
            ("/kubepods/pod1/c1", "/kubepods/pod1/c1"),
            ("pod1/c1", "/pod1/c1"),
            ("system.slice:runc:c1", "/system.slice/runc-c1.scope"),
            (":cri-containerd:c1", "/system.slice/cri-containerd-c1.scope"),
            (
                "kubepods-burstable-pod0a_1.slice:cri-containerd:9f",
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a_1.slice/cri-containerd-9f.scope",
            ),
            ("-.slice::c1", "/c1.scope"),
            ("a.slice:x:b.slice", "/a.slice/b.slice"),
            // A colon in a path is no systemd name.
            ("/pods/a:b:c", "/pods/a:b:c"),
        ] {
            assert_eq!(cgroup_path(named).unwrap(), want, "{named}");
        }
        for wrong in ["a:b:c", "a--b.slice:x:c", "-a.slice:x:c", ".slice:x:c"] {
            assert!(cgroup_path(wrong).is_err(), "{wrong}");
        }
    }
}
