//! Debian's `docker-registry` on a free loopback port, and a small blocking client that fills it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};

use crate::image::{Blob, Image};

/// A running registry; stopped when dropped.
pub struct Registry {
    child: Child,
    address: String,
}

/// A loopback port that was free a moment ago.
pub fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Registry {
    /// Start one on a free port, with its data below `dir`.
    pub fn start(dir: &Path) -> anyhow::Result<Self> {
        Self::start_on(dir, free_port()?)
    }

    /// Start one on `port`, with its data below `dir`.
    pub fn start_on(dir: &Path, port: u16) -> anyhow::Result<Self> {
        Self::spawn(dir, port, "", 200)
    }

    /// Start one that lets in only `user` with `password`.
    pub fn start_with_password(dir: &Path, port: u16, user: &str, password: &str) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir)?;
        // The registry takes bcrypt only; Apache's tool is what Debian has for it.
        let mut htpasswd = Command::new(crate::program::installed("htpasswd"));
        let line = crate::program::run(htpasswd.args(["-nbB", user, password]))?.ok()?;
        let file = dir.join("htpasswd");
        std::fs::write(&file, line)?;
        let auth = format!("auth: {{htpasswd: {{realm: test, path: {}}}}}\n", file.display());
        Self::spawn(dir, port, &auth, 401)
    }

    fn spawn(dir: &Path, port: u16, auth: &str, ready: u16) -> anyhow::Result<Self> {
        let address = format!("127.0.0.1:{port}");
        let data = dir.join("registry");
        std::fs::create_dir_all(&data)?;
        let config = dir.join("registry.yml");
        std::fs::write(
            &config,
            format!(
                "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\nstorage:\n  filesystem: \
                 {{rootdirectory: {}}}\n  delete: {{enabled: true}}\nhttp: {{addr: \"{address}\"}}\n{auth}",
                data.display()
            ),
        )?;
        let child = Command::new(crate::program::installed("docker-registry"))
            .arg("serve")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("start docker-registry")?;
        let registry = Self { child, address };
        crate::eventually("the registry to answer", || {
            let answer = request(&registry.address, "GET", "/v2/", &[], b"").ok()?;
            (answer.status == ready).then_some(())
        });
        Ok(registry)
    }

    /// `127.0.0.1:<port>`.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Push `image` as `<name>:<tag>`; gives the full reference.
    pub fn push(&self, image: &Image, name: &str, tag: &str) -> anyhow::Result<String> {
        push(&self.address, image, name, tag)
    }

    /// [`Registry::push`] with a user and a password.
    pub fn push_as(
        &self,
        image: &Image,
        name: &str,
        tag: &str,
        user: &str,
        password: &str,
    ) -> anyhow::Result<String> {
        let credentials = base64(format!("{user}:{password}").as_bytes());
        push_with(&self.address, image, name, tag, &[("Authorization", &format!("Basic {credentials}"))])
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Push `image` to the plain-http registry at `address`.
pub fn push(address: &str, image: &Image, name: &str, tag: &str) -> anyhow::Result<String> {
    push_with(address, image, name, tag, &[])
}

type Headers<'h> = [(&'h str, &'h str)];

fn push_with(
    address: &str,
    image: &Image,
    name: &str,
    tag: &str,
    headers: &Headers<'_>,
) -> anyhow::Result<String> {
    for blob in image.layers.iter().chain([&image.config]) {
        push_blob(address, name, blob, headers)?;
    }
    let path = format!("/v2/{name}/manifests/{tag}");
    let headers = [headers, &[("Content-Type", image.manifest.media_type)]].concat();
    let answer = request(address, "PUT", &path, &headers, &image.manifest.bytes)?;
    ensure!(answer.status == 201, "manifest: HTTP {}", answer.status);
    Ok(format!("{address}/{name}:{tag}"))
}

fn push_blob(address: &str, name: &str, blob: &Blob, headers: &Headers<'_>) -> anyhow::Result<()> {
    let head = request(address, "HEAD", &format!("/v2/{name}/blobs/{}", blob.digest), headers, b"")?;
    if head.status == 200 {
        return Ok(());
    }
    let start = request(address, "POST", &format!("/v2/{name}/blobs/uploads/"), headers, b"")?;
    ensure!(start.status == 202, "start upload: HTTP {}", start.status);
    let location = start.location.context("no Location")?;
    let path = location.trim_start_matches(&format!("http://{address}")).to_owned();
    let joint = if path.contains('?') { '&' } else { '?' };
    let put = request(
        address,
        "PUT",
        &format!("{path}{joint}digest={}", blob.digest.replace(':', "%3A")),
        &[headers, &[("Content-Type", "application/octet-stream")]].concat(),
        &blob.bytes,
    )?;
    ensure!(put.status == 201, "upload: HTTP {}", put.status);
    Ok(())
}

/// The parts of an HTTP answer that a push looks at.
pub struct Answer {
    pub status: u16,
    pub location: Option<String>,
}

/// One HTTP/1.1 request on a connection of its own.
pub fn request(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> anyhow::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n");
    for (k, v) in headers {
        head.push_str(&format!("{k}: {v}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let Some(status) = line.split_whitespace().nth(1).and_then(|s| s.parse().ok()) else {
        bail!("not an HTTP answer: {line:?}");
    };
    let mut location = None;
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        if let Some((key, value)) = line.split_once(':')
            && key.eq_ignore_ascii_case("location")
        {
            location = Some(value.trim().to_owned());
        }
    }
    std::io::copy(&mut reader.take(1 << 20), &mut std::io::sink())?;
    Ok(Answer { status, location })
}

/// RFC 4648, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let n = chunk.iter().fold(0_u32, |n, b| n << 8 | u32::from(*b)) << (8 * (3 - chunk.len()));
        for i in 0..4 {
            let digit = DIGITS[(n >> (18 - 6 * i) & 63) as usize];
            out.push(if i <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    out
}
