//! Snapshots as ZFS datasets, through the `zfs` program.
//!
//! The root is mounted from a dataset; each snapshot is the dataset `<that>/<number>`, and a committed one has the ZFS snapshot
//! `@snapshot`, of which its children are clones.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Labels, Mount};

use crate::backend::Chain;
use crate::error::{Error, Result, blocking};
use crate::info::{Kind, Usage};
use crate::volume::{Found, Storage, Volumes};

/// The part after `@` of a committed snapshot.
const SNAPSHOT: &str = "snapshot";
/// Longest that one command may take.
const LIMIT: Duration = Duration::from_secs(120);

/// Opens the zfs snapshotter at `root`, which must be on a dataset of its own.
///
/// # Errors
/// A failed precondition, with the words for the plugin list, when it is not.
pub async fn open(root: &Path) -> Result<Volumes> {
    let dataset = {
        let root = root.to_owned();
        blocking(move || dataset_of(&root)).await?
    };
    Volumes::open(root, Arc::new(Datasets { program: "zfs".into(), dataset })).await
}

fn dataset_of(root: &Path) -> Result<String> {
    // It may not have been made yet.
    let there = root.ancestors().find(|p| p.exists()).unwrap_or(root);
    let mount = sys::mount::lookup(there).map_err(|e| Error::precondition(base::chain(&e)))?;
    if mount.fstype != "zfs" {
        let root = root.display();
        let message = format!("path {root} must be a zfs filesystem to be used with the zfs snapshotter");
        return Err(Error::precondition(message));
    }
    Ok(mount.source)
}

struct Datasets {
    program: String,
    /// The one that the root is mounted from.
    dataset: String,
}

impl Datasets {
    fn zfs(&self, arguments: &[&str]) -> Result<String> {
        Ok(sys::program::run(&self.program, arguments, LIMIT)?)
    }

    fn name(&self, id: u64) -> String {
        format!("{}/{id}", self.dataset)
    }

    /// Names of `kind` (`filesystem`, `snapshot`) right below a dataset; the dataset itself may be among them.
    fn list(&self, kind: &str, dataset: &str) -> Result<Vec<String>> {
        let listed = self.zfs(&["list", "-H", "-t", kind, "-o", "name", "-r", "-d", "1", dataset])?;
        Ok(listed.lines().map(|line| line.trim().to_owned()).collect())
    }

    fn has(&self, id: u64) -> Result<bool> {
        Ok(self.found()?.iter().any(|found| found.id == id))
    }
}

impl Storage for Datasets {
    fn create(&self, chain: &Chain, _: &Labels) -> Result<()> {
        let name = self.name(chain.id);
        let origin = chain.parents.first().map(|parent| format!("{}@{SNAPSHOT}", self.name(*parent)));
        match &origin {
            None => self.zfs(&["create", "-o", "mountpoint=legacy", &name])?,
            Some(origin) => self.zfs(&["clone", "-o", "mountpoint=legacy", origin, &name])?,
        };
        Ok(())
    }

    fn mounts(&self, chain: &Chain, _: &Labels) -> Result<Vec<Mount>> {
        let options = if chain.kind == Kind::View { vec!["ro".into()] } else { Vec::new() };
        Ok(vec![Mount::new("zfs", self.name(chain.id), options)])
    }

    fn usage(&self, id: u64, _: Option<u64>) -> Result<Usage> {
        let used = self.zfs(&["get", "-Hp", "-o", "value", "used", &self.name(id)])?;
        let size = used.trim().parse().map_err(|_| {
            Error::refused(
                ErrorKind::Unknown,
                format!("zfs says that {} uses {:?}", self.name(id), used.trim()),
            )
        })?;
        // It does not count files.
        Ok(Usage { size, inodes: -1 })
    }

    fn seal(&self, id: u64) -> Result<()> {
        let snapshot = format!("{}@{SNAPSHOT}", self.name(id));
        if self.list("snapshot", &self.name(id))?.contains(&snapshot) {
            // From a commit that a crash cut short; it may have been written to since.
            self.zfs(&["destroy", &snapshot])?;
        }
        self.zfs(&["snapshot", &snapshot])?;
        Ok(())
    }

    fn remove(&self, id: u64, _: Option<Kind>) -> Result<()> {
        if self.has(id)? {
            // With its own snapshot; clones of that are children, without which nobody comes here.
            self.zfs(&["destroy", "-r", &self.name(id)])?;
        }
        Ok(())
    }

