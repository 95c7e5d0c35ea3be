//! The tree after an apply is the same as the original's on the same layers: both daemons import the same archives, for a snapshotter that writes
//! whiteouts (overlayfs) and one that removes (native), and what they show is compared object by object.
//!
//! The other daemon is Debian's containerd; `PEER_CONTAINERD` names another one. `TREES=n` makes more layers by chance.
#![allow(clippy::unwrap_used)]

mod created;
mod layers;

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use integration::image::digest;
use integration::tree::{Tree, differences, read};
use integration::{Daemon, Image, Kind, Scratch};
use sys::mount::{UnmountFlags, unmount};

fn start(kind: Kind, dir: &Path) -> Daemon {
    let mut daemon = Daemon::new(kind, dir);
    if let (Kind::Peer, Some(program)) = (kind, std::env::var_os("PEER_CONTAINERD")) {
        daemon = daemon.program(program);
    }
    daemon.start().unwrap();
    daemon
}

/// The digest of the chain of layers.
fn chain_id(tars: &[Vec<u8>]) -> String {
    let ids = tars.iter().map(|tar| digest(tar));
    ids.reduce(|chain, id| digest(format!("{chain} {id}").as_bytes())).unwrap()
}

/// What a daemon makes of an image: its tree, or that it refuses it.
fn shown(
    daemon: &Daemon,
    snapshotter: &str,
    archive: &Path,
    tars: &[Vec<u8>],
    at: &Path,
    now: i64,
) -> Option<Tree> {
    let import = ["images", "import", "--snapshotter", snapshotter, archive.to_str().unwrap()];
    let imported = daemon.ctr(&import).unwrap();
    let snapshots = |args: &[&str]| {
        let args = [&["snapshots", "--snapshotter", snapshotter], args].concat();
        daemon.ctr(&args).unwrap().ok().unwrap()
    };
    let chain = chain_id(tars);
    let there = snapshots(&["ls"]).contains(&chain);
    assert_eq!(imported.code == 0, there, "{}{}", imported.stdout, imported.stderr);
    if !there {
        return None;
    }
    // A view would be without a label that holds it.
    snapshots(&["prepare", "looked-at", &chain]);
    let command = snapshots(&["mounts", at.to_str().unwrap(), "looked-at"]);
    let mounted = std::process::Command::new("sh").args(["-ec", &command]).status().unwrap();
    assert!(mounted.success(), "{command}");
    let tree = read(at, now);
    unmount(at, UnmountFlags::empty()).unwrap();
    snapshots(&["rm", "looked-at"]);
    Some(tree.unwrap())
}

/// A tree without what the copying of the native snapshotter loses: the original's keeps neither the times of directories nor the second names of
/// symbolic links.
fn copied(tree: Tree) -> Tree {
    let forget = |facts: String| match facts.split(' ').collect::<Vec<_>>()[..] {
        [mode, owner, _, ref rest @ ..] if mode.starts_with('4') => {
            format!("{mode} {owner} {}", rest.join(" "))
        }
        [mode, ..] if mode.starts_with("120") => {
            facts.split_once(" same as ").map_or(facts.clone(), |(facts, _)| facts.to_owned())
        }
        _ => facts,
    };
    tree.into_iter().map(|(path, facts)| (path, forget(facts))).collect()
}

struct Pair {
    scratch: Scratch,
    ours: Daemon,
    theirs: Daemon,
    now: i64,
}

impl Pair {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name).unwrap();
        let ours = start(Kind::Ours, &scratch.join("o"));
        let theirs = start(Kind::Peer, &scratch.join("p"));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64 - 60;
        std::fs::create_dir(scratch.join("at")).unwrap();
        Pair { scratch, ours, theirs, now }
    }

    /// What differs, for either snapshotter.
    fn compare(&self, tars: &[Vec<u8>]) -> Vec<String> {
        let image = Image::build(tars.to_vec(), serde_json::json!({})).unwrap();
        let archive = self.scratch.join("image.tar");
        std::fs::write(&archive, image.oci_archive("docker.io/test/tree:1").unwrap()).unwrap();
        let at = self.scratch.join("at");
        let mut out = Vec::new();
        for snapshotter in ["overlayfs", "native"] {
            let show = |daemon| shown(daemon, snapshotter, &archive, tars, &at, self.now);
            match (show(&self.ours), show(&self.theirs)) {
                (Some(ours), Some(theirs)) => {
                    let more = match snapshotter {
                        "native" => differences(&copied(ours), &copied(theirs)),
                        _ => differences(&ours, &theirs),
                    };
                    out.extend(more.into_iter().map(|d| format!("{snapshotter} {d}")));
                }
                (None, None) => {}
                (ours, _) if ours.is_some() => out.push(format!("{snapshotter}: only the other refuses it")),
                _ => out.push(format!("{snapshotter}: only ours refuses it")),
            }
        }
        out
    }

    fn end(mut self) {
        self.ours.stop().unwrap();
        self.theirs.stop().unwrap();
        self.ours.assert_clean();
        self.theirs.assert_clean();
    }
}

#[test]
fn layers_that_appliers_get_wrong_give_the_same_tree() {
    let pair = Pair::new("t1");
    let mut found = Vec::new();
    for (name, tars) in layers::known() {
        found.extend(pair.compare(&tars).into_iter().map(|d| format!("{name}: {d}")));
    }
    pair.end();
    assert!(found.is_empty(), "ours | theirs\n{}", found.join("\n"));
}

#[test]
fn layers_made_by_chance_give_the_same_tree() {
    let pair = Pair::new("t2");
    let count = std::env::var("TREES").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let mut found = Vec::new();
    for seed in 0..count {
        found.extend(pair.compare(&layers::random(seed)).into_iter().map(|d| format!("seed {seed}: {d}")));
    }
    pair.end();
    assert!(found.is_empty(), "ours | theirs\n{}", found.join("\n"));
}
