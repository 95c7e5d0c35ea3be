//! Shims that speak gRPC: the real one, behind a bridge that turns its ttrpc into gRPC; and sockets that do not speak it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::convert::Infallible;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::{ErrorKind, Kinded};
use bytes::Bytes;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use runtime::{CreateTask, ExecRequest, Status};
use rustix::process::Signal;
use tokio::net::{UnixListener, UnixStream};
use world::*;

type Body = StreamBody<futures_util::stream::Iter<std::vec::IntoIter<Result<Frame<Bytes>, Infallible>>>>;

/// One gRPC call, made to a real shim's ttrpc socket.
async fn pass_on(request: Request<Incoming>, shim: ttrpc::r#async::Client) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let (service, method) = path.trim_start_matches('/').split_once('/').unwrap();
    assert_eq!(service, "containerd.task.v3.Task");
    assert_eq!(request.headers()["content-type"], "application/grpc");
    let namespace = request.headers()["containerd-namespace"].to_str().unwrap().to_owned();
    let method = method.to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let answered = shim
        .request(ttrpc::Request {
            // What Debian's shim serves.
            service: "containerd.task.v2.Task".to_owned(),
            method,
            payload: body[5..].to_vec(),
            metadata: vec![ttrpc::proto::KeyValue {
                key: "containerd-namespace-ttrpc".to_owned(),
                value: namespace,
                ..Default::default()
            }],
            ..Default::default()
        })
        .await;
    let mut trailers = http::HeaderMap::new();
    let mut frames = Vec::new();
    match answered {
        Ok(response) => {
            let length = u32::try_from(response.payload.len()).unwrap().to_be_bytes();
            frames.push(Ok(Frame::data(Bytes::from([&[0], &length[..], &response.payload].concat()))));
            trailers.insert("grpc-status", "0".parse().unwrap());
        }
        Err(ttrpc::Error::RpcStatus(status)) => {
            trailers.insert("grpc-status", status.code.value().to_string().parse().unwrap());
            let escaped = status.message.replace('%', "%25").replace('\n', "%0A");
            trailers.insert("grpc-message", escaped.parse().unwrap());
        }
        Err(error) => {
            trailers.insert("grpc-status", "14".parse().unwrap());
            trailers.insert("grpc-message", error.to_string().replace('%', "%25").parse().unwrap());
        }
    }
    frames.push(Ok(Frame::trailers(trailers)));
    let body = StreamBody::new(futures_util::stream::iter(frames));
    Response::builder().header("content-type", "application/grpc").body(body).unwrap()
}

/// Serves gRPC at `socket` for the shim whose ttrpc address is in the file `address`; a connection ends with the shim's.
async fn bridge(socket: PathBuf, address: PathBuf) {
    let listener = UnixListener::bind(socket).unwrap();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let target = std::fs::read_to_string(&address).unwrap();
        tokio::spawn(async move {
            let path = target.trim().trim_start_matches("unix://").to_owned();
            let Ok(shim) = ttrpc::r#async::Client::connect(&format!("unix://{path}")).await else { return };
            let gone = ended(path);
            let serve = service_fn(move |request| {
                let shim = shim.clone();
                async move { Ok::<_, Infallible>(pass_on(request, shim).await) }
            });
            let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            tokio::select! {
                _ = server.serve_connection(TokioIo::new(stream), serve) => {}
                () = gone => {}
            }
        });
    }
}

