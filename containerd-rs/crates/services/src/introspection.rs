//! `containerd.services.introspection.v1.Introspection`: plugins, the server's identity, information on a runtime.

use std::borrow::Cow;
use std::os::linux::fs::MetadataExt;
use std::sync::Arc;

use protos::api::introspection::introspection_server::Introspection;
use protos::api::introspection::*;
use protos::api::rpc;
use protos::api::types::RuntimeRequest;
use tonic::{Code, Request, Response, Status};

use crate::convert::{any_in, filters, platform_out};
use crate::parts::Parts;
use crate::plugins::{PluginRecord, Status as PluginStatus};
use crate::status::{invalid, not_found, refuse, status, to_the_end};

pub(crate) struct Service(pub(crate) Arc<Parts>);

/// The words by which clients tell a skipped plugin from a failed one.
const SKIP: &str = "skip plugin";

struct Filterable<'p>(&'p PluginRecord);

impl base::filter::Fields for Filterable<'_> {
    fn field(&self, path: &[&str]) -> Option<Cow<'_, str>> {
        match path {
            ["type"] => Some(Cow::Borrowed(&self.0.kind)),
            ["id"] => Some(Cow::Borrowed(&self.0.id)),
            ["capabilities"] => Some(Cow::Owned(self.0.capabilities.join(","))),
            ["platforms"] => Some(Cow::Owned(
                self.0.platforms.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
            )),
            _ => None,
        }
    }
}

fn out(p: &PluginRecord) -> Plugin {
    let init_err = match &p.status {
        PluginStatus::Ok => None,
        PluginStatus::Skip(reason) => Some(rpc::Status {
            code: Code::Unknown as i32,
            message: format!("{reason}: {SKIP}"),
            details: vec![],
        }),
        PluginStatus::Error(message) => {
            Some(rpc::Status { code: Code::Unknown as i32, message: message.clone(), details: vec![] })
        }
    };
    Plugin {
        r#type: p.kind.clone(),
        id: p.id.clone(),
        requires: p.requires.clone(),
        platforms: p.platforms.iter().map(platform_out).collect(),
        exports: p.exports.clone(),
        capabilities: p.capabilities.clone(),
        init_err,
    }
}

#[tonic::async_trait]
impl Introspection for Service {
    async fn plugins(&self, request: Request<PluginsRequest>) -> Result<Response<PluginsResponse>, Status> {
        let filters = filters(&request.get_ref().filters)?;
        let plugins = self.0.plugins.iter().filter(|p| filters.matches(&Filterable(p))).map(out).collect();
        Ok(Response::new(PluginsResponse { plugins }))
    }

    async fn server(&self, _: Request<()>) -> Result<Response<ServerResponse>, Status> {
        let pidns = std::fs::metadata("/proc/self/ns/pid").map_or(0, |m| m.st_ino());
        Ok(Response::new(ServerResponse {
            uuid: self.0.uuid.clone(),
            pid: std::process::id().into(),
            pidns,
            deprecations: Vec::new(),
        }))
    }

    async fn plugin_info(
        &self,
        request: Request<PluginInfoRequest>,
    ) -> Result<Response<PluginInfoResponse>, Status> {
        let PluginInfoRequest { r#type, id, options } = request.into_inner();
        let plugin = self
            .0
            .plugins
            .get(&r#type, &id)
            .ok_or_else(|| not_found(format!("plugin {}.{id} not found", r#type)))?;
        let mut answer = PluginInfoResponse { plugin: Some(out(plugin)), extra: None };
        let Some(options) = options else { return Ok(Response::new(answer)) };
        if plugin.status != PluginStatus::Ok {
            return Err(refuse(
                base::ErrorKind::FailedPrecondition,
                "plugin is not loaded, cannot give information",
            ));
        }
        if r#type != "io.containerd.runtime.v2" || id != "task" {
            return Err(refuse(
                base::ErrorKind::Unimplemented,
                format!("{type}.{id} has no further information"),
            ));
        }
        let wanted: RuntimeRequest = options
            .unpack()
            .map_err(|e| invalid(format!("options of a runtime request: {}", base::chain(&e))))?;
        let runtime = self.0.runtime.clone();
        answer.extra = Some(
            to_the_end(async move {
                let info = runtime
                    .runtime_info(&wanted.runtime_path, wanted.options.map(any_in).as_ref())
                    .await
                    .map_err(status)?;
                Ok(crate::convert::runtime_info_out(info))
            })
            .await?,
        );
        Ok(Response::new(answer))
    }
}
