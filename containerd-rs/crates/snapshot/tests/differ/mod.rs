//! A content store, a worker and a place for the tests of differ and worker.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Descriptor, Digest, Labels, Mount, Namespace, Scope};
use snapshot::walking::Walking;
use snapshot::worker::WorkerOptions;
use snapshot::{ApplyOptions, Differ};
use store::{ContentStore, LocalContent, Metadata, MetadataOptions, WriterOptions};
use sys::mount::mountinfo;

/// The worker of this build: examples are built next to tests.
pub fn worker() -> PathBuf {
    let exe = std::env::current_exe().unwrap();
    exe.parent().unwrap().parent().unwrap().join("examples/unpack_worker")
}

pub struct Scene {
    pub root: tempfile::TempDir,
    pub content: Arc<dyn ContentStore>,
    pub scope: Scope,
    pub options: WorkerOptions,
}

impl Scene {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let meta_dir = root.path().join("meta");
        std::fs::create_dir(&meta_dir).unwrap();
        let meta = Metadata::open(&meta_dir, MetadataOptions::default()).unwrap();
        let content = Arc::new(LocalContent::open(&root.path().join("content"), meta).unwrap());
        let options = WorkerOptions::new(worker(), root.path().join("tmp"));
        Scene { root, content, scope: Scope::new(Namespace::new("test").unwrap()), options }
    }

    pub fn differ(&self) -> Walking {
        Walking::new(Arc::clone(&self.content), self.options.clone())
    }

    pub async fn put(&self, media_type: &str, bytes: &[u8]) -> Descriptor {
        let digest = Digest::sha256(bytes);
        let layer = Descriptor::new(media_type, digest.clone(), bytes.len() as i64);
        if self.content.info(&self.scope, &digest).await.is_ok() {
            return layer;
        }
        let options = WriterOptions::new(digest.to_string());
        let mut writer = self.content.writer(&self.scope, options).await.unwrap();
        writer.write(bytes).await.unwrap();
        writer.commit(bytes.len() as u64, Some(&digest), Labels::new()).await.unwrap();
        layer
    }

    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.root.path().join(name);
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }

    pub fn bind(&self, name: &str) -> Vec<Mount> {
        let source = self.dir(name).display().to_string();
        vec![Mount::new("bind", source, vec!["rw".into(), "rbind".into()])]
    }

    pub async fn apply(&self, layer: &Descriptor, mounts: &[Mount]) -> snapshot::Result<Descriptor> {
        self.differ().apply(&self.scope, layer, mounts, ApplyOptions::default()).await
    }

    pub fn leaves_nothing(&self) {
        for mount in mountinfo().unwrap() {
            assert!(!Path::new(&mount.mount_point).starts_with(self.root.path()), "{mount:?}");
        }
        if let Ok(left) = std::fs::read_dir(self.root.path().join("tmp")) {
            assert_eq!(left.count(), 0);
        }
    }
}

pub fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, body) in files {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_size(body.len() as u64);
        header.set_mtime(1_600_000_000);
        header.as_ustar_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_cksum();
        builder.append(&header, *body).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Bytes that do not compress.
pub fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

pub async fn eventually<T>(mut check: impl FnMut() -> Option<T>) -> T {
    let end = std::time::Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(found) = check() {
            return found;
        }
        assert!(std::time::Instant::now() < end, "never came true");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
