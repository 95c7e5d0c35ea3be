//! The steps of a create, overlapped where they do not need each other.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use protos::shim::task_v3::{CreateTaskRequest, CreateTaskResponse, StartRequest, StartResponse};

use super::features;
use crate::binary::{self, Answer, Dialect, Start};
use crate::entry::{Entry, Phase};
use crate::error::Error;
use crate::model::CreateTask;
use crate::runtime::{Runtime, blocking};
use crate::shim::{self, Shim};
use crate::shimlog::ShimLog;
use crate::wire;

/// What a create needs before anything runs.
pub(super) struct Prepared {
    pub(super) program: PathBuf,
    dialect: Dialect,
    /// Where the task's sandbox serves tasks; `None`: the task gets a shim (or joins one) by `start`.
    sandbox: Option<Answer>,
}

impl Runtime {
    /// The program, and the bundle with the intent. Not to be dropped half-way: the bundle is made on another thread.
    pub(super) async fn prepare(&self, entry: &Arc<Entry>, request: &CreateTask) -> Result<Prepared, Error> {
        let failed = |source: Error| Error::StartShim { source: Box::new(source) };
        let sandbox = self.sandbox_endpoint(entry, request).map_err(failed)?;
        let program = self.shared.resolver.resolve(runtime_name(request)).map_err(Error::Resolve);
        let program = program.map_err(failed)?;
        let (dialect, made) = tokio::join!(
            self.shared.dialects.of(&program),
            self.make_bundle(entry, request, program.clone())
        );
        made?;
        Ok(Prepared { program, dialect, sandbox })
    }

    /// Shim and container; gives the first process's pid. On failure, and when it is dropped, the caller undoes what
    /// was done.
    pub(super) async fn launch(
        &self,
        entry: &Arc<Entry>,
        request: &CreateTask,
        prepared: Prepared,
    ) -> Result<(u32, Arc<Shim>), Error> {
        let begin = Instant::now();
        let shim = match prepared.sandbox.clone() {
            Some(answer) => self.join_sandbox(entry, request, prepared, answer).await,
            None => self.start_shim(entry, request, prepared).await,
        };
        let shim = shim.map_err(|source| Error::StartShim { source: Box::new(source) })?;
        let connected = Instant::now();
        entry.set_shim(Some(shim.clone()));
        let pid = self
            .create_in(entry, &shim, request)
            .await
            .map_err(|source| Error::CreateTask { source: Box::new(source) })?;
        tracing::debug!(
            id = entry.bundle.id,
            shim = ?connected.duration_since(begin),
            create = ?connected.elapsed(),
            "task created"
        );
        entry.set_pid(pid);
        Ok((pid, shim))
    }

    /// Makes a launched task known to everyone. One system call, and no waiting.
    pub(super) fn settle_in(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) -> Result<(), Error> {
        entry.bundle.clear_intent()?;
        if !entry.advance(|phase| *phase == Phase::Creating, Phase::Live) {
            return Err(Error::Abandoned { id: entry.bundle.id.clone() });
        }
        shim::watch(self, entry, shim);
        self.learn_pid(entry, shim);
        Ok(())
    }

    async fn start_shim(
        &self,
        entry: &Arc<Entry>,
        request: &CreateTask,
        prepared: Prepared,
    ) -> Result<Arc<Shim>, Error> {
        let shared = &self.shared;
        let Prepared { program, dialect, .. } = prepared;
        let log = Arc::new(ShimLog::open(&entry.bundle.path, shared.log_sink.clone())?);
        let start = Start {
            program: &program,
            bundle: &entry.bundle,
            options: &shared.options,
            dialect,
            runtime_options: request.options.as_ref(),
        };
        let started = |source: Error| Error::Start(Box::new(source));
        let (answer, checked) =
            tokio::join!(binary::start(start, &shared.dialects), features::check(&program, request));
        let answer = answer.map_err(started)?;
        entry.bundle.write_answer(&answer)?;
        checked?;
        let limit = shared.options.timeouts.load;
        Shim::connect(&entry.bundle, Some(program), answer, log, limit).await.map_err(started)
    }

    /// The bundle is there, with the intent to start a shim in it, before any shim is.
    async fn make_bundle(
        &self,
        entry: &Arc<Entry>,
        request: &CreateTask,
        program: PathBuf,
    ) -> Result<(), Error> {
        let (entry, spec) = (entry.clone(), request.spec.clone());
        blocking("create bundle", move || {
            let bundle = &entry.bundle;
            if bundle.path.exists() {
                // The id is ours and no task has it: what is here, an earlier clean-up could not remove.
                bundle.remove()?;
            }
            bundle.create(spec.as_ref())?;
            bundle.write_intent(&program)
        })
        .await
    }

