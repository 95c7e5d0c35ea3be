//! Tasks from beginning to end under the shim that Debian ships.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::task::Poll;
use std::time::Duration;

use base::{ErrorKind, Kinded};
use runtime::{ExecRequest, Status};
use world::*;

#[test]
fn create_start_wait_delete() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    let pid = daemon.create(world.container("c1", "exit 7")).unwrap();
    assert!(pid > 1);
    assert_eq!(daemon.status("c1").unwrap(), Status::Created);
    assert!(!world.bundle("c1").join(".intent").exists());
    let second = daemon.create(world.container("c1", "true")).unwrap_err();
    assert_eq!(second.kind(), ErrorKind::AlreadyExists);
    assert_eq!(second.to_string(), "task c1: already exists");
    assert_eq!(daemon.start("c1"), pid);
    let exit = daemon.wait("c1");
    assert_eq!((exit.pid, exit.status), (pid, 7));
    assert_eq!(daemon.status("c1").unwrap(), Status::Stopped);
    let deleted = daemon.delete("c1").unwrap();
    assert_eq!((deleted.pid, deleted.status, deleted.exited_at), (pid, 7, exit.exited_at));
    assert_eq!(daemon.status("c1").unwrap_err().to_string(), "task c1 not found");
    let events = daemon.events_until("/tasks/delete");
    assert_eq!(topics(&events), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    assert_eq!(exits(&events)[0].exit_status, 7);
    world.assert_clean();
}

#[test]
fn exec_signals_and_figures() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    daemon.create(world.container("c1", "busybox sleep 100")).unwrap();
    daemon.start("c1");
    let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
    daemon.run(async {
        let process =
            r#"{"args":["/bin/sh","-c","exit 5"],"cwd":"/","user":{"uid":0,"gid":0},"env":["PATH=/bin"]}"#;
        let spec = Some(base::Any::new(base::any::type_url::PROCESS, process));
        let exec = ExecRequest { exec_id: "e1".to_owned(), spec, ..ExecRequest::default() };
        runtime.exec(&ns, "c1", exec.clone()).await.unwrap();
        let again = runtime.exec(&ns, "c1", exec.clone()).await.unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        let nameless = ExecRequest { exec_id: String::new(), ..exec.clone() };
        assert_eq!(
            runtime.exec(&ns, "c1", nameless).await.unwrap_err().to_string(),
            "exec id cannot be empty"
        );
        let bad = ExecRequest { exec_id: "-".to_owned(), ..exec };
        assert_eq!(runtime.exec(&ns, "c1", bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(runtime.start(&ns, "c1", "e1").await.unwrap() > 1);
        assert_eq!(runtime.wait(&ns, "c1", "e1").await.unwrap().status, 5);
        assert_eq!(runtime.delete_process(&ns, "c1", "e1").await.unwrap().status, 5);
        assert_eq!(runtime.state(&ns, "c1", "e1").await.unwrap_err().kind(), ErrorKind::NotFound);
        assert_eq!(runtime.pids(&ns, "c1").await.unwrap().len(), 1);
        assert!(runtime.stats(&ns, "c1").await.unwrap().type_url.contains("Metrics"));
        runtime.pause(&ns, "c1").await.unwrap();
        assert_eq!(runtime.list(&ns).await[0].status, Status::Paused);
        runtime.resume(&ns, "c1").await.unwrap();
        let running = runtime.delete(&ns, "c1").await.unwrap_err();
        assert!(base::chain(&running).contains("cannot delete a running process"), "{running:?}");
        let limits = base::Any::new(base::any::type_url::LINUX_RESOURCES, r#"{"pids":{"limit":50}}"#);
        runtime.update(&ns, "c1", Some(&limits), Default::default()).await.unwrap();
        assert_eq!(runtime.kill(&ns, "nope", "", 9, false).await.unwrap_err().kind(), ErrorKind::NotFound);
    });
    assert_eq!(daemon.finish("c1").status, 137);
    world.assert_clean();
}

#[test]
fn everyone_who_deletes_at_once_is_told_the_same() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    daemon.create(world.container("c1", "exit 3")).unwrap();
    daemon.start("c1");
    daemon.wait("c1");
    let all: Vec<_> = (0..8)
        .map(|_| {
            let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
            daemon.spawn(async move { runtime.delete(&ns, "c1").await })
        })
        .collect();
    let mut told = 0;
    for delete in all {
        match daemon.run(delete).unwrap() {
            Ok(exit) => {
                assert_eq!(exit.status, 3);
                told += 1;
            }
            Err(late) => assert_eq!(late.kind(), ErrorKind::NotFound, "{late}"),
        }
    }
    assert!(told >= 1);
    assert_eq!(deletes(&daemon.events_until("/tasks/delete")).len(), 1);
    world.assert_clean();
}

#[test]
fn the_same_id_again_and_again_without_a_pause() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    for round in 0..4 {
        daemon.create(world.container("c1", &format!("exit {round}"))).unwrap();
        daemon.start("c1");
        assert_eq!(daemon.wait("c1").status, round);
        assert_eq!(daemon.delete("c1").unwrap().status, round);
    }
    world.assert_clean();
}

