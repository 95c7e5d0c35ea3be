//! `containerd.services.tasks.v1.Tasks`: what runs in containers. Everything that changes something runs to its end even
//! when the client goes.

use std::borrow::Cow;
use std::path::PathBuf;
use std::sync::Arc;

use base::{Namespace, Scope};
use protos::api::tasks::tasks_server::Tasks;
use protos::api::tasks::*;
use protos::api::types::Metric;
use protos::api::types_task::ProcessInfo;
use runtime::{CreateTask, ExecRequest};
use tonic::{Request, Response, Status};

use crate::checkpoint::Restores;
use crate::convert::{any_in, any_out, filters, mounts_in, process_out, timestamp};
use crate::parts::Parts;
use crate::request::scope;
use crate::status::{invalid, status, to_the_end};

pub(crate) struct Service(Arc<Parts>, Restores);

/// The service over the parts.
pub(crate) fn service(parts: Arc<Parts>) -> Service {
    Service(parts, Restores::default())
}

type Result<T> = std::result::Result<Response<T>, Status>;

fn exit_out(id: String, exit: runtime::Exit) -> DeleteResponse {
    DeleteResponse { id, pid: exit.pid, exit_status: exit.status, exited_at: exit.exited_at.map(timestamp) }
}

impl Service {
    /// Run `work` on the runtime, detached from the client.
    async fn act<T, F, W>(&self, scope: Scope, work: W) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = std::result::Result<T, runtime::Error>> + Send,
        W: FnOnce(runtime::Runtime, Namespace) -> F + Send + 'static,
    {
        let runtime = self.0.runtime.clone();
        to_the_end(async move { work(runtime, scope.namespace).await.map(Response::new).map_err(status) })
            .await
    }
}

/// What a new task is made from: the request over the container's record.
fn plan(request: CreateTaskRequest, container: store::Container) -> std::result::Result<CreateTask, Status> {
    let options = request.options.map(any_in).filter(|o| !o.type_url.is_empty());
    let given = crate::checkpoint::restore_path(options.as_ref());
    // Set by CRI: restored from a directory, and running at once.
    let annotations = request.checkpoint.as_ref().map(|descriptor| &descriptor.annotations);
    let from_path = annotations.and_then(|all| all.get("RestoreFromPath")).map(PathBuf::from);
    let options = options.or(container.runtime.options);
    let sandbox_id = match container.sandbox_id.as_str() {
        "" => None,
        id => Some(base::SandboxId::new(id).map_err(|e| invalid(base::chain(&e)))?),
    };
    Ok(CreateTask {
        container_id: request.container_id,
        runtime_name: container.runtime.name,
        runtime_path: request.runtime_path,
        spec: container.spec,
        rootfs: mounts_in(request.rootfs),
        stdin: request.stdin,
        stdout: request.stdout,
        stderr: request.stderr,
        terminal: request.terminal,
        restore_from_path: from_path.is_some(),
        checkpoint_dir: from_path.or(given),
        options,
        sandbox_id,
        task_api_address: request.task_api_address,
        task_api_version: request.task_api_version,
    })
}

struct Task<'t> {
    namespace: &'t str,
    id: &'t str,
}

impl base::filter::Fields for Task<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["id"] => Some(Cow::Borrowed(self.id)),
            ["namespace"] => Some(Cow::Borrowed(self.namespace)),
            _ => None,
        }
    }
}

