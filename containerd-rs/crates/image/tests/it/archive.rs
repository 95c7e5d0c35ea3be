//! Archives in and out.

use base::oci::media_type;
use base::{Digest, ErrorKind, Kinded, Matcher, Platform};
use image::archive::{ExportOptions, ImportOptions, Imported, export, import};
use image::transfer::{Destination, ExtraReference};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::node::{Node, Sample, channel, descriptor, gzip, index, layer};

fn tarball(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, data) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, *data).unwrap();
    }
    builder.into_inner().unwrap()
}

fn blob_path(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::sha256(bytes).hex())
}

fn layout(sample: &Sample, name: &str) -> Vec<u8> {
    let mut d = descriptor(media_type::OCI_MANIFEST, &sample.manifest);
    d["annotations"] = json!({"org.opencontainers.image.ref.name": name});
    let index = json!({"schemaVersion": 2, "manifests": [d]}).to_string();
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), index.into_bytes()),
    ];
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        files.push((blob_path(blob), blob.clone()));
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, d)| (n.as_str(), d.as_slice())).collect();
    tarball(&files)
}

pub fn prefix(name: &str) -> Destination {
    let rule = ExtraReference { name: name.to_owned(), is_prefix: true, ..ExtraReference::default() };
    Destination { extra_references: vec![rule], ..Destination::default() }
}

pub async fn take(node: &Node, bytes: Vec<u8>, destination: Destination) -> Result<Imported, image::Error> {
    let options = ImportOptions { destination, ..ImportOptions::default() };
    import(&node.local, &node.scope, channel(bytes), options).await
}

pub async fn give(node: &Node, options: ExportOptions) -> Result<Vec<u8>, image::Error> {
    let (sink, mut chunks) = mpsc::channel::<bytes::Bytes>(2);
    let all = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(chunk) = chunks.recv().await {
            all.extend_from_slice(&chunk);
        }
        all
    });
    export(&node.local, &node.scope, sink, options).await?;
    Ok(all.await.unwrap())
}

