//! Unix sockets: listeners with the right mode from the first moment, and who is on the other end.

use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::{CWD, FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

use crate::error::{Context, Error, Result};

/// Longest path of a unix socket in bytes (`sun_path` less its terminator).
pub const MAX_SOCKET_PATH: usize = 107;

/// The process on the other end of a unix socket, as it was when it connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerCred {
    /// Process id in our pid namespace, 0 when it is not visible from here.
    pub pid: u32,
    /// Effective user id.
    pub uid: u32,
    /// Effective group id.
    pub gid: u32,
}

/// Who is on the other end (`SO_PEERCRED`).
pub fn peer_cred(socket: impl AsFd) -> Result<PeerCred> {
    // By getsockopt and not through rustix: its process ids cannot be zero, which is what a peer in another pid namespace has.
    let mut cred = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    use std::os::fd::AsRawFd;
    // SAFETY: `cred` is valid for writes of `len` bytes, and any bytes make a valid `ucred`.
    let rc = unsafe {
        libc::getsockopt(
            socket.as_fd().as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut cred).cast(),
            &mut len,
        )
    };
    if rc != 0 {
        return Err(std::io::Error::last_os_error()).doing("get peer credentials");
    }
    Ok(PeerCred { pid: cred.pid.max(0) as u32, uid: cred.uid, gid: cred.gid })
}

/// How [`listen`] makes the socket file.
#[derive(Clone, Copy, Debug)]
pub struct ListenOptions {
    /// Permission bits of the socket file.
    pub mode: u32,
    /// Owner and group of the socket file; `None` leaves ours.
    pub owner: Option<(u32, u32)>,
    /// Length of the accept queue.
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> ListenOptions {
        ListenOptions { mode: 0o600, owner: None, backlog: 1024 }
    }
}

/// What stands at a socket path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketState {
    /// Nothing.
    Absent,
    /// A socket file that nobody listens on.
    Dead,
    /// A socket that somebody listens on.
    Live,
}

/// Listens on `path`. A dead socket file there is replaced; a live one, or anything else in the way, is [`Error::Exists`]. The file has
/// its mode from the moment it can be seen. The listener is close-on-exec and blocking.
/// Of several processes that try at the same time exactly one wins.
pub fn listen(path: &Path, options: ListenOptions) -> Result<UnixListener> {
    check_length(path)?;
    // Between the look at a dead socket and the new one another process must not do the same: it would remove ours.
    let _lock = lock_directory(&crate::fs::parent_of(path))?;
    match state(path)? {
        SocketState::Absent => {}
        SocketState::Live => {
            return Err(Error::Exists(format!("another process listens on {}", path.display())));
        }
        SocketState::Dead => match rustix::fs::unlink(path) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(e).on("remove dead socket", path),
        },
    }
    let address = SocketAddrUnix::new(path).on("use as socket address", path)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
            .doing("create unix socket")?;
    // The kernel gives the file the mode of the unbound socket less the umask; the umask is taken back below.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(options.mode)).doing("set mode of unix socket")?;
    match rustix::net::bind(&socket, &address) {
        Ok(()) => {}
        Err(Errno::ADDRINUSE) => {
            return Err(Error::Exists(format!("another process has taken {}", path.display())));
        }
        Err(e) => return Err(Error::path("bind socket", path, e)),
    }
    if let Some((uid, gid)) = options.owner {
        let (uid, gid) = (rustix::fs::Uid::from_raw(uid), rustix::fs::Gid::from_raw(gid));
        rustix::fs::chownat(CWD, path, Some(uid), Some(gid), rustix::fs::AtFlags::SYMLINK_NOFOLLOW)
            .on("set owner of", path)?;
    }
    rustix::fs::chmod(path, Mode::from_raw_mode(options.mode)).on("set mode of", path)?;
    rustix::net::listen(&socket, options.backlog).on("listen on", path)?;
    Ok(UnixListener::from(socket))
}

/// Longest wait for another process that is about to listen in the same directory.
const LOCK_TIMEOUT: Duration = Duration::from_secs(5);

