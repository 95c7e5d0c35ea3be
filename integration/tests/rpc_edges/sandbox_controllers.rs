//! The sandbox controllers: which one is asked, and of what.

use integration::rpc::{Rpc, case, newer_contract};
use protos::api::sandbox::*;
use protos::api::types::Sandbox;
use tonic::{Code, Status};

/// One call of each method, to controller `sandboxer` about sandbox `id`; whether it was refused is what counts.
async fn ask(rpc: Rpc, method: &'static str, sandboxer: &str, id: &str) -> Result<String, Status> {
    let mut controllers = rpc.within("edges").sandbox_controllers();
    let (sandboxer, sandbox_id) = (sandboxer.to_owned(), id.to_owned());
    let shown = match method {
        "create" => {
            let sandbox = Some(Sandbox { sandbox_id: sandbox_id.clone(), ..Sandbox::default() });
            let r = ControllerCreateRequest { sandbox_id, sandboxer, sandbox, ..Default::default() };
            format!("{:?}", controllers.create(r).await?.into_inner())
        }
        "start" => {
            let r = ControllerStartRequest { sandbox_id, sandboxer };
            format!("{:?}", controllers.start(r).await?.into_inner())
        }
        "platform" => {
            let r = ControllerPlatformRequest { sandbox_id, sandboxer };
            format!("{:?}", controllers.platform(r).await?.into_inner())
        }
        "stop" => {
            let r = ControllerStopRequest { sandbox_id, sandboxer, timeout_secs: 1 };
            format!("{:?}", controllers.stop(r).await?.into_inner())
        }
        "wait" => {
            let r = ControllerWaitRequest { sandbox_id, sandboxer };
            format!("{:?}", controllers.wait(r).await?.into_inner())
        }
        "status" => {
            let r = ControllerStatusRequest { sandbox_id, sandboxer, verbose: true };
            let status = controllers.status(r).await?.into_inner();
            format!("{:?} {:?} {}", status.state, status.pid, status.exited_at.is_some())
        }
        "shutdown" => {
            let r = ControllerShutdownRequest { sandbox_id, sandboxer };
            format!("{:?}", controllers.shutdown(r).await?.into_inner())
        }
        "metrics" => {
            let r = ControllerMetricsRequest { sandbox_id, sandboxer };
            format!("{:?}", controllers.metrics(r).await?.into_inner())
        }
        _ => {
            let sandbox = (id != "no record").then(Sandbox::default);
            let r = ControllerUpdateRequest { sandbox_id, sandboxer, sandbox, fields: vec![] };
            format!("{:?}", controllers.update(r).await?.into_inner())
        }
    };
    Ok(shown)
}

const METHODS: [&str; 8] = ["create", "start", "stop", "wait", "status", "shutdown", "metrics", "update"];

#[test]
fn sandbox_controllers() {
    newer_contract("sctl", async |_| {
        let to = |method: &'static str, sandboxer: &'static str, id: &'static str| {
            move |rpc: Rpc| ask(rpc, method, sandboxer, id)
        };
        let mut cases = Vec::new();
        for method in METHODS {
            cases.push(case(
                format!("{method} without a controller"),
                Code::InvalidArgument,
                "sandbox controller name can not be empty",
                to(method, "", "x"),
            ));
            cases.push(case(
                format!("{method} of a controller that is not there"),
                Code::NotFound,
                "failed to get sandbox controller by nope",
                to(method, "nope", "x"),
            ));
        }
        cases.push(
            case(
                "start one that is not there",
                Code::Unknown,
                "unable to find sandbox \"x\"",
                to("start", "shim", "x"),
            )
            .ours(
                Code::NotFound,
                "failed to start sandbox \"x\": sandbox \"x\": not found",
                "says what it means",
            ),
        );
        cases.extend([
            case("stop one that is not there", Code::Ok, "", to("stop", "shim", "x")),
            case("wait for one that is not there", Code::NotFound, "not found", to("wait", "shim", "x")),
            case("status of one that is not there", Code::Ok, "0 true", to("status", "shim", "x")),
            case("shut down one that is not there", Code::NotFound, "not found", to("shutdown", "shim", "x")),
            case("metrics of one that is not there", Code::NotFound, "not found", to("metrics", "shim", "x")),
            case("update one that is not there", Code::Ok, "", to("update", "shim", "x")),
            case(
                "update without a record",
                Code::Unknown,
                "sandbox can not be nil",
                to("update", "shim", "no record"),
            ),
        ]);
        cases.push(
            case(
                "platform of one that is not there",
                Code::Unimplemented,
                "Platform",
                to("platform", "shim", "x"),
            )
            .ours(Code::NotFound, "sandbox \"x\": not found", "the call is there"),
        );
        Ok(cases)
    });
}
