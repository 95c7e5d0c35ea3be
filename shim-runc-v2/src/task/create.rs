//! Create: rootfs, streams, and a container whose init waits to be started.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use base::{Error, Mount};
use protos::shim::events::{TaskCreate, TaskIO};
use protos::shim::options::Options;
use protos::shim::task_v3::CreateTaskRequest;
use tokio::sync::oneshot;

use crate::bootstrap::{is_runc_options, parse_options};
use crate::bundle;
use crate::cgroup::Cgroup;
use crate::io::{self, Owner, Stdio};
use crate::logger::warning;
use crate::reaper::Exit;
use crate::runc::{LONG, Runc};
use crate::spec::Spec;
use crate::task::cancel::Cancel;
use crate::task::container::{Container, Made};
use crate::task::decide::Phase;
use crate::task::launch::{Broken, Plan, launch};
use crate::task::process::Proc;
use crate::task::{Entry, Tasks};

/// Time for the runtime to remove what it made before it was stopped.
const UNMAKE: Duration = Duration::from_secs(10);

/// An init's pid, and its end.
type Born = (u32, oneshot::Receiver<Exit>);

impl Tasks {
    /// Makes a container and gives its init's pid (0 when it is to be restored).
    ///
    /// Not cancel-safe; takes at most `limit`, after which the runtime is killed and what it made removed.
    ///
    /// # Errors
    /// `AlreadyExists`, bad options or spec, a rootfs that cannot be mounted, the runtime's own words.
    pub(crate) async fn create(
        &self,
        request: CreateTaskRequest,
        limit: Option<Duration>,
    ) -> Result<u32, Error> {
        base::validate_identifier(&request.id).map_err(|e| Error::wrap("invalid container id", e))?;
        let cancel = Cancel::new();
        self.reserve(&request.id, &cancel)?;
        let made = self.make(&request, limit.unwrap_or(LONG).min(LONG), &cancel).await;
        let mut containers = self.containers();
        match made {
            Ok((container, born)) => {
                let pid = born.as_ref().map_or(0, |b| b.0);
                containers.insert(request.id.clone(), Entry::Live(container.clone()));
                drop(containers);
                self.events().send("/tasks/create", &created_event(&request, pid));
                self.watch_oom(&container);
                if let Some((_, exit)) = born {
                    self.follow(&container, "", exit);
                }
                Ok(pid)
            }
            Err(e) => {
                containers.remove(&request.id);
                drop(containers);
                self.0.lifetime.changed();
                Err(e)
            }
        }
    }

    fn reserve(&self, id: &str, cancel: &Cancel) -> Result<(), Error> {
        let mut containers = self.containers();
        if containers.contains_key(id) {
            return Err(Error::already_exists(format!("container {id}")));
        }
        containers.insert(id.to_owned(), Entry::Creating(cancel.clone()));
        Ok(())
    }

