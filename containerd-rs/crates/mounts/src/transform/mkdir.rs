//! `X-containerd.mkdir.path=DIR[:mode[:uid:gid]]`.

use std::path::{Path, PathBuf};

use base::{ErrorKind, Mount};
use sys::tree::{Kind, Root};

use super::Roots;
use crate::error::{Error, Result};

const PREFIX: &str = "X-containerd.mkdir.";

/// A directory that is wanted.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    path: PathBuf,
    mode: u32,
    owner: Option<(u32, u32)>,
}

pub(super) fn apply(mut mount: Mount, roots: &Roots) -> Result<Mount> {
    let mut kept = Vec::new();
    for option in std::mem::take(&mut mount.options) {
        match option.strip_prefix(PREFIX) {
            Some(wanted) => make(&parse(&option, wanted)?, roots)?,
            None => kept.push(option),
        }
    }
    mount.options = kept;
    Ok(mount)
}

fn parse(option: &str, wanted: &str) -> Result<Wanted> {
    let bad = || Error::invalid(format!("invalid mkdir option {option:?}"));
    let value = wanted.strip_prefix("path=").ok_or_else(bad)?;
    let parts: Vec<&str> = value.split(':').collect();
    let id = |name: &str, text: &str| {
        text.parse::<u32>().map_err(|_| Error::invalid(format!("invalid {name} {text:?}")))
    };
    let (path, mode, owner) = match parts.as_slice() {
        [path] => (path, None, None),
        [path, mode] => (path, Some(mode), None),
        [path, mode, uid, gid] => {
            let gid = id("gid", gid)?;
            (path, Some(mode), Some((id("uid", uid)?, gid)))
        }
        _ => return Err(bad()),
    };
    let mode = match mode {
        None => 0o700,
        Some(text) => {
            let mode = u32::from_str_radix(text, 8).ok().filter(|m| *m <= 0o777);
            mode.ok_or_else(|| Error::refused(ErrorKind::Unknown, format!("invalid mode {text}")))?
        }
    };
    Ok(Wanted { path: PathBuf::from(path), mode, owner })
}

/// One that is there already stays as it is: a container may have changed it.
fn make(wanted: &Wanted, roots: &Roots) -> Result<()> {
    let (root, below) = roots.find(&wanted.path, "mkdir")?;
    let shown = || format!("failed to create directory {:?}", wanted.path.display());
    let tree = Root::open_at(root)?;
    let entry = tree.entry(below).map_err(|e| Error::from(e).during(shown()))?;
    match entry.metadata()? {
        Some(meta) if meta.kind == Kind::Dir => return Ok(()),
        Some(_) => return Err(exists(&wanted.path).during(shown())),
        None => {}
    }
    entry.create_dir(wanted.mode).map_err(|e| Error::from(e).during(shown()))?;
    if let Some((uid, gid)) = wanted.owner {
        entry.chown(uid, gid)?;
        // A change of owner may take mode bits away.
        entry.chmod(wanted.mode)?;
    }
    Ok(())
}

fn exists(path: &Path) -> Error {
    Error::refused(ErrorKind::FailedPrecondition, format!("{} is there and not a directory", path.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn run(root: &Path, option: String) -> Result<Mount> {
        let roots = Roots(vec![root.to_owned()]);
        apply(Mount::new("bind", "/s", vec!["rw".into(), option]), &roots)
    }

    #[test]
    fn directories_are_made_with_mode_and_owner() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        let path = |name: &str| root.join(name).display().to_string();
        let option = |rest: &str| format!("{PREFIX}path={rest}");
        let mount = run(root, option(&path("plain"))).unwrap();
        assert_eq!(mount.options, ["rw"]);
        run(root, option(&format!("{}:0755", path("mode")))).unwrap();
        run(root, option(&format!("{}:1711", path("mode")))).unwrap_err();
        run(root, option(&format!("{}:750:12:34", path("owned")))).unwrap();
        let meta = |name: &str| {
            let m = std::fs::metadata(root.join(name)).unwrap();
            (m.mode() & 0o7777, m.uid(), m.gid())
        };
        assert_eq!(meta("plain").0, 0o700);
        assert_eq!(meta("mode").0, 0o755);
        assert_eq!(meta("owned"), (0o750, 12, 34));
        // Again is fine, and changes nothing.
        run(root, option(&format!("{}:0755", path("plain")))).unwrap();
        assert_eq!(meta("plain").0, 0o700);
    }

    #[test]
    fn bad_options_and_places_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        symlink("/", root.join("link")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        let here = root.display();
        for bad in [
            format!("{PREFIX}other=x"),
            format!("{PREFIX}path={here}/a:755:1"),
            format!("{PREFIX}path={here}/a:rwx"),
            format!("{PREFIX}path={here}/a:755:x:1"),
            format!("{PREFIX}path={here}/a:755:1:-1"),
            format!("{PREFIX}path={here}/file"),
            format!("{PREFIX}path={here}/missing/a"),
            format!("{PREFIX}path=/elsewhere/a"),
            format!("{PREFIX}path={here}/../a"),
        ] {
            assert!(run(root, bad.clone()).is_err(), "{bad}");
        }
        // A link in the way stays inside the root.
        assert!(run(root, format!("{PREFIX}path={here}/link/made-by-mkdir")).is_ok());
        assert!(root.join("made-by-mkdir").exists() && !Path::new("/made-by-mkdir").exists());
    }
}
