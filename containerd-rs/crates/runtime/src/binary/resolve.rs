//! From a runtime's name to the shim program.

use std::collections::HashMap;
use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Why a runtime name leads to no program. The words are those that clients of Go containerd match.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// Nothing was named.
    #[error("no runtime name")]
    Empty,
    /// Neither `a.b.name.version` nor an absolute path.
    #[error(
        "invalid runtime name {name}, correct runtime name should be either format like \
         `io.containerd.runc.v2` or a full path to the binary"
    )]
    Name {
        /// The name as configured.
        name: String,
    },
    /// An absolute path where nothing is.
    #[error("invalid custom binary path: stat {path}: {text}", path = path.display(), text = words(source))]
    Path {
        /// The path as configured.
        path: PathBuf,
        /// Why it cannot be used; its words are part of the message.
        source: io::Error,
    },
    /// No program of that name anywhere.
    #[error("runtime {name:?} binary not installed {program:?}: file does not exist")]
    NotInstalled {
        /// The runtime's name as configured.
        name: String,
        /// The program that was looked for.
        program: String,
    },
}

/// The system's words for an error, as Go prints them.
fn words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

/// Finds shim programs and remembers each name's for the life of the daemon.
pub(crate) struct Resolver {
    beside: PathBuf,
    search: Vec<PathBuf>,
    working: PathBuf,
    found: Mutex<HashMap<String, PathBuf>>,
}

impl Resolver {
    /// Looks in the working directory, beside `daemon_binary`, then in `$PATH`: the shim that was installed with this
    /// daemon comes before that of another one (ADR 6).
    pub(crate) fn new(daemon_binary: &Path) -> Self {
        let path = env::var_os("PATH").unwrap_or_default();
        let search = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
        let working = env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Self::with(daemon_binary, search, working)
    }

    fn with(daemon_binary: &Path, search: Vec<PathBuf>, working: PathBuf) -> Self {
        let beside = daemon_binary.parent().unwrap_or(Path::new("/")).to_owned();
        Self { beside, search, working, found: Mutex::default() }
    }

    /// The absolute path of the shim for `runtime`: a dotted name, or an absolute path.
    pub(crate) fn resolve(&self, runtime: &str) -> Result<PathBuf, ResolveError> {
        if runtime.is_empty() {
            return Err(ResolveError::Empty);
        }
        let path = Path::new(runtime);
        if path.is_absolute() {
            return match path.metadata() {
                Ok(_) => Ok(path.to_owned()),
                Err(source) => Err(ResolveError::Path { path: path.to_owned(), source }),
            };
        }
        let invalid = || ResolveError::Name { name: runtime.to_owned() };
        if runtime.contains('/') {
            return Err(invalid());
        }
        let program = program_name(runtime).ok_or_else(invalid)?;
        if let Some(known) = self.found.lock().unwrap_or_else(PoisonError::into_inner).get(&program) {
            return Ok(known.clone());
        }
        let found = self.look_for(&program).ok_or_else(|| ResolveError::NotInstalled {
            name: runtime.to_owned(),
            program: program.clone(),
        })?;
        let mut cache = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(cache.entry(program).or_insert(found).clone())
    }

    fn look_for(&self, program: &str) -> Option<PathBuf> {
        let here = self.working.join(program);
        if here.exists() {
            return Some(here);
        }
        let runnable = |path: &PathBuf| path.is_file() && is_executable(path);
        std::iter::once(&self.beside).chain(&self.search).map(|dir| dir.join(program)).find(runnable)
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|m| m.permissions().mode() & 0o111 != 0)
}

/// `io.containerd.runc.v2` is served by `containerd-shim-runc-v2`: the last two parts count.
fn program_name(runtime: &str) -> Option<String> {
    let (rest, version) = runtime.rsplit_once('.')?;
    let name = rest.rsplit_once('.').map_or(rest, |(_, name)| name);
    (!runtime.starts_with('.')).then(|| format!("containerd-shim-{name}-{version}"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn put(dir: &Path, name: &str) -> PathBuf {
        std::fs::create_dir_all(dir).unwrap();
        let path = dir.join(name);
        std::fs::write(&path, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn names_of_programs() {
        for (runtime, program) in [
            ("io.containerd.runc.v2", Some("containerd-shim-runc-v2")),
            ("io.containerd.kata-fc.v2", Some("containerd-shim-kata-fc-v2")),
            ("runc.v2", Some("containerd-shim-runc-v2")),
            ("runc", None),
            (".runc.v2", None),
        ] {
            assert_eq!(program_name(runtime).as_deref(), program, "{runtime}");
        }
    }

    #[test]
    fn working_directory_then_beside_the_daemon_then_path() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let make = || Resolver::with(&at("bin/containerd"), vec![at("p1"), at("p2")], at("cwd"));
        let name = "containerd-shim-x-v1";
        let path = put(&at("p2"), name);
        assert_eq!(make().resolve("a.x.v1").unwrap(), path);
        let beside = put(&at("bin"), name);
        assert_eq!(make().resolve("a.x.v1").unwrap(), beside);
        let resolver = make();
        assert_eq!(resolver.resolve("a.x.v1").unwrap(), beside);
        let here = put(&at("cwd"), name);
        assert_eq!(resolver.resolve("b.x.v1").unwrap(), beside, "remembered by program");
        assert_eq!(make().resolve("a.x.v1").unwrap(), here);
    }

    #[test]
    fn refusals_in_the_words_that_callers_match() {
        let dir = tempfile::tempdir().unwrap();
        let resolver = Resolver::with(&dir.path().join("containerd"), vec![], dir.path().to_owned());
        let text = |runtime: &str| resolver.resolve(runtime).unwrap_err().to_string();
        assert_eq!(text(""), "no runtime name");
        assert_eq!(
            text("io.containerd.nope.v1"),
            "runtime \"io.containerd.nope.v1\" binary not installed \"containerd-shim-nope-v1\": file does not exist"
        );
        for bad in ["runc", "bin/containerd-shim-runc-v2", "./x.v2"] {
            assert_eq!(
                text(bad),
                format!(
                    "invalid runtime name {bad}, correct runtime name should be either format like \
                     `io.containerd.runc.v2` or a full path to the binary"
                )
            );
        }
        assert_eq!(
            text("/no/such/shim"),
            "invalid custom binary path: stat /no/such/shim: no such file or directory"
        );
    }
}
