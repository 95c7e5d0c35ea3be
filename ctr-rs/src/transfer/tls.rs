//! TLS settings given as flags: written down as a directory of `hosts.toml`, which the daemon reads.

use std::fmt::Write as _;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// How to check the registry's certificate, and which to show it.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TlsFlags {
    /// Do not check the registry's certificate
    #[arg(long, short = 'k')]
    pub skip_verify: bool,
    /// File with the authority (PEM) of the registry's certificate
    #[arg(long, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// File with our certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tlskey")]
    pub tlscert: Option<PathBuf>,
    /// File with the key (PEM) of our certificate
    #[arg(long, value_name = "FILE", requires = "tlscert")]
    pub tlskey: Option<PathBuf>,
}

impl TlsFlags {
    /// Whether none is given.
    pub fn is_empty(&self) -> bool {
        !self.skip_verify && self.tlscacert.is_none() && self.tlscert.is_none()
    }

    /// The settings for `registry` in a directory that is removed with the value.
    pub fn write(&self, registry: &str) -> Result<HostsDir> {
        let dir = HostsDir::new()?;
        let host = dir.path.join(registry);
        let file = host.join("hosts.toml");
        let failed = |path: &Path| Error::io(format!("cannot write {}", path.display()));
        std::fs::create_dir(&host).map_err(failed(&host))?;
        std::fs::write(&file, self.text(registry)?).map_err(failed(&file))?;
        Ok(dir)
    }

    fn text(&self, registry: &str) -> Result<String> {
        let server = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let mut text = format!("server = {:?}\n", format!("https://{server}"));
        if self.skip_verify {
            text.push_str("skip_verify = true\n");
        }
        if let Some(ca) = &self.tlscacert {
            let _infallible = writeln!(text, "ca = {}", quoted(ca)?);
        }
        if let (Some(cert), Some(key)) = (&self.tlscert, &self.tlskey) {
            let _infallible = writeln!(text, "client = [[{}, {}]]", quoted(cert)?, quoted(key)?);
        }
        Ok(text)
    }
}

/// The absolute path of a file as a string of TOML.
fn quoted(file: &Path) -> Result<String> {
    let full = std::fs::canonicalize(file).map_err(Error::io(format!("cannot read {}", file.display())))?;
    match full.to_str() {
        Some(text) if !text.contains(['\'', '\n', '\r']) => Ok(format!("'{text}'")),
        _ => Err(Error::invalid(format!("the path {full:?} cannot be told to the daemon"))),
    }
}

/// A directory of our own.
#[derive(Debug)]
pub struct HostsDir {
    /// Where it is.
    pub path: PathBuf,
}

impl HostsDir {
    fn new() -> Result<HostsDir> {
        let mut number = 0;
        loop {
            let path = std::env::temp_dir().join(format!("ctr-hosts-{}-{number}", std::process::id()));
            match std::fs::DirBuilder::new().mode(0o700).create(&path) {
                Ok(()) => return Ok(HostsDir { path }),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists && number < 1000 => number += 1,
                Err(e) => return Err(Error::io(format!("cannot create {}", path.display()))(e)),
            }
        }
    }
}

impl Drop for HostsDir {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn flags_become_a_file_that_goes_away() {
        let file = std::env::current_exe().unwrap();
        let flags = TlsFlags {
            skip_verify: true,
            tlscacert: Some(file.clone()),
            tlscert: Some(file.clone()),
            tlskey: Some(file.clone()),
        };
        assert!(!flags.is_empty() && TlsFlags::default().is_empty());
        let dir = flags.write("127.0.0.1:5000").unwrap();
        let path = dir.path.clone();
        let text = std::fs::read_to_string(path.join("127.0.0.1:5000/hosts.toml")).unwrap();
        let shown = file.canonicalize().unwrap().display().to_string();
        let want = format!(
            "server = \"https://127.0.0.1:5000\"\nskip_verify = true\nca = '{shown}'\nclient = [['{shown}', '{shown}']]\n"
        );
        assert_eq!(text, want);
        assert!(flags.text("docker.io").unwrap().contains("https://registry-1.docker.io"));
        drop(dir);
        assert!(!path.exists());
        let missing = TlsFlags { tlscacert: Some("/no/such/file".into()), ..TlsFlags::default() };
        assert!(missing.write("r.io").is_err());
    }
}
