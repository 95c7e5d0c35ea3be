//! What can go wrong with tasks, and what kind of failure it is to a client.

use std::io;
use std::path::{Path, PathBuf};

use base::ids::IdError;
use base::{ErrorKind, Kinded};

use crate::binary::{AnswerError, InvokeError, ResolveError};
use crate::rpc::{CallError, DialError};

/// A failure of the runtime. `kind()` is the status that a client gets; the shim's own codes pass unchanged.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No such task in that namespace.
    #[error("task {id} not found")]
    TaskNotFound {
        /// The task.
        id: String,
    },
    /// A task of that id exists already.
    #[error("task {id}: already exists")]
    TaskExists {
        /// The task.
        id: String,
    },
    /// The container that the task should belong to is not recorded.
    #[error("container {id:?} in namespace {namespace:?}: not found")]
    ContainerNotFound {
        /// The container.
        id: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// The mounts of the root file system could not be activated.
    #[error("failed to activate the root file system")]
    Rootfs {
        /// Why.
        #[source]
        source: Box<mounts::Error>,
    },
    /// The id cannot name a task.
    #[error("invalid task id {id}")]
    TaskId {
        /// The id.
        id: String,
        /// What is wrong with it.
        #[source]
        source: IdError,
    },
    /// The id cannot name an exec.
    #[error("invalid exec id {id}")]
    ExecId {
        /// The id.
        id: String,
        /// What is wrong with it.
        #[source]
        source: IdError,
    },
    /// An exec needs an id.
    #[error("exec id cannot be empty")]
    NoExecId,
    /// The task exists, but its shim does not answer.
    #[error("task {id}: shim does not answer: {reason}")]
    Aside {
        /// The task.
        id: String,
        /// What was tried last.
        reason: String,
    },
    /// Something of the task's past is still being cleaned up.
    #[error("task {id}: still being cleaned up after {after:?}")]
    Busy {
        /// The task.
        id: String,
        /// How long was waited.
        after: std::time::Duration,
    },
    /// No shim for the task.
    #[error("failed to start shim")]
    StartShim {
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The shim refused to create the task.
    #[error("failed to create shim task")]
    CreateTask {
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The shim refused to delete the task.
    #[error("failed to delete task")]
    DeleteTask {
        /// Why.
        #[source]
        source: Box<Error>,
    },
    /// The shim does not answer, and which process it would have killed cannot be told for certain without it.
    #[error("task {id} cannot be killed without its shim")]
    Unkilled {
        /// The task.
        id: String,
        /// Why the shim could not be asked.
        #[source]
        source: Box<Error>,
    },
    /// The client gave up before the task was there; what was made is gone again.
    #[error("create of task {id} was given up by its caller")]
    Abandoned {
        /// The task.
        id: String,
    },
    /// The runtime's name leads to no program.
    #[error("failed to resolve runtime path")]
    Resolve(#[source] ResolveError),
    /// The shim's program failed.
    #[error("start failed")]
    Start(#[source] Box<Error>),
    /// Running a shim program failed.
    #[error(transparent)]
    Invoke(#[from] InvokeError),
    /// What a shim printed cannot be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// No connection to a shim.
    #[error("failed to create TTRPC connection")]
    Dial(#[source] DialError),
    /// A shim that should speak gRPC does not take the first bytes of it.
    #[error("failed to create GRPC connection: {0}")]
    Greet(String),
    /// A call to a shim failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The sandbox that the task should run in cannot be used.
    #[error("sandbox {id}: {reason}")]
    Sandbox {
        /// The sandbox.
        id: String,
        /// What is wrong.
        reason: String,
    },
    /// The container wants id-mapped mounts and the runtime cannot make them.
    #[error("failed to validate OCI runtime features: idmap mounts not supported: {reason}")]
    IdMapped {
        /// What is missing.
        reason: String,
    },
    /// The recorded spec is not JSON.
    #[error("unmarshal spec")]
    Spec(#[source] serde_json::Error),
    /// The file system said no.
    #[error("{what} {path}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: io::Error,
    },
    /// A mount operation failed.
    #[error("{what} {path}")]
    Sys {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: Box<sys::Error>,
    },
    /// The container records cannot be read.
    #[error("read container records")]
    Records(#[source] base::Error),
    /// A task of the daemon itself broke.
    #[error("{what} broke off: {reason}")]
    Internal {
        /// Which one.
        what: &'static str,
        /// How.
        reason: String,
    },
    /// A failure that several callers share.
    #[error("{0}")]
    Shared(std::sync::Arc<SharedError>),
}

/// A failure that was given to every caller that waited for the same thing.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct SharedError {
    kind: ErrorKind,
    text: String,
}

impl From<&Error> for SharedError {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), text: base::chain(error) }
    }
}

impl Error {
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Io { what, path, source }
    }

    pub(crate) fn sys(what: &'static str, path: &Path) -> impl FnOnce(sys::Error) -> Self {
        let path = path.to_owned();
        move |source| Error::Sys { what, path, source: Box::new(source) }
    }
}

impl Kinded for Error {
    fn kind(&self) -> ErrorKind {
        match self {
            Error::TaskNotFound { .. } | Error::ContainerNotFound { .. } => ErrorKind::NotFound,
            Error::TaskExists { .. } => ErrorKind::AlreadyExists,
            Error::TaskId { .. } | Error::ExecId { .. } | Error::NoExecId => ErrorKind::InvalidArgument,
            Error::Aside { .. } | Error::Busy { .. } => ErrorKind::Unavailable,
            Error::Abandoned { .. } => ErrorKind::Canceled,
            Error::StartShim { source }
            | Error::CreateTask { source }
            | Error::DeleteTask { source }
            | Error::Unkilled { source, .. }
            | Error::Start(source) => source.kind(),
            Error::Rootfs { source } => source.kind(),
            Error::Invoke(e) => e.kind(),
            Error::Answer(e) => e.kind(),
            Error::Dial(e) => e.kind(),
            Error::Call(e) => e.kind(),
            Error::Records(e) => e.kind(),
            Error::Shared(e) => e.kind,
            Error::Internal { .. } => ErrorKind::Internal,
            Error::Greet(_) => ErrorKind::Unavailable,
            Error::Resolve(_)
            | Error::Sandbox { .. }
            | Error::IdMapped { .. }
            | Error::Spec(_)
            | Error::Io { .. }
            | Error::Sys { .. } => ErrorKind::Unknown,
        }
    }
}