fn entries(archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
    use std::io::Read;
    let mut archive = tar::Archive::new(archive);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 0);
            let mut data = Vec::new();
            entry.read_to_end(&mut data).unwrap();
            (entry.path().unwrap().to_str().unwrap().to_owned(), entry.header().mode().unwrap(), data)
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_layout_in_every_wrapping() {
    let sample = Sample::new("linux/amd64", &[1000, 300_000]);
    let plain = layout(&sample, "v1");
    let zst = zstd::encode_all(&plain[..], 1).unwrap();
    for bytes in [plain.clone(), gzip(&plain), zst] {
        let node = Node::new();
        let done = take(&node, bytes, prefix("r.io/a")).await.unwrap();
        assert_eq!(done.images.len(), 1);
        assert_eq!(
            (done.images[0].name.as_str(), &done.images[0].target.digest),
            ("r.io/a:v1", &sample.digest())
        );
        let labels = node.labels(&sample.digest()).await;
        assert_eq!(labels["containerd.io/gc.ref.content.config"], Digest::sha256(&sample.config).to_string());
        assert!(node.labels(&done.index.digest).await.contains_key("containerd.io/gc.ref.content.m.0"));
        assert_eq!((node.leases(), node.ingests().await.len()), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn out_and_in_again() {
    let sample = Sample::new("linux/amd64", &[1000, 300_000]);
    let node = Node::new();
    take(&node, layout(&sample, "v1"), prefix("r.io/a")).await.unwrap();
    let options = ExportOptions {
        platforms: Matcher::only(&Platform::parse("linux/amd64").unwrap()),
        ..ExportOptions::new(["r.io/a:v1".to_owned()])
    };
    let first = give(&node, options.clone()).await.unwrap();
    assert!(first == give(&node, options.clone()).await.unwrap(), "the same bytes each time");

    let found = entries(&first);
    let names: Vec<&str> = found.iter().map(|(n, ..)| n.as_str()).collect();
    assert_eq!(&names[..2], ["blobs/", "blobs/sha256/"]);
    assert_eq!(&names[names.len() - 3..], ["index.json", "manifest.json", "oci-layout"]);
    assert!(names.is_sorted(), "{names:?}");
    assert!(found.iter().all(|(n, mode, _)| *mode
        == if n.ends_with('/') {
            0o755
        } else if n.ends_with(".json") {
            0o644
        } else {
            0o444
        }));
    let docker: Value = serde_json::from_slice(&found[found.len() - 2].2).unwrap();
    assert_eq!(docker[0]["RepoTags"], json!(["r.io/a:v1"]));
    assert_eq!(docker[0]["Config"], json!(blob_path(&sample.config)));
    assert_eq!(docker[0]["Layers"][1], json!(blob_path(&sample.layers[1])));

    let other = Node::new();
    let done = take(&other, first, prefix("r.io/a")).await.unwrap();
    assert_eq!(
        (done.images[0].name.as_str(), &done.images[0].target.digest),
        ("r.io/a:v1", &sample.digest())
    );
    let skipped = ExportOptions { skip_docker_manifest: true, ..options };
    assert!(entries(&give(&node, skipped).await.unwrap()).iter().all(|(n, ..)| n != "manifest.json"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_with_one_platform_or_all() {
    let (amd, arm) = (Sample::new("linux/amd64", &[100]), Sample::new("linux/arm64", &[200]));
    let bytes = index(&[("linux/amd64", &amd), ("linux/arm64", &arm)]);
    let mut d = descriptor(media_type::OCI_INDEX, &bytes);
    d["annotations"] = json!({"io.containerd.image.name": "r.io/multi:1"});
    let top = json!({"schemaVersion": 2, "manifests": [d]}).to_string();
    let mut files = vec![
        ("oci-layout".to_owned(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()),
        ("index.json".to_owned(), top.into_bytes()),
        (blob_path(&bytes), bytes.clone()),
    ];
    for s in [&amd, &arm] {
        for blob in s.layers.iter().chain([&s.config, &s.manifest]) {
            files.push((blob_path(blob), blob.clone()));
        }
    }
    let files: Vec<(&str, &[u8])> = files.iter().map(|(n, d)| (n.as_str(), d.as_slice())).collect();
    let node = Node::new();
    let done = take(&node, tarball(&files), prefix("r.io/multi")).await.unwrap();
    assert_eq!(done.images[0].target.digest, Digest::sha256(&bytes));
    let amd_only = Matcher::only(&Platform::parse("linux/amd64").unwrap());
    let options = ExportOptions { platforms: amd_only, ..ExportOptions::new(["r.io/multi:1".to_owned()]) };
    let names = |archive: &[u8]| entries(archive).into_iter().map(|(n, ..)| n).collect::<Vec<_>>();
    let one = names(&give(&node, options.clone()).await.unwrap());
    assert!(one.contains(&blob_path(&amd.layers[0])) && !one.contains(&blob_path(&arm.layers[0])));
    let all = names(&give(&node, ExportOptions { all_platforms: true, ..options.clone() }).await.unwrap());
    assert!(all.contains(&blob_path(&amd.layers[0])) && all.contains(&blob_path(&arm.layers[0])));
    let none =
        ExportOptions { platforms: Matcher::only(&Platform::parse("linux/s390x").unwrap()), ..options };
    assert_eq!(give(&node, none).await.unwrap_err().kind(), ErrorKind::NotFound);
}

/// What `docker save` wrote for years: layers as `<id>/layer.tar`, one of them a link.
fn docker_save(plain: &[Vec<u8>]) -> (Vec<u8>, Vec<u8>) {
    let diff_ids: Vec<String> = plain.iter().map(|l| Digest::sha256(l).to_string()).collect();
    let config =
        json!({"os": "linux", "architecture": "amd64", "rootfs": {"type": "layers", "diff_ids": diff_ids}})
            .to_string()
            .into_bytes();
    let config_name = format!("{}.json", Digest::sha256(&config).hex());
    let manifest = json!([{"Config": config_name, "RepoTags": ["busybox:1"], "Layers": ["l0/layer.tar", "l1/layer.tar"]}]).to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let add = |builder: &mut tar::Builder<Vec<u8>>, name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, data).unwrap();
    };
    add(&mut builder, "l0/layer.tar", &plain[0]);
    let mut header = tar::Header::new_ustar();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    builder.append_link(&mut header, "l1/layer.tar", "../l0/layer.tar").unwrap();
    add(&mut builder, &config_name, &config);
    add(&mut builder, "repositories", b"{}");
    add(&mut builder, "manifest.json", manifest.as_bytes());
    (builder.into_inner().unwrap(), config)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_docker_saves() {
    let plain = layer("file", 200_000);
    let (archive, config) = docker_save(&[plain.clone(), plain.clone()]);
    for compress in [false, true] {
        let node = Node::new();
        let options = ImportOptions {
            destination: prefix("docker.io/library/busybox"),
            compress,
            ..ImportOptions::default()
        };
        let done = import(&node.local, &node.scope, channel(archive.clone()), options).await.unwrap();
        assert_eq!(done.images[0].name, "docker.io/library/busybox:1");
        assert_eq!(done.manifests[0].platform.as_ref().unwrap().format(), "linux/amd64");
        let labels = node.labels(&done.manifests[0].digest).await;
        assert_eq!(labels["containerd.io/gc.ref.content.config"], Digest::sha256(&config).to_string());
        let stored = Digest::parse(&labels["containerd.io/gc.ref.content.l.0"]).unwrap();
        assert_eq!(stored != Digest::sha256(&plain), compress);
        assert_eq!(labels["containerd.io/gc.ref.content.l.1"], stored.to_string());
        if compress {
            assert_eq!(
                node.labels(&stored).await["containerd.io/uncompressed"],
                Digest::sha256(&plain).to_string()
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_do_not_choose_names() {
    let sample = Sample::new("linux/amd64", &[10]);
    let node = Node::new();
    for name in ["evil.io/library/x:latest", "docker.io/library/busybox:latest"] {
        let done = take(&node, layout(&sample, name), prefix("r.io/a")).await.unwrap();
        assert!(done.images.is_empty(), "{:?}", done.images);
    }
    let done = take(&node, layout(&sample, "v1"), Destination::default()).await.unwrap();
    assert!(done.images.is_empty());
    let done = take(&node, layout(&sample, "v1"), Destination::named("r.io/whole:1")).await.unwrap();
    assert_eq!(
        (done.images[0].name.as_str(), &done.images[0].target.digest),
        ("r.io/whole:1", &done.index.digest)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_archives() {
    let sample = Sample::new("linux/amd64", &[10]);
    let good = layout(&sample, "v1");
    let big = vec![b' '; 21 << 20];
    let ok = br#"{"imageLayoutVersion":"1.0.0"}"#;
    let wrong_blob = format!("blobs/sha256/{}", "0".repeat(64));
    let config = descriptor(media_type::OCI_CONFIG, b"{}");
    let both =
        json!({"schemaVersion": 2, "config": config, "layers": [config], "manifests": [config]}).to_string();
    let missing =
        json!({"schemaVersion": 2, "manifests": [descriptor(media_type::OCI_MANIFEST, b"not there")]})
            .to_string();
    let docker = |text: &str| tarball(&[("manifest.json", text.as_bytes())]);
    let cases: Vec<(&str, Vec<u8>, ErrorKind)> = vec![
        ("empty", Vec::new(), ErrorKind::InvalidArgument),
        ("no image", tarball(&[("hello", b"world")]), ErrorKind::InvalidArgument),
        ("cut", good[..good.len() / 2 + 100].to_vec(), ErrorKind::InvalidArgument),
        ("not tar", vec![7; 5000], ErrorKind::InvalidArgument),
        ("big json", tarball(&[("oci-layout", &big)]), ErrorKind::InvalidArgument),
        ("version", tarball(&[("oci-layout", br#"{"imageLayoutVersion":"9"}"#)]), ErrorKind::InvalidArgument),
        ("no index", tarball(&[("oci-layout", ok)]), ErrorKind::InvalidArgument),
        ("big index", tarball(&[("oci-layout", ok), ("index.json", &big)]), ErrorKind::ResourceExhausted),
        ("wrong digest", tarball(&[("oci-layout", ok), (&wrong_blob, b"x")]), ErrorKind::FailedPrecondition),
        (
            "two in one",
            tarball(&[("oci-layout", ok), ("index.json", both.as_bytes())]),
            ErrorKind::InvalidArgument,
        ),
        ("missing", tarball(&[("oci-layout", ok), ("index.json", missing.as_bytes())]), ErrorKind::NotFound),
        ("docker config", docker(r#"[{"Config":"../../etc/passwd","Layers":[]}]"#), ErrorKind::NotFound),
        ("docker json", docker("{"), ErrorKind::InvalidArgument),
    ];
    for (what, bytes, kind) in cases {
        let node = Node::new();
        let e = take(&node, bytes, prefix("r.io/a")).await.unwrap_err();
        assert_eq!(e.kind(), kind, "{what}: {}", base::chain(&e));
        assert_eq!((node.images().len(), node.leases()), (0, 0), "{what}");
        assert!(node.ingests().await.is_empty(), "{what}: {:?}", node.ingests().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_in_a_circle_lead_nowhere() {
    let mut builder = tar::Builder::new(Vec::new());
    for (from, to) in [("a", "b"), ("b", "a")] {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        builder.append_link(&mut header, from, to).unwrap();
    }
    let text = br#"[{"Config":"a","Layers":["b"]}]"#;
    let mut header = tar::Header::new_ustar();
    header.set_size(text.len() as u64);
    builder.append_data(&mut header, "manifest.json", &text[..]).unwrap();
    let e = take(&Node::new(), builder.into_inner().unwrap(), prefix("r.io/a")).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_export_that_nobody_reads_ends() {
    let sample = Sample::new("linux/amd64", &[3 << 20]);
    let node = Node::new();
    take(&node, layout(&sample, "v1"), prefix("r.io/a")).await.unwrap();
    let (sink, chunks) = mpsc::channel(1);
    drop(chunks);
    let e = export(&node.local, &node.scope, sink, ExportOptions::new(["r.io/a:v1".to_owned()]))
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Canceled);
    assert_eq!(node.leases(), 0);
}
