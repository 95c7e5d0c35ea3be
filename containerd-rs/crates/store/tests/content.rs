//! The content store as a client sees it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::os::unix::fs::PermissionsExt;

use base::filter::FilterSet;
use base::labels::Labels;
use base::{Algorithm, Digest, ErrorKind, Kinded, Scope};
use fixture::*;
use store::{ContentStore, ContentWriter, MetadataOptions, Sharing, WriterOptions};

async fn writer(store: &Store, scope: &Scope, reference: &str) -> Box<dyn ContentWriter> {
    store.content.writer(scope, WriterOptions::new(reference)).await.unwrap()
}

fn none() -> FilterSet {
    FilterSet::parse(&[""; 0]).unwrap()
}

fn bytes(n: usize, seed: u8) -> Vec<u8> {
    (0..n).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed)).collect()
}

#[tokio::test]
async fn a_committed_blob_is_a_read_only_file_in_its_place() {
    let (store, ns) = (Store::with(MetadataOptions::default()), scope("a"));
    let data = bytes(3 << 20, 1);
    let digest = Digest::sha256(&data);
    let mut w = store
        .content
        .writer(&ns, WriterOptions::new("r").expect(digest.clone(), data.len() as u64))
        .await
        .unwrap();
    for piece in data.chunks(100_001) {
        w.write(piece).await.unwrap();
    }
    assert_eq!((w.offset(), w.digest()), (data.len() as u64, digest.clone()));
    let status = store.content.status(&ns, "r").await.unwrap();
    assert_eq!((status.offset, status.total), (data.len() as u64, data.len() as u64));
    assert_eq!(store.content.statuses(&ns, &none()).await.unwrap().len(), 1);
    let filter = |text: &str| FilterSet::parse(&[text]).unwrap();
    assert_eq!(store.content.statuses(&ns, &filter("ref==r")).await.unwrap().len(), 1);
    assert_eq!(store.content.statuses(&ns, &filter("ref==s")).await.unwrap().len(), 0);
    assert_eq!(store.content.statuses(&scope("b"), &none()).await.unwrap().len(), 0);
    w.commit(data.len() as u64, Some(&digest), labels(&[("k", "v"), ("empty", "")])).await.unwrap();
    refused(
        w.write(b"x").await,
        ErrorKind::FailedPrecondition,
        "cannot write to closed writer: failed precondition",
    );
    assert_eq!(w.digest(), digest);

    let path = store.blob_path(&digest);
    assert_eq!(std::fs::read(&path).unwrap(), data);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o444);
    assert_eq!(store.ingest_dirs(), 0);
    let info = store.content.info(&ns, &digest).await.unwrap();
    assert_eq!((info.size, info.labels), (data.len() as u64, labels(&[("k", "v")])));

    let blob = store.content.open(&ns, &digest).await.unwrap();
    assert_eq!(blob.size(), data.len() as u64);
    assert_eq!(blob.read_all(4 << 20).await.unwrap(), data);
    assert_eq!(blob.read_all(100).await.unwrap_err().kind(), ErrorKind::ResourceExhausted);
    assert_eq!(blob.chunk(data.len() as u64 - 5, 100).await.unwrap(), data[data.len() - 5..]);
    let mut buf = [0; 10];
    assert_eq!(blob.read_at(1000, &mut buf).await.unwrap(), 10);
    assert_eq!(buf, data[1000..1010]);
    assert_eq!(blob.read_at(data.len() as u64, &mut buf).await.unwrap(), 0);
    assert!(blob.try_file().is_some());
}

