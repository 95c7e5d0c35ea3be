//! Layers made at random: applied into one merged tree and applied as overlay layers they must show
//! the same; and no bytes at all may make the applier do more than fail.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Cursor;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use base::Mount;
use proptest::prelude::*;
use rustix::fs::{Mode, OFlags, open};
use snapshot::layer::{Hiding, LayerError, Limits, Rules, Settled, Target, Undecided, apply, settle};
use sys::mount::TempMount;

#[derive(Debug, Clone)]
enum Entry {
    File(String, String),
    Dir(String, u32),
    Symlink(String, String),
    Hide(String),
    Opaque(String),
}

/// Few names, so that entries meet.
fn path() -> impl Strategy<Value = String> {
    proptest::collection::vec(proptest::sample::select(vec!["a", "b", "c"]), 1..4).prop_map(|p| p.join("/"))
}

fn entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        4 => (path(), "[a-z]{0,8}").prop_map(|(p, body)| Entry::File(p, body)),
        4 => (path(), proptest::sample::select(vec![0o755u32, 0o700, 0o1777])).prop_map(|(p, m)| Entry::Dir(p, m)),
        1 => (path(), "[a-z]{1,4}").prop_map(|(p, to)| Entry::Symlink(p, to)),
        3 => path().prop_map(Entry::Hide),
        2 => path().prop_map(Entry::Opaque),
    ]
}