    fn found(&self) -> Result<Vec<Found>> {
        let prefix = format!("{}/", self.dataset);
        let names = self.list("filesystem", &self.dataset)?;
        let ids = names.iter().filter_map(|name| name.strip_prefix(&prefix)?.parse().ok());
        Ok(ids.map(|id| Found { id, kind: None }).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use base::Kinded;

    use super::*;

    /// A program that notes its arguments and answers what a real one was recorded to answer.
    fn recorded(directory: &Path) -> Datasets {
        let program = directory.join("zfs");
        let log = directory.join("log");
        let script = format!(
            "#!/bin/sh\necho \"$*\" >> {log}\ncase \"$*\" in\n\
             *'-t filesystem'*) printf 'tank/ctr\\ntank/ctr/1\\ntank/ctr/12\\ntank/ctr/other\\n';;\n\
             *'-t snapshot'*'tank/ctr/1') printf 'tank/ctr/1@snapshot\\n';;\n\
             get*) printf '25088\\n';;\n\
             clone*'/99@'*) echo \"cannot open 'tank/ctr/99@snapshot': dataset does not exist\" >&2; exit 1;;\n\
             esac\n",
            log = log.display()
        );
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        Datasets { program: program.display().to_string(), dataset: "tank/ctr".into() }
    }

    fn chain(kind: Kind, id: u64, parents: &[u64]) -> Chain {
        Chain { kind, id, parents: parents.to_vec() }
    }

    #[test]
    fn what_is_asked_of_the_program() {
        let dir = tempfile::tempdir().unwrap();
        let zfs = recorded(dir.path());
        let none = Labels::new();
        zfs.create(&chain(Kind::Active, 2, &[]), &none).unwrap();
        zfs.create(&chain(Kind::Active, 3, &[2, 1]), &none).unwrap();
        zfs.seal(2).unwrap();
        zfs.seal(1).unwrap();
        assert_eq!(zfs.usage(3, Some(2)).unwrap(), Usage { size: 25088, inodes: -1 });
        zfs.remove(12, None).unwrap();
        zfs.remove(5, None).unwrap();
        let list = "list -H -t filesystem -o name -r -d 1 tank/ctr";
        let log = std::fs::read_to_string(dir.path().join("log")).unwrap();
        assert_eq!(
            log.lines().collect::<Vec<_>>(),
            [
                "create -o mountpoint=legacy tank/ctr/2",
                "clone -o mountpoint=legacy tank/ctr/2@snapshot tank/ctr/3",
                "list -H -t snapshot -o name -r -d 1 tank/ctr/2",
                "snapshot tank/ctr/2@snapshot",
                "list -H -t snapshot -o name -r -d 1 tank/ctr/1",
                "destroy tank/ctr/1@snapshot",
                "snapshot tank/ctr/1@snapshot",
                "get -Hp -o value used tank/ctr/3",
                list,
                "destroy -r tank/ctr/12",
                list,
            ]
        );
    }

    #[test]
    fn what_is_made_of_the_answers() {
        let dir = tempfile::tempdir().unwrap();
        let zfs = recorded(dir.path());
        let ids: Vec<u64> = zfs.found().unwrap().iter().map(|f| f.id).collect();
        assert_eq!(ids, [1, 12]);
        let mounts = |kind| zfs.mounts(&chain(kind, 7, &[1]), &Labels::new()).unwrap();
        assert_eq!(mounts(Kind::Active), [Mount::new("zfs", "tank/ctr/7", vec![])]);
        assert_eq!(mounts(Kind::View), [Mount::new("zfs", "tank/ctr/7", vec!["ro".into()])]);
        let failed = zfs.create(&chain(Kind::Active, 8, &[99]), &Labels::new()).unwrap_err();
        assert!(base::chain(&failed).contains("dataset does not exist"), "{}", base::chain(&failed));
    }

    #[test]
    fn elsewhere_it_is_skipped_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        for root in [dir.path().to_owned(), dir.path().join("not/made/yet")] {
            let refused = dataset_of(&root).unwrap_err();
            assert_eq!(refused.kind(), ErrorKind::FailedPrecondition);
            let said = refused.to_string();
            assert!(said.ends_with("must be a zfs filesystem to be used with the zfs snapshotter"), "{said}");
        }
    }
}