#[tokio::test]
async fn an_ingest_lies_on_disk_as_in_go_and_is_taken_up_again() {
    let (store, ns) = (Store::new(), scope("a"));
    let data = bytes(700_000, 2);
    let mut w =
        store.content.writer(&ns, WriterOptions { total: 700_000, ..WriterOptions::new("r") }).await.unwrap();
    w.write(&data[..400_000]).await.unwrap();
    let text = base::chain(&store.content.writer(&ns, WriterOptions::new("r")).await.err().unwrap());
    assert!(
        text.starts_with("ref a/") && text.contains("/r locked for ") && text.ends_with(": unavailable"),
        "{text}"
    );
    w.close().await;

    let root = store.dir.path().join("content/ingest");
    let dir = std::fs::read_dir(&root).unwrap().next().unwrap().unwrap().path();
    let backend_ref = std::fs::read_to_string(dir.join("ref")).unwrap();
    assert!(backend_ref.starts_with("a/") && backend_ref.ends_with("/r"), "{backend_ref}");
    assert_eq!(dir.file_name().unwrap().to_str().unwrap(), Digest::sha256(&backend_ref).hex());
    assert_eq!(std::fs::read_to_string(dir.join("total")).unwrap(), "700000");
    for name in ["startedat", "updatedat"] {
        base::timestamp::parse_rfc3339(&std::fs::read_to_string(dir.join(name)).unwrap()).unwrap();
    }
    assert_eq!(std::fs::metadata(dir.join("data")).unwrap().len(), 400_000);

    let store = store.reopen();
    let mut w =
        store.content.writer(&ns, WriterOptions { total: 700_000, ..WriterOptions::new("r") }).await.unwrap();
    assert_eq!((w.offset(), w.status().total), (400_000, 700_000));
    assert_eq!(w.digest(), Digest::sha256(&data[..400_000]));
    w.write(&data[400_000..]).await.unwrap();
    w.commit(0, Some(&Digest::sha256(&data)), Labels::new()).await.unwrap();
    assert_eq!(
        store.content.open(&ns, &Digest::sha256(&data)).await.unwrap().read_all(1 << 20).await.unwrap(),
        data
    );
}

#[tokio::test]
async fn an_ingest_that_is_taken_up_tells_when_its_last_bytes_came() {
    let (store, ns) = (Store::new(), scope("a"));
    let mut w = writer(&store, &ns, "r").await;
    w.write(b"kept back until the writer is closed").await.unwrap();
    let told = w.status().updated_at;
    // Until whatever is written to the disk from here on has a later time of its own.
    let probe = store.dir.path().join("probe");
    while {
        std::fs::write(&probe, "x").unwrap();
        std::fs::metadata(&probe).unwrap().modified().unwrap() <= told
    } {
        tokio::task::yield_now().await;
    }
    w.close().await;
    assert_eq!(writer(&store, &ns, "r").await.status().updated_at, told);
}

#[tokio::test]
async fn a_dropped_writer_keeps_what_it_took() {
    let (store, ns) = (Store::new(), scope("a"));
    let mut w = writer(&store, &ns, "r").await;
    w.write(b"twelve bytes").await.unwrap();
    drop(w);
    let mut w = loop {
        match store.content.writer(&ns, WriterOptions::new("r")).await {
            Ok(w) => break w,
            Err(e) if e.kind() == ErrorKind::Unavailable => tokio::task::yield_now().await,
            Err(e) => panic!("{e}"),
        }
    };
    assert_eq!(w.offset(), 12);
    w.truncate(0).await.unwrap();
    assert_eq!((w.offset(), w.digest()), (0, Digest::sha256(b"")));
    assert_eq!(w.truncate(5).await.unwrap_err().to_string(), "Truncate: unsupported size");
    w.write(b"other").await.unwrap();
    w.commit(5, Some(&Digest::sha256(b"other")), Labels::new()).await.unwrap();
}

