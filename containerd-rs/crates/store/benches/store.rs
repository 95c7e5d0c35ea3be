//! Times of the store on this machine's disk: `cargo bench -p store`. Give a directory on the disk to
//! measure in `STORE_BENCH_DIR`; the default is the system's temporary directory.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::labels::Labels;
use base::{Any, Descriptor, Digest, Namespace, Scope};
use store::{
    Container, ContentStore, Gc, Image, LocalContent, Metadata, MetadataOptions, RuntimeInfo, WriterOptions,
};

fn ns() -> Namespace {
    Namespace::new("bench").unwrap()
}

/// About the size of a default spec.
fn container(id: String) -> Container {
    let runtime = RuntimeInfo { name: "io.containerd.runc.v2".into(), options: None };
    let mut container = Container::new(id, runtime, Any::new("spec", vec![b'x'; 9_000]));
    container.labels =
        (0..8).map(|i| (format!("io.example/label-{i}"), "a value of a label".into())).collect();
    container
}

/// Kilobytes of memory that the process has of its own, and in all.
fn memory() -> (usize, usize) {
    let text = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
    let field = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name)).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    (field("Private_Dirty:"), field("Rss:"))
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |q: f64| times[((times.len() - 1) as f64 * q) as usize];
    println!(
        "{what:44} n {:6}  p50 {:>10.1?}  p99 {:>10.1?}  max {:>10.1?}",
        times.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn creates(meta: &Metadata, writers: usize, each: usize, tag: &str) {
    let began = Instant::now();
    let tasks: Vec<_> = (0..writers)
        .map(|w| {
            let (meta, tag) = (meta.clone(), tag.to_owned());
            tokio::spawn(async move {
                let mut times = Vec::with_capacity(each);
                for i in 0..each {
                    let began = Instant::now();
                    meta.containers().create(&ns(), container(format!("{tag}-{w}-{i}"))).await.unwrap();
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let rate = times.len() as f64 / began.elapsed().as_secs_f64();
    show(&format!("durable container create, {writers} writers"), times);
    println!("{:44} {rate:.0}/s", "");
}

async fn reads_beside_a_writer(meta: &Metadata) {
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (meta, stop) = (meta.clone(), stop.clone());
        tokio::spawn(async move {
            let mut i = 0;
            while !stop.load(Ordering::Relaxed) {
                meta.containers().create(&ns(), container(format!("beside-{i}"))).await.unwrap();
                i += 1;
            }
        })
    };
    let times = tokio::task::spawn_blocking({
        let meta = meta.clone();
        move || {
            let mut times = Vec::new();
            for i in 0..20_000 {
                let began = Instant::now();
                meta.containers().get(&ns(), &format!("one-0-{}", i % 200)).unwrap();
                times.push(began.elapsed());
            }
            times
        }
    });
    show("container get beside a writer", times.await.unwrap());
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
}

async fn blobs(content: &LocalContent, size: usize, n: usize) {
    let scope = Scope::new(ns());
    let mut times = Vec::new();
    let mut data = vec![7u8; size];
    for i in 0..n {
        data[..8].copy_from_slice(&(i as u64 + size as u64).to_le_bytes());
        let digest = Digest::sha256(&data);
        let began = Instant::now();
        let options = WriterOptions::new(format!("{size}-{i}")).expect(digest.clone(), size as u64);
        let mut w = content.writer(&scope, options).await.unwrap();
        for piece in data.chunks(64 << 10) {
            w.write(piece).await.unwrap();
        }
        w.commit(size as u64, Some(&digest), Labels::new()).await.unwrap();
        times.push(began.elapsed());
    }
    show(&format!("blob of {size} bytes, durable"), times);
}

async fn collection(meta: &Metadata, content: &LocalContent) {
    let gc = Gc::new(meta.clone(), content.clone());
    let scope = Scope::new(ns());
    gc.run().await.unwrap();
    let mut held = Vec::new();
    for i in 0..2000 {
        let meta = meta.clone();
        let scope = scope.clone();
        held.push(tokio::spawn(async move {
            let now = std::time::UNIX_EPOCH;
            let target = Descriptor::new("m", Digest::sha256(format!("{i}")), 1);
            let image = Image {
                name: format!("i{i}"),
                labels: Labels::new(),
                target,
                created_at: now,
                updated_at: now,
            };
            meta.images().create(&scope, image, None).await.unwrap();
        }));
    }
    for task in held {
        task.await.unwrap();
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = {
        let (meta, stop) = (meta.clone(), stop.clone());
        tokio::spawn(async move {
            let mut times = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                let lease = meta.leases().create(&ns(), None, Labels::new()).await.unwrap();
                times.push(began.elapsed());
                meta.leases().delete(&ns(), &lease.id).await.unwrap();
            }
            times
        })
    };
    let mut times = Vec::new();
    for _ in 0..20 {
        times.push(gc.run().await.unwrap().elapsed);
    }
    stop.store(true, Ordering::Relaxed);
    let beside = writer.await.unwrap();
    show("collection, 2300 containers, 2000 images", times);
    show("durable lease create beside collections", beside);
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let parent = std::env::var_os("STORE_BENCH_DIR").map_or_else(std::env::temp_dir, Into::into);
    let dir = tempfile::tempdir_in(parent).unwrap();
    let at_start = memory().0;
    let report = |when: &str| {
        let (dirty, rss) = memory();
        println!("{when:44} private dirty +{} kB, rss {rss} kB", dirty - at_start);
    };
    report("before opening");
    let meta = Metadata::open(&dir.path().join("meta"), MetadataOptions::default()).unwrap();
    let content = LocalContent::open(&dir.path().join("content"), meta.clone()).unwrap();
    report("opened");
    creates(&meta, 1, 400, "one").await;
    report("after 400 containers");
    creates(&meta, 32, 60, "many").await;
    report("after 2320 containers");
    reads_beside_a_writer(&meta).await;
    report("after reads");
    collection(&meta, &content).await;
    report("after collections");
    blobs(&content, 4 << 10, 200).await;
    blobs(&content, 16 << 20, 10).await;
    report("after blobs");
}
