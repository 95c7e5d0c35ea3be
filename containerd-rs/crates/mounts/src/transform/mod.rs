//! What is done to a mount before it is mounted.

mod mkdir;
mod mkfs;

use std::path::{Component, Path, PathBuf};

use base::Mount;

use crate::activation::Active;
use crate::error::{Error, Result};
use crate::template::fill;

/// A transform, named by a prefix of the mount's type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `format/`: fills in templates.
    Format,
    /// `mkfs/`: makes the file system in the source file, once.
    Mkfs,
    /// `mkdir/`: makes directories.
    Mkdir,
}

impl Kind {
    pub(crate) fn of(prefix: &str) -> Option<Self> {
        [Kind::Format, Kind::Mkfs, Kind::Mkdir].into_iter().find(|k| k.prefix() == prefix)
    }

    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Kind::Format => "format",
            Kind::Mkfs => "mkfs",
            Kind::Mkdir => "mkdir",
        }
    }

    /// Carries it out below `roots`. May block for as long as a file system takes to make.
    pub(crate) fn apply(self, mount: Mount, before: &[Active], roots: &Roots) -> Result<Mount> {
        match self {
            Kind::Format => format(mount, before),
            Kind::Mkfs => mkfs::apply(mount, roots),
            Kind::Mkdir => mkdir::apply(mount, roots),
        }
    }
}

fn format(mut mount: Mount, before: &[Active]) -> Result<Mount> {
    mount.source = fill(&mount.source, before)?;
    mount.target = fill(&mount.target, before)?;
    mount.options = mount.options.iter().map(|o| fill(o, before)).collect::<Result<_>>()?;
    Ok(mount)
}

/// The directories in which things may be made.
#[derive(Debug, Clone)]
pub(crate) struct Roots(pub(crate) Vec<PathBuf>);

impl Roots {
    /// The root that `path` is below, and the rest of the path. Names that lead upwards are refused.
    fn find<'a>(&self, path: &'a Path, what: &str) -> Result<(&Path, &'a Path)> {
        let found = self.0.iter().find_map(|root| Some((root.as_path(), path.strip_prefix(root).ok()?)));
        let Some((root, below)) = found else {
            return Err(Error::unimplemented(format!("no root {:?} configured for {what}", path.display())));
        };
        let is_plain = |c: Component<'_>| matches!(c, Component::Normal(_));
        if below.as_os_str().is_empty() || !below.components().all(is_plain) {
            return Err(Error::invalid(format!("{:?} is not a path for {what}", path.display())));
        }
        Ok((root, below))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_below_a_root() {
        let roots = Roots(vec!["/run/t".into(), "/var/lib/c".into()]);
        let find =
            |path: &str| roots.find(Path::new(path), "mkdir").map(|(r, b)| (r.to_owned(), b.to_owned()));
        assert_eq!(find("/var/lib/c/a/b").unwrap(), ("/var/lib/c".into(), "a/b".into()));
        for bad in ["/var/lib/cx/a", "/etc", "/run/t", "/run/t/../../etc/x", "run/t/a"] {
            assert!(find(bad).is_err(), "{bad}");
        }
    }
}