#[test]
fn a_create_that_its_caller_gives_up_is_undone() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    for after in [1u64, 10, 25, 40, 60] {
        let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
        let create = world.container("c1", "true");
        daemon.run(async move {
            let create = runtime.create(&ns, create);
            // Either is fine: given up, or done in time.
            if tokio::time::timeout(Duration::from_millis(after), create).await.is_ok() {
                let _ = runtime.kill(&ns, "c1", "", 9, true).await;
                runtime.wait(&ns, "c1", "").await.unwrap();
                runtime.delete(&ns, "c1").await.unwrap();
            }
        });
        daemon.create(world.container("c1", "true")).unwrap();
        daemon.finish("c1");
    }
    world.assert_clean();
}

#[test]
fn a_task_whose_creator_left_just_as_it_was_done_does_not_stay() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    daemon.serve();
    for _ in 0..3 {
        let (runtime, ns) = (daemon.runtime.clone(), daemon.namespace.clone());
        let task = world.container("c1", "true");
        let mut create = Box::pin(async move { runtime.create(&ns, task).await });
        // Begun, and not looked at again: its result waits to be taken.
        let begun = std::future::poll_fn(|cx| Poll::Ready(create.as_mut().poll(cx).is_pending()));
        assert!(daemon.run(begun));
        let made = daemon.events_until("/tasks/create");
        assert_eq!(daemon.status("c1").unwrap_err().kind(), ErrorKind::NotFound, "nobody was told of it");
        assert!(world.bundle("c1").join(".intent").exists(), "a daemon that starts now undoes it");
        drop(create);
        assert_eq!(daemon.status("c1").unwrap_err().kind(), ErrorKind::NotFound);
        let second = daemon.create(world.container("c1", "true")).unwrap();
        assert!(second > 1 && !made.is_empty());
        assert_eq!(daemon.start("c1"), second);
        daemon.finish("c1");
        daemon.events_until("/tasks/delete");
        // The next create must not find the remains of this one: it is looked at only once.
        assert!(daemon.run(daemon.runtime.drain(PATIENCE)));
    }
    drop(daemon);
    world.assert_clean();
}

#[test]
fn what_the_runtime_says_of_a_failed_create_reaches_the_caller() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    let mut create = world.container("c1", "true");
    let spec = create.spec.take().unwrap();
    let text = String::from_utf8(spec.value.to_vec()).unwrap().replace("/bin/sh", "/bin/nothing");
    create.spec = Some(base::Any::new(spec.type_url, text));
    let error = daemon.create(create).unwrap_err();
    let text = base::chain(&error);
    assert!(text.starts_with("failed to create shim task: OCI runtime create failed: "), "{text}");
    assert!(text.contains("no such file or directory"), "{text}");
    assert_eq!(error.kind(), ErrorKind::Unknown, "as the shim classed it");
    world.assert_clean();
    daemon.create(world.container("c1", "true")).unwrap();
    daemon.finish("c1");
    world.assert_clean();
}

#[test]
fn tasks_of_a_sandbox_share_its_shim_when_that_can() {
    let world = World::new(GO_SHIM);
    let mut daemon = world.daemon();
    daemon.create(world.container("sandbox1", "busybox sleep 100")).unwrap();
    daemon.start("sandbox1");
    let outer = daemon.endpoint("sandbox1");
    let mut inner = world.container("inner", "exit 3");
    inner.sandbox_id = Some(base::SandboxId::new("sandbox1").unwrap());
    daemon.create(inner).unwrap();
    let endpoint = daemon.run(daemon.runtime.endpoint(&daemon.namespace, "inner")).unwrap();
    // Shims that speak version 2 are run once more, and decide about grouping by themselves.
    assert_eq!(endpoint.address == outer.address, outer.version >= 3);
    daemon.start("inner");
    assert_eq!(daemon.wait("inner").status, 3);
    daemon.delete("inner").unwrap();
    eventually("its bundle is gone", || (!world.bundle("inner").exists()).then_some(()));
    assert_eq!(daemon.status("sandbox1").unwrap(), Status::Running, "its shim lives on");
    assert_eq!(deletes(&daemon.events_until("/tasks/delete"))[0].container_id, "inner");
    // A shim that dies takes all its tasks along, each with one exit.
    let mut inner = world.container("second", "busybox sleep 100");
    inner.sandbox_id = Some(base::SandboxId::new("sandbox1").unwrap());
    daemon.create(inner).unwrap();
    daemon.start("second");
    if outer.version >= 3 {
        daemon.events_until("/tasks/start");
        signal(outer.shim_pid as i32, rustix::process::Signal::KILL);
        let mut events = Vec::new();
        eventually("both deletions", || {
            events.extend(daemon.events());
            (deletes(&events).len() == 2).then_some(())
        });
        assert_eq!(exits(&events).len(), 2);
    } else {
        daemon.finish("second");
        daemon.finish("sandbox1");
    }
    world.assert_clean();
}
