//! The whole way: a real registry, the content store, jailed workers, overlay snapshots, and what the
//! garbage collector leaves of it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::oci::{chain_ids, media_type};
use base::{Digest, FilterSet, Matcher, Platform};
use image::pull::{PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::Resolver;
use image::unpack::UnpackTarget;
use serde_json::json;
use snapshot::Snapshots;
use snapshot::overlay::{Overlay, OverlayOptions};
use snapshot::walking::Walking;
use snapshot::worker::WorkerOptions;
use store::{Gc, LocalContent};
use sys::mount::TempMount;

use crate::distribution::{Distribution, given};
use crate::node::{Node, Sample, descriptor, gzip};
use crate::resolve::patient;

/// The worker of this build: examples are built next to tests.
fn worker() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    let path = exe.parent().unwrap().parent().unwrap().join("examples/unpack_worker");
    assert!(path.exists(), "{} is not built: run the tests with cargo test or nextest", path.display());
    path
}

fn archive(files: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, text) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o640);
        builder.append_data(&mut header, name, text.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Two layers: the upper one replaces a file and hides another.
fn image() -> Sample {
    let plain = [
        archive(&[("etc/name", "lower"), ("etc/gone", "x"), ("bin/tool", &"y".repeat(100_000))]),
        archive(&[("etc/name", "upper"), ("etc/.wh.gone", "")]),
    ];
    let diff_ids: Vec<String> = plain.iter().map(|l| Digest::sha256(l).to_string()).collect();
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}});
    let config = config.to_string().into_bytes();
    let layers = vec![gzip(&plain[0]), zstd::encode_all(&plain[1][..], 1).unwrap()];
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": media_type::OCI_MANIFEST,
        "config": descriptor(media_type::OCI_CONFIG, &config),
        "layers": [descriptor(media_type::OCI_LAYER_GZIP, &layers[0]), descriptor(media_type::OCI_LAYER_ZSTD, &layers[1])],
    });
    Sample { config, layers, manifest: manifest.to_string().into_bytes() }
}

/// Overlay snapshots and real workers in `dir`.
async fn overlay(node: &Node, dir: &Path) -> UnpackTarget {
    let backend = Arc::new(Overlay::open(&dir.join("overlay"), OverlayOptions::default()).await.unwrap());
    let snapshots = Arc::new(Snapshots::new("overlayfs", backend, &node.local.meta));
    let options = WorkerOptions::new(worker(), dir.join("tmp"));
    let differ = Arc::new(Walking::new(node.local.content.clone(), options));
    let platform = Matcher::only(&Platform::parse("linux/amd64").unwrap());
    UnpackTarget { snapshots, differ, platform }
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_content_is_fetched_again_before_it_is_unpacked() {
    let registry = Distribution::start("");
    let sample = image();
    let name = format!("{}/some/thing:t1", registry.address);
    let from = Node::new();
    given(&from, &sample, &name).await;
    push(&from.local, &from.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();
    for (n, blob) in sample.layers.iter().chain([&sample.config, &sample.manifest]).enumerate() {
        let (node, dir) = (Node::new(), tempfile::tempdir().unwrap());
        pull(&node.local, &node.scope, &Resolver::new(patient()), PullOptions::new(&name)).await.unwrap();
        let digest = Digest::sha256(blob);
        crate::push::spoil(&node, &digest);
        let target = overlay(&node, dir.path()).await;
        let snapshots = target.snapshots.clone();
        let options = PullOptions { unpack: vec![target], ..PullOptions::new(&name) };
        pull(&node.local, &node.scope, &Resolver::new(patient()), options)
            .await
            .unwrap_or_else(|e| panic!("blob {n}: {}", base::chain(&e)));
        assert!(node.local.content.audit(&node.scope, &digest).await.unwrap(), "blob {n}");
        let config: base::oci::ImageConfig = serde_json::from_slice(&sample.config).unwrap();
        let top = &chain_ids(&config.rootfs.diff_ids)[1];
        let mounts = snapshots.view(&node.scope, "look", top.as_str(), Default::default()).await.unwrap();
        let root = TempMount::read_only(&mounts, dir.path()).unwrap();
        assert_eq!(std::fs::read_to_string(root.path().join("etc/name")).unwrap(), "upper");
        assert_eq!(std::fs::read(root.path().join("bin/tool")).unwrap(), vec![b'y'; 100_000]);
        root.close().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_registry_to_a_root_file_system() {
    let registry = Distribution::start("");
    let sample = image();
    let name = format!("{}/some/thing:t1", registry.address);
    let from = Node::new();
    given(&from, &sample, &name).await;
    push(&from.local, &from.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();

    let node = Node::new();
    let dir = tempfile::tempdir().unwrap();
    let target = overlay(&node, dir.path()).await;
    let snapshots = target.snapshots.clone();
    let options = PullOptions { unpack: vec![target], ..PullOptions::new(&name) };
    pull(&node.local, &node.scope, &Resolver::new(patient()), options).await.unwrap();

    // The image keeps its snapshots alive: nothing goes with a collection.
    let content = LocalContent::open(&node.path().join("content"), node.local.meta.clone()).unwrap();
    let gc = Gc::new(node.local.meta.clone(), content);
    gc.register_snapshotter("overlayfs", snapshots.clone());
    let report = gc.run().await.unwrap();
    assert!(report.removed_snapshots.is_empty() && report.removed_blobs == 0, "{report:?}");

    let config: base::oci::ImageConfig = serde_json::from_slice(&sample.config).unwrap();
    let chain = chain_ids(&config.rootfs.diff_ids);
    let mounts = snapshots.view(&node.scope, "look", chain[1].as_str(), Default::default()).await.unwrap();
    let root = TempMount::read_only(&mounts, dir.path()).unwrap();
    assert_eq!(std::fs::read_to_string(root.path().join("etc/name")).unwrap(), "upper");
    assert_eq!(std::fs::read(root.path().join("bin/tool")).unwrap().len(), 100_000);
    assert!(!root.path().join("etc/gone").exists());
    root.close().unwrap();
    snapshots.remove(&node.scope, "look").await.unwrap();

    // Without the image everything goes.
    node.local.meta.images().delete(&node.scope, &name, None).await.unwrap();
    gc.run().await.unwrap();
    let all = FilterSet::parse(&[] as &[&str]).unwrap();
    assert!(snapshots.walk(&node.scope, &all).await.unwrap().is_empty());
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        assert!(!node.has(&Digest::sha256(blob)).await);
    }
}