#[tonic::async_trait]
impl Tasks for Service {
    async fn create(&self, request: Request<CreateTaskRequest>) -> Result<CreateTaskResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let container = self.0.container(&scope.namespace, &request.container_id)?;
        let checkpoint = request.checkpoint.clone();
        let mut wanted = plan(request, container)?;
        // Unpacked before anything is made; the shim reads it when the task is started.
        let unpacked = match checkpoint {
            Some(descriptor) if wanted.checkpoint_dir.is_none() && !descriptor.digest.is_empty() => {
                Some(crate::checkpoint::unpack(&self.0, &scope, descriptor).await?)
            }
            _ => None,
        };
        if let Some(dir) = &unpacked {
            wanted.checkpoint_dir = Some(dir.path().to_path_buf());
        }
        let container_id = wanted.container_id.clone();
        // Not detached: a client that gives up has the create undone, as with the original.
        let pid = self.0.runtime.create(&scope.namespace, wanted).await.map_err(status)?;
        if let Some(dir) = unpacked {
            self.1.keep(&scope.namespace, &container_id, dir);
        }
        Ok(Response::new(CreateTaskResponse { container_id, pid }))
    }

    async fn start(&self, request: Request<StartRequest>) -> Result<StartResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let restores = self.1.clone();
        self.act(scope, async move |runtime, ns| {
            let started = runtime.start(&ns, &r.container_id, &r.exec_id).await;
            // Restored or not: no shim restores a task twice.
            restores.forget(&ns, &r.container_id);
            Ok(StartResponse { pid: started? })
        })
        .await
    }

    async fn delete(&self, request: Request<DeleteTaskRequest>) -> Result<DeleteResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let restores = self.1.clone();
        self.act(scope, async move |runtime, ns| {
            let exit = runtime.delete(&ns, &r.container_id).await?;
            restores.forget(&ns, &r.container_id);
            // The id is an exec's; the task itself has none.
            Ok(exit_out(String::new(), exit))
        })
        .await
    }

    async fn delete_process(&self, request: Request<DeleteProcessRequest>) -> Result<DeleteResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        self.act(scope, async move |runtime, ns| {
            let exit = runtime.delete_process(&ns, &r.container_id, &r.exec_id).await?;
            Ok(exit_out(r.exec_id, exit))
        })
        .await
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<GetResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let state =
            self.0.runtime.state(&scope.namespace, &r.container_id, &r.exec_id).await.map_err(status)?;
        Ok(Response::new(GetResponse { process: Some(process_out(state)) }))
    }

    async fn list(&self, request: Request<ListTasksRequest>) -> Result<ListTasksResponse> {
        let scope = scope(&request)?;
        let tasks = self.0.runtime.list(&scope.namespace).await.into_iter().map(process_out).collect();
        Ok(Response::new(ListTasksResponse { tasks }))
    }

    async fn kill(&self, request: Request<KillRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        self.act(scope, async move |runtime, ns| {
            runtime.kill(&ns, &r.container_id, &r.exec_id, r.signal, r.all).await
        })
        .await
    }

    async fn exec(&self, request: Request<ExecProcessRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        if r.exec_id.is_empty() {
            return Err(invalid("exec id cannot be empty"));
        }
        base::ExecId::new(&r.exec_id)
            .map_err(|e| invalid(format!("invalid exec id {}: {}", r.exec_id, base::chain(&e))))?;
        let exec = ExecRequest {
            exec_id: r.exec_id,
            stdin: r.stdin,
            stdout: r.stdout,
            stderr: r.stderr,
            terminal: r.terminal,
            spec: r.spec.map(any_in),
        };
        self.act(scope, async move |runtime, ns| runtime.exec(&ns, &r.container_id, exec).await).await
    }

    async fn resize_pty(&self, request: Request<ResizePtyRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        self.act(scope, async move |runtime, ns| {
            runtime.resize(&ns, &r.container_id, &r.exec_id, r.width, r.height).await
        })
        .await
    }

    async fn close_io(&self, request: Request<CloseIoRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        if !r.stdin {
            // Standard input is the only stream that can be closed from here.
            return Ok(Response::new(()));
        }
        self.act(scope, async move |runtime, ns| runtime.close_io(&ns, &r.container_id, &r.exec_id).await)
            .await
    }

    async fn pause(&self, request: Request<PauseTaskRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        self.act(scope, async move |runtime, ns| runtime.pause(&ns, &r.container_id).await).await
    }

    async fn resume(&self, request: Request<ResumeTaskRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        self.act(scope, async move |runtime, ns| runtime.resume(&ns, &r.container_id).await).await
    }

    async fn list_pids(&self, request: Request<ListPidsRequest>) -> Result<ListPidsResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let found = self.0.runtime.pids(&scope.namespace, &r.container_id).await.map_err(status)?;
        let processes =
            found.into_iter().map(|p| ProcessInfo { pid: p.pid, info: p.info.map(any_out) }).collect();
        Ok(Response::new(ListPidsResponse { processes }))
    }

    async fn checkpoint(&self, request: Request<CheckpointTaskRequest>) -> Result<CheckpointTaskResponse> {
        let scope = scope(&request)?;
        let request = request.into_inner();
        let parts = Arc::clone(&self.0);
        to_the_end(async move {
            let descriptors = crate::checkpoint::take(&parts, &scope, request).await?;
            Ok(Response::new(CheckpointTaskResponse { descriptors }))
        })
        .await
    }

    async fn update(&self, request: Request<UpdateTaskRequest>) -> Result<()> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let resources = r.resources.map(any_in);
        self.act(scope, async move |runtime, ns| {
            runtime.update(&ns, &r.container_id, resources.as_ref(), r.annotations).await
        })
        .await
    }

    async fn metrics(&self, request: Request<MetricsRequest>) -> Result<MetricsResponse> {
        let scope = scope(&request)?;
        let filters = filters(&request.get_ref().filters)?;
        let namespace = scope.namespace.as_str();
        let mut metrics = Vec::new();
        for (_, id) in self.0.runtime.ids(Some(&scope.namespace)) {
            if !filters.matches(&Task { namespace, id: &id }) {
                continue;
            }
            // A task that is gone or does not answer must not hide the others.
            match self.0.runtime.stats(&scope.namespace, &id).await {
                Ok(data) => {
                    let timestamp = Some(timestamp(std::time::SystemTime::now()));
                    metrics.push(Metric { timestamp, id, data: Some(any_out(data)) });
                }
                Err(error) => tracing::debug!(id, error = base::chain(&error), "no metrics of a task"),
            }
        }
        Ok(Response::new(MetricsResponse { metrics }))
    }

    async fn wait(&self, request: Request<WaitRequest>) -> Result<WaitResponse> {
        let (scope, r) = (scope(&request)?, request.into_inner());
        let exit =
            self.0.runtime.wait(&scope.namespace, &r.container_id, &r.exec_id).await.map_err(status)?;
        Ok(Response::new(WaitResponse { exit_status: exit.status, exited_at: exit.exited_at.map(timestamp) }))
    }
}
