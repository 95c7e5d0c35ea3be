//! Device nodes of the host that a container gets.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::model::{Device, DeviceRule, Spec};
use crate::error::{Error, Result};

/// Directories below /dev that belong to the host alone, or that the container has of its own.
const SKIPPED: [&str; 7] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev"];
/// Deepest directory below the one that was named.
const MAX_DEPTH: usize = 16;

/// All of the host's devices, for privileged containers.
pub fn add_host(spec: &mut Spec) -> Result<()> {
    let devices = below(Path::new("/dev"), 0)?;
    spec.linux().devices.extend(devices);
    Ok(())
}

/// One device, or all below a directory, with the right to use them.
pub fn add(spec: &mut Spec, path: &str) -> Result<()> {
    let at = Path::new(path);
    let meta = fs::metadata(at).map_err(Error::io(format!("cannot look at device {path}")))?;
    let devices = if meta.is_dir() {
        below(at, 0)?
    } else {
        vec![node(at)?.ok_or_else(|| Error::invalid(format!("{path} is not a device")))?]
    };
    for device in devices {
        spec.resources().devices.push(DeviceRule {
            allow: true,
            kind: device.kind.clone(),
            major: Some(device.major),
            minor: Some(device.minor),
            access: "rwm".into(),
        });
        spec.linux().devices.push(device);
    }
    Ok(())
}

/// Every device may be used.
pub fn allow_all(spec: &mut Spec) {
    spec.resources().devices =
        vec![DeviceRule { allow: true, access: "rwm".into(), ..DeviceRule::default() }];
}

fn below(dir: &Path, depth: usize) -> Result<Vec<Device>> {
    let what = || format!("cannot read {}", dir.display());
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        let name = entry.file_name();
        if entry.file_type().is_ok_and(|t| t.is_dir()) {
            if depth < MAX_DEPTH && !SKIPPED.iter().any(|s| name == *s) {
                found.extend(below(&entry.path(), depth + 1)?);
            }
        } else if name != "console" {
            match node(&entry.path()) {
                Ok(Some(device)) => found.push(device),
                // it is gone again
                Err(e) if e.is_not_found() => {}
                Ok(None) => {}
                Err(e) => return Err(e),
            }
        }
    }
    Ok(found)
}

/// `None`: neither a block nor a character device.
fn node(path: &Path) -> Result<Option<Device>> {
    let meta =
        fs::symlink_metadata(path).map_err(Error::io(format!("cannot look at device {}", path.display())))?;
    let kind = match meta.file_type() {
        t if t.is_block_device() => "b",
        t if t.is_char_device() => "c",
        _ => return Ok(None),
    };
    Ok(Some(Device {
        path: path.to_string_lossy().into_owned(),
        kind: kind.into(),
        major: i64::from(rustix::fs::major(meta.rdev())),
        minor: i64::from(rustix::fs::minor(meta.rdev())),
        file_mode: Some(meta.mode() & 0o7777),
        uid: Some(meta.uid()),
        gid: Some(meta.gid()),
        ..Device::default()
    }))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn a_device_comes_with_the_right_to_use_it() {
        let mut spec = Spec::default();
        add(&mut spec, "/dev/null").unwrap();
        let linux = spec.linux.unwrap();
        assert_eq!((linux.devices[0].major, linux.devices[0].minor), (1, 3));
        let rule = &linux.resources.unwrap().devices[0];
        assert_eq!(
            (rule.allow, rule.major, rule.minor, rule.access.as_str()),
            (true, Some(1), Some(3), "rwm")
        );
    }

    #[test]
    fn a_file_is_not_a_device() {
        let text = base::chain(&add(&mut Spec::default(), "/etc/passwd").unwrap_err());
        assert_eq!(text, "/etc/passwd is not a device");
    }
}