    async fn make(
        &self,
        request: &CreateTaskRequest,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(Arc<Container>, Option<Born>), Error> {
        let options = options_of(request)?;
        let dir = PathBuf::from(&request.bundle);
        // Unreadable is as good as shared: then everything is killed with the init.
        let own_pid_namespace = Spec::read(&dir).is_ok_and(|s| s.has_own_pid_namespace());
        bundle::save_options(&dir, &options)?;
        let rootfs = mount_rootfs(&dir, request)?;
        let made = Made {
            id: request.id.clone(),
            runc: Runc::new(&options, &self.0.namespace, &dir),
            options,
            own_pid_namespace,
            checkpoint: request.checkpoint.clone(),
            init: Proc::new(stdio_of(request), Phase::Created),
            cgroup: None,
            bundle: dir,
        };
        match self.launch_init(made, limit, cancel).await {
            Ok(done) => Ok(done),
            Err(e) => {
                if let Some(rootfs) = rootfs {
                    unmount(&rootfs);
                }
                Err(e)
            }
        }
    }

    async fn launch_init(
        &self,
        mut made: Made,
        limit: Duration,
        cancel: &Cancel,
    ) -> Result<(Arc<Container>, Option<Born>), Error> {
        let stdio = made.init.stdio.clone();
        let owner = Owner {
            id: &made.id,
            namespace: &self.0.namespace,
            uid: made.options.io_uid,
            gid: made.options.io_gid,
        };
        let prepared = io::prepare(self.reaper(), &stdio, &owner).await?;
        if !made.checkpoint.is_empty() {
            made.init.phase = Phase::CreatedFromCheckpoint;
            made.init.prepared = Some(prepared);
            return Ok((Container::new(made), None));
        }
        let plan = Plan {
            pid_file: made.bundle.join("init.pid"),
            terminal: stdio.terminal,
            limit,
            cancel: Some(cancel.clone()),
        };
        let launched = launch(self.reaper(), plan, prepared, |l| {
            made.runc.create(self.reaper(), &made.id, &made.options, l)
        })
        .await;
        match launched {
            Ok(launched) => {
                made.init.born(launched.pid);
                made.init.streams = Some(launched.streams);
                made.cgroup = Cgroup::of(launched.pid).map(Arc::new);
                bundle::save_trace(&made.bundle, launched.pid, made.cgroup.as_deref());
                Ok((Container::new(made), Some((launched.pid, launched.exit))))
            }
            Err(broken) => {
                self.unmake(&made, &broken).await;
                Err(broken.told_as("OCI runtime create failed"))
            }
        }
    }

    /// Removes what a failed create may have left with the runtime.
    async fn unmake(&self, made: &Made, broken: &Broken) {
        use crate::runc::Failure::{Cancelled, Spawn, Status, TimedOut};
        let left = match broken {
            Broken::Shim(_) => true,
            Broken::Runtime(failed) => match failed.failure {
                TimedOut { .. } | Cancelled { .. } => true,
                // runc and its kin clean up after themselves when they fail on their own.
                Status { .. } | Spawn { .. } => false,
            },
        };
        if left && let Err(e) = made.runc.delete(self.reaper(), &made.id, true, UNMAKE).await {
            warning!("removing half-made container {}: {}", made.id, e.words());
        }
    }
}

fn created_event(request: &CreateTaskRequest, pid: u32) -> TaskCreate {
    let mut event = TaskCreate::new();
    event.container_id = request.id.clone();
    event.bundle = request.bundle.clone();
    event.rootfs = request.rootfs.clone();
    let mut io = TaskIO::new();
    io.stdin = request.stdin.clone();
    io.stdout = request.stdout.clone();
    io.stderr = request.stderr.clone();
    io.terminal = request.terminal;
    event.io = Some(io).into();
    event.checkpoint = request.checkpoint.clone();
    event.pid = pid;
    event
}

fn stdio_of(request: &CreateTaskRequest) -> Stdio {
    Stdio {
        stdin: request.stdin.clone(),
        stdout: request.stdout.clone(),
        stderr: request.stderr.clone(),
        terminal: request.terminal,
    }
}

fn options_of(request: &CreateTaskRequest) -> Result<Options, Error> {
    match request.options.as_ref() {
        None => Ok(Options::new()),
        Some(any) if any.value.is_empty() => Ok(Options::new()),
        Some(any) if is_runc_options(&any.type_url) => parse_options(&any.value),
        Some(any) => Err(Error::invalid(format!("unexpected runtime options {:?}", any.type_url))),
    }
}

fn mount_rootfs(bundle: &Path, request: &CreateTaskRequest) -> Result<Option<PathBuf>, Error> {
    use std::os::unix::fs::DirBuilderExt;
    if request.rootfs.is_empty() {
        return Ok(None);
    }
    let rootfs = bundle.join("rootfs");
    if let Err(e) = std::fs::DirBuilder::new().mode(0o711).create(&rootfs)
        && e.kind() != std::io::ErrorKind::AlreadyExists
    {
        return Err(Error::unknown(format!("mkdir {}: {e}", rootfs.display())));
    }
    let mounts: Vec<Mount> = request
        .rootfs
        .iter()
        .map(|m| Mount {
            fstype: m.type_.clone(),
            source: m.source.clone(),
            target: m.target.clone(),
            options: m.options.clone(),
        })
        .collect();
    if let Err(e) = sys::mount::mount_all(&mounts, &rootfs) {
        unmount(&rootfs);
        return Err(Error::unknown(format!("failed to mount rootfs component: {}", base::chain(&e))));
    }
    Ok(Some(rootfs))
}

fn unmount(rootfs: &Path) {
    if let Err(e) = sys::mount::unmount_recursive(rootfs, sys::mount::UnmountFlags::empty()) {
        warning!("failed to cleanup rootfs mount: {}", base::chain(&e));
    }
}
