//! Archives of other people's tools: Debian's skopeo and umoci make what we read, and read what we
//! make.

use std::path::Path;
use std::process::Command;

use base::{Digest, Matcher, Platform};
use image::archive::{ExportOptions, ImportOptions, import};
use image::push::{PushOptions, push};
use image::registry::Resolver;

use crate::archive::{give, prefix, take};
use crate::distribution::{Distribution, given};
use crate::node::{Node, Sample, channel};
use crate::resolve::patient;

/// Runs a program and gives what it says.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .unwrap_or_else(|e| panic!("these tests need {program} (scripts/install-deps.sh test): {e}"));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {args:?}: {complaint}");
    String::from_utf8(output.stdout).unwrap()
}

fn skopeo(args: &[&str]) -> String {
    run("skopeo", &[&["--insecure-policy"], args].concat())
}

/// A registry with a sample under `a:t1`, and where skopeo finds it.
async fn published(sample: &Sample) -> (Distribution, Node, String) {
    let registry = Distribution::start("");
    let (node, name) = (Node::new(), format!("{}/a:t1", registry.address));
    given(&node, sample, &name).await;
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();
    (registry, node, format!("docker://{name}"))
}

fn sample() -> Sample {
    Sample::new(&Platform::host().format(), &[10, 300_000, 0])
}

