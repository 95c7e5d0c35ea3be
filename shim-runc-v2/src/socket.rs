//! The shim's socket: its name, and getting hold of it.
//!
//! The name is made of who asks (daemon socket, namespace) and of the group that shares a shim, so two
//! starts for one group meet at one socket: the later one finds it alive and joins.

use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use base::{Digest, Error};
use sys::sock::{ListenOptions, SocketState};

/// Longest path that the kernel takes, less what Go leaves.
const MAX_PATH: usize = 106;

/// `DIR/HASH`: the hash is SHA-256, in hex, of `grpc address/namespace/group`, joined as Go's `path.Join` does.
pub(crate) fn path(dir: &str, grpc_address: &str, namespace: &str, group: &str) -> PathBuf {
    let joined = clean(&format!("{grpc_address}/{namespace}/{group}"));
    Path::new(dir).join(Digest::sha256(joined.as_bytes()).hex())
}

/// Go's `path.Clean` for what can stand in an address: double slashes, `.` and `..`.
fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|p| *p != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            other => parts.push(other),
        }
    }
    let joined = parts.join("/");
    if rooted { format!("/{joined}") } else { joined }
}

/// What [`bind`] found.
pub(crate) enum Bound {
    /// The socket is ours.
    New(UnixListener),
    /// A living shim has it.
    Taken,
}

/// Binds the socket, or finds the shim that has it. A socket that nobody listens on is replaced.
///
/// # Errors
/// The path is too long, or the directory cannot be used.
pub(crate) fn bind(path: &Path) -> Result<Bound, Error> {
    if path.as_os_str().len() > MAX_PATH {
        return Err(Error::invalid(format!("{path:?}: unix socket path too long (> {MAX_PATH})")));
    }
    let failed =
        |e: std::io::Error| Error::unknown(format!("create new shim socket: {}: {e}", path.display()));
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed)?;
    match sys::sock::listen(path, ListenOptions::default()) {
        Ok(listener) => Ok(Bound::New(listener)),
        Err(sys::Error::Exists(_)) if matches!(sys::sock::state(path), Ok(SocketState::Live)) => {
            Ok(Bound::Taken)
        }
        Err(e) => Err(Error::unknown("create new shim socket").with_source(e)),
    }
}

/// Removes a socket file that nobody listens on.
pub(crate) fn remove_dead(path: &Path) {
    let Some(lock) = path.parent().and_then(|dir| std::fs::File::open(dir).ok()) else { return };
    if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
        && matches!(sys::sock::state(path), Ok(SocketState::Dead))
    {
        let _ = std::fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn joined_as_go_joins() {
        for (path, want) in [
            ("/run/containerd/containerd.sock/default/a", "/run/containerd/containerd.sock/default/a"),
            ("/run//c.sock/./n/../n/a", "/run/c.sock/n/a"),
            ("//n/a", "/n/a"),
            ("rel/n/a", "rel/n/a"),
            ("/../a", "/a"),
        ] {
            assert_eq!(clean(path), want);
        }
        // sha256 of "/run/containerd/containerd.sock/default/a", by sha256sum.
        let path = path("/run/containerd/s", "/run/containerd/containerd.sock", "default", "a");
        assert_eq!(
            path,
            Path::new("/run/containerd/s/82795ca4b9b166c1139546afbf9dfd59d74776e0b49c8edfbb195f9d8b9e94a6")
        );
    }

    #[test]
    fn a_live_socket_is_joined_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s/x");
        let Ok(Bound::New(listener)) = bind(&path) else { panic!("not bound") };
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert!(matches!(bind(&path), Ok(Bound::Taken)));
        drop(listener);
        assert!(matches!(bind(&path), Ok(Bound::New(_))));
        assert!(bind(Path::new(&format!("/tmp/{}", "x".repeat(120)))).is_err());
    }
}
