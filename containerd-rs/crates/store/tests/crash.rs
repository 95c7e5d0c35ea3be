//! A writer killed at any moment: what it was told is done is there, all is whole, and what is left
//! over goes with the first collection.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fixture;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base::Digest;
use base::filter::FilterSet;
use base::labels::Labels;
use fixture::*;
use store::{ContentStore, MetadataOptions, WriterOptions};

const DIR: &str = "STORE_CRASH_DIR";
const WRITERS: usize = 4;

/// Bytes that depend on their name, so that they can be checked.
fn bytes(name: &str) -> Vec<u8> {
    let seed = Digest::sha256(name);
    seed.as_str().bytes().cycle().take(1 + seed.as_str().as_bytes()[9] as usize * 3_000).collect()
}

/// Not a test: what the killed process does. Prints a name when all of it is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let dir = Path::new(&dir);
    let meta = store::Metadata::open(&dir.join("meta"), MetadataOptions::default()).unwrap();
    let content = store::LocalContent::open(&dir.join("content"), meta.clone()).unwrap();
    let gc = store::Gc::new(meta.clone(), content.clone());
    let round = meta
        .namespaces()
        .get(&scope("round").namespace)
        .unwrap()
        .labels
        .get("n")
        .map_or(0, |n| n.parse().unwrap());
    let next = labels(&[("n", &(round + 1).to_string())]);
    meta.namespaces().update(&scope("round").namespace, next, &[]).await.unwrap();
    let mut tasks = Vec::new();
    for w in 0..WRITERS {
        let (meta, content) = (meta.clone(), content.clone());
        tasks.push(tokio::spawn(async move {
            for i in 0.. {
                one(&meta, &content, &format!("{round}-{w}-{i}")).await;
            }
        }));
    }
    tasks.push(tokio::spawn(async move {
        loop {
            gc.run().await.unwrap();
        }
    }));
    for task in tasks {
        task.await.unwrap();
    }
}

/// A blob with an image and a container, or without anything that keeps it.
async fn one(meta: &store::Metadata, content: &store::LocalContent, name: &str) {
    let ns = scope("a");
    let data = bytes(name);
    let digest = Digest::sha256(&data);
    let lease = meta.leases().create(&ns.namespace, None, Labels::new()).await.unwrap();
    let held = ns.with_lease(base::LeaseId::new(&lease.id).unwrap());
    let options = WriterOptions::new(name).expect(digest.clone(), data.len() as u64);
    let mut w = content.writer(&held, options).await.unwrap();
    for piece in data.chunks(50_000) {
        w.write(piece).await.unwrap();
    }
    w.commit(data.len() as u64, Some(&digest), Labels::new()).await.unwrap();
    meta.images().create(&held, image(name, &digest, &[]), None).await.unwrap();
    meta.containers().create(&ns.namespace, container(name)).await.unwrap();
    meta.leases().delete(&ns.namespace, &lease.id).await.unwrap();
    // one write call: a line is whole or not there
    let line = format!("done {name}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    std::io::stdout().flush().unwrap();
}

/// Runs the child, kills it after some lines, and gives the names that were done.
fn run_and_kill(dir: &Path, lines: usize) -> Vec<String> {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut done = Vec::new();
    let mut line = String::new();
    while done.len() < lines && out.read_line(&mut line).unwrap() > 0 {
        if line.ends_with('\n')
            && let Some((_, name)) = line.trim().split_once("done ")
        {
            done.push(name.to_owned());
        }
        line.clear();
    }
    // a moment more or less, so that it dies in different places
    std::thread::sleep(Duration::from_micros(lines as u64 * 137 % 3_000));
    child.kill().unwrap();
    let status = child.wait().unwrap();
    assert!(!status.success());
    loop {
        line.clear();
        if out.read_line(&mut line).unwrap() == 0 || !line.ends_with('\n') {
            return done;
        }
        if let Some((_, name)) = line.trim().split_once("done ") {
            done.push(name.to_owned());
        }
    }
}

#[tokio::test]
async fn killed_writers_lose_nothing_that_was_done() {
    let dir = tempfile::tempdir().unwrap();
    let (all, ns) = (FilterSet::parse(&[""; 0]).unwrap(), scope("a"));
    let mut done = Vec::new();
    for round in 0..8 {
        done.extend(run_and_kill(dir.path(), 3 + round * 5));
        let meta = store::Metadata::open(&dir.path().join("meta"), MetadataOptions::default()).unwrap();
        let content = store::LocalContent::open(&dir.path().join("content"), meta.clone()).unwrap();
        // every record is whole and every blob has its bytes
        for info in content.list(&ns, &all).await.unwrap() {
            let blob = content.open(&ns, &info.digest).await.unwrap();
            assert!(info.digest.verifies(blob.read_all(10 << 20).await.unwrap()), "{}", info.digest);
        }
        for name in &done {
            let image = meta.images().get(&ns.namespace, name).unwrap();
            assert_eq!(image.target.digest, Digest::sha256(bytes(name)));
            assert!(content.info(&ns, &image.target.digest).await.is_ok(), "{name}");
            assert_eq!(meta.containers().get(&ns.namespace, name).unwrap().spec, container(name).spec);
        }
        for image in meta.images().list(&ns.namespace, &all).unwrap() {
            assert!(
                content.open(&ns, &image.target.digest).await.is_ok(),
                "image {} without blob",
                image.name
            );
        }
        // an ingest that was cut goes on where it stopped, or starts anew; both end well
        for status in content.statuses(&ns, &all).await.unwrap() {
            let data = bytes(&status.reference);
            let mut w = content.writer(&ns, WriterOptions::new(&status.reference)).await.unwrap();
            assert_eq!(w.digest(), Digest::sha256(&data[..w.offset() as usize]), "{}", status.reference);
            w.write(&data[w.offset() as usize..]).await.unwrap();
            w.commit(0, Some(&Digest::sha256(&data)), Labels::new()).await.unwrap();
        }
        // what the killed one left over goes
        let gc = store::Gc::new(meta.clone(), content.clone());
        for lease in meta.leases().list(&ns.namespace, &all).unwrap() {
            meta.leases().delete(&ns.namespace, &lease.id).await.unwrap();
        }
        gc.run().await.unwrap();
        let records = content.list(&ns, &all).await.unwrap().len();
        let files = std::fs::read_dir(dir.path().join("content/blobs/sha256")).unwrap().count();
        assert_eq!((records, files), (meta.images().list(&ns.namespace, &all).unwrap().len(), records));
        assert_eq!(std::fs::read_dir(dir.path().join("content/deleted")).unwrap().count(), 0);
    }
    assert!(done.len() > 100, "only {}", done.len());
}
