//! Pulled and imported layers end up as snapshots, each applied once and in order.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use base::oci::{chain_ids, media_type};
use base::{Descriptor, Digest, ErrorKind, FilterSet, Kinded, Matcher, Mount, Platform, Scope};
use image::pull::{PullOptions, pull};
use image::registry::Resolver;
use image::unpack::UnpackTarget;
use snapshot::native::Native;
use snapshot::overlay::{Overlay, OverlayOptions};
use snapshot::{ApplyOptions, CompareOptions, Differ, Snapshots, Snapshotter};

use crate::faulty::{Auth, Fault, Faulty};
use crate::node::{Node, Sample, listener};
use crate::resolve::patient;

/// Applies gzip layers to bind mounts in this process, and notes what it did.
struct Recorder {
    node: image::transfer::Local,
    applied: Mutex<Vec<Digest>>,
    /// Layers that are being applied.
    running: AtomicUsize,
    /// Lies about the diff id.
    lies: bool,
    /// Takes layers before those below them, and while they arrive; wants two at the same time.
    apart: bool,
    /// Layers of which bytes were there before the store had all of them.
    followed: Mutex<Vec<Digest>>,
}

impl Recorder {
    /// The bytes of a layer on its way.
    async fn follow(
        &self,
        arriving: &dyn snapshot::Arriving,
        scope: &Scope,
        layer: &Descriptor,
    ) -> snapshot::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        loop {
            let have = bytes.len() as u64;
            let end = arriving.beyond(have).await?;
            if end == have {
                return Ok(bytes);
            }
            if self.node.content.info(scope, &layer.digest).await.is_err() {
                self.followed.lock().unwrap().push(layer.digest.clone());
            }
            bytes.resize(end as usize, 0);
            std::os::unix::fs::FileExt::read_exact_at(arriving.file(), &mut bytes[have as usize..], have)
                .map_err(|e| snapshot::Error::refused(ErrorKind::Unavailable, e.to_string()))?;
        }
    }
}

#[async_trait]
impl Differ for Recorder {
    async fn apply(
        &self,
        scope: &Scope,
        layer: &Descriptor,
        mounts: &[Mount],
        options: ApplyOptions,
    ) -> snapshot::Result<Descriptor> {
        let others = self.running.fetch_add(1, Ordering::SeqCst);
        assert!(others == 0 || self.apart, "layers of one image at the same time");
        let running = Running(&self.running);
        let blob = match &options.arriving {
            Some(arriving) => self.follow(&**arriving, scope, layer).await?.into(),
            None => self.node.content.open(scope, &layer.digest).await?.read_all(1 << 30).await?,
        };
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&blob[..]), &mut plain).unwrap();
        assert_eq!(mounts[0].fstype, "bind");
        for entry in tar::Archive::new(&plain[..]).entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = PathBuf::from(&mounts[0].source).join(entry.path().unwrap());
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::io::copy(&mut entry, &mut std::fs::File::create(path).unwrap()).unwrap();
        }
        if let Some(progress) = options.progress {
            progress(blob.len() as u64 / 2);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.applied.lock().unwrap().push(layer.digest.clone());
        drop(running);
        let digest = if self.lies { Digest::sha256(b"lie") } else { Digest::sha256(&plain) };
        Ok(Descriptor::new(media_type::OCI_LAYER, digest, plain.len() as i64))
    }

    async fn compare(
        &self,
        _: &Scope,
        _: &[Mount],
        _: &[Mount],
        _: CompareOptions,
    ) -> snapshot::Result<Descriptor> {
        panic!("nothing is compared here")
    }

    fn applies_apart(&self) -> bool {
        self.apart
    }

    fn follows(&self, _: &str) -> bool {
        self.apart
    }
}

struct Running<'a>(&'a AtomicUsize);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

struct Unpacking {
    _dir: tempfile::TempDir,
    recorder: Arc<Recorder>,
    target: UnpackTarget,
}

async fn target(node: &Node, platform: &str, lies: bool) -> Unpacking {
    let dir = tempfile::tempdir().unwrap();
    let backend = Arc::new(Native::open(dir.path()).await.unwrap());
    let snapshots = Arc::new(Snapshots::new("native", backend, &node.local.meta));
    unpacking(node, dir, snapshots, platform, lies, false)
}