    /// Where the sandbox of the task serves tasks; `None`: the task gets a shim (or joins one) by `start`.
    fn sandbox_endpoint(&self, entry: &Arc<Entry>, request: &CreateTask) -> Result<Option<Answer>, Error> {
        let Some(sandbox) = &request.sandbox_id else { return Ok(None) };
        let namespace = &entry.bundle.namespace;
        let id = sandbox.as_str();
        if !self.shared.records.has_sandbox(namespace, id).map_err(Error::Records)? {
            tracing::warn!(id = request.container_id, sandbox = id, "sandbox not found, starting a shim");
            return Ok(None);
        }
        let refuse = |reason: String| Error::Sandbox { id: id.to_owned(), reason };
        let answer = if request.task_api_address.is_empty() {
            let bundle = match self.shared.table.get(namespace, id) {
                Some(entry) => entry.bundle.clone(),
                None => self.sandbox_bundle(namespace, id),
            };
            bundle.answer()?.ok_or_else(|| refuse("can't find its shim".to_owned()))?
        } else {
            let (protocol, address) = request.task_api_address.split_once('+').ok_or_else(|| {
                refuse(
                    "the scheme of sandbox address should be in the form of \
                     <protocol>+<unix|vsock|tcp>, i.e. ttrpc+unix or grpc+vsock"
                        .to_owned(),
                )
            })?;
            Answer {
                version: i32::try_from(request.task_api_version).unwrap_or(i32::MAX),
                address: address.to_owned(),
                protocol: protocol.to_owned(),
            }
        };
        // Older shims clean up by their program: it must be run, and joins the group by itself.
        if answer.version < 3 {
            return Ok(None);
        }
        answer.usable().map(Some).map_err(Error::Answer)
    }

    async fn join_sandbox(
        &self,
        entry: &Arc<Entry>,
        request: &CreateTask,
        prepared: Prepared,
        answer: Answer,
    ) -> Result<Arc<Shim>, Error> {
        let bundle = &entry.bundle;
        if let Some(sandbox) = &request.sandbox_id {
            bundle.write_sandbox(sandbox.as_str())?;
        }
        bundle.write_answer(&answer)?;
        let log = Arc::new(ShimLog::open(&bundle.path, self.shared.log_sink.clone())?);
        let limit = self.shared.options.timeouts.load;
        Shim::connect(bundle, Some(prepared.program), answer, log, limit).await
    }

    async fn create_in(
        &self,
        entry: &Arc<Entry>,
        shim: &Arc<Shim>,
        request: &CreateTask,
    ) -> Result<u32, Error> {
        let checkpoint = request.checkpoint_dir.as_deref().map(|dir| dir.display().to_string());
        let message = CreateTaskRequest {
            id: entry.bundle.id.clone(),
            bundle: entry.bundle.path.display().to_string(),
            rootfs: request.rootfs.iter().map(wire::mount).collect(),
            terminal: request.terminal,
            stdin: request.stdin.clone(),
            stdout: request.stdout.clone(),
            stderr: request.stderr.clone(),
            checkpoint: checkpoint.unwrap_or_default(),
            options: request.options.as_ref().map(wire::any).into(),
            ..CreateTaskRequest::default()
        };
        let limit = self.shared.options.timeouts.create;
        let created: CreateTaskResponse = shim.client.call("Create", &message, limit).await?;
        if request.restore_from_path {
            let message = StartRequest { id: entry.bundle.id.clone(), ..StartRequest::default() };
            let _: StartResponse = shim.client.call("Start", &message, limit).await?;
        }
        Ok(created.pid)
    }

    /// The shim's own pid, for the day when its connection breaks; nobody waits for it.
    fn learn_pid(&self, entry: &Arc<Entry>, shim: &Arc<Shim>) {
        let (runtime, entry, shim) = (self.clone(), entry.clone(), shim.clone());
        tokio::spawn(async move {
            if let Err(error) = shim.introduce(&entry.bundle.id, &runtime.shared.options).await {
                tracing::debug!(id = entry.bundle.id, %error, "shim does not tell its pid");
            }
        });
    }
}

fn runtime_name(request: &CreateTask) -> &str {
    if request.runtime_path.is_empty() { &request.runtime_name } else { &request.runtime_path }
}
