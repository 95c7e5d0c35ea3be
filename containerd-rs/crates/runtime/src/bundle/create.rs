//! Makes the directories and writes the spec.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use base::Any;
use base::any::type_url;
use serde::Deserialize;

use super::Bundle;
use crate::error::Error;

impl Bundle {
    /// Creates the bundle with `spec` as its `config.json`, byte for byte. What was made is removed on failure.
    ///
    /// Blocking; a handful of system calls, none of them synced: the state directory does not survive a reboot.
    pub(crate) fn create(&self, spec: Option<&Any>) -> Result<(), Error> {
        let made = self.make(spec);
        if made.is_err() {
            // Only what this call made is here: an existing bundle fails before anything is touched.
            if !matches!(&made, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists)
            {
                let _ = fs::remove_dir_all(&self.path);
                let _ = fs::remove_dir_all(&self.work);
            }
        }
        made
    }

    fn make(&self, spec: Option<&Any>) -> Result<(), Error> {
        make_parent(&self.path)?;
        make_dir(&self.path, 0o700)?;
        if let Some(gid) = spec.map(mapped_gid).transpose()?.flatten() {
            std::os::unix::fs::chown(&self.path, None, Some(gid))
                .and_then(|()| fs::set_permissions(&self.path, fs::Permissions::from_mode(0o710)))
                .map_err(Error::io("open the bundle to the container's root group", &self.path))?;
        }
        make_dir(&self.file("rootfs"), 0o711)?;
        make_parent(&self.work)?;
        self.make_work()?;
        std::os::unix::fs::symlink(&self.work, self.file("work"))
            .map_err(Error::io("link", &self.file("work")))?;
        if let Some(spec) = spec {
            write(&self.file("config.json"), 0o666, &spec.value)?;
        }
        Ok(())
    }

    fn make_work(&self) -> Result<(), Error> {
        match make_dir(&self.work, 0o711) {
            Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_dir_all(&self.work).map_err(Error::io("remove stale", &self.work))?;
                make_dir(&self.work, 0o711)
            }
            other => other,
        }
    }
}

fn make_dir(path: &Path, mode: u32) -> Result<(), Error> {
    DirBuilder::new().mode(mode).create(path).map_err(Error::io("mkdir", path))
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else { return Ok(()) };
    DirBuilder::new().recursive(true).mode(0o711).create(parent).map_err(Error::io("mkdir", parent))
}

/// Writes a small file of the bundle, replacing it.
pub(super) fn write(path: &Path, mode: u32, bytes: &[u8]) -> Result<(), Error> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(path)
        .and_then(|mut file| file.write_all(bytes))
        .map_err(Error::io("write", path))
}

#[derive(Deserialize)]
struct Spec {
    linux: Option<Linux>,
}

#[derive(Deserialize)]
struct Linux {
    #[serde(rename = "gidMappings", default)]
    gid_mappings: Option<Vec<IdMapping>>,
}

#[derive(Deserialize)]
struct IdMapping {
    #[serde(rename = "containerID")]
    container: u32,
    #[serde(rename = "hostID")]
    host: u32,
}

/// The host's gid of the container's group 0, when it is mapped to another than 0. Only OCI specs are looked into.
fn mapped_gid(spec: &Any) -> Result<Option<u32>, Error> {
    if spec.type_url != type_url::SPEC {
        return Ok(None);
    }
    let spec: Spec = serde_json::from_slice(&spec.value).map_err(Error::Spec)?;
    let mappings = spec.linux.and_then(|linux| linux.gid_mappings).unwrap_or_default();
    Ok(mappings.iter().find(|m| m.container == 0).map(|m| m.host).filter(|gid| *gid != 0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::Namespace;
    use std::os::unix::fs::MetadataExt;

    fn bundle(dir: &Path) -> Bundle {
        Bundle::locate(&dir.join("root"), &dir.join("state"), &Namespace::new("ns").unwrap(), "c1")
    }

    fn spec(json: &str) -> Any {
        Any::new(type_url::SPEC, json.to_owned())
    }

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().mode() & 0o7777
    }

    #[test]
    fn the_layout_that_shims_and_the_original_expect() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path());
        fs::create_dir_all(bundle.work.join("left-over")).unwrap();
        let text = r#"{ "ociVersion":"1.1.0",   "x-kept": 1 }"#;
        bundle.create(Some(&spec(text))).unwrap();
        assert_eq!(mode(&bundle.path), 0o700);
        assert_eq!(mode(&bundle.file("rootfs")), 0o711);
        assert_eq!(mode(bundle.path.parent().unwrap()), 0o711);
        assert_eq!(mode(&bundle.work), 0o711);
        assert_eq!(fs::read_link(bundle.file("work")).unwrap(), bundle.work);
        assert_eq!(fs::read_to_string(bundle.file("config.json")).unwrap(), text);
        assert_eq!(fs::read_dir(&bundle.work).unwrap().count(), 0, "a stale work directory is emptied");
        bundle.create(None).unwrap_err();
        assert!(bundle.file("config.json").exists(), "an existing bundle is not touched");
    }

    #[test]
    fn a_mapped_root_group_may_enter_the_bundle() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path());
        let json = r#"{"linux":{"gidMappings":[{"containerID":1,"hostID":5,"size":1},{"containerID":0,"hostID":70000,"size":9}]}}"#;
        bundle.create(Some(&spec(json))).unwrap();
        assert_eq!(mode(&bundle.path), 0o710);
        assert_eq!(bundle.path.metadata().unwrap().gid(), 70000);
    }

    #[test]
    fn a_spec_that_is_not_json_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let bundle = bundle(dir.path());
        assert!(matches!(bundle.create(Some(&spec("{nonsense"))), Err(Error::Spec(_))));
        assert!(!bundle.path.exists() && !bundle.work.exists());
        let other = Any::new("some.other.Type", "{nonsense");
        bundle.create(Some(&other)).unwrap();
        assert_eq!(fs::read(bundle.file("config.json")).unwrap(), b"{nonsense");
    }
}
