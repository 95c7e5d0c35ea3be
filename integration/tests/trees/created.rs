//! Layers that are made: the same entries as the original's for the same changes, and the same bytes twice.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use integration::{Daemon, Image};
use sys::mount::{UnmountFlags, unmount};

use super::layers::Layer;
use super::{Pair, chain_id};

/// What is done to a tree, by a shell in it. Times are set last, so that they are the same everywhere.
const CHANGES: &str = r#"
echo new > new; printf changed > etc/a; rm var/lib/x; rm -r old; mkdir old; echo again > old/file
mkdir -p made/empty; ln new made/hard; ln -s ../new made/soft; ln -s nowhere dangling
chmod 700 etc/sub; chown 12:34 etc/owned; chmod 4755 etc/owned; mkfifo pipe; mknod null c 1 3; mknod disk b 8 1
printf x > "$(printf 'n%.0s' $(seq 200))"; rm kind; mkdir kind; truncate -s 3000000 holes; printf end >> holes
touch -h -d @1600000000.123456789 new etc/a etc/owned old/file made/soft dangling pipe null disk n* holes
touch -d @1600000001 made/empty made old kind etc/sub etc var/lib var .
"#;

fn base() -> Vec<u8> {
    Layer::new()
        .dir("etc/", 0o755)
        .dir("etc/sub/", 0o755)
        .file("etc/a", 0o644, "a")
        .file("etc/owned", 0o644, "owned")
        .file("etc/same", 0o644, "same")
        .dir("var/", 0o755)
        .dir("var/lib/", 0o755)
        .file("var/lib/x", 0o644, "x")
        .dir("old/", 0o755)
        .file("old/gone", 0o644, "gone")
        .file("kind", 0o644, "a file")
        .done()
}

/// The layer that a daemon makes of the changes, twice.
fn made(daemon: &Daemon, archive: &Path, chain: &str, at: &Path) -> [Vec<u8>; 2] {
    let ctr = |args: &[&str]| daemon.ctr(args).unwrap().ok().unwrap();
    ctr(&["images", "import", "--snapshotter", "overlayfs", archive.to_str().unwrap()]);
    let snapshots = |args: &[&str]| ctr(&[&["snapshots", "--snapshotter", "overlayfs"], args].concat());
    snapshots(&["prepare", "changed", chain]);
    let command = snapshots(&["mounts", at.to_str().unwrap(), "changed"]);
    assert!(Command::new("sh").args(["-ec", &command]).status().unwrap().success(), "{command}");
    let done = Command::new("sh").args(["-ec", CHANGES]).current_dir(at).status().unwrap();
    unmount(at, UnmountFlags::empty()).unwrap();
    assert!(done.success());
    let diff = || {
        let args = [
            "snapshots",
            "--snapshotter",
            "overlayfs",
            "diff",
            "--media-type",
            "application/vnd.oci.image.layer.v1.tar",
            "changed",
        ];
        let output = daemon.ctr_command(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let both = [diff(), diff()];
    snapshots(&["rm", "changed"]);
    both
}

/// Everything that an archive says of each name.
fn entries(layer: &[u8]) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(layer);
    let mut out = BTreeMap::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let mut pax = BTreeMap::new();
        if let Some(records) = entry.pax_extensions().unwrap() {
            for record in records {
                let record = record.unwrap();
                pax.insert(record.key().unwrap().to_owned(), record.value_bytes().to_vec());
            }
        }
        pax.retain(|key, _| key.starts_with("SCHILY.xattr.") || key == "mtime");
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let link = entry.link_name_bytes().map(|l| String::from_utf8_lossy(&l).into_owned());
        let header = entry.header().clone();
        let mut body = Vec::new();
        std::io::copy(&mut entry, &mut body).unwrap();
        let whiteout = name.rsplit('/').next().is_some_and(|base| base.starts_with(".wh."));
        // The time of a whiteout is the time of the making.
        let time = if whiteout {
            (0, Vec::new())
        } else {
            (header.mtime().unwrap(), pax.remove("mtime").unwrap_or_default())
        };
        let facts = format!(
            "{:?} {:o} {}:{} {} {} {link:?} {:?}:{:?} {} bytes {} {pax:?}",
            header.entry_type(),
            header.mode().unwrap() & 0o7777,
            header.uid().unwrap(),
            header.gid().unwrap(),
            time.0,
            String::from_utf8_lossy(&time.1),
            header.device_major().ok().flatten().unwrap_or(0),
            header.device_minor().ok().flatten().unwrap_or(0),
            body.len(),
            integration::image::digest(&body),
        );
        let twice = out.insert(name.clone(), facts);
        assert_eq!(twice, None, "{name} is there twice");
    }
    out
}

#[test]
fn created_layers_have_the_entries_of_the_original_and_the_same_bytes_twice() {
    let pair = Pair::new("t3");
    let tars = [base()];
    let image = Image::build(tars.to_vec(), serde_json::json!({})).unwrap();
    let archive = pair.scratch.join("base.tar");
    std::fs::write(&archive, image.oci_archive("docker.io/test/base:1").unwrap()).unwrap();
    let at = pair.scratch.join("at");
    let [ours, again] = made(&pair.ours, &archive, &chain_id(&tars), &at);
    let [theirs, _] = made(&pair.theirs, &archive, &chain_id(&tars), &at);
    pair.end();
    assert!(ours == again, "two layers of the same changes differ");
    let (ours, theirs) = (entries(&ours), entries(&theirs));
    let mut found = Vec::new();
    for name in ours.keys().chain(theirs.keys()).collect::<std::collections::BTreeSet<_>>() {
        let absent = "absent".to_owned();
        let (one, other) = (ours.get(name).unwrap_or(&absent), theirs.get(name).unwrap_or(&absent));
        if one != other {
            found.push(format!("{name}: {one} | {other}"));
        }
    }
    assert!(found.is_empty(), "ours | theirs\n{}", found.join("\n"));
}
