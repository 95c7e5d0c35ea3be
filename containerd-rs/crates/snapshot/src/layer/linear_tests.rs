#![allow(clippy::unwrap_used, clippy::expect_used)]
//! Work is linear in the archive, whatever it holds (GHSA-rp3h-jf77-q9p4): counted in steps, because time says more about the machine.

use super::tests::{Tar, run};
use super::*;

/// Steps to apply `build(n)` and `build(8 n)` must differ by a factor near 8, not 64.
fn stays_linear(n: usize, build: impl Fn(usize) -> Tar) {
    for hiding in [Hiding::Remove, Hiding::Overlay] {
        let count = |n: usize| {
            let bytes = build(n).done();
            let root = tempfile::tempdir().unwrap();
            let lower = tempfile::tempdir().unwrap();
            let before = steps::taken();
            run(root.path(), &[lower.path()], hiding, &bytes).unwrap();
            steps::taken() - before
        };
        let (small, big) = (count(n), count(8 * n));
        assert!(small >= n as u64, "steps are not counted: {small}");
        assert!(big < small * 10, "{hiding:?} {n}: {small} steps, {}: {big}", 8 * n);
    }
}

fn deep(depth: usize) -> String {
    "d/".repeat(depth)
}

#[test]
fn linear_markers_after_each_file() {
    stays_linear(100, |n| {
        (0..n).fold(Tar::new(), |tar, i| {
            tar.file(&format!("d/f{i}"), "").file("d/.wh..wh..opq", "").file(&format!("d/.wh.f{i}"), "")
        })
    });
}

/// Files at the end of a long path, and a marker in each directory of it.
fn markers_on_the_way(n: usize, from_the_top: bool, marker: impl Fn(&str) -> String) -> Tar {
    const DEPTH: usize = 40;
    let mut tar = Tar::new();
    for i in 0..n {
        tar = tar.file(&format!("{}f{i}", deep(DEPTH)), "");
    }
    for i in 0..DEPTH {
        let depth = if from_the_top { i } else { DEPTH - 1 - i };
        tar = tar.file(&marker(&deep(depth)), "");
    }
    tar
}

#[test]
fn linear_opaque_directories_upwards_and_downwards() {
    for from_the_top in [false, true] {
        // The files are looked at once, not once for each directory above them.
        let build = |n| markers_on_the_way(n, from_the_top, |at| format!("{at}.wh..wh..opq"));
        stays_linear(100, build);
        let steps = |n| {
            let bytes = build(n).done();
            let root = tempfile::tempdir().unwrap();
            let before = steps::taken();
            run(root.path(), &[], Hiding::Remove, &bytes).unwrap();
            steps::taken() - before
        };
        assert!(steps(1000) - steps(100) < 900 * 4, "files are looked at again and again");
    }
}

#[test]
fn linear_whiteouts_of_what_the_layer_brings() {
    for from_the_top in [false, true] {
        stays_linear(100, |n| markers_on_the_way(n, from_the_top, |at| format!("{at}.wh.d")));
    }
}

#[test]
fn linear_directories_that_come_again() {
    // A directory with files is replaced by a file, and made again.
    stays_linear(40, |n| {
        (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("d/sub/f{i}"), "").file("d", "").dir("d"))
    });
}

#[test]
fn linear_whiteouts_of_nothing() {
    stays_linear(100, |n| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("a/b/c/.wh.f{i}"), "")));
}

#[test]
fn linear_new_directories() {
    stays_linear(50, |n| (0..n).fold(Tar::new(), |tar, i| tar.file(&format!("a{i}/b{i}/c{i}/d{i}/f"), "")));
}

#[test]
fn linear_links_that_lead_on() {
    // Each path goes through a link that is not remembered.
    stays_linear(50, |n| {
        (0..n).fold(Tar::new().dir("real"), |tar, i| {
            tar.symlink(&format!("l{i}"), "real").file(&format!("l{i}/f{i}"), "")
        })
    });
}
