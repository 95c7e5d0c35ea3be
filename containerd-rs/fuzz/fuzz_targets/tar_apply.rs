//! Applies layers of any bytes, in both ways of hiding, one over the other: no panic, and nothing outside the root.
#![no_main]

use std::io::Cursor;
use std::os::fd::OwnedFd;
use std::path::Path;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{Mode, OFlags, open};
use snapshot::layer::{Hiding, Rules, Target, apply};

fn dir(path: &Path) -> OwnedFd {
    open(path, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap()
}

/// Headers whose sum is wrong are refused at once: they get the right one, or nothing behind them would be reached.
fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for block in out.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    out
}

fn rules(whiteouts: Hiding) -> Rules {
    let whiteouts = serde_json::to_value(whiteouts).unwrap();
    let limits = serde_json::json!({ "entries": 1000, "bytes": null });
    serde_json::from_value(
        serde_json::json!({ "whiteouts": whiteouts, "skip_devices": false, "limits": limits }),
    )
    .unwrap()
}

fuzz_target!(|bytes: &[u8]| {
    let archive = with_sums(bytes);
    let scene = tempfile::tempdir().unwrap();
    for name in ["lower", "upper", "merged", "outside"] {
        std::fs::create_dir(scene.path().join(name)).unwrap();
    }
    std::fs::create_dir_all(scene.path().join("lower/a/b")).unwrap();
    std::fs::write(scene.path().join("lower/a/f"), "f").unwrap();
    std::fs::write(scene.path().join("outside/secret"), "secret").unwrap();
    for (name, whiteouts) in [("upper", Hiding::Overlay), ("merged", Hiding::Remove)] {
        let root = scene.path().join(name);
        let lowers =
            if whiteouts == Hiding::Overlay { vec![dir(&scene.path().join("lower"))] } else { Vec::new() };
        for _ in 0..2 {
            let target =
                Target { root: dir(&root), lowers: lowers.iter().map(|l| l.try_clone().unwrap()).collect() };
            let _refused = apply(Cursor::new(&archive), target, rules(whiteouts));
            // Attributes of names are set from within a directory.
            std::env::set_current_dir("/").unwrap();
        }
    }
    let names = |path: &str| {
        let mut names: Vec<_> =
            std::fs::read_dir(scene.path().join(path)).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    assert_eq!(names(""), ["lower", "merged", "outside", "upper"]);
    assert_eq!(names("outside"), ["secret"]);
    assert_eq!(names("lower"), ["a"]);
    assert_eq!(std::fs::read(scene.path().join("outside/secret")).unwrap(), b"secret");
});
