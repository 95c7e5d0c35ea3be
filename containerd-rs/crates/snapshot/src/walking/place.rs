//! Which directory the files of a layer are written to, for given mounts.

use std::path::{Path, PathBuf};

use base::{ErrorKind, Mount};
use sys::mount::TempMount;

use crate::erofs::differ::layer_directory;
use crate::error::{Error, Result, blocking};
use crate::layer::Hiding;
use crate::overlay::in_user_namespace;

/// A directory to write to.
pub(super) struct Place {
    pub(super) root: PathBuf,
    pub(super) lowers: Vec<PathBuf>,
    pub(super) hiding: Hiding,
    mount: Option<TempMount>,
    below: Option<mounts::Temporary>,
}

impl Place {
    /// Where to write for `mounts`: the upper directory of a single overlay, the source of a single
    /// plain bind mount, a temporary mount for anything else. What these need is made first.
    pub(super) async fn of(
        mounts: &[Mount],
        tmp_dir: &Path,
        manager: Option<&mounts::Manager>,
    ) -> Result<Self> {
        let below = match manager {
            Some(manager) => manager.temporary(mounts).await?,
            None => None,
        };
        let left = below.as_ref().map_or(mounts, |below| below.mounts());
        let mut place = Place::of_plain(left, tmp_dir).await?;
        if layer_directory(mounts).is_some() && !in_user_namespace() {
            // It becomes a layer of an overlay, whatever it is now.
            place.hiding = Hiding::Overlay;
        }
        place.below = below;
        Ok(place)
    }

    async fn of_plain(mounts: &[Mount], tmp_dir: &Path) -> Result<Self> {
        if let [mount] = mounts
            && let Some(place) = Place::direct(mount, in_user_namespace())
        {
            return Ok(place);
        }
        let (mounts, tmp_dir) = (mounts.to_vec(), tmp_dir.to_owned());
        blocking(move || {
            sys::fs::ensure_dir(&tmp_dir, 0o700)?;
            let mount = TempMount::new(&mounts, &tmp_dir)?;
            let root = mount.path().to_owned();
            Ok(Place { root, lowers: Vec::new(), hiding: Hiding::Remove, mount: Some(mount), below: None })
        })
        .await
    }

    /// Where to write what will be laid over layers that are not there yet: the source of a single
    /// plain bind mount.
    pub(super) fn apart(mounts: &[Mount]) -> Result<Self> {
        let place = match mounts {
            [mount] if mount.fstype == "bind" => Place::direct(mount, in_user_namespace()),
            _ => None,
        };
        let refused = || {
            Error::refused(ErrorKind::Unimplemented, "a layer cannot be written there before those below it")
        };
        Ok(Place { hiding: Hiding::Overlay, ..place.ok_or_else(refused)? })
    }

    fn direct(mount: &Mount, in_user_namespace: bool) -> Option<Self> {
        if !mount.target.is_empty() {
            return None;
        }
        match mount.fstype.as_str() {
            // A user namespace cannot make the devices that hide things.
            "overlay" if !in_user_namespace => {
                let value = |key: &str| mount.options.iter().rev().find_map(|o| o.strip_prefix(key));
                let upper = value("upperdir=").filter(|u| !u.is_empty())?;
                let lowers = value("lowerdir=").map(|l| l.split(':').map(PathBuf::from).collect());
                Some(Place {
                    root: upper.into(),
                    lowers: lowers.unwrap_or_default(),
                    hiding: Hiding::Overlay,
                    mount: None,
                    below: None,
                })
            }
            "bind" if mount.options.iter().all(|o| matches!(o.as_str(), "rw" | "bind" | "rbind")) => {
                Some(Place {
                    root: PathBuf::from(&mount.source),
                    lowers: Vec::new(),
                    hiding: Hiding::Remove,
                    mount: None,
                    below: None,
                })
            }
            _ => None,
        }
    }

    /// Takes temporary mounts away.
    pub(super) async fn close(self) -> Result<()> {
        if let Some(mount) = self.mount {
            blocking(move || Ok(mount.close()?)).await?;
        }
        match self.below {
            Some(below) => below.close().await.map_err(Error::from),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn mount(fstype: &str, options: &str) -> Mount {
        Mount::new(fstype, "/src", options.split(',').map(str::to_owned).collect())
    }

    #[test]
    fn what_is_written_to_directly() {
        let overlay = mount("overlay", "workdir=/w,upperdir=/u,lowerdir=/b:/a,index=off");
        let place = Place::direct(&overlay, false).unwrap();
        assert_eq!((place.root, place.hiding), (PathBuf::from("/u"), Hiding::Overlay));
        assert_eq!(place.lowers, [PathBuf::from("/b"), PathBuf::from("/a")]);
        assert!(Place::direct(&overlay, true).is_none());
        let bind = Place::direct(&mount("bind", "rw,rbind"), false).unwrap();
        assert_eq!((bind.root, bind.hiding), (PathBuf::from("/src"), Hiding::Remove));
        for other in [
            mount("overlay", "lowerdir=/b:/a"),
            mount("bind", "ro,rbind"),
            mount("bind", "rbind,rw,uidmap=0:1:1"),
            mount("ext4", "rw"),
            Mount { target: "below".into(), ..mount("bind", "rw") },
        ] {
            assert!(Place::direct(&other, false).is_none(), "{other:?}");
        }
    }
}