/// Returns when nobody listens there any more.
async fn ended(path: String) {
    while UnixStream::connect(&path).await.is_ok() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A shim program that starts the real one and answers with the bridge's address.
fn program(world: &World) -> PathBuf {
    let here = world.path("").display().to_string();
    let shim = world.shim.display().to_string();
    world.script(
        "containerd-shim-grpc-v3",
        &format!(
            "for last; do :; done; [ \"$last\" = start ] || exec {shim} \"$@\"\n\
             {shim} \"$@\" < /dev/null > {here}/answer || {{ cat {here}/answer; exit 1; }}\n\
             sed 's/.*\"address\":\"\\([^\"]*\\)\".*/\\1/' < {here}/answer > {here}/real\n\
             echo '{{\"version\":3,\"address\":\"unix://{here}/grpc.sock\",\"protocol\":\"GRPC\"}}'"
        ),
    )
}

#[test]
fn a_task_from_beginning_to_end() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    let program = program(&world).display().to_string();
    let bridge = daemon.spawn(bridge(world.path("grpc.sock"), world.path("real")));
    let task =
        |id: &str, script: &str| CreateTask { runtime_path: program.clone(), ..world.container(id, script) };
    let pid = daemon.create(task("c1", "busybox sleep 1000")).unwrap();
    daemon.start("c1");
    let endpoint = daemon.endpoint("c1");
    assert!(endpoint.address.starts_with("grpc+unix://"), "{}", endpoint.address);
    assert_eq!(endpoint.version, 3);
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    daemon.run(async {
        let process =
            r#"{"args":["/bin/sh","-c","exit 5"],"cwd":"/","user":{"uid":0,"gid":0},"env":["PATH=/bin"]}"#;
        let spec = Some(base::Any::new(base::any::type_url::PROCESS, process));
        let exec = ExecRequest { exec_id: "e1".to_owned(), spec, ..ExecRequest::default() };
        runtime.exec(&ns, "c1", exec.clone()).await.unwrap();
        let again = runtime.exec(&ns, "c1", exec).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists, "codes pass unchanged");
        assert!(runtime.start(&ns, "c1", "e1").await.unwrap() > 1);
        assert_eq!(runtime.wait(&ns, "c1", "e1").await.unwrap().status, 5);
        let missing = runtime.state(&ns, "c1", "nope").await.unwrap_err();
        assert_eq!(missing.kind(), ErrorKind::NotFound, "{missing}");
    });
    assert_eq!(daemon.status("c1").unwrap(), Status::Running);
    let exit = daemon.finish("c1");
    assert_eq!((exit.pid, exit.status), (pid, 137));
    // Another, whose shim dies: that is noticed, and told once.
    let pid = daemon.create(task("c2", "busybox sleep 1000")).unwrap();
    daemon.start("c2");
    let shim = daemon.endpoint("c2").shim_pid;
    daemon.events_until("/tasks/start");
    signal(shim as i32, Signal::KILL);
    let events = daemon.events_until("/tasks/delete");
    let told: Vec<_> = exits(&events).into_iter().filter(|e| e.container_id == "c2").collect();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].pid, told[0].exit_status), (pid, 137));
    assert!(!alive(pid));
    bridge.abort();
    world.assert_clean();
}

#[test]
fn a_task_is_taken_over_by_the_next_daemon() {
    let world = World::new(GO_SHIM);
    let first = world.daemon();
    let apart = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let bridge = apart.spawn(bridge(world.path("grpc.sock"), world.path("real")));
    let program = program(&world).display().to_string();
    let task = CreateTask { runtime_path: program, ..world.container("c1", "busybox sleep 1000") };
    eventually("the bridge", || world.path("grpc.sock").exists().then_some(()));
    first.create(task).unwrap();
    first.start("c1");
    drop(first);
    let second = world.daemon();
    assert_eq!(second.recover().adopted, 1);
    assert_eq!(second.status("c1").unwrap(), Status::Running);
    assert_eq!(second.finish("c1").status, 137);
    bridge.abort();
    world.assert_clean();
}

/// A socket at which each connection gets `bytes` and is held open.
fn says(path: &Path, bytes: &'static [u8]) {
    use std::io::Write;
    let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.write_all(bytes);
            std::mem::forget(stream);
        }
    });
}

#[test]
fn sockets_that_do_not_speak_grpc() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon_with(|options| {
        let second = Duration::from_secs(1);
        options.timeouts.create = second;
        options.timeouts.cleanup = second;
        options.timeouts.shutdown = second;
    });
    says(&world.path("mute"), b"");
    says(&world.path("http1"), b"HTTP/1.1 400 Bad Request\r\n\r\n");
    for (name, kinds) in [
        ("mute", &[ErrorKind::DeadlineExceeded][..]),
        ("http1", &[ErrorKind::Unknown, ErrorKind::DeadlineExceeded][..]),
    ] {
        let answer = format!(
            "{{\"version\":3,\"address\":\"unix://{}\",\"protocol\":\"grpc\"}}",
            world.path(name).display()
        );
        let script = format!("for last; do :; done; [ \"$last\" = start ] || exit 0; echo '{answer}'");
        let program = world.script(&format!("containerd-shim-{name}-v1"), &script);
        let create =
            CreateTask { runtime_path: program.display().to_string(), ..world.container("c1", "true") };
        let error = daemon.create(create).unwrap_err();
        let text = base::chain(&error);
        assert!(kinds.contains(&error.kind()), "{name}: {text}");
        assert!(text.starts_with("failed to create shim task: "), "{name}: {text}");
        world.assert_clean();
    }
    // Nobody serves version 2 over gRPC.
    let script = "echo '{\"version\":2,\"address\":\"unix:///x\",\"protocol\":\"grpc\"}'";
    let program = world.script("containerd-shim-old-v1", script);
    let create = CreateTask { runtime_path: program.display().to_string(), ..world.container("c1", "true") };
    let text = base::chain(&daemon.create(create).unwrap_err());
    assert!(text.contains("only version 3 is spoken over grpc, not 2"), "{text}");
    world.assert_clean();
}
