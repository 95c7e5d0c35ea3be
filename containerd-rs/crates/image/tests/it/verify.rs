//! Verifier programs, real ones.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use base::oci::media_type;
use base::{Descriptor, Digest, ErrorKind, Kinded};
use image::pull::{PullOptions, pull};
use image::registry::Resolver;
use image::verify::{Verifiers, VerifyError};

use crate::faulty::{Auth, Faulty};
use crate::node::{Node, Sample};
use crate::resolve::patient;

/// More than any of them needs, however busy the machine is.
const PATIENCE: Duration = Duration::from_secs(60);

fn verifiers(dir: &Path) -> Verifiers {
    Verifiers { bin_dir: dir.to_owned(), max_verifiers: 10, per_verifier_timeout: PATIENCE }
}

fn program(dir: &Path, name: &str, script: &str) {
    let path = dir.join(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn target() -> Descriptor {
    Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256("x"), 7)
}

async fn judge(verifiers: &Verifiers) -> (bool, String) {
    let judgement = verifiers.judge("r.io/a:1", &target()).await.unwrap();
    (judgement.allowed, judgement.reason)
}

#[tokio::test]
async fn nobody_there_allows() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("missing");
    let want = format!("image verifier directory {} does not exist", missing.display());
    assert_eq!(judge(&verifiers(&missing)).await, (true, want));
    let want = format!("no image verifier binaries found in {}", dir.path().display());
    assert_eq!(judge(&verifiers(dir.path())).await, (true, want));
    // A file where the directory should be is a failure, not an approval.
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let e = verifiers(&file).judge("r.io/a:1", &target()).await.unwrap_err();
    assert!(matches!(e, VerifyError::Directory { .. }), "{e:?}");
}

#[tokio::test]
async fn each_is_told_what_it_is_about_and_all_must_allow() {
    let dir = tempfile::tempdir().unwrap();
    let seen = dir.path().join("seen");
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    program(
        &bin,
        "b",
        &format!("printf '%s ' \"$@\" > {0}; cat >> {0}; echo ' fine with me '", seen.display()),
    );
    program(&bin, "a", "echo first; echo noise >&2");
    assert_eq!(judge(&verifiers(&bin)).await, (true, "a => first, b => fine with me".to_owned()));
    let told = std::fs::read_to_string(&seen).unwrap();
    let digest = target().digest;
    let args =
        format!("-name r.io/a:1 -digest {digest} -stdin-media-type application/vnd.oci.descriptor.v1+json ");
    let json: serde_json::Value = serde_json::from_str(told.strip_prefix(&args).unwrap()).unwrap();
    assert_eq!(json["digest"], digest.as_str());
    assert_eq!(
        (json["size"].as_i64(), json["mediaType"].as_str()),
        (Some(7), Some(media_type::OCI_MANIFEST))
    );

    program(&bin, "aa", "echo never; exit 3");
    let (allowed, reason) = judge(&verifiers(&bin)).await;
    assert!(!allowed);
    assert_eq!(reason, "verifier aa rejected image (exit code 3): never");
    // Only the first so many are called.
    let few = |n| Verifiers { max_verifiers: n, ..verifiers(&bin) };
    assert_eq!(judge(&few(1)).await, (true, "a => first".to_owned()));
    assert_eq!(judge(&few(0)).await, (true, String::new()));
    assert!(!judge(&few(-1)).await.0);
}

#[tokio::test]
async fn garbage_and_floods_are_cut() {
    let dir = tempfile::tempdir().unwrap();
    program(dir.path(), "a", r"printf 'x\377\000\033[31my'; exit 1");
    let (allowed, reason) = judge(&verifiers(dir.path())).await;
    assert!(!allowed && !reason.contains('\u{1b}') && !reason.contains('\0'), "{reason:?}");
    program(dir.path(), "a", "yes | head -c 3000000; yes >&2 | head -c 10; yes | head -c 3000000 >&2");
    program(dir.path(), "a", "yes | head -c 3000000; yes | head -c 3000000 >&2");
    let (allowed, reason) = judge(&verifiers(dir.path())).await;
    assert!(allowed);
    assert!(reason.ends_with("(stdout truncated)") && reason.len() < 33_000, "{}", reason.len());
}

#[tokio::test]
async fn what_gives_no_judgement_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let pid = dir.path().join("pid");
    let bin = dir.path().join("bin");
    std::fs::create_dir(&bin).unwrap();
    // It hangs, and so does what it started.
    program(&bin, "a", &format!("sleep 1000 & echo $! > {}.new; mv {0}.new {0}; wait", pid.display()));
    let quick = Verifiers { per_verifier_timeout: Duration::from_secs(3), ..verifiers(&bin) };
    let e = quick.judge("r.io/a:1", &target()).await.unwrap_err();
    assert!(base::chain(&e).contains("did not end within 3s"), "{}", base::chain(&e));
    if let Ok(child) = std::fs::read_to_string(&pid) {
        let gone = format!("/proc/{}/cmdline", child.trim());
        let until = Instant::now() + PATIENCE;
        while std::fs::read(&gone).is_ok_and(|line| !line.is_empty()) {
            assert!(Instant::now() < until, "the child of the verifier is still there");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
    program(&bin, "a", "kill -9 $$");
    let e = verifiers(&bin).judge("r.io/a:1", &target()).await.unwrap_err();
    assert!(base::chain(&e).contains("killed by signal 9"), "{}", base::chain(&e));
    std::fs::set_permissions(bin.join("a"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let e = verifiers(&bin).judge("r.io/a:1", &target()).await.unwrap_err();
    assert!(base::chain(&e).contains("ermission denied"), "{}", base::chain(&e));
    // What it leaves behind in the background does not hold up the verdict.
    program(&bin, "a", "sleep 1000 & echo done");
    let began = Instant::now();
    assert_eq!(judge(&verifiers(&bin)).await, (true, "a => done".to_owned()));
    assert!(began.elapsed() < PATIENCE);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_asks_first() {
    let registry = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", &[1000]);
    sample.put(&registry, "a", "1");
    let (node, bin) = (Node::new(), tempfile::tempdir().unwrap());
    let reference = format!("{}/a:1", registry.address());
    let options = || PullOptions { verifiers: Some(verifiers(bin.path())), ..PullOptions::new(&reference) };
    program(bin.path(), "no", "echo not signed; exit 1");
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options()).await.unwrap_err();
    let want = format!(
        "image verifier bindir blocked pull of {reference} with digest {} for reason: verifier no rejected image (exit code 1): not signed",
        sample.digest()
    );
    assert_eq!((base::chain(&e), e.kind()), (want, ErrorKind::Unknown));
    assert!(node.images().is_empty() && !node.has(&sample.digest()).await && node.ingests().await.is_empty());
    assert_eq!((registry.count("GET", ""), node.leases()), (0, 0));
    program(bin.path(), "no", "kill -9 $$");
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options()).await.unwrap_err();
    assert!(
        base::chain(&e).contains("image verifier bindir returned error: failed to call verifier no"),
        "{}",
        base::chain(&e)
    );
    program(bin.path(), "no", "exit 0");
    pull(&node.local, &node.scope, &Resolver::new(patient()), options()).await.unwrap();
    assert_eq!(node.images(), [reference.as_str()]);
}
