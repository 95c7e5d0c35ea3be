#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Differences of real directories.

use std::fs;
use std::io::Cursor;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::fs::{Mode, OFlags, open};

use super::{Trees, write_difference};
use crate::layer::{Hiding, Limits, Rules, Target, apply};

fn dir(path: &Path) -> std::os::fd::OwnedFd {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

fn difference(lower: &Path, upper: &Path, latest: Option<i64>) -> Vec<u8> {
    let mut out = Vec::new();
    let trees = Trees { lower: dir(lower), upper: dir(upper), touched: None };
    write_difference(trees, &mut out, latest).unwrap();
    out
}

/// Type flag, name and link of each entry.
fn entries(bytes: &[u8]) -> Vec<String> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|e| {
            let e = e.unwrap();
            let link = e.link_name_bytes().map(|l| format!(" -> {}", String::from_utf8_lossy(&l)));
            let kind = char::from(e.header().entry_type().as_byte());
            format!("{kind} {}{}", String::from_utf8_lossy(&e.path_bytes()), link.unwrap_or_default())
        })
        .collect()
}

fn copy(from: &Path, to: &Path) {
    assert!(
        std::process::Command::new("cp").arg("-a").arg(from.join(".")).arg(to).status().unwrap().success()
    );
}

fn set_mtime(path: &Path, time: SystemTime) {
    fs::File::open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn what_changed_is_listed_with_its_parents() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (lower, upper) = (lower.path(), upper.path());
    for d in ["a/b", "gone/deep", "same"] {
        fs::create_dir_all(lower.join(d)).unwrap();
    }
    for f in ["a/b/old", "a/b/kept", "gone/deep/x", "same/x", "file", "dir-to-be", "a-b"] {
        fs::write(lower.join(f), f).unwrap();
    }
    copy(lower, upper);
    fs::write(upper.join("a/b/old"), "new text").unwrap();
    fs::write(upper.join("a/b/zz"), "added").unwrap();
    fs::remove_dir_all(upper.join("gone")).unwrap();
    fs::remove_file(upper.join("dir-to-be")).unwrap();
    fs::create_dir(upper.join("dir-to-be")).unwrap();
    fs::write(upper.join("dir-to-be/in"), "i").unwrap();
    fs::set_permissions(upper.join("file"), fs::Permissions::from_mode(0o600)).unwrap();
    symlink("file", upper.join("link")).unwrap();
    std::os::unix::net::UnixListener::bind(upper.join("sock")).unwrap();
    assert_eq!(
        entries(&difference(lower, upper, None)),
        [
            "5 a/",
            "5 a/b/",
            "0 a/b/old",
            "0 a/b/zz",
            "5 dir-to-be/",
            "0 dir-to-be/in",
            "0 file",
            "0 .wh.gone",
            "2 link -> file"
        ]
    );
    assert!(entries(&difference(upper, upper, None)).is_empty());
}

#[test]
fn times_cut_to_seconds_do_not_count_as_changes() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let at = |nanos| UNIX_EPOCH + Duration::new(1_700_000_000, nanos);
    for (name, low, high, body, listed) in [
        ("same-cut", 0, 5, "same", false),
        ("same-exact", 5, 5, "same", false),
        ("other-exact", 5, 6, "same", true),
        ("other-cut", 0, 0, "diff", true),
    ] {
        fs::write(lower.path().join(name), "same").unwrap();
        fs::write(upper.path().join(name), body).unwrap();
        set_mtime(&lower.path().join(name), at(low));
        set_mtime(&upper.path().join(name), at(high));
        let found = entries(&difference(lower.path(), upper.path(), None));
        assert_eq!(found.contains(&format!("0 {name}")), listed, "{name}");
    }
}

#[test]
fn names_of_one_file() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (lower, upper) = (lower.path(), upper.path());
    fs::create_dir(lower.join("d")).unwrap();
    fs::write(lower.join("d/one"), "1").unwrap();
    copy(lower, upper);
    fs::hard_link(upper.join("d/one"), upper.join("two")).unwrap();
    fs::hard_link(upper.join("d/one"), upper.join("three")).unwrap();
    // d/one is as it was, but must be linked to the new names all the same.
    let found = entries(&difference(lower, upper, None));
    assert_eq!(found, ["0 three", "5 d/", "1 d/one -> three", "1 two -> three"]);
}

#[test]
fn a_difference_applies_to_what_it_was_made_of() {
    let (lower, upper) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (lower, upper) = (lower.path(), upper.path());
    fs::create_dir_all(lower.join("x/y")).unwrap();
    fs::write(lower.join("x/y/f"), "f").unwrap();
    copy(lower, upper);
    let long = format!("x/{}", "n".repeat(150));
    fs::write(upper.join(&long), "long").unwrap();
    fs::write(upper.join("x/ünï"), "not ascii").unwrap();
    symlink("t".repeat(120), upper.join("x/long-link")).unwrap();
    std::os::unix::fs::chown(upper.join(&long), Some(5_000_000), Some(7)).unwrap();
    fs::set_permissions(upper.join(&long), fs::Permissions::from_mode(0o4711)).unwrap();
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let capable = upper.join("x/ünï");
    rustix::fs::lsetxattr(&capable, "security.capability", &capability, rustix::fs::XattrFlags::empty())
        .unwrap();
    fs::remove_dir_all(upper.join("x/y")).unwrap();
    let bytes = difference(lower, upper, None);
    let rules = Rules {
        whiteouts: Hiding::Remove,
        skip_devices: false,
        apart: false,
        limits: Limits { entries: None, bytes: None },
    };
    apply(Cursor::new(bytes), Target { root: dir(lower), lowers: Vec::new() }, rules).unwrap();
    assert!(entries(&difference(upper, lower, None)).is_empty());
    let meta = fs::metadata(lower.join(&long)).unwrap();
    assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (5_000_000, 7, 0o4711));
}

#[test]
fn the_same_difference_gives_the_same_bytes() {
    let lower = tempfile::tempdir().unwrap();
    let make = || {
        let upper = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c"] {
            fs::create_dir(upper.path().join(name)).unwrap();
            fs::write(upper.path().join(name).join("f"), name).unwrap();
        }
        difference(lower.path(), upper.path(), Some(1_000_000_000))
    };
    let first = make();
    assert_eq!(first, make());
    let mut archive = tar::Archive::new(&first[..]);
    for entry in archive.entries().unwrap() {
        assert_eq!(entry.unwrap().header().mtime().unwrap(), 1_000_000_000);
    }
}
