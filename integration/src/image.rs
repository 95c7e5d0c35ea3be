//! Images made here, from this machine's own static busybox: the same bytes give the same digests.

use std::io::Write;

use anyhow::Context;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest, Sha256};

/// A blob and what it is.
#[derive(Clone)]
pub struct Blob {
    pub media_type: &'static str,
    pub digest: String,
    pub bytes: Vec<u8>,
}

/// A single-platform OCI image: layers, config and manifest.
#[derive(Clone)]
pub struct Image {
    pub layers: Vec<Blob>,
    pub config: Blob,
    pub manifest: Blob,
}

const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// `sha256:<hex>` of `bytes`.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn blob(media_type: &'static str, bytes: Vec<u8>) -> Blob {
    Blob { media_type, digest: digest(&bytes), bytes }
}

/// The tar of one layer, written entry by entry; times are all zero.
pub struct Layer(tar::Builder<Vec<u8>>);

impl Default for Layer {
    fn default() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }
}

impl Layer {
    fn header(kind: tar::EntryType, mode: u32, size: u64) -> tar::Header {
        let mut h = tar::Header::new_gnu();
        h.set_entry_type(kind);
        h.set_mode(mode);
        h.set_size(size);
        h.set_uid(0);
        h.set_gid(0);
        h.set_mtime(0);
        h
    }

    /// A directory.
    pub fn dir(mut self, path: &str, mode: u32) -> anyhow::Result<Self> {
        let mut h = Self::header(tar::EntryType::Directory, mode, 0);
        self.0.append_data(&mut h, path, std::io::empty())?;
        Ok(self)
    }

    /// A regular file.
    pub fn file(mut self, path: &str, mode: u32, bytes: &[u8]) -> anyhow::Result<Self> {
        let mut h = Self::header(tar::EntryType::Regular, mode, bytes.len() as u64);
        self.0.append_data(&mut h, path, bytes)?;
        Ok(self)
    }

    /// A symbolic link.
    pub fn symlink(mut self, path: &str, target: &str) -> anyhow::Result<Self> {
        let mut h = Self::header(tar::EntryType::Symlink, 0o777, 0);
        self.0.append_link(&mut h, path, target)?;
        Ok(self)
    }

    /// The finished tar.
    pub fn tar(self) -> anyhow::Result<Vec<u8>> {
        Ok(self.0.into_inner()?)
    }
}

/// The layer of a minimal root file system: static busybox with its applets, passwd, group, tmp.
pub fn busybox_layer() -> anyhow::Result<Layer> {
    let path = crate::program::installed("busybox");
    let bytes = std::fs::read(&path).with_context(|| path.display().to_string())?;
    let mut layer = Layer::default();
    for (dir, mode) in [("bin/", 0o755), ("etc/", 0o755), ("root/", 0o700), ("tmp/", 0o1777), ("var/", 0o755)]
    {
        layer = layer.dir(dir, mode)?;
    }
    layer = layer.file("bin/busybox", 0o755, &bytes)?;
    for applet in [
        "sh",
        "true",
        "false",
        "sleep",
        "echo",
        "cat",
        "ls",
        "id",
        "env",
        "pwd",
        "hostname",
        "head",
        "dd",
        "kill",
        "touch",
        "mkdir",
        "rm",
        "ps",
        "stty",
        "tty",
        "wc",
        "seq",
        "yes",
        "test",
        "uname",
        "grep",
        "stat",
        "mount",
        "date",
        "trap",
        "md5sum",
        "sha256sum",
        "ln",
        "chmod",
        "df",
        "tail",
        "usleep",
        "nproc",
        "top",
        "printf",
    ] {
        layer = layer.symlink(&format!("bin/{applet}"), "busybox")?;
    }
    layer =
        layer.file("etc/passwd", 0o644, b"root:x:0:0:root:/root:/bin/sh\nguest:x:1000:1000::/:/bin/sh\n")?;
    layer.file("etc/group", 0o644, b"root:x:0:\nguest:x:1000:\nextra:x:2000:guest\n")
}

impl Image {
    /// An image of `tars` (uncompressed layers, bottom first) whose config has `config` as its `config` object.
    pub fn build(tars: Vec<Vec<u8>>, config: serde_json::Value) -> anyhow::Result<Self> {
        let diff_ids: Vec<String> = tars.iter().map(|t| digest(t)).collect();
        let mut layers = Vec::new();
        for tar in tars {
            let mut gz = GzEncoder::new(Vec::new(), Compression::new(1));
            gz.write_all(&tar)?;
            layers.push(blob(LAYER, gz.finish()?));
        }
        let arch = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        let config = json!({
            "architecture": arch, "os": "linux", "created": "1970-01-01T00:00:00Z",
            "config": config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let config = blob(CONFIG, serde_json::to_vec(&config)?);
        let manifest = json!({
            "schemaVersion": 2, "mediaType": MANIFEST,
            "config": { "mediaType": CONFIG, "digest": config.digest, "size": config.bytes.len() },
            "layers": layers.iter().map(|l| json!({
                "mediaType": LAYER, "digest": l.digest, "size": l.bytes.len() })).collect::<Vec<_>>(),
        });
        let manifest = blob(MANIFEST, serde_json::to_vec(&manifest)?);
        Ok(Self { layers, config, manifest })
    }

    /// Busybox with `sh` as its command.
    pub fn busybox() -> anyhow::Result<Self> {
        let config =
            json!({ "Cmd": ["sh"], "Env": ["PATH=/bin:/usr/bin", "IMAGE=busybox"], "WorkingDir": "/" });
        Self::build(vec![busybox_layer()?.tar()?], config)
    }

    /// Busybox below `layers` more layers of `files` files each, `bytes` bytes a file, half of them compressible.
    pub fn large(layers: usize, files: usize, bytes: usize) -> anyhow::Result<Self> {
        let mut tars = vec![busybox_layer()?.tar()?];
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for l in 0..layers {
            let mut layer = Layer::default().dir(&format!("data{l}/"), 0o755)?;
            for f in 0..files {
                let mut data = vec![0_u8; bytes];
                for chunk in data[..bytes / 2].chunks_mut(8) {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
                }
                for (i, b) in data[bytes / 2..].iter_mut().enumerate() {
                    *b = b'a' + ((i / 7 + f) % 23) as u8;
                }
                layer = layer.file(&format!("data{l}/file{f}"), 0o644, &data)?;
            }
            tars.push(layer.tar()?);
        }
        Self::build(tars, json!({ "Cmd": ["sh"], "Env": ["PATH=/bin"] }))
    }

    /// The image as an OCI image layout in a tar, named `name`, as `ctr images import` takes it.
    pub fn oci_archive(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let mut tar = Layer::default().file("oci-layout", 0o644, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        tar = tar.dir("blobs/", 0o755)?.dir("blobs/sha256/", 0o755)?;
        for b in self.layers.iter().chain([&self.config, &self.manifest]) {
            tar = tar.file(
                &format!("blobs/sha256/{}", b.digest.trim_start_matches("sha256:")),
                0o644,
                &b.bytes,
            )?;
        }
        let index = json!({ "schemaVersion": 2, "manifests": [{
            "mediaType": MANIFEST, "digest": self.manifest.digest, "size": self.manifest.bytes.len(),
            "annotations": { "io.containerd.image.name": name, "org.opencontainers.image.ref.name": name } }] });
        tar.file("index.json", 0o644, &serde_json::to_vec(&index)?)?.tar()
    }

    /// Compressed bytes of all layers.
    pub fn size(&self) -> usize {
        self.layers.iter().map(|l| l.bytes.len()).sum()
    }
}
