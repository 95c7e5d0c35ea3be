//! Bundles for tests: this machine's busybox as the root file system.
#![allow(clippy::unwrap_used)] // a fixture: what it cannot make ends the test

use std::path::{Path, PathBuf};

use protos::shim::Any;
use protos::shim::options::Options;
use protos::shim::task_v3::CreateTaskRequest;

/// The namespace of all tests' containers.
pub const NAMESPACE: &str = "shimtest";

/// A bundle on disk.
pub struct Bundle {
    /// The container's id.
    pub id: String,
    /// The directory.
    pub dir: PathBuf,
}

impl Bundle {
    /// Makes a bundle below `parent` whose container runs `args`.
    pub fn new(parent: &Path, id: &str, args: &[&str]) -> Bundle {
        let dir = parent.join(id);
        let rootfs = dir.join("rootfs");
        for sub in ["bin", "dev", "proc", "tmp", "sys"] {
            std::fs::create_dir_all(rootfs.join(sub)).unwrap();
        }
        let busybox =
            if Path::new("/usr/bin/busybox").exists() { "/usr/bin/busybox" } else { "/bin/busybox" };
        std::fs::copy(busybox, rootfs.join("bin/busybox")).unwrap();
        for applet in ["sh", "sleep", "cat", "true", "echo", "kill", "dd", "stty", "id"] {
            let _ = std::os::unix::fs::symlink("busybox", rootfs.join("bin").join(applet));
        }
        let bundle = Bundle { id: id.to_owned(), dir };
        bundle.write_spec(&bundle.spec(args));
        make_fifo(&bundle.dir.join("log"));
        bundle
    }

    /// Replaces `config.json`.
    pub fn write_spec(&self, spec: &serde_json::Value) {
        std::fs::write(self.dir.join("config.json"), serde_json::to_vec(spec).unwrap()).unwrap();
    }

    /// The specification of a container that runs `args`.
    pub fn spec(&self, args: &[&str]) -> serde_json::Value {
        serde_json::json!({
            "ociVersion": "1.0.2",
            "process": process(args, false),
            "root": {"path": "rootfs"},
            "hostname": "c",
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755", "size=65536k"]},
                {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options": ["newinstance", "ptmxmode=0666", "mode=0620"]},
            ],
            "linux": {
                "cgroupsPath": format!("/{NAMESPACE}/{}", self.unique()),
                "namespaces": [{"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
                "resources": {"devices": [{"allow": true, "access": "rwm"}]},
            },
        })
    }

    /// A name that no other run of the tests uses.
    pub fn unique(&self) -> String {
        let parent = self.dir.parent().unwrap().file_name().unwrap().to_string_lossy().into_owned();
        format!("{}-{}", parent.trim_start_matches('.'), self.id)
    }

    /// Runtime options: a runtime, whose state is this place's own.
    pub fn options(&self, binary: &str) -> Any {
        let mut options = Options::new();
        options.binary_name = binary.to_owned();
        options.root = self.dir.parent().unwrap().join("runc").to_string_lossy().into_owned();
        protos::shim::any::pack(&options).unwrap()
    }

    /// A FIFO in the bundle.
    pub fn fifo(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        make_fifo(&path);
        path
    }

    /// What a daemon sends to Create, without streams.
    pub fn create_request(&self) -> CreateTaskRequest {
        let mut request = CreateTaskRequest::new();
        request.id = self.id.clone();
        request.bundle = self.dir.to_string_lossy().into_owned();
        request.options = Some(self.options("")).into();
        request
    }
}

fn make_fifo(path: &Path) {
    rustix::fs::mkfifoat(rustix::fs::CWD, path, rustix::fs::Mode::from_raw_mode(0o700)).unwrap();
}

/// An OCI process that runs `args` as root.
pub fn process(args: &[&str], terminal: bool) -> serde_json::Value {
    serde_json::json!({"terminal": terminal, "user": {"uid": 0, "gid": 0}, "args": args, "cwd": "/",
        "env": ["PATH=/bin"], "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]}})
}
