#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{ErrorKind, Kinded};

use super::*;

const A: Table = Table::new(0, "a");
const B: Table = Table::new(1, "b");
const TABLES: &[Table] = &[A, B];

fn open(dir: &Path) -> Kv {
    Kv::open(&dir.join("x.redb"), TABLES, KvOptions::default()).unwrap()
}

async fn put(kv: &Kv, key: &str, value: &str) -> Result<()> {
    let (key, value) = (key.to_owned(), value.to_owned());
    kv.write(move |tx| tx.put(A, key.as_bytes(), value.as_bytes())).await
}

fn get(kv: &Kv, key: &str) -> Option<String> {
    kv.view().unwrap().get(A, key.as_bytes()).unwrap().map(|v| String::from_utf8(v).unwrap())
}

fn scan(from: &dyn Read, prefix: &str, start: &str) -> Vec<String> {
    let mut out = Vec::new();
    from.scan_from(A, prefix.as_bytes(), start.as_bytes(), &mut |k, _| {
        out.push(String::from_utf8(k.to_vec()).unwrap());
        Ok(ControlFlow::Continue(()))
    })
    .unwrap();
    out
}

#[tokio::test]
async fn a_refused_change_leaves_nothing_and_its_neighbours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    put(&kv, "kept", "1").await.unwrap();
    let refused = kv.write(|tx| {
        tx.put(A, b"kept", b"2")?;
        tx.put(A, b"new", b"2")?;
        tx.put(B, b"new", b"2")?;
        tx.put(A, b"new", b"3")?;
        tx.delete(A, b"kept")?;
        tx.delete_prefix(B, b"")?;
        Err::<(), _>(Error::not_found("x"))
    });
    let panicked = kv.write(|tx| -> Result<()> {
        tx.put(A, b"new", b"4")?;
        panic!("oh no");
    });
    let fine = put(&kv, "fine", "1");
    // polled in this order, so most likely one batch
    let (refused, panicked, fine) = tokio::join!(refused, panicked, fine);
    assert_eq!(refused.unwrap_err().to_string(), "x: not found");
    assert!(matches!(panicked.unwrap_err(), Error::Panicked(text) if text == "oh no"));
    fine.unwrap();
    assert_eq!(get(&kv, "kept").unwrap(), "1");
    assert_eq!(get(&kv, "fine").unwrap(), "1");
    assert_eq!(get(&kv, "new"), None);
    assert!(!kv.view().unwrap().any(B, b"").unwrap());
    drop(kv);
    let kv = open(dir.path());
    assert_eq!(scan(&*kv.view().unwrap(), "", ""), ["fine", "kept"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_commits_and_all_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    let tasks: Vec<_> = (0..64)
        .map(|i| {
            let kv = kv.clone();
            tokio::spawn(async move {
                for n in 0..8 {
                    put(&kv, &format!("{i}/{n}"), "x").await.unwrap();
                    assert!(get(&kv, &format!("{i}/{n}")).is_some(), "read your writes");
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(kv.activity().borrow().mutations, 512);
    drop(kv);
    assert_eq!(scan(&*open(dir.path()).view().unwrap(), "", "").len(), 512);
}

#[tokio::test]
async fn a_queued_change_is_made_even_if_nobody_waits() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    let ran = Arc::new(AtomicUsize::new(0));
    for i in 0..32 {
        let ran = ran.clone();
        let write = kv.write(move |tx| {
            ran.fetch_add(1, Ordering::SeqCst);
            tx.put(A, format!("{i}").as_bytes(), b"")
        });
        // polled once, then dropped
        let mut write = std::pin::pin!(write);
        std::future::poll_fn(|cx| {
            let _ = write.as_mut().poll(cx);
            std::task::Poll::Ready(())
        })
        .await;
    }
    drop(kv);
    assert_eq!(ran.load(Ordering::SeqCst), 32);
    assert_eq!(scan(&*open(dir.path()).view().unwrap(), "", "").len(), 32);
}

#[tokio::test]
async fn a_view_does_not_change() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    put(&kv, "a", "old").await.unwrap();
    let view = kv.view().unwrap();
    put(&kv, "a", "new").await.unwrap();
    put(&kv, "b", "new").await.unwrap();
    assert_eq!(view.get(A, b"a").unwrap().unwrap(), b"old");
    assert_eq!(scan(&*view, "", ""), ["a"]);
    assert_eq!(get(&kv, "a").unwrap(), "new");
}

#[tokio::test]
async fn scans_keep_to_prefix_and_start() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    for key in ["a", "b", "b1", "b2", "c"] {
        put(&kv, key, "").await.unwrap();
    }
    let both = |prefix: &'static str, start: &'static str, want: &'static [&'static str]| {
        let kv = kv.clone();
        async move {
            assert_eq!(scan(&*kv.view().unwrap(), prefix, start), want);
            let inside = kv.write(move |tx| Ok::<_, Error>(scan(tx, prefix, start))).await.unwrap();
            assert_eq!(inside, want);
        }
    };
    both("", "", &["a", "b", "b1", "b2", "c"]).await;
    both("b", "", &["b", "b1", "b2"]).await;
    both("b", "b2", &["b2"]).await;
    both("b", "c", &[]).await;
    both("b", "zz", &[]).await;
    both("x", "", &[]).await;
}

#[tokio::test]
async fn relaxed_changes_are_seen_at_once_and_kept_on_close() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    kv.write_relaxed(|tx| tx.put(A, b"r", b"1")).await.unwrap();
    assert_eq!(get(&kv, "r").unwrap(), "1");
    drop(kv);
    assert_eq!(get(&open(dir.path()), "r").unwrap(), "1");
}

#[tokio::test]
async fn recording_tells_what_changed_since() {
    let dir = tempfile::tempdir().unwrap();
    let kv = open(dir.path());
    put(&kv, "before", "").await.unwrap();
    let start = |tx: &mut Tx<'_>| {
        tx.start_recording();
        Ok::<_, Error>(())
    };
    kv.write(start).await.unwrap();
    put(&kv, "after", "").await.unwrap();
    kv.write(|tx| {
        tx.put(A, b"refused", b"")?;
        Err::<(), _>(Error::not_found("x"))
    })
    .await
    .unwrap_err();
    kv.write(|tx| tx.delete(A, b"before")).await.unwrap();
    let mut changed: Vec<_> =
        kv.write(|tx| Ok::<_, Error>(tx.stop_recording())).await.unwrap().unwrap().into_iter().collect();
    changed.sort();
    assert_eq!(changed, [(A, b"after".to_vec()), (A, b"before".to_vec())]);
    assert!(kv.write(|tx| Ok::<_, Error>(tx.stop_recording())).await.unwrap().is_none());
}

