//! Imports archives of any bytes: no panic, and nothing is named that the caller did not ask for.
#![no_main]

use std::sync::{Arc, OnceLock};

use base::{Namespace, Scope};
use bytes::Bytes;
use image::archive::{ImportOptions, import};
use image::transfer::{Destination, Local};
use libfuzzer_sys::fuzz_target;
use store::{LocalContent, Metadata, MetadataOptions};
use tokio::runtime::{Builder, Runtime};

struct Daemon {
    runtime: Runtime,
    local: Local,
    meta: Metadata,
    _root: tempfile::TempDir,
}

fn daemon() -> &'static Daemon {
    static DAEMON: OnceLock<Daemon> = OnceLock::new();
    DAEMON.get_or_init(|| {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let root = tempfile::tempdir().unwrap();
        let inside = runtime.enter();
        std::fs::create_dir(root.path().join("meta")).unwrap();
        let options = MetadataOptions { no_sync: true, ..MetadataOptions::default() };
        let meta = Metadata::open(&root.path().join("meta"), options).unwrap();
        let content = Arc::new(LocalContent::open(&root.path().join("content"), meta.clone()).unwrap());
        let local = Local { meta: meta.clone(), content };
        drop(inside);
        Daemon { runtime, local, meta, _root: root }
    })
}

fn with_sums(bytes: &[u8]) -> Vec<u8> {
    let mut out = bytes.to_vec();
    for block in out.chunks_exact_mut(512) {
        if block[257..262] == *b"ustar" {
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
            block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        }
    }
    out
}

fuzz_target!(|bytes: &[u8]| {
    let daemon = daemon();
    let scope = Scope::new(Namespace::new("fuzz").unwrap());
    daemon.runtime.block_on(async {
        let (sender, source) = tokio::sync::mpsc::channel(2);
        let archive = Bytes::from(with_sums(bytes));
        let feeding = tokio::spawn(async move {
            let _gone = sender.send(Ok(archive)).await;
        });
        let destination = Destination { name: "fuzz.test/only:1".into(), ..Destination::default() };
        let options = ImportOptions { destination, ..ImportOptions::default() };
        let _refused = import(&daemon.local, &scope, source, options).await;
        feeding.await.unwrap();
    });
    for image in
        daemon.meta.images().list(&scope.namespace, &base::FilterSet::parse(&[""; 0]).unwrap()).unwrap()
    {
        assert_eq!(image.name, "fuzz.test/only:1");
    }
});
