//! The unpack worker's jail, tried by a worker that has been taken over (`examples/hostile_worker.rs`).
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::Mount;
use sys::mount::{UnmountFlags, mount, unmount};

/// A directory tree with something to steal: `secret` beside `root` and `lower`.
struct Scene {
    dir: tempfile::TempDir,
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for d in ["root", "lower"] {
            fs::create_dir(dir.path().join(d)).unwrap();
        }
        fs::write(dir.path().join("secret"), "secret").unwrap();
        fs::write(dir.path().join("lower/f"), "f").unwrap();
        fs::write(dir.path().join("blob"), "blob of the content store").unwrap();
        for f in ["secret", "lower/f", "blob"] {
            fs::set_permissions(dir.path().join(f), fs::Permissions::from_mode(0o640)).unwrap();
        }
        Scene { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the hostile worker could do: the errno of each try.
    fn attack(&self) -> BTreeMap<String, i32> {
        let job = format!(
            r#"{{"root":{:?},"lowers":[{:?}],"rules":{{"whiteouts":"overlay","skip_devices":false,"limits":{{}}}},"packing":"plain","size":0,"sync_fs":false,"memory":1073741824}}"#,
            self.path("root"),
            self.path("lower")
        );
        let exe = std::env::current_exe().unwrap();
        let program = exe.parent().unwrap().parent().unwrap().join("examples/hostile_worker");
        let output = Command::new(program)
            .args([snapshot::worker::SUBCOMMAND, &job])
            .env_clear()
            .stdin(Stdio::from(File::open(self.path("blob")).unwrap()))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
        let lines = said.lines().map(|l| l.rsplit_once('=').unwrap());
        lines.map(|(name, errno)| (name.to_owned(), errno.parse().unwrap())).collect()
    }

    fn nothing_changed(&self) {
        for (name, body) in [("secret", "secret"), ("lower/f", "f"), ("blob", "blob of the content store")] {
            let path = self.path(name);
            let meta = fs::metadata(&path).unwrap();
            assert_eq!(
                (meta.mode() & 0o7777, meta.uid(), meta.gid(), meta.nlink()),
                (0o640, 0, 0, 1),
                "{name}"
            );
            assert_eq!(fs::read_to_string(&path).unwrap(), body);
            assert_eq!(sys::xattr::get(&path, "user.a").unwrap(), None, "{name}");
        }
        let names = |dir: &Path| {
            let mut names: Vec<_> = fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.dir.path()), ["blob", "lower", "root", "secret"]);
        assert_eq!(names(&self.path("lower")), ["f"]);
        assert_eq!(sys::xattr::get(&self.path("lower"), "trusted.overlay.opaque").unwrap(), None);
    }
}

/// What is no way out: facts about the jail, and names that are in it.
fn is_no_way_out(name: &str) -> bool {
    let fact = ["private", "landlock", "fds", "done"].contains(&name);
    // Links may be read and removed as what they are; only what they lead to is closed.
    let own_link = name.starts_with("link ")
        && ["unlink", "link here", "rename", "mkdir", "set xattr"].iter().any(|what| name.contains(what));
    // ".." of "/" is "/": the directory is made inside.
    let made_inside = name.starts_with("root mkdir ");
    fact || own_link || made_inside
}

#[test]
fn every_way_out_of_the_worker_is_closed() {
    let scene = Scene::new();
    let said = scene.attack();
    assert_eq!(said["private"], 1, "{said:?}");
    assert_eq!(said["done"], 0);
    // Standard input, output and error, the root, one lower and the blob.
    assert_eq!(said["fds"], 6, "the worker has descriptors that it was not given");
    assert!(said.len() > 300, "{}", said.len());
    let ways: Vec<_> =
        said.iter().filter(|(name, errno)| **errno == 0 && !is_no_way_out(name)).map(|(n, _)| n).collect();
    assert!(ways.is_empty(), "{ways:?}");
    scene.nothing_changed();
    let made = fs::metadata(scene.path("root/work/file")).unwrap();
    assert_eq!((made.uid(), made.gid(), made.nlink()), (12, 34, 2));
}

/// Where the kernel does not make private mounts, Landlock is the wall: nothing outside can be opened, made, linked or removed.
#[test]
fn landlock_holds_where_private_mounts_cannot_be_made() {
    if sys::jail::landlock::version().is_none() {
        eprintln!("skipped: this kernel has no Landlock");
        return;
    }
    let scene = Scene::new();
    let source = scene.dir.path().display().to_string();
    // A clone of an unbindable mount is refused.
    mount(&Mount::new("bind", source, vec!["bind".into(), "unbindable".into()]), scene.dir.path()).unwrap();
    let said = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| scene.attack()));
    unmount(scene.dir.path(), UnmountFlags::DETACH).unwrap();
    let said = said.unwrap();
    assert_eq!(said["private"], 0, "{said:?}");
    let walled = ["read", "write", "list", "unlink", "link here", "rename", "mkdir", "lower file read"];
    let ways: Vec<_> = said
        .iter()
        .filter(|(name, errno)| {
            // A descriptor that can only be named is no access; devices are for the private mounts to refuse.
            let other = is_no_way_out(name) || name.contains(" path ") || name.starts_with("device ");
            **errno == 0 && !other && walled.iter().any(|w| name.contains(w))
        })
        .map(|(name, _)| name)
        .collect();
    assert!(ways.is_empty(), "{ways:?}");
    assert_eq!(fs::read_to_string(scene.path("secret")).unwrap(), "secret");
}