fn archive(entries: &[Entry]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for entry in entries {
        let mut header = tar::Header::new_ustar();
        header.set_mtime(1_500_000_000);
        header.set_mode(0o644);
        header.set_size(0);
        let (name, body) = match entry {
            Entry::File(p, body) => {
                header.set_size(body.len() as u64);
                (p.clone(), body.as_bytes())
            }
            Entry::Dir(p, mode) => {
                header.set_entry_type(tar::EntryType::Directory);
                header.set_mode(*mode);
                (p.clone(), &b""[..])
            }
            Entry::Symlink(p, to) => {
                header.set_entry_type(tar::EntryType::Symlink);
                header.set_link_name(to).unwrap();
                (p.clone(), &b""[..])
            }
            Entry::Hide(p) => {
                let (dir, base) =
                    p.rsplit_once('/').map_or((String::new(), p.as_str()), |(d, b)| (format!("{d}/"), b));
                (format!("{dir}.wh.{base}"), &b""[..])
            }
            Entry::Opaque(p) => (format!("{p}/.wh..wh..opq"), &b""[..]),
        };
        header.set_path(name).unwrap();
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

fn target(root: &Path, lowers: &[&Path]) -> Target {
    let open = |p: &Path| open(p, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    Target { root: open(root), lowers: lowers.iter().map(|p| open(p)).collect() }
}

fn rules(whiteouts: Hiding, apart: bool) -> Rules {
    Rules { whiteouts, skip_devices: false, apart, limits: Limits { entries: None, bytes: None } }
}

fn run(root: &Path, lowers: &[&Path], whiteouts: Hiding, bytes: &[u8]) -> Result<(), LayerError> {
    apply(Cursor::new(bytes), target(root, lowers), rules(whiteouts, false)).map(|_| ())
}

/// Applies before the layers below are there.
fn run_apart(root: &Path, bytes: &[u8]) -> Vec<Undecided> {
    let (applied, _) = apply(Cursor::new(bytes), target(root, &[]), rules(Hiding::Overlay, true)).unwrap();
    applied.undecided.unwrap()
}

/// What an overlay of these layers, the lowest first, shows.
fn overlaid(layers: &[std::path::PathBuf], work: &Path, ground: &str) -> BTreeMap<String, String> {
    // Overlay wants two layers at least to be read-only.
    let ground = work.join(ground);
    fs::create_dir(&ground).unwrap();
    let lowers: Vec<String> = layers.iter().rev().chain([&ground]).map(|p| p.display().to_string()).collect();
    let mount = Mount::new("overlay", "overlay", vec![format!("lowerdir={}", lowers.join(":"))]);
    let view = TempMount::new(&[mount], work).unwrap();
    let shown = listing(view.path());
    view.close().unwrap();
    shown
}

/// Path -> kind, mode, owner, content.
fn listing(root: &Path) -> BTreeMap<String, String> {
    let mut out = BTreeMap::new();
    let mut todo = vec![root.to_owned()];
    while let Some(path) = todo.pop() {
        let meta = fs::symlink_metadata(&path).unwrap();
        let content = if meta.is_symlink() {
            fs::read_link(&path).unwrap().display().to_string()
        } else if meta.is_file() {
            fs::read_to_string(&path).unwrap()
        } else {
            todo.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
            String::new()
        };
        let name = path.strip_prefix(root).unwrap().display().to_string();
        if !name.is_empty() {
            out.insert(name, format!("{:o} {}:{} {content}", meta.mode(), meta.uid(), meta.gid()));
        }
    }
    out
}

/// Entries whose parent is something else than a directory are errors on both sides, or (a link that
/// leads nowhere) mean different things in a merged tree and in one layer of it: left out.
fn clashes(layers: &[Vec<Entry>]) -> bool {
    let name = |e: &Entry| match e {
        Entry::File(p, _) | Entry::Dir(p, _) | Entry::Symlink(p, _) | Entry::Hide(p) => p.clone(),
        Entry::Opaque(p) => format!("{p}/"),
    };
    let all: Vec<&Entry> = layers.iter().flatten().collect();
    all.iter().any(|leaf| match leaf {
        Entry::File(p, _) | Entry::Symlink(p, _) => {
            let below = format!("{p}/");
            all.iter().any(|other| name(other).starts_with(&below))
        }
        _ => false,
    })
}

fn options() -> ProptestConfig {
    ProptestConfig {
        cases: 120,
        failure_persistence: None,
        max_global_rejects: 20_000,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(options())]

    #[test]
    fn merged_and_overlaid_layers_show_the_same(
        layers in proptest::collection::vec(proptest::collection::vec(entry(), 1..8), 1..4)
            .prop_filter("entries below files", |layers| !clashes(layers))
    ) {
        rustix::process::umask(Mode::empty());
        let work = tempfile::tempdir().unwrap();
        let merged = work.path().join("merged");
        fs::create_dir(&merged).unwrap();
        let mut uppers: Vec<std::path::PathBuf> = Vec::new();
        for (i, layer) in layers.iter().enumerate() {
            let bytes = archive(layer);
            run(&merged, &[], Hiding::Remove, &bytes).unwrap();
            let upper = work.path().join(format!("layer-{i}"));
            fs::create_dir(&upper).unwrap();
            let lowers: Vec<&Path> = uppers.iter().rev().map(|p| p.as_path()).collect();
            // The lowest layer is a plain directory, as it is when an image is unpacked.
            let hiding = if i == 0 { Hiding::Remove } else { Hiding::Overlay };
            run(&upper, &lowers, hiding, &bytes).unwrap();
            uppers.push(upper);
        }
        let (shown, wanted) = (overlaid(&uppers, work.path(), "ground"), listing(&merged));
        prop_assert_eq!(shown, wanted);
    }

    #[test]
    fn layers_applied_apart_show_what_layers_in_order_show(
        layers in proptest::collection::vec(proptest::collection::vec(entry(), 1..8), 2..5)
            .prop_filter("entries below files", |layers| !clashes(layers))
    ) {
        rustix::process::umask(Mode::empty());
        let work = tempfile::tempdir().unwrap();
        let (mut in_order, mut apart): (Vec<std::path::PathBuf>, Vec<std::path::PathBuf>) = Default::default();
        let mut undecided = Vec::new();
        for (i, layer) in layers.iter().enumerate() {
            let bytes = archive(layer);
            let hiding = if i == 0 { Hiding::Remove } else { Hiding::Overlay };
            let upper = work.path().join(format!("in-order-{i}"));
            fs::create_dir(&upper).unwrap();
            let lowers: Vec<&Path> = in_order.iter().rev().map(|p| p.as_path()).collect();
            run(&upper, &lowers, hiding, &bytes).unwrap();
            in_order.push(upper);
            let upper = work.path().join(format!("apart-{i}"));
            fs::create_dir(&upper).unwrap();
            undecided.push(if i == 0 {
                run(&upper, &[], hiding, &bytes).unwrap();
                Vec::new()
            } else {
                run_apart(&upper, &bytes)
            });
            apart.push(upper);
        }
        for (i, undecided) in undecided.iter().enumerate() {
            let lowers: Vec<&Path> = apart[..i].iter().rev().map(|p| p.as_path()).collect();
            match settle(target(&apart[i], &lowers), undecided).unwrap() {
                Settled::Yes => {}
                Settled::ApplyAgain => {
                    fs::remove_dir_all(&apart[i]).unwrap();
                    fs::create_dir(&apart[i]).unwrap();
                    run(&apart[i], &lowers, Hiding::Overlay, &archive(&layers[i])).unwrap();
                }
            }
        }
        let shown = overlaid(&apart, work.path(), "ground-apart");
        prop_assert_eq!(shown, overlaid(&in_order, work.path(), "ground-in-order"));
    }

    #[test]
    fn bytes_of_any_kind_do_no_more_than_fail(
        layers in proptest::collection::vec(entry(), 1..6),
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..6),
        cut in any::<proptest::sample::Index>(),
        fix_sums in any::<bool>(),
    ) {
        let mut bytes = archive(&layers);
        for (at, value) in damage {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        if fix_sums {
            for block in bytes.as_chunks_mut::<512>().0 {
                if block[257..262] == *b"ustar" {
                    block[148..156].fill(b' ');
                    let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
                    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
                }
            }
        }
        let end = cut.index(bytes.len() + 1);
        bytes.truncate(end.max(bytes.len() / 2));
        let work = tempfile::tempdir().unwrap();
        let (root, beside) = (work.path().join("root"), work.path().join("beside"));
        fs::create_dir(&root).unwrap();
        fs::write(&beside, "untouched").unwrap();
        let _fails_or_not = run(&root, &[], Hiding::Remove, &bytes);
        prop_assert_eq!(fs::read_dir(work.path()).unwrap().count(), 2);
        prop_assert_eq!(fs::read_to_string(&beside).unwrap(), "untouched");
    }
}

/// The two things that layers below decide, and that a directory's times survive the decision.
#[test]
fn what_is_below_decides_about_devices_and_parents() {
    rustix::process::umask(Mode::empty());
    let work = tempfile::tempdir().unwrap();
    let (lower, upper) = (work.path().join("lower"), work.path().join("upper"));
    fs::create_dir(&lower).unwrap();
    fs::create_dir(&upper).unwrap();
    let dir = |p: &str, mode| Entry::Dir(p.into(), mode);
    let file = |p: &str| Entry::File(p.into(), "x".into());
    run(&lower, &[], Hiding::Remove, &archive(&[dir("a", 0o700), file("a/old"), dir("b", 0o755)])).unwrap();
    let layer = [
        file("a/new"),
        Entry::Hide("a/old".into()),
        dir("b", 0o750),
        Entry::Hide("b/nothing".into()),
        file("c/new"),
    ];
    let undecided = run_apart(&upper, &archive(&layer));
    assert_eq!(undecided.len(), 4, "{undecided:?}");
    assert!(upper.join("b/nothing").symlink_metadata().is_ok());
    assert_eq!(settle(target(&upper, &[&lower]), &undecided).unwrap(), Settled::Yes);
    assert!(upper.join("a/old").symlink_metadata().is_ok(), "it hides something");
    assert!(upper.join("b/nothing").symlink_metadata().is_err(), "it hides nothing");
    let mode = |p: &str| fs::metadata(upper.join(p)).unwrap().mode() & 0o7777;
    assert_eq!((mode("a"), mode("b"), mode("c")), (0o700, 0o750, 0o755));
    assert_eq!(fs::metadata(upper.join("b")).unwrap().mtime(), 1_500_000_000);

    // A group that is handed down cannot be made good afterwards.
    let (lower, upper) = (work.path().join("setgid"), work.path().join("above"));
    fs::create_dir(&lower).unwrap();
    fs::create_dir(&upper).unwrap();
    run(&lower, &[], Hiding::Remove, &archive(&[dir("a", 0o2755)])).unwrap();
    let undecided = run_apart(&upper, &archive(&[file("a/b/new")]));
    assert_eq!(settle(target(&upper, &[&lower]), &undecided).unwrap(), Settled::ApplyAgain);
}