#[tokio::test]
async fn commit_checks_size_digest_and_labels_and_keeps_the_ingest() {
    let (store, ns) = (Store::new(), scope("a"));
    let (right, wrong) = (Digest::sha256(b"data"), Digest::sha256(b"atad"));
    let reopen = |store: &Store| {
        let content = store.content.clone();
        let ns = ns.clone();
        async move { content.writer(&ns, WriterOptions::new("r")).await.unwrap() }
    };
    let mut w = reopen(&store).await;
    w.write(b"data").await.unwrap();
    refused(
        w.commit(5, Some(&right), Labels::new()).await,
        ErrorKind::FailedPrecondition,
        "\"r\" failed size validation: 4 != 5: failed precondition",
    );
    refused(
        w.commit(4, Some(&right), Labels::new()).await,
        ErrorKind::FailedPrecondition,
        "cannot commit on closed writer: failed precondition",
    );
    let mut w = reopen(&store).await;
    assert_eq!(w.offset(), 4);
    refused(
        w.commit(4, Some(&wrong), Labels::new()).await,
        ErrorKind::FailedPrecondition,
        &format!("unexpected commit digest {right}, expected {wrong}: failed precondition"),
    );
    let mut w = reopen(&store).await;
    let big = labels(&[("k", &"v".repeat(4096))]);
    refused(
        w.commit(4, None, big).await,
        ErrorKind::InvalidArgument,
        "info.Labels: label key and value length (4097 bytes) greater than maximum size (4096 bytes), key: k: invalid argument",
    );
    let mut w = reopen(&store).await;
    w.commit(0, None, Labels::new()).await.unwrap();
    assert!(store.has(&ns, &right).await);

    // the same again: exists, and the ingest is gone
    let mut w = reopen(&store).await;
    w.write(b"data").await.unwrap();
    refused(
        w.commit(4, None, Labels::new()).await,
        ErrorKind::AlreadyExists,
        &format!("content {right}: already exists"),
    );
    refused(store.content.status(&ns, "r").await, ErrorKind::NotFound, "reference r: not found");
    let options = WriterOptions::new("r").expect(right.clone(), 4);
    refused(
        store.content.writer(&ns, options).await.map(drop),
        ErrorKind::AlreadyExists,
        &format!("content {right}: already exists"),
    );
    assert_eq!(store.ingest_dirs(), 0);
    refused(
        store.content.writer(&ns, WriterOptions::default()).await.map(drop),
        ErrorKind::InvalidArgument,
        "ref must not be empty: invalid argument",
    );
}

#[tokio::test]
async fn other_algorithms_are_hashed_when_asked_for() {
    let (store, ns) = (Store::new(), scope("a"));
    for (i, algorithm) in [Algorithm::Sha384, Algorithm::Sha512].into_iter().enumerate() {
        for expect_early in [true, false] {
            let data = bytes(1000 + i * 10 + usize::from(expect_early), 3);
            let digest = Digest::of(algorithm, &data);
            let mut options = WriterOptions::new("r");
            options.expected = expect_early.then(|| digest.clone());
            let mut w = store.content.writer(&ns, options).await.unwrap();
            w.write(&data).await.unwrap();
            w.commit(0, Some(&digest), Labels::new()).await.unwrap();
            assert_eq!(w.digest(), digest);
            assert_eq!(std::fs::read(store.blob_path(&digest)).unwrap(), data);
        }
    }
}

#[tokio::test]
async fn unknown_things_are_not_found() {
    let (store, ns) = (Store::new(), scope("a"));
    let d = Digest::sha256(b"nothing");
    let text = format!("content digest {d}: not found");
    refused(store.content.info(&ns, &d).await, ErrorKind::NotFound, &text);
    refused(store.content.delete(&ns, &d).await, ErrorKind::NotFound, &text);
    refused(store.content.open(&ns, &d).await.map(drop), ErrorKind::NotFound, &text);
    refused(store.content.abort(&ns, "r").await, ErrorKind::NotFound, "reference r: not found");
    refused(store.content.status(&ns, "r").await, ErrorKind::NotFound, "reference r: not found");
    assert_eq!(store.content.list(&ns, &none()).await.unwrap(), []);
    assert_eq!(store.meta.namespaces().list().unwrap(), [], "questions make no namespace");
}

#[tokio::test]
async fn labels_are_updated_by_mask() {
    let (store, ns) = (Store::new(), scope("a"));
    let digest = store.blob(&ns, b"x", &[("a", "1"), ("b", "2")]).await;
    let mut info = store.content.info(&ns, &digest).await.unwrap();
    info.labels = labels(&[("b", "3"), ("c", "4")]);
    let one = store.content.update(&ns, info.clone(), &mask(&["labels.b"])).await.unwrap();
    assert_eq!(one.labels, labels(&[("a", "1"), ("b", "3")]));
    assert!(one.updated_at > one.created_at);
    let gone = store.content.update(&ns, info.clone(), &mask(&["labels.a"])).await.unwrap();
    assert_eq!(gone.labels, labels(&[("b", "3")]));
    let all = store.content.update(&ns, info.clone(), &[]).await.unwrap();
    assert_eq!(all.labels, info.labels);
    refused(
        store.content.update(&ns, info.clone(), &mask(&["size"])).await,
        ErrorKind::InvalidArgument,
        &format!("cannot update \"size\" field on content info \"{digest}\": invalid argument"),
    );
    let by = |text: &str| FilterSet::parse(&[text]).unwrap();
    for (filter, n) in [("labels.b==3", 1), ("labels.a", 0), ("size==1", 1), ("size==2", 0)] {
        assert_eq!(store.content.list(&ns, &by(filter)).await.unwrap().len(), n, "{filter}");
    }
    assert_eq!(store.content.list(&ns, &by(&format!("digest=={digest}"))).await.unwrap().len(), 1);
}

