//! A node's stores in a temporary directory, and images to move about.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use base::oci::media_type;
use base::{Digest, FilterSet, Namespace, Platform, Scope};
use bytes::Bytes;
use image::transfer::{Local, Progress};
use serde_json::{Value, json};
use store::{LocalContent, Metadata, MetadataOptions};
use tokio::sync::mpsc;

use crate::faulty::Faulty;

/// The stores; gone with the value.
pub struct Node {
    pub local: Local,
    pub scope: Scope,
    dir: tempfile::TempDir,
}

impl Node {
    pub fn new() -> Node {
        Node::at(tempfile::tempdir().unwrap())
    }

    fn at(dir: tempfile::TempDir) -> Node {
        let options = MetadataOptions { no_sync: true, ..MetadataOptions::default() };
        let meta = Metadata::open(&dir.path().join("meta"), options).unwrap();
        let content = LocalContent::open(&dir.path().join("content"), meta.clone()).unwrap();
        let scope = Scope { namespace: Namespace::new("test").unwrap(), lease: None };
        Node { local: Local { meta, content: Arc::new(content) }, scope, dir }
    }

    /// The same directories opened again, as after a restart.
    pub fn reopen(self) -> Node {
        let Node { local, scope: _, dir } = self;
        drop(local);
        // Blocking work of the dropped pull may still hold the database.
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        while Metadata::open(&dir.path().join("meta"), MetadataOptions::default()).is_err() {
            assert!(std::time::Instant::now() < until, "the database is never closed");
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Node::at(dir)
    }

    /// Where it all lies.
    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn images(&self) -> Vec<String> {
        let all = FilterSet::parse(&[] as &[&str]).unwrap();
        self.local
            .meta
            .images()
            .list(&self.scope.namespace, &all)
            .unwrap()
            .into_iter()
            .map(|i| i.name)
            .collect()
    }

    pub fn leases(&self) -> usize {
        let all = FilterSet::parse(&[] as &[&str]).unwrap();
        self.local.meta.leases().list(&self.scope.namespace, &all).unwrap().len()
    }

    pub async fn has(&self, digest: &Digest) -> bool {
        self.local.content.info(&self.scope, digest).await.is_ok()
    }

    pub async fn labels(&self, digest: &Digest) -> BTreeMap<String, String> {
        self.local.content.info(&self.scope, digest).await.unwrap().labels
    }

    /// Names and offsets of the ingests.
    pub async fn ingests(&self) -> Vec<(String, u64)> {
        let all = FilterSet::parse(&[] as &[&str]).unwrap();
        let found = self.local.content.statuses(&self.scope, &all).await.unwrap();
        found.into_iter().map(|s| (s.reference, s.offset)).collect()
    }
}

/// A layer that is a real archive: one file.
pub fn layer(name: &str, size: usize) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(size as u64);
    header.set_mode(0o644);
    let mut state = name.len() as u64 + 0x9e37_79b9;
    let data: Vec<u8> = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as u8
    })
    .take(size)
    .collect();
    builder.append_data(&mut header, name, &data[..]).unwrap();
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The parts of one image.
pub struct Sample {
    pub config: Vec<u8>,
    pub layers: Vec<Vec<u8>>,
    pub manifest: Vec<u8>,
}

impl Sample {
    /// `sizes`: of the files in the layers.
    pub fn new(platform: &str, sizes: &[usize]) -> Sample {
        let plain: Vec<Vec<u8>> =
            sizes.iter().enumerate().map(|(n, size)| layer(&format!("{platform}-{n}"), *size)).collect();
        let diff_ids: Vec<String> = plain.iter().map(|l| Digest::sha256(l).to_string()).collect();
        let p = Platform::parse(platform).unwrap();
        let config = json!({
            "os": p.os, "architecture": p.architecture, "variant": p.variant,
            "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let config = serde_json::to_vec(&config).unwrap();
        let layers: Vec<Vec<u8>> = plain.iter().map(|l| gzip(l)).collect();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": media_type::OCI_MANIFEST,
            "config": descriptor(media_type::OCI_CONFIG, &config),
            "layers": layers.iter().map(|l| descriptor(media_type::OCI_LAYER_GZIP, l)).collect::<Vec<_>>(),
        });
        Sample { config, layers, manifest: serde_json::to_vec(&manifest).unwrap() }
    }

    pub fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    pub fn put(&self, registry: &Faulty, repository: &str, tag: &str) {
        registry.blob(repository, self.config.clone());
        for layer in &self.layers {
            registry.blob(repository, layer.clone());
        }
        registry.manifest(repository, tag, media_type::OCI_MANIFEST, self.manifest.clone());
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": media_type, "digest": Digest::sha256(bytes).to_string(), "size": bytes.len()})
}

/// An index of images, by platform.
pub fn index(samples: &[(&str, &Sample)]) -> Vec<u8> {
    let manifests: Vec<Value> = samples
        .iter()
        .map(|(platform, sample)| {
            let p = Platform::parse(platform).unwrap();
            let mut d = descriptor(media_type::OCI_MANIFEST, &sample.manifest);
            d["platform"] = serde_json::to_value(&p).unwrap();
            d
        })
        .collect();
    serde_json::to_vec(
        &json!({"schemaVersion": 2, "mediaType": media_type::OCI_INDEX, "manifests": manifests}),
    )
    .unwrap()
}

/// Bytes as the channel that an import reads.
pub fn channel(bytes: Vec<u8>) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(2);
    tokio::spawn(async move {
        for chunk in bytes.chunks(100_000) {
            if sender.send(Ok(Bytes::copy_from_slice(chunk))).await.is_err() {
                return;
            }
        }
    });
    receiver
}

/// A sink for progress, and everything that it was told.
pub fn listener() -> (mpsc::Sender<Progress>, tokio::task::JoinHandle<Vec<Progress>>) {
    let (sender, mut receiver) = mpsc::channel(16);
    let all = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(report) = receiver.recv().await {
            all.push(report);
        }
        all
    });
    (sender, all)
}
