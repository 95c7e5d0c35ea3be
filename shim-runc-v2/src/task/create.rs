//! Create: rootfs, streams, and a container whose init waits to be started.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

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
use crate::runc::{Failure, LONG, Runc};
use crate::task::cancel::Cancel;
use crate::task::container::{Container, Made};
use crate::task::decide::Phase;
use crate::task::ground::Ground;
use crate::task::launch::{Broken, Plan, launch};
use crate::task::process::Proc;
use crate::task::{Entry, Tasks};

/// Time for the runtime to remove what it made before it was stopped.
const UNMAKE: Duration = Duration::from_secs(10);

/// An init's pid, and its end.
type Born = (u32, oneshot::Receiver<Exit>);

/// An id that is taken while its container is made, and for as long as something of a create that failed is still
/// being taken away.
pub(crate) struct Reserved {
    tasks: Tasks,
    id: String,
    /// Stops the create.
    pub(crate) cancel: Cancel,
}

impl Drop for Reserved {
    fn drop(&mut self) {
        let mut containers = self.tasks.containers();
        if matches!(containers.get(&self.id), Some(Entry::Creating(_))) {
            containers.remove(&self.id);
            drop(containers);
            self.tasks.0.lifetime.changed();
        }
    }
}

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
        let name = self.reserve(&request.id)?;
        let (container, born, _name) = self.make(&request, limit.unwrap_or(LONG).min(LONG), name).await?;
        let pid = born.as_ref().map_or(0, |b| b.0);
        self.containers().insert(request.id.clone(), Entry::Live(container.clone()));
        self.events().send("/tasks/create", &created_event(&request, pid));
        self.watch_oom(&container);
        if let Some((_, exit)) = born {
            self.follow(&container, "", exit);
        }
        Ok(pid)
    }

    fn reserve(&self, id: &str) -> Result<Reserved, Error> {
        let mut containers = self.containers();
        if containers.contains_key(id) {
            return Err(Error::already_exists(format!("container {id}")));
        }
        let cancel = Cancel::new();
        containers.insert(id.to_owned(), Entry::Creating(cancel.clone()));
        Ok(Reserved { tasks: self.clone(), id: id.to_owned(), cancel })
    }

    async fn make(
        &self,
        request: &CreateTaskRequest,
        limit: Duration,
        name: Reserved,
    ) -> Result<(Arc<Container>, Option<Born>, Reserved), Error> {
        let options = options_of(request)?;
        let dir = PathBuf::from(&request.bundle);
        let until = Instant::now() + limit;
        let (ground, name) = Ground::lay(&dir, &options, mounts_of(&request.rootfs), limit, name).await?;
        let limit = until.saturating_duration_since(Instant::now());
        let made = Made {
            id: request.id.clone(),
            runc: Runc::new(&options, &self.0.namespace, &dir),
            options,
            own_pid_namespace: ground.own_pid_namespace,
            checkpoint: request.checkpoint.clone(),
            init: Proc::new(stdio_of(request), Phase::Created),
            cgroup: None,
            bundle: dir,
        };
        match self.launch_init(made, limit, &name.cancel).await {
            Ok((container, born)) => Ok((container, born, name)),
            Err(e) => {
                ground.clear(name).await;
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
            limit,
            cancel: Some(cancel),
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
        let theirs = made.runc.knows(&made.id);
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
                if !theirs {
                    self.unmake(&made, &broken).await;
                }
                Err(broken.told_as("OCI runtime create failed"))
            }
        }
    }

    /// Removes what a failed create may have left with the runtime. Not for a name that the runtime had before: that
    /// container is none of our business.
    async fn unmake(&self, made: &Made, broken: &Broken) {
        let never_ran =
            matches!(broken, Broken::Runtime(failed) if matches!(failed.failure, Failure::Spawn { .. }));
        if !never_ran && let Err(e) = made.runc.delete(self.reaper(), &made.id, true, UNMAKE).await {
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

/// Mounts as they came in a request.
pub(crate) fn mounts_of(mounts: &[protos::shim::types::Mount]) -> Vec<Mount> {
    let mount = |m: &protos::shim::types::Mount| Mount {
        fstype: m.type_.clone(),
        source: m.source.clone(),
        target: m.target.clone(),
        options: m.options.clone(),
    };
    mounts.iter().map(mount).collect()
}