#[tokio::test]
async fn namespaces_share_bytes_but_not_blobs() {
    let (store, a, b) = (Store::new(), scope("a"), scope("b"));
    let digest = store.blob(&a, b"shared bytes", &[]).await;
    refused(
        store.content.open(&b, &digest).await.map(drop),
        ErrorKind::NotFound,
        &format!("content digest {digest}: not found"),
    );
    // a wrong size is not taken over
    let w = store.content.writer(&b, WriterOptions::new("r").expect(digest.clone(), 5)).await.unwrap();
    assert_eq!(w.offset(), 0);
    w.close().await;
    store.content.abort(&b, "r").await.unwrap();

    let mut w = store.content.writer(&b, WriterOptions::new("r").expect(digest.clone(), 12)).await.unwrap();
    assert_eq!((w.offset(), w.digest()), (12, digest.clone()));
    assert_eq!(w.status().expected, Some(digest.clone()));
    refused(
        w.commit(12, Some(&Digest::sha256(b"")), Labels::new()).await,
        ErrorKind::FailedPrecondition,
        "\"r\" unexpected digest: failed precondition",
    );
    let mut w = store.content.writer(&b, WriterOptions::new("r").expect(digest.clone(), 12)).await.unwrap();
    w.commit(12, Some(&digest), Labels::new()).await.unwrap();
    assert_eq!(store.content.open(&b, &digest).await.unwrap().read_all(99).await.unwrap(), "shared bytes");
    assert_eq!(store.ingest_dirs(), 0);

    // bytes are there for as long as any namespace has the blob
    store.content.delete(&a, &digest).await.unwrap();
    store.gc.run().await.unwrap();
    assert!(!store.has(&a, &digest).await && !store.has(&b, &digest).await, "nothing holds it");
    assert!(!store.blob_path(&digest).exists());
}

#[tokio::test]
async fn a_shared_ingest_that_is_written_to_becomes_its_own() {
    let (store, a, b) = (Store::new(), scope("a"), scope("b"));
    let data = bytes(600_000, 9);
    let digest = store.blob(&a, &data, &[]).await;
    let mut w = store.content.writer(&b, WriterOptions::new("r").expect(digest.clone(), 0)).await.unwrap();
    w.write(b"more").await.unwrap();
    let longer = [&data[..], b"more"].concat();
    assert_eq!((w.offset(), w.digest()), (600_004, Digest::sha256(&longer)));
    w.commit(0, Some(&Digest::sha256(&longer)), Labels::new()).await.unwrap();
    let mut w = store.content.writer(&b, WriterOptions::new("s").expect(digest.clone(), 0)).await.unwrap();
    w.truncate(0).await.unwrap();
    assert_eq!(w.offset(), 0);
    w.write(&data).await.unwrap();
    w.commit(0, Some(&digest), Labels::new()).await.unwrap();
    assert!(store.has(&b, &digest).await);
}

#[tokio::test]
async fn isolated_namespaces_must_show_the_bytes() {
    let options = MetadataOptions { sharing: Sharing::Isolated, no_sync: true, ..MetadataOptions::default() };
    let (store, a, b) = (Store::with(options), scope("a"), scope("b"));
    let digest = store.blob(&a, b"secret", &[]).await;
    let want = || WriterOptions::new("r").expect(digest.clone(), 6);
    let mut w = store.content.writer(&b, want()).await.unwrap();
    assert_eq!(w.offset(), 0);
    refused(
        w.commit(6, Some(&digest), Labels::new()).await,
        ErrorKind::FailedPrecondition,
        "\"r\" failed size validation: 0 != 6: failed precondition",
    );
    let shareable = labels(&[("containerd.io/namespace.shareable", "true")]);
    store.meta.namespaces().update(&a.namespace, shareable, &[]).await.unwrap();
    let mut w = store.content.writer(&b, want()).await.unwrap();
    assert_eq!(w.offset(), 6);
    w.commit(6, Some(&digest), Labels::new()).await.unwrap();
}

