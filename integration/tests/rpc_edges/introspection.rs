//! Version, health and introspection.

use integration::rpc::{Rpc, case, contract};
use protos::api::Any;
use protos::api::introspection::*;
use protos::api::types::RuntimeRequest;
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::making::{any, strings};

async fn plugins(rpc: Rpc, filters: &[&str]) -> Result<Vec<String>, Status> {
    let found =
        rpc.introspection().plugins(PluginsRequest { filters: strings(filters) }).await?.into_inner().plugins;
    Ok(found.into_iter().map(|p| format!("{}.{}", p.r#type, p.id)).collect())
}

/// Call a method that may not exist.
async fn call(rpc: Rpc, path: &'static str) -> Result<(), Status> {
    let mut grpc = tonic::client::Grpc::new(rpc.channel());
    grpc.ready().await.map_err(|e| Status::unavailable(e.to_string()))?;
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    grpc.unary(tonic::Request::new(()), path.parse().unwrap(), codec).await.map(drop)
}

#[test]
fn introspection() {
    contract("intro", async |_| {
        let list =
            |filters: &'static [&'static str]| move |rpc: Rpc| async move { plugins(rpc, filters).await };
        let info = |kind: &'static str, id: &'static str, options: Option<Any>| {
            let r = PluginInfoRequest { r#type: kind.into(), id: id.into(), options };
            move |rpc: Rpc| async move { rpc.introspection().plugin_info(r).await }
        };
        let health = |service: &'static str| {
            move |rpc: Rpc| async move {
                let request = HealthCheckRequest { service: service.into() };
                HealthClient::new(rpc.channel()).check(request).await.map(|r| format!("{:?}", r.into_inner()))
            }
        };
        Ok(vec![
            case("version without a namespace", Code::Ok, "version: ", |rpc| async move {
                rpc.version().version(()).await
            })
            .older(),
            case("health", Code::Ok, "status: Serving", health("")).older(),
            case("health of a service that nobody knows", Code::NotFound, "", health("nonsense")).older(),
            case(
                "health of a service that is there",
                Code::NotFound,
                "",
                health("containerd.services.tasks.v1.Tasks"),
            )
            .older(),
            case("server", Code::Ok, "uuid: \"", |rpc| async move { rpc.introspection().server(()).await })
                .older(),
            case(
                "plugins by id",
                Code::Ok,
                "[\"io.containerd.snapshotter.v1.overlayfs\"]",
                list(&["id==overlayfs,type==io.containerd.snapshotter.v1"]),
            )
            .older(),
            case("plugins by type", Code::Ok, "overlayfs", list(&["type~=snapshotter"])),
            case("plugins by platform", Code::Ok, "[]", list(&["platforms==x"])),
            case("plugins that are not there", Code::Ok, "[]", list(&["id==nope"])).older(),
            case(
                "plugins with a bad filter",
                Code::InvalidArgument,
                "filters: parse error: [id >|=|< x]: unsupported operator \"=\": invalid argument",
                list(&["id=x"]),
            ),
            case("info of nothing", Code::NotFound, "plugin . not found", info("", "", None)),
            case(
                "info of a type that nobody knows",
                Code::NotFound,
                "plugin nonsense.x not found",
                info("nonsense", "x", None),
            ),
            case(
                "info of an id that nobody knows",
                Code::NotFound,
                "plugin io.containerd.snapshotter.v1.nonsense not found",
                info("io.containerd.snapshotter.v1", "nonsense", None),
            ),
            case("info", Code::Ok, "overlayfs", info("io.containerd.snapshotter.v1", "overlayfs", None)),
            case(
                "info with options that the plugin does not take",
                Code::Unknown,
                "failed to unmarshal plugin info Options: type with url x: not found",
                info("io.containerd.snapshotter.v1", "overlayfs", any("x", b"")),
            )
            .ours(
                Code::Unimplemented,
                "has no further information",
                "the original loses the kind of its own error",
            ),
            case(
                "info of the runtime with options that nobody knows",
                Code::Unknown,
                "failed to unmarshal plugin info Options: type with url x: not found",
                info("io.containerd.runtime.v2", "task", any("x", b"y")),
            )
            .ours(
                Code::InvalidArgument,
                "expected a containerd.types.RuntimeRequest",
                "the original loses the kind of its own error",
            ),
            case(
                "info of the runtime with an empty request",
                Code::Unknown,
                "failed to resolve runtime path: no runtime name",
                info("io.containerd.runtime.v2", "task", Some(Any::pack(&RuntimeRequest::default()))),
            ),
            case(
                "info of a runtime that is not there",
                Code::Unknown,
                "failed to resolve runtime path: runtime \"io.containerd.nonsense.v1\" binary not installed \"containerd-shim-nonsense-v1\": file does not exist",
                info(
                    "io.containerd.runtime.v2",
                    "task",
                    Some(Any::pack(&RuntimeRequest {
                        runtime_path: "io.containerd.nonsense.v1".into(),
                        options: None,
                    })),
                ),
            ),
            case("a service that nobody knows", Code::Unimplemented, "unknown service", |rpc| {
                call(rpc, "/nonsense.v1.Nonsense/Do")
            })
            .older(),
            case("a method that nobody knows", Code::Unimplemented, "unknown method", |rpc| {
                call(rpc, "/containerd.services.tasks.v1.Tasks/Dance")
            })
            .older(),
        ])
    });
}