#[test]
fn a_second_opener_is_told_who_is_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let first = open(dir.path());
    let path = dir.path().join("x.redb");
    let Err(e) = Kv::open(&path, TABLES, KvOptions::default()) else { panic!("opened twice") };
    assert_eq!(e.kind(), ErrorKind::FailedPrecondition);
    assert!(e.to_string().contains(path.to_str().unwrap()), "{e}");
    let opened = first.opened();
    drop(first);
    assert!(open(dir.path()).opened() > opened);
}

#[tokio::test]
async fn a_damaged_file_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.redb");
    let kv = open(dir.path());
    for i in 0..200 {
        put(&kv, &format!("{i}"), &"v".repeat(100)).await.unwrap();
    }
    drop(kv);
    let good = std::fs::read(&path).unwrap();
    for bad in [b"not a database at all, but long enough to look at".repeat(100), vec![0xff; good.len()]] {
        std::fs::write(&path, bad).unwrap();
        let Err(e) = Kv::open(&path, TABLES, KvOptions::default()) else { panic!("opened garbage") };
        assert_eq!(e.kind(), ErrorKind::DataLoss, "{}", base::chain(&e));
        assert!(e.to_string().contains(path.to_str().unwrap()), "{e}");
    }
    // cut short: refused, or opened at an earlier commit; never a crash
    for len in [0, 1, 100, 4096, good.len() / 2] {
        std::fs::write(&path, &good[..len]).unwrap();
        match Kv::open(&path, TABLES, KvOptions::default()) {
            Ok(kv) => drop(kv),
            Err(e) => assert!(e.to_string().contains(path.to_str().unwrap()), "{e}"),
        }
    }
}

/// A mounted tmpfs of a given size, unmounted when done.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn new(size: &str) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let option = format!("size={size}");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(dir.path())
            .status();
        mounted.is_ok_and(|s| s.success()).then_some(SmallDisk(dir))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_not_the_end() {
    let Some(disk) = SmallDisk::new("8m") else {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    };
    let kv = open(disk.0.path());
    let ballast = disk.0.path().join("ballast");
    put(&kv, "before", "1").await.unwrap();
    let mut filler = std::fs::File::create(&ballast).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 65536]).is_ok() {}
    let mut failures = 0;
    let mut kept = Vec::new();
    for i in 0..400 {
        match put(&kv, &format!("k{i}"), &"v".repeat(20_000)).await {
            Ok(()) => kept.push(i),
            Err(e) => {
                failures += 1;
                assert!(
                    matches!(
                        e.kind(),
                        ErrorKind::ResourceExhausted | ErrorKind::Unavailable | ErrorKind::DataLoss
                    ),
                    "{}",
                    base::chain(&e)
                );
                if failures > 3 {
                    break;
                }
            }
        }
    }
    assert!(failures > 0, "the disk never got full");
    drop(filler);
    std::fs::remove_file(&ballast).unwrap();
    put(&kv, "after", "1").await.unwrap();
    for key in ["before", "after"] {
        assert!(get(&kv, key).is_some(), "{key}");
    }
    for i in kept {
        assert!(get(&kv, &format!("k{i}")).is_some(), "k{i}");
    }
    drop(kv);
}