#[tokio::test]
async fn a_blob_without_its_bytes_is_not_found_and_can_be_fetched_again() {
    let (store, ns) = (Store::new(), scope("a"));
    let data = bytes(10_000, 4);
    for damage in ["cut", "empty", "gone"] {
        let held = match damage {
            "cut" => store.lease(&ns, "l", &[]).await,
            _ => ns.with_lease(base::LeaseId::new("l").unwrap()),
        };
        let digest = store.blob(&held, &data, &[]).await;
        let path = store.blob_path(&digest);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        match damage {
            "cut" => std::fs::write(&path, &data[..5000]).unwrap(),
            "empty" => std::fs::write(&path, b"").unwrap(),
            _ => std::fs::remove_file(&path).unwrap(),
        }
        if damage == "empty" {
            // found by the next writer instead of by a reader
            let w = store
                .content
                .writer(&held, WriterOptions::new("r").expect(digest.clone(), 10_000))
                .await
                .unwrap();
            assert_eq!(w.offset(), 0);
            w.close().await;
        } else {
            let text = format!("content digest {digest}: not found");
            refused(store.content.open(&ns, &digest).await.map(drop), ErrorKind::NotFound, &text);
        }
        assert!(!path.exists(), "{damage}: set aside");
        assert!(!store.has(&ns, &digest).await, "{damage}");
        let again = store.blob(&held, &data, &[]).await;
        assert_eq!(store.content.open(&ns, &again).await.unwrap().read_all(1 << 20).await.unwrap(), data);
        // the lease held the name all along
        store.gc.run().await.unwrap();
        assert!(store.has(&ns, &again).await, "{damage}");
        store.content.delete(&ns, &again).await.unwrap();
        store.gc.run().await.unwrap();
    }
}

#[tokio::test]
async fn an_audit_sets_wrong_bytes_aside_and_leaves_right_ones_alone() {
    let (store, ns, other) = (Store::new(), scope("a"), scope("b"));
    let data = bytes(700_000, 9);
    let digest = store.blob(&ns, &data, &[]).await;
    store.blob(&other, &data, &[]).await;
    assert!(store.content.audit(&ns, &digest).await.unwrap());
    let path = store.blob_path(&digest);
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut wrong = data.clone();
    wrong[650_000] ^= 1;
    std::fs::write(&path, &wrong).unwrap();
    assert!(!store.content.audit(&ns, &digest).await.unwrap());
    assert!(!path.exists());
    for ns in [&ns, &other] {
        assert!(!store.has(ns, &digest).await);
        assert_eq!(store.content.audit(ns, &digest).await.unwrap_err().kind(), ErrorKind::NotFound);
    }
    let aside = path.ancestors().nth(3).unwrap().join(format!("corrupt/sha256-{}", digest.hex()));
    assert_eq!(std::fs::read(aside).unwrap(), wrong);
    store.blob(&ns, &data, &[]).await;
    assert!(store.content.audit(&ns, &digest).await.unwrap());
}

