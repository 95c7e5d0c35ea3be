//! The daemon's sockets: unix ones with owner and mode, replaced when dead and left alone when live or foreign.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde::Deserialize;
use tokio::net::UnixListener;

/// `address`, `uid` and `gid` of a unix listener's plugin table.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct UnixSettings {
    pub(super) address: String,
    #[serde(default)]
    pub(super) uid: u32,
    #[serde(default)]
    pub(super) gid: u32,
}

/// Listen at `settings.address` (a path, with or without `unix://`), mode 0660.
pub(super) fn unix(settings: &UnixSettings) -> anyhow::Result<(UnixListener, PathBuf)> {
    let path = PathBuf::from(settings.address.strip_prefix("unix://").unwrap_or(&settings.address));
    if !path.is_absolute() {
        bail!("the socket address {path:?} must be an absolute path");
    }
    if path.as_os_str().len() > sys::sock::MAX_SOCKET_PATH {
        bail!("the socket address {} is longer than {} bytes", path.display(), sys::sock::MAX_SOCKET_PATH);
    }
    let foreign = std::fs::symlink_metadata(&path).is_ok_and(|m| !m.file_type().is_socket());
    if foreign {
        bail!("{} exists and is not a socket: remove it or choose another address", path.display());
    }
    let dir = path.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    let options = sys::sock::ListenOptions {
        mode: 0o660,
        owner: Some((settings.uid, settings.gid)),
        ..sys::sock::ListenOptions::default()
    };
    let listener =
        sys::sock::listen(&path, options).with_context(|| format!("listen on {}", path.display()))?;
    listener.set_nonblocking(true)?;
    Ok((UnixListener::from_std(listener)?, path))
}
