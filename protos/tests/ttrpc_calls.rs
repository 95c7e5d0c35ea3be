//! The generated ttrpc clients and services, talking to each other.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use async_trait::async_trait;
use protos::shim::task_v3::{ConnectRequest, ConnectResponse, StateRequest, Task, TaskClient, create_task};
use std::sync::Arc;
use ttrpc::r#async::{Client, Server, TtrpcContext};

struct Shim;

#[async_trait]
impl Task for Shim {
    async fn connect(&self, _: &TtrpcContext, request: ConnectRequest) -> ttrpc::Result<ConnectResponse> {
        Ok(ConnectResponse { version: request.id, shim_pid: 7, ..Default::default() })
    }
}

#[tokio::test]
async fn a_method_that_is_left_out_is_unimplemented() {
    let dir = tempfile::tempdir().unwrap();
    let address = format!("unix://{}", dir.path().join("s").display());
    let mut server = Server::new().bind(&address).unwrap().register_service(create_task(Arc::new(Shim)));
    server.start().await.unwrap();
    let client = TaskClient::new(Client::connect(&address).await.unwrap());
    let context = || ttrpc::context::with_timeout(5_000_000_000);

    let request = ConnectRequest { id: "c1".to_owned(), ..Default::default() };
    let answer = client.connect(context(), &request).await.unwrap();
    assert_eq!((answer.version.as_str(), answer.shim_pid), ("c1", 7));

    let error = client.state(context(), &StateRequest::default()).await.unwrap_err();
    let ttrpc::Error::RpcStatus(status) = error else { panic!("{error:?}") };
    assert_eq!((status.code.value(), status.message.as_str()), (12, "method State"));
    server.shutdown().await.unwrap();
}
