//! `X-containerd.mkfs.size=SIZE`, `.fs=TYPE`, `.uuid=UUID`: a file system in the source file, made when the file is not there.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{ErrorKind, Mount};

use super::Roots;
use crate::error::{Error, Result};
use crate::size::parse_size;

const PREFIX: &str = "X-containerd.mkfs.";
/// Longest that making a file system may take.
const LIMIT: Duration = Duration::from_secs(300);

#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    size: u64,
    fs: String,
    uuid: Option<String>,
}

pub(super) fn apply(mut mount: Mount, roots: &Roots) -> Result<Mount> {
    let source = PathBuf::from(&mount.source);
    let (root, _) = roots.find(&source, "mkfs")?;
    let options = std::mem::take(&mut mount.options);
    let (ours, kept): (Vec<String>, Vec<String>) = options.into_iter().partition(|o| o.starts_with(PREFIX));
    mount.options = kept;
    let wanted = parse(&ours)?;
    if !source.try_exists().map_err(|e| Error::io("stat", &source, e))? {
        make(&source, root, &wanted).map_err(|e| e.during(format!("failed format {:?}", mount.source)))?;
    }
    Ok(mount)
}

fn parse(options: &[String]) -> Result<Wanted> {
    let mut wanted = Wanted { size: 0, fs: "ext4".into(), uuid: None };
    for option in options {
        let option = option.strip_prefix(PREFIX).unwrap_or_default();
        let (key, value) = option.split_once('=').unwrap_or((option, "true"));
        match key {
            "size" => {
                let size = parse_size(value);
                let bad = || {
                    Error::refused(ErrorKind::Unknown, format!("bad option size: invalid size: '{value}'"))
                };
                wanted.size = size.ok_or_else(bad)?;
            }
            "fs" => wanted.fs = value.to_owned(),
            "uuid" if is_uuid(value) => wanted.uuid = Some(value.to_owned()),
            "uuid" => return Err(Error::invalid(format!("bad option uuid: {value:?}"))),
            _ => return Err(Error::invalid(format!("unknown mount option {key}"))),
        }
    }
    if wanted.size == 0 {
        return Err(Error::invalid("mkfs requires mkfs.size option"));
    }
    if !matches!(wanted.fs.as_str(), "ext2" | "ext3" | "ext4" | "xfs") {
        return Err(Error::invalid(format!("unsupported filesystem {:?}", wanted.fs)));
    }
    Ok(wanted)
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36 && text.bytes().all(|b| b.is_ascii_hexdigit() || b == b'-')
}

/// Made beside and then renamed, so that the file is whole or not there.
fn make(source: &Path, root: &Path, wanted: &Wanted) -> Result<()> {
    let directory = source.parent().unwrap_or(root);
    let real = directory.canonicalize().map_err(|e| Error::io("resolve", directory, e))?;
    let real_root = root.canonicalize().map_err(|e| Error::io("resolve", root, e))?;
    if !real.starts_with(&real_root) {
        return Err(Error::invalid(format!("{} leads out of {}", directory.display(), root.display())));
    }
    let mut name = source.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let fresh = real.join(name);
    let made = fill(&fresh, wanted)
        .and_then(|()| std::fs::rename(&fresh, source).map_err(|e| Error::io("rename", &fresh, e)));
    if made.is_err() {
        let _ = std::fs::remove_file(&fresh);
    }
    made
}

fn fill(fresh: &Path, wanted: &Wanted) -> Result<()> {
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o640).open(fresh);
    let file = file.map_err(|e| Error::io("failed to create file", fresh, e))?;
    file.set_len(wanted.size).map_err(|e| Error::io("failed to truncate file", fresh, e))?;
    drop(file);
    let mut arguments = vec!["-q".to_owned()];
    match (&wanted.uuid, wanted.fs.as_str()) {
        (Some(uuid), "xfs") => arguments.extend(["-m".into(), format!("uuid={uuid}")]),
        (Some(uuid), _) => arguments.extend(["-U".into(), uuid.clone()]),
        (None, _) => {}
    }
    arguments.push(fresh.display().to_string());
    sys::program::run(&format!("mkfs.{}", wanted.fs), &arguments, LIMIT)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use base::Kinded;

    use super::*;

    fn options(options: &[&str]) -> Vec<String> {
        options.iter().map(|o| format!("{PREFIX}{o}")).collect()
    }

    #[test]
    fn what_is_wanted() {
        let uuid = "8d0e0d05-7d5a-4a5d-9a3e-6f6c5a5b9f11";
        let wanted = parse(&options(&["size=64M", "fs=xfs", &format!("uuid={uuid}")])).unwrap();
        assert_eq!(wanted, Wanted { size: 64 << 20, fs: "xfs".into(), uuid: Some(uuid.into()) });
        for bad in [
            &["fs=ext4"][..],
            &["size=0"],
            &["size=huge"],
            &["size=1M", "fs=ntfs"],
            &["size=1M", "uuid=-x"],
            &["size=1M", "more=1"],
        ] {
            assert!(parse(&options(bad)).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn made_once_and_only_below_a_root() {
        let dir = tempfile::tempdir().unwrap();
        let roots = Roots(vec![dir.path().to_owned()]);
        let image = dir.path().join("image");
        let mount = |source: &Path, size: &str| {
            let mut all = options(&[size]);
            all.insert(0, "rw".into());
            Mount::new("ext4", source.display().to_string(), all)
        };
        let made = apply(mount(&image, "size=8M"), &roots).unwrap();
        assert_eq!(made.options, ["rw"]);
        let first = std::fs::read(&image).unwrap();
        assert_eq!((first.len(), &first[0x438..0x43a]), (8 << 20, &[0x53, 0xef][..]));
        apply(mount(&image, "size=16M"), &roots).unwrap();
        assert_eq!(std::fs::metadata(&image).unwrap().len(), 8 << 20);
        let outside = apply(mount(Path::new("/elsewhere/image"), "size=8M"), &roots).unwrap_err();
        assert_eq!(outside.kind(), ErrorKind::Unimplemented);
        std::os::unix::fs::symlink("/tmp", dir.path().join("link")).unwrap();
        assert!(apply(mount(&dir.path().join("link/image"), "size=8M"), &roots).is_err());
        // Too small for a file system: the error shows what the program said, and nothing stays.
        let failed = apply(mount(&dir.path().join("small"), "size=1k"), &roots).unwrap_err();
        assert!(base::chain(&failed).contains("mkfs.ext4 failed"), "{}", base::chain(&failed));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
