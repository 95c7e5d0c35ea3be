//! Finding the directory that configures a registry.

use std::io;
use std::path::{Path, PathBuf};

use super::{HostConfig, Scheme, parse_hosts_file, port_of};

/// No `hosts.toml` is larger than this.
const MAX_FILE: u64 = 1 << 20;

/// The roots that hold one directory per registry, in order of preference.
#[derive(Clone, Debug, Default)]
pub struct HostDirs {
    roots: Vec<PathBuf>,
}

impl HostDirs {
    /// Takes a `:` separated list of roots, as `config_path` and `--hosts-dir` give it.
    pub fn parse(list: &str) -> HostDirs {
        HostDirs { roots: list.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect() }
    }

    /// The directory for `registry`: in each root `host_port_`, then the host as it is written, then
    /// `_default`.
    pub fn find(&self, registry: &str) -> io::Result<Option<PathBuf>> {
        if registry.is_empty() || registry.contains(['/', '\\', '\0']) || registry.starts_with('.') {
            return Ok(None);
        }
        for root in &self.roots {
            for name in names(registry) {
                let dir = root.join(name);
                match std::fs::metadata(&dir) {
                    Ok(_) => return Ok(Some(dir)),
                    Err(e) if absent(&e) => {}
                    Err(e) => return Err(e),
                }
            }
        }
        Ok(None)
    }

    /// The hosts for `registry`; `None` when no directory configures it.
    pub(crate) fn load(&self, registry: &str) -> io::Result<Option<Vec<HostConfig>>> {
        match self.find(registry)? {
            Some(dir) => load_dir(&dir).map(Some),
            None => Ok(None),
        }
    }
}

fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn names(registry: &str) -> Vec<String> {
    let mut names = Vec::with_capacity(3);
    if let Some(port) = port_of(registry) {
        names.push(format!("{}_{port}_", &registry[..registry.len() - port.len() - 1]));
    }
    names.push(registry.to_owned());
    names.push("_default".to_owned());
    names
}

/// Reads one directory. A missing or unusable `hosts.toml` leaves the Docker style certificates; an
/// unusable one is logged as an error, with the file's name and what is wrong in it.
fn load_dir(dir: &Path) -> io::Result<Vec<HostConfig>> {
    let path = dir.join("hosts.toml");
    match read_text(&path) {
        Ok(text) if !text.is_empty() => match parse_hosts_file(dir, &text) {
            Ok(hosts) => return Ok(hosts),
            Err(e) => tracing::error!(
                file = %path.display(),
                error = base::chain(&e),
                "hosts.toml cannot be used, only certificates beside it are"
            ),
        },
        Ok(_) => {}
        Err(e) if absent(&e) => {}
        Err(e) => return Err(io::Error::new(e.kind(), format!("read {}: {e}", path.display()))),
    }
    load_certs(dir)
}

fn read_text(path: &Path) -> io::Result<String> {
    use std::io::Read;
    let mut text = String::new();
    std::fs::File::open(path)?.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 1 MiB"));
    }
    Ok(text)
}

/// Docker's layout: `*.crt` are authorities, `*.cert` client certificates with the key in the `.key`
/// of the same name, or in the certificate file itself.
fn load_certs(dir: &Path) -> io::Result<Vec<HostConfig>> {
    let mut host = HostConfig::new(Scheme::Https, "");
    let mut files: Vec<PathBuf> = match std::fs::read_dir(dir) {
        Ok(entries) => entries
            .collect::<io::Result<Vec<_>>>()?
            .into_iter()
            .filter(|e| !e.file_type().is_ok_and(|t| t.is_dir()))
            .map(|e| e.path())
            .collect(),
        Err(e) if absent(&e) => Vec::new(),
        Err(e) => return Err(e),
    };
    files.sort();
    for file in files {
        match file.extension().and_then(|e| e.to_str()) {
            Some("crt") => host.ca.push(file),
            Some("cert") => {
                let key = file.with_extension("key");
                let key = key.exists().then_some(key);
                host.client.push((file, key));
            }
            _ => {}
        }
    }
    Ok(vec![host])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn write(path: PathBuf, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn lookup_order() {
        let tmp = tempfile::tempdir().unwrap();
        let (a, b) = (tmp.path().join("a"), tmp.path().join("b"));
        let dirs = HostDirs::parse(&format!("{}:{}", a.display(), b.display()));
        assert_eq!(dirs.find("r.io:5000").unwrap(), None);
        std::fs::create_dir_all(b.join("_default")).unwrap();
        assert_eq!(dirs.find("r.io:5000").unwrap(), Some(b.join("_default")));
        std::fs::create_dir_all(b.join("r.io:5000")).unwrap();
        assert_eq!(dirs.find("r.io:5000").unwrap(), Some(b.join("r.io:5000")));
        std::fs::create_dir_all(b.join("r.io_5000_")).unwrap();
        assert_eq!(dirs.find("r.io:5000").unwrap(), Some(b.join("r.io_5000_")));
        std::fs::create_dir_all(a.join("_default")).unwrap();
        assert_eq!(dirs.find("r.io:5000").unwrap(), Some(a.join("_default")));
        assert_eq!(dirs.find("../b").unwrap(), None);
        assert_eq!(dirs.find("..").unwrap(), None);
    }

    #[test]
    fn certificates_without_a_usable_file() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("r.io");
        write(dir.join("a.crt"), "");
        write(dir.join("c.cert"), "");
        write(dir.join("c.key"), "");
        write(dir.join("d.cert"), "");
        for broken in [None, Some(""), Some("capabilities = [\"fly\"]")] {
            if let Some(text) = broken {
                write(dir.join("hosts.toml"), text);
            }
            let hosts = HostDirs::parse(tmp.path().to_str().unwrap()).load("r.io").unwrap().unwrap();
            assert_eq!(hosts.len(), 1);
            assert_eq!(hosts[0].host, "");
            assert_eq!(hosts[0].ca, [dir.join("a.crt")]);
            assert_eq!(
                hosts[0].client,
                [(dir.join("c.cert"), Some(dir.join("c.key"))), (dir.join("d.cert"), None)]
            );
        }
    }

    #[test]
    fn a_file_wins_over_certificates() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().join("r.io");
        write(dir.join("a.crt"), "");
        write(dir.join("hosts.toml"), "[host.\"http://m:1\"]\n");
        let hosts = HostDirs::parse(tmp.path().to_str().unwrap()).load("r.io").unwrap().unwrap();
        assert_eq!(hosts.len(), 2);
        assert!(hosts[1].ca.is_empty());
    }
}