fn path_in(dir: &tempfile::TempDir, name: &str) -> String {
    dir.path().join(name).to_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn archives_of_skopeo_are_read() {
    let sample = sample();
    let (_registry, _node, source) = published(&sample).await;
    let dir = tempfile::tempdir().unwrap();
    let (oci, docker) = (path_in(&dir, "oci.tar"), path_in(&dir, "docker.tar"));
    skopeo(&["copy", "--src-tls-verify=false", &source, &format!("oci-archive:{oci}:v1")]);
    skopeo(&["copy", "--src-tls-verify=false", &source, &format!("docker-archive:{docker}:r.io/a:v2")]);

    let node = Node::new();
    take(&node, std::fs::read(&oci).unwrap(), prefix("r.io/a")).await.unwrap();
    assert_eq!(node.images(), ["r.io/a:v1"]);
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        assert!(node.has(&Digest::sha256(blob)).await);
    }
    // Docker's has no manifest of its own, and its layers are plain: config and diff ids are what stays.
    let node = Node::new();
    let imported = take(&node, std::fs::read(&docker).unwrap(), prefix("r.io/a")).await.unwrap();
    assert_eq!(node.images(), ["r.io/a:v2"]);
    assert!(node.has(&Digest::sha256(&sample.config)).await);
    let target = &imported.images[0].target;
    let (content, scope) = (&*node.local.content, &node.scope);
    let found = image::manifest::diff_ids(content, scope, target, &Matcher::all()).await.unwrap();
    let config: serde_json::Value = serde_json::from_slice(&sample.config).unwrap();
    let want: Vec<&str> =
        config["rootfs"]["diff_ids"].as_array().unwrap().iter().filter_map(|v| v.as_str()).collect();
    assert_eq!(found.iter().map(Digest::as_str).collect::<Vec<_>>(), want);
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_archives_of_skopeo_are_read() {
    let sample = sample();
    let (_registry, _node, source) = published(&sample).await;
    let dir = tempfile::tempdir().unwrap();
    let oci = path_in(&dir, "oci.tar");
    skopeo(&["copy", "--src-tls-verify=false", &source, &format!("oci-archive:{oci}:v1")]);
    let plain = std::fs::read(&oci).unwrap();
    for packed in [crate::node::gzip(&plain), zstd::encode_all(&plain[..], 1).unwrap()] {
        let node = Node::new();
        take(&node, packed, prefix("r.io/a")).await.unwrap();
        assert_eq!(node.images(), ["r.io/a:v1"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_archives_are_read_by_skopeo() {
    let sample = sample();
    let (registry, node, _) = published(&sample).await;
    let name = format!("{}/a:t1", registry.address);
    let dir = tempfile::tempdir().unwrap();
    let ours = path_in(&dir, "ours.tar");
    std::fs::write(&ours, give(&node, ExportOptions::new([name.clone()])).await.unwrap()).unwrap();

    let raw = skopeo(&["inspect", "--raw", &format!("oci-archive:{ours}")]);
    assert_eq!(Digest::sha256(raw.trim_end()), Digest::sha256(&sample.manifest), "{raw}");
    let config = skopeo(&["inspect", "--config", "--raw", &format!("docker-archive:{ours}")]);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&config).unwrap(),
        serde_json::from_slice::<serde_json::Value>(&sample.config).unwrap()
    );
    // All the bytes: into a directory, and into a registry from where we have them back.
    let out = path_in(&dir, "out");
    skopeo(&["copy", &format!("oci-archive:{ours}"), &format!("dir:{out}")]);
    for blob in sample.layers.iter().chain([&sample.config]) {
        let file = Path::new(&out).join(Digest::sha256(blob).hex());
        assert_eq!(std::fs::read(file).unwrap(), *blob);
    }
    let again = format!("{}/again:t9", registry.address);
    skopeo(&[
        "copy",
        "--dest-tls-verify=false",
        &format!("oci-archive:{ours}"),
        &format!("docker://{again}"),
    ]);
    let other = Node::new();
    let options = image::pull::PullOptions::new(&again);
    let images =
        image::pull::pull(&other.local, &other.scope, &Resolver::new(patient()), options).await.unwrap();
    assert_eq!(images[0].target.digest, sample.digest());
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_of_umoci_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (layout, tree) = (path_in(&dir, "layout"), path_in(&dir, "tree"));
    std::fs::create_dir_all(format!("{tree}/etc")).unwrap();
    std::fs::write(format!("{tree}/etc/name"), "from umoci").unwrap();
    let image = format!("{layout}:v1");
    run("umoci", &["init", "--layout", &layout]);
    run("umoci", &["new", "--image", &image]);
    run("umoci", &["insert", "--rootless", "--image", &image, &format!("{tree}/etc"), "/etc"]);
    run("umoci", &["config", "--image", &image, "--config.cmd", "/bin/true"]);
    let mut builder = tar::Builder::new(Vec::new());
    builder.append_dir_all(".", &layout).unwrap();

    let node = Node::new();
    let options = ImportOptions { destination: prefix("r.io/u"), ..ImportOptions::default() };
    let archive = channel(builder.into_inner().unwrap());
    let imported = import(&node.local, &node.scope, archive, options).await.unwrap();
    assert_eq!(node.images(), ["r.io/u:v1"]);
    let target = &imported.images[0].target;
    let (content, scope) = (&*node.local.content, &node.scope);
    let (_, manifest) =
        image::manifest::select_manifest(content, scope, target, &Matcher::all()).await.unwrap();
    assert_eq!(manifest.layers.len(), 1);
    for blob in manifest.layers.iter().chain([&manifest.config]) {
        assert!(node.has(&blob.digest).await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_archives_are_unpacked_by_umoci() {
    let sample = sample();
    let (node, name) = (Node::new(), "r.io/a:t1");
    given(&node, &sample, name).await;
    let archive = give(&node, ExportOptions::new([name.to_owned()])).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (layout, bundle) = (dir.path().join("layout"), path_in(&dir, "bundle"));
    let file = path_in(&dir, "ours.tar");
    std::fs::write(&file, &archive).unwrap();
    std::fs::create_dir(&layout).unwrap();
    run("tar", &["-xf", &file, "-C", layout.to_str().unwrap()]);
    let image = format!("{}:t1", layout.display());
    assert_eq!(run("umoci", &["list", "--layout", layout.to_str().unwrap()]).trim(), "t1");
    let stat = run("umoci", &["stat", "--json", "--image", &image]);
    assert!(stat.contains("history"), "{stat}");
    run("umoci", &["unpack", "--rootless", "--image", &image, &bundle]);
    let host = Platform::host().format();
    for (n, size) in [10, 300_000, 0].into_iter().enumerate() {
        let file = Path::new(&bundle).join(format!("rootfs/{host}-{n}"));
        assert_eq!(std::fs::metadata(&file).unwrap().len(), size, "{}", file.display());
    }
}
