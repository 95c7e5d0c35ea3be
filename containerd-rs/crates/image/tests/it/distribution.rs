//! Against Debian's `docker-registry`, the reference implementation of the distribution API.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::{Digest, ErrorKind, Kinded};
use image::pull::{PullOptions, pull};
use image::push::{PushOptions, push};
use image::registry::Resolver;
use image::transfer::Destination;
use image::{archive, tag};

use crate::node::{Node, Sample, channel};
use crate::resolve::{patient, with_login};

const PROGRAM: &str = "/usr/bin/docker-registry";

/// A running registry on a free loopback port; killed and removed with the value.
pub struct Distribution {
    process: Child,
    pub address: String,
    dir: tempfile::TempDir,
}

impl Drop for Distribution {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Distribution {
    pub fn start(auth: &str) -> Distribution {
        Distribution::start_with("", auth)
    }

    /// `http`: further lines of that section, indented by two. `auth`: further sections.
    pub fn start_with(http: &str, auth: &str) -> Distribution {
        assert!(
            Path::new(PROGRAM).exists(),
            "{PROGRAM} is not installed: these tests need Debian's package docker-registry"
        );
        let dir = tempfile::tempdir().unwrap();
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let address = format!("127.0.0.1:{port}");
        let data = dir.path().join("data");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\nhttp:\n  addr: {address}\n{http}{auth}",
            data.display()
        );
        let file = dir.path().join("config.yml");
        std::fs::write(&file, config).unwrap();
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let process = Command::new(PROGRAM)
            .arg("serve")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut started = Distribution { process, address, dir };
        if started.wait_until_up() {
            return started;
        }
        let log = std::fs::read_to_string(started.dir.path().join("log")).unwrap_or_default();
        // Somebody else may take the port between the choice and the start.
        assert!(log.contains("address already in use"), "{PROGRAM} does not start: {log}");
        Distribution::start_with(http, auth)
    }

    fn wait_until_up(&mut self) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if std::net::TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }
}

/// An image in the store, from an archive.
pub async fn given(node: &Node, sample: &Sample, name: &str) {
    let mut d = crate::node::descriptor(base::oci::media_type::OCI_MANIFEST, &sample.manifest);
    d["annotations"] = serde_json::json!({"io.containerd.image.name": name});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [d]}).to_string();
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, data: &[u8]| {
        let mut header = tar::Header::new_ustar();
        header.set_size(data.len() as u64);
        builder.append_data(&mut header, name, data).unwrap();
    };
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("index.json", index.as_bytes());
    for blob in sample.layers.iter().chain([&sample.config, &sample.manifest]) {
        add(&format!("blobs/sha256/{}", Digest::sha256(blob).hex()), blob);
    }
    let rule = image::transfer::ExtraReference {
        name: name.split(":t").next().unwrap().to_owned(),
        is_prefix: true,
        allow_overwrite: true,
        ..Default::default()
    };
    let options = archive::ImportOptions {
        destination: Destination { extra_references: vec![rule], ..Destination::default() },
        ..archive::ImportOptions::default()
    };
    let done = archive::import(&node.local, &node.scope, channel(builder.into_inner().unwrap()), options)
        .await
        .unwrap();
    assert_eq!(done.images[0].name, name);
}

#[tokio::test(flavor = "multi_thread")]
async fn push_then_pull() {
    let registry = Distribution::start("");
    let sample = Sample::new("linux/amd64", &[10, 5 << 20, 100_000]);
    let node = Node::new();
    let name = format!("{}/some/where:t1", registry.address);
    given(&node, &sample, &name).await;
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();
    // Again: everything is there. Then under another repository: mounted or sent.
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();
    let copy = format!("{}/else/where:t2", registry.address);
    tag(&node.local, &node.scope, &name, &Destination::named(&copy)).await.unwrap();
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&copy, &copy)).await.unwrap();

    for reference in [&name, &copy, &format!("{}/some/where@{}", registry.address, sample.digest())] {
        let other = Node::new();
        let images = pull(&other.local, &other.scope, &Resolver::new(patient()), PullOptions::new(reference))
            .await
            .unwrap();
        assert_eq!(images[0].target.digest, sample.digest(), "{reference}");
        for layer in &sample.layers {
            assert!(other.has(&Digest::sha256(layer)).await);
        }
    }
    let e = Resolver::new(patient())
        .repository(&format!("{}/some/where:none", registry.address))
        .unwrap()
        .resolve()
        .await
        .unwrap_err();
    assert_eq!(e.kind(), ErrorKind::NotFound, "{e}");
}

#[tokio::test(flavor = "multi_thread")]
async fn half_a_blob_is_completed_by_a_range() {
    let registry = Distribution::start("");
    let sample = Sample::new("linux/amd64", &[4 << 20]);
    let node = Node::new();
    let name = format!("{}/a:t1", registry.address);
    given(&node, &sample, &name).await;
    push(&node.local, &node.scope, &Resolver::new(patient()), PushOptions::new(&name, &name)).await.unwrap();

    let other = Node::new();
    let digest = Digest::sha256(&sample.layers[0]);
    let options = store::WriterOptions::new(format!("layer-{digest}"))
        .expect(digest.clone(), sample.layers[0].len() as u64);
    let mut writer = other.local.content.writer(&other.scope, options).await.unwrap();
    writer.write(&sample.layers[0][..1_000_000]).await.unwrap();
    writer.close().await;
    pull(&other.local, &other.scope, &Resolver::new(patient()), PullOptions::new(&name)).await.unwrap();
    assert!(other.has(&digest).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn logins() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("htpasswd");
    // The user "me" with the password "pa".
    std::fs::write(&file, "me:$2b$04$abcdefghijklmnopqrstuu7EtwBGHD61KYua4dbhVw2Djj/wx9LhG\n").unwrap();
    let registry =
        Distribution::start(&format!("auth:\n  htpasswd: {{realm: here, path: {}}}\n", file.display()));
    let sample = Sample::new("linux/amd64", &[1000]);
    let node = Node::new();
    let name = format!("{}/a:t1", registry.address);
    given(&node, &sample, &name).await;
    let good = || Resolver::new(with_login(&registry.address, "me", "pa"));
    push(&node.local, &node.scope, &good(), PushOptions::new(&name, &name)).await.unwrap();
    let other = Node::new();
    pull(&other.local, &other.scope, &good(), PullOptions::new(&name)).await.unwrap();
    for bad in [patient(), with_login(&registry.address, "me", "wrong")] {
        let e = pull(&Node::new().local, &other.scope, &Resolver::new(bad), PullOptions::new(&name))
            .await
            .unwrap_err();
        let text = base::chain(&e);
        assert!(text.contains("authorization failed") && !text.contains("wrong"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_listens() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let reference = format!("127.0.0.1:{port}/a:1");
    let e = Resolver::new(patient()).repository(&reference).unwrap().resolve().await.unwrap_err();
    assert!(e.to_string().contains("refused"), "{e}");
}