/// A target whose layers can be applied at the same time.
async fn target_apart(node: &Node, lies: bool) -> Unpacking {
    let dir = tempfile::tempdir().unwrap();
    let backend = Overlay::open(dir.path(), OverlayOptions::default()).await.unwrap();
    assert!(backend.capabilities().contains(&snapshot::REBASE));
    let snapshots = Arc::new(Snapshots::new("overlayfs", Arc::new(backend), &node.local.meta));
    unpacking(node, dir, snapshots, "linux/amd64", lies, true)
}

fn unpacking(
    node: &Node,
    dir: tempfile::TempDir,
    snapshots: Arc<Snapshots>,
    platform: &str,
    lies: bool,
    apart: bool,
) -> Unpacking {
    let recorder = Arc::new(Recorder {
        node: node.local.clone(),
        applied: Mutex::default(),
        running: AtomicUsize::new(0),
        lies,
        apart,
        followed: Mutex::default(),
    });
    let platform = Matcher::only(&Platform::parse(platform).unwrap());
    let target = UnpackTarget { snapshots, differ: recorder.clone(), platform };
    Unpacking { _dir: dir, recorder, target }
}

fn chain(sample: &Sample) -> Vec<Digest> {
    let config: base::oci::ImageConfig = serde_json::from_slice(&sample.config).unwrap();
    chain_ids(&config.rootfs.diff_ids)
}

async fn keys(node: &Node, unpacking: &Unpacking) -> Vec<String> {
    let all = FilterSet::parse(&[] as &[&str]).unwrap();
    let mut keys: Vec<String> = unpacking
        .target
        .snapshots
        .walk(&node.scope, &all)
        .await
        .unwrap()
        .into_iter()
        .map(|i| i.name)
        .collect();
    keys.sort();
    keys
}