#[tokio::test]
async fn abort_removes_the_ingest_even_while_it_is_written() {
    let (store, ns) = (Store::new(), scope("a"));
    let mut w = writer(&store, &ns, "r").await;
    w.write(b"bytes").await.unwrap();
    store.content.abort(&ns, "r").await.unwrap();
    assert_eq!(store.ingest_dirs(), 0);
    refused(store.content.status(&ns, "r").await, ErrorKind::NotFound, "reference r: not found");
    // a new one of that name is not disturbed by what is left of the old one
    let mut other = writer(&store, &ns, "r").await;
    other.write(b"new").await.unwrap();
    assert!(w.commit(0, None, Labels::new()).await.is_err());
    other.commit(3, Some(&Digest::sha256(b"new")), Labels::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_many_committers_of_the_same_blob_makes_it() {
    let store = Store::new();
    let tasks: Vec<_> = (0..16)
        .map(|i| {
            let (content, ns) = (store.content.clone(), scope(["a", "b"][i % 2]));
            tokio::spawn(async move {
                let mut w = content.writer(&ns, WriterOptions::new(format!("r{i}"))).await.unwrap();
                w.write(b"same").await.unwrap();
                w.commit(4, None, Labels::new()).await.map_err(|e| e.kind())
            })
        })
        .collect();
    let mut made = 0;
    for task in tasks {
        match task.await.unwrap() {
            Ok(()) => made += 1,
            Err(kind) => assert_eq!(kind, ErrorKind::AlreadyExists),
        }
    }
    assert_eq!(made, 2, "once in each namespace");
    assert_eq!(store.ingest_dirs(), 0);
}

#[tokio::test]
async fn leases_hold_content_and_must_exist() {
    let (store, ns) = (Store::new(), scope("a"));
    let no_lease = ns.with_lease(base::LeaseId::new("nope").unwrap());
    refused(
        store.content.writer(&no_lease, WriterOptions::new("r")).await.map(drop),
        ErrorKind::NotFound,
        "lease does not exist: not found",
    );
    let held = store.lease(&ns, "l", &[]).await;
    let resources = || {
        let mut all = store.meta.leases().list_resources(&ns.namespace, "l").unwrap();
        all.sort();
        all.into_iter().map(|r| format!("{} {}", r.kind, r.id)).collect::<Vec<_>>()
    };
    let mut w = writer(&store, &held, "r").await;
    assert_eq!(resources(), ["ingests r"]);
    w.write(b"x").await.unwrap();
    w.commit(0, None, Labels::new()).await.unwrap();
    let digest = Digest::sha256(b"x");
    assert_eq!(resources(), [format!("content {digest}")]);
    // one that is there already is held too
    let other = store.blob(&ns, b"y", &[]).await;
    let exists = store.content.writer(&held, WriterOptions::new("s").expect(other.clone(), 1)).await;
    assert_eq!(exists.err().unwrap().kind(), ErrorKind::AlreadyExists);
    assert_eq!(resources().len(), 2);
    store.gc.run().await.unwrap();
    assert!(store.has(&ns, &digest).await && store.has(&ns, &other).await);
    store.content.delete(&held, &digest).await.unwrap();
    assert_eq!(resources(), [format!("content {other}")]);
    store.meta.leases().delete(&ns.namespace, "l").await.unwrap();
    store.gc.run().await.unwrap();
    assert!(!store.has(&ns, &other).await && !store.blob_path(&other).exists());
}

#[tokio::test]
async fn a_full_disk_leaves_an_ingest_that_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
        .arg(dir.path())
        .status();
    if !mounted.is_ok_and(|s| s.success()) {
        eprintln!("skipped: cannot mount a tmpfs");
        return;
    }
    let meta_dir = tempfile::tempdir().unwrap();
    let result = tokio::spawn(full_disk(meta_dir.path().to_owned(), dir.path().to_owned())).await;
    let unmounted = std::process::Command::new("umount").arg("-l").arg(dir.path()).status();
    result.unwrap();
    assert!(unmounted.unwrap().success());
}

async fn full_disk(meta: std::path::PathBuf, disk: std::path::PathBuf) {
    let meta = store::Metadata::open(&meta, MetadataOptions::default()).unwrap();
    let content = store::LocalContent::open(&disk, meta).unwrap();
    let ns = scope("a");
    std::fs::write(disk.join("ballast"), vec![0; 1 << 20]).unwrap();
    let data = bytes(1_500_000, 7);
    let mut w = content.writer(&ns, WriterOptions::new("r")).await.unwrap();
    let mut failed = None;
    for piece in data.chunks(50_000) {
        if let Err(e) = w.write(piece).await {
            failed = Some(e);
            break;
        }
    }
    let failed = match failed {
        Some(e) => e,
        None => w.commit(0, None, Labels::new()).await.unwrap_err(),
    };
    assert_eq!(failed.kind(), ErrorKind::ResourceExhausted, "{}", base::chain(&failed));
    assert!(base::chain(&failed).contains("No space left on device"));
    w.close().await;
    std::fs::remove_file(disk.join("ballast")).unwrap();
    let mut w = content.writer(&ns, WriterOptions::new("r")).await.unwrap();
    let at = w.offset() as usize;
    assert!(at > 0 && at < data.len(), "went on at {at}");
    assert_eq!(w.digest(), Digest::sha256(&data[..at]), "what is there is right");
    w.write(&data[at..]).await.unwrap();
    w.commit(data.len() as u64, Some(&Digest::sha256(&data)), Labels::new()).await.unwrap();
}