/// Holds the directory against other callers of [`listen`] until it is dropped.
fn lock_directory(dir: &Path) -> Result<rustix::fd::OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(CWD, dir, flags, Mode::empty()).on("open directory", dir)?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match rustix::fs::flock(&fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(fd),
            Err(Errno::WOULDBLOCK) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(2))
            }
            Err(Errno::WOULDBLOCK) => {
                let what = format!("the lock on directory {}", dir.display());
                return Err(Error::Timeout { what, millis: LOCK_TIMEOUT.as_millis() as u64 });
            }
            Err(e) => return Err(e).on("lock directory", dir),
        }
    }
}

/// Looks whether somebody listens on `path`, without waiting. Something there that is no socket is [`Error::Exists`].
pub fn state(path: &Path) -> Result<SocketState> {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => {}
        Ok(_) => return Err(Error::Exists(format!("{} exists and is not a socket", path.display()))),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(SocketState::Absent),
        Err(e) => return Err(Error::path("stat", path, e)),
    }
    check_length(path)?;
    let address = SocketAddrUnix::new(path).on("use as socket address", path)?;
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .doing("create unix socket")?;
    match rustix::net::connect(&socket, &address) {
        // A full queue is a listener too.
        Ok(()) | Err(Errno::AGAIN | Errno::INPROGRESS) => Ok(SocketState::Live),
        Err(Errno::CONNREFUSED) => Ok(SocketState::Dead),
        Err(Errno::NOENT) => Ok(SocketState::Absent),
        Err(e) => Err(Error::path("connect to", path, e)),
    }
}

fn check_length(path: &Path) -> Result<()> {
    let len = path.as_os_str().len();
    if len > MAX_SOCKET_PATH {
        return Err(Error::Invalid(format!(
            "socket path of {len} bytes is longer than {MAX_SOCKET_PATH}: {}",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    use std::os::unix::net::UnixStream;

    #[test]
    fn listens_with_mode_and_owner_and_knows_its_peer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let listener =
            listen(&path, ListenOptions { mode: 0o660, owner: Some((1, 2)), backlog: 16 }).unwrap();
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((meta.permissions().mode() & 0o777, meta.uid(), meta.gid()), (0o660, 1, 2));
        let _client = UnixStream::connect(&path).unwrap();
        let (server, _) = listener.accept().unwrap();
        let cred = peer_cred(&server).unwrap();
        assert_eq!((cred.pid, cred.uid), (std::process::id(), 0));
    }

    #[test]
    fn a_live_socket_is_kept_and_a_dead_one_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        assert_eq!(state(&path).unwrap(), SocketState::Absent);
        let first = listen(&path, ListenOptions::default()).unwrap();
        assert_eq!(state(&path).unwrap(), SocketState::Live);
        assert!(matches!(listen(&path, ListenOptions::default()), Err(Error::Exists(_))));
        drop(first);
        assert_eq!(state(&path).unwrap(), SocketState::Dead);
        let _second = listen(&path, ListenOptions::default()).unwrap();
        assert_eq!(state(&path).unwrap(), SocketState::Live);
    }

    #[test]
    fn of_many_at_once_one_wins_and_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        for _ in 0..20 {
            drop(listen(&path, ListenOptions::default()).unwrap());
            let (path, barrier) = (&path, &std::sync::Barrier::new(8));
            let winners: Vec<UnixListener> = std::thread::scope(|scope| {
                let try_it = || {
                    barrier.wait();
                    listen(path, ListenOptions::default()).ok()
                };
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(try_it)).collect();
                threads.into_iter().filter_map(|t| t.join().unwrap()).collect()
            });
            assert_eq!(winners.len(), 1);
            let _client = UnixStream::connect(path).unwrap();
            winners[0].accept().unwrap();
        }
    }

    #[test]
    fn a_full_queue_counts_as_live() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.sock");
        let _listener = listen(&path, ListenOptions { backlog: 0, ..ListenOptions::default() }).unwrap();
        let states: Vec<_> = (0..4).map(|_| state(&path).unwrap()).collect();
        assert_eq!(states, vec![SocketState::Live; 4]);
    }

    #[test]
    fn other_files_and_long_paths_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("precious");
        std::fs::write(&file, "data").unwrap();
        assert!(matches!(listen(&file, ListenOptions::default()), Err(Error::Exists(_))));
        assert_eq!(std::fs::read(&file).unwrap(), b"data");
        let long = dir.path().join("x".repeat(120));
        assert!(matches!(listen(&long, ListenOptions::default()), Err(Error::Invalid(_))));
    }
}