async fn start(sizes: &[usize]) -> (Faulty, Sample, String) {
    let registry = Faulty::start(Auth::Open).await;
    let sample = Sample::new("linux/amd64", sizes);
    sample.put(&registry, "a", "1");
    let reference = format!("{}/a:1", registry.address());
    (registry, sample, reference)
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_in_order_with_their_labels() {
    let (_registry, sample, reference) = start(&[100_000, 10, 2000]).await;
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", false).await;
    let (sink, told) = listener();
    let options = PullOptions {
        unpack: vec![unpacking.target.clone()],
        progress: Some(sink),
        ..PullOptions::new(&reference)
    };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();

    let wanted: Vec<Digest> = sample.layers.iter().map(Digest::sha256).collect();
    assert_eq!(*unpacking.recorder.applied.lock().unwrap(), wanted);
    let chain = chain(&sample);
    let mut names: Vec<String> = chain.iter().map(Digest::to_string).collect();
    names.sort();
    assert_eq!(keys(&node, &unpacking).await, names);
    let top = unpacking.target.snapshots.stat(&node.scope, chain[2].as_str()).await.unwrap();
    assert_eq!(top.parent, chain[1].to_string());
    assert_eq!(top.labels["containerd.io/snapshot/parent-chain-id"], chain[1].to_string());
    assert_eq!(top.labels["containerd.io/snapshot.ref"], chain[2].to_string());
    let config = node.labels(&Digest::sha256(&sample.config)).await;
    assert_eq!(config["containerd.io/gc.ref.snapshot.native"], chain[2].to_string());
    assert!(node.labels(&wanted[0]).await.contains_key("containerd.io/uncompressed"));
    // All three files are in the topmost snapshot.
    let view = unpacking
        .target
        .snapshots
        .view(&node.scope, "look", chain[2].as_str(), Default::default())
        .await
        .unwrap();
    for n in 0..3 {
        let file = PathBuf::from(&view[0].source).join(format!("linux/amd64-{n}"));
        assert!(file.exists(), "{}", file.display());
    }
    let events: Vec<String> = told.await.unwrap().into_iter().map(|p| p.event).collect();
    assert_eq!(events.iter().filter(|e| *e == "extracted").count(), 3, "{events:?}");

    // A second time nothing is applied.
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert_eq!(unpacking.recorder.applied.lock().unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn lower_layers_are_unpacked_while_upper_ones_download() {
    let (registry, sample, reference) = start(&[1000, 2 << 20]).await;
    registry.fault("GET", Digest::sha256(&sample.layers[1]).as_str(), 1, Fault::HangAfter(1 << 20));
    let mut options = patient();
    options.timeouts.stall = Duration::from_secs(8);
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", false).await;
    let running = {
        let (local, scope, target) = (node.local.clone(), node.scope.clone(), unpacking.target.clone());
        tokio::spawn(async move {
            let pull_options = PullOptions { unpack: vec![target], ..PullOptions::new(reference) };
            pull(&local, &scope, &Resolver::new(options), pull_options).await
        })
    };
    while unpacking.recorder.applied.lock().unwrap().is_empty() {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(!node.has(&Digest::sha256(&sample.layers[1])).await);
    running.await.unwrap().unwrap();
    assert_eq!(unpacking.recorder.applied.lock().unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_pulls_unpack_once() {
    let (registry, sample, reference) = start(&[300_000, 1000]).await;
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", false).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..10 {
        let (local, scope, target, reference) =
            (node.local.clone(), node.scope.clone(), unpacking.target.clone(), reference.clone());
        tasks.spawn(async move {
            let options = PullOptions { unpack: vec![target], ..PullOptions::new(reference) };
            pull(&local, &scope, &Resolver::new(patient()), options).await.unwrap();
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    assert_eq!(unpacking.recorder.applied.lock().unwrap().len(), 2);
    for layer in &sample.layers {
        assert_eq!(registry.count("GET", Digest::sha256(layer).as_str()), 1);
    }
    assert_eq!(keys(&node, &unpacking).await.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_diff_id_leaves_no_snapshot() {
    let (_registry, _, reference) = start(&[1000]).await;
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", true).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::FailedPrecondition);
    assert!(base::chain(&e).contains("wrong diff id"), "{}", base::chain(&e));
    assert!(keys(&node, &unpacking).await.is_empty());
    assert_eq!((node.images().len(), node.leases()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_download_is_the_error_not_the_unpacking() {
    let (registry, sample, reference) = start(&[1000, 2000]).await;
    registry.fault("GET", Digest::sha256(&sample.layers[1]).as_str(), 99, Fault::Status(404));
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{}", base::chain(&e));
    assert!(keys(&node, &unpacking).await.iter().all(|k| !k.starts_with("extract-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn another_platform_is_not_unpacked() {
    let (_registry, _, reference) = start(&[1000]).await;
    let node = Node::new();
    let unpacking = target(&node, "linux/s390x", false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(keys(&node, &unpacking).await.is_empty());
    assert_eq!(node.images().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn layers_applied_apart_end_up_in_the_right_order() {
    let (_registry, sample, reference) = start(&[100_000, 10, 2000, 50_000]).await;
    let node = Node::new();
    let unpacking = target_apart(&node, false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options.clone()).await.unwrap();
    let chain = chain(&sample);
    for (n, name) in chain.iter().enumerate() {
        let info = unpacking.target.snapshots.stat(&node.scope, name.as_str()).await.unwrap();
        assert_eq!(info.parent, if n == 0 { String::new() } else { chain[n - 1].to_string() });
    }
    assert_eq!(keys(&node, &unpacking).await.len(), chain.len());
    // Again: nothing is left to do.
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert_eq!(unpacking.recorder.applied.lock().unwrap().len(), chain.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upper_layer_does_not_wait_for_a_lower_one() {
    let (registry, sample, reference) = start(&[2 << 20, 1000]).await;
    // The lower layer hangs for as long as this test looks.
    registry.fault("GET", Digest::sha256(&sample.layers[0]).as_str(), 1, Fault::HangAfter(1 << 19));
    let mut options = patient();
    options.timeouts.stall = Duration::from_secs(600);
    let node = Node::new();
    let unpacking = target_apart(&node, false).await;
    let running = {
        let (local, scope, target) = (node.local.clone(), node.scope.clone(), unpacking.target.clone());
        tokio::spawn(async move {
            let pull_options = PullOptions { unpack: vec![target], ..PullOptions::new(reference) };
            pull(&local, &scope, &Resolver::new(options), pull_options).await
        })
    };
    while unpacking.recorder.applied.lock().unwrap().is_empty() {
        assert!(!running.is_finished());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(*unpacking.recorder.applied.lock().unwrap(), [Digest::sha256(&sample.layers[1])]);
    running.abort();
    assert!(running.await.unwrap_err().is_cancelled());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layer_is_applied_behind_its_download() {
    let (registry, sample, reference) = start(&[4 << 20]).await;
    let digest = Digest::sha256(&sample.layers[0]);
    // The first connection ends in the middle: the next one goes on, and so does the reader.
    registry.fault("GET", digest.as_str(), 1, Fault::CutAfter(3 << 20));
    let node = Node::new();
    let unpacking = target_apart(&node, false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert!(unpacking.recorder.followed.lock().unwrap().contains(&digest));
    assert_eq!(*unpacking.recorder.applied.lock().unwrap(), [digest]);
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_bytes_seen_behind_a_download_are_applied_again_from_the_right_ones() {
    let (registry, sample, reference) = start(&[4 << 20]).await;
    let digest = Digest::sha256(&sample.layers[0]);
    let node = Node::new();
    // What an earlier try left is wrong, and is found to be so at the end.
    let options = store::WriterOptions::new(format!("layer-{digest}"))
        .expect(digest.clone(), sample.layers[0].len() as u64);
    let mut writer = node.local.content.writer(&node.scope, options).await.unwrap();
    writer.write(&vec![9; 1 << 20]).await.unwrap();
    writer.close().await;
    let unpacking = target_apart(&node, false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    assert_eq!(registry.count("GET", digest.as_str()), 2);
    assert_eq!(keys(&node, &unpacking).await, [chain(&sample)[0].to_string()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_of_layers_applied_apart_leave_no_snapshot() {
    let (registry, sample, reference) = start(&[1000, 2000, 3000]).await;
    let node = Node::new();
    let unpacking = target_apart(&node, true).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert!(base::chain(&e).contains("wrong diff id"), "{}", base::chain(&e));
    assert_eq!(keys(&node, &unpacking).await, Vec::<String>::new());

    registry.fault("GET", Digest::sha256(&sample.layers[2]).as_str(), 99, Fault::Status(404));
    let node = Node::new();
    let unpacking = target_apart(&node, false).await;
    let options = PullOptions { unpack: vec![unpacking.target.clone()], ..PullOptions::new(&reference) };
    let e = pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{}", base::chain(&e));
    assert!(keys(&node, &unpacking).await.iter().all(|k| !k.starts_with("extract-")));
}

#[tokio::test(flavor = "multi_thread")]
async fn discarded_layers_are_not_fetched_again() {
    let (registry, sample, reference) = start(&[1000, 2000]).await;
    let node = Node::new();
    let unpacking = target(&node, "linux/amd64", false).await;
    let options = PullOptions {
        unpack: vec![unpacking.target.clone()],
        discard_unpacked_layers: true,
        ..PullOptions::new(&reference)
    };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options.clone()).await.unwrap();
    let labels = node.labels(&sample.digest()).await;
    assert!(labels.contains_key("containerd.io/gc.ref.content.config"), "{labels:?}");
    assert!(labels.keys().all(|k| !k.starts_with("containerd.io/gc.ref.content.l.")), "{labels:?}");
    for layer in &sample.layers {
        node.local.content.delete(&node.scope, &Digest::sha256(layer)).await.unwrap();
    }
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();
    for layer in &sample.layers {
        assert_eq!(registry.count("GET", Digest::sha256(layer).as_str()), 1);
        assert!(!node.has(&Digest::sha256(layer)).await);
    }
    // Without unpacking they are wanted, and come.
    pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&reference)).await.unwrap();
    assert!(node.has(&Digest::sha256(&sample.layers[0])).await);
}
