//! The life of containers and their processes under the real runtime. As root; needs runc and a static busybox.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod driver;

use driver::*;
use protos::shim::events::{TaskDelete, TaskExit, TaskStart};
use protos::shim::types::Status;
use ttrpc::Code;

#[tokio::test]
async fn run_to_the_end_and_leave() {
    let place = Place::new().await;
    let bundle = place.bundle("life", &["sh", "-c", "exit 7"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.create(&bundle.create_request()).await.unwrap().pid;
    assert!(is_alive(pid));
    let state = task.state("life", "").await.unwrap();
    assert_eq!(
        (state.status.unwrap(), state.pid, state.bundle),
        (Status::CREATED, pid, bundle.dir.to_string_lossy().into_owned())
    );
    assert_eq!(task.start("life", "").await.unwrap().pid, pid);
    let waited = task.wait("life", "").await.unwrap();
    assert_eq!(waited.exit_status, 7);
    let state = task.state("life", "").await.unwrap();
    assert_eq!(
        (state.status.unwrap(), state.exit_status, state.exited_at),
        (Status::STOPPED, 7, waited.exited_at.clone())
    );
    assert!(std::fs::read_to_string(bundle.dir.join("exits/init.json")).unwrap().contains("\"code\":7"));
    assert_eq!(
        refusal(task.kill("life", "", 9).await),
        (Code::NOT_FOUND, "process already finished: not found".into())
    );
    let deleted = task.delete("life", "").await.unwrap();
    assert_eq!((deleted.exit_status, deleted.pid, deleted.exited_at), (7, pid, waited.exited_at));
    assert_eq!(
        refusal(task.state("life", "").await),
        (Code::NOT_FOUND, "container not created: not found".into())
    );
    let pid = task.shim_pid("life").await;
    task.shutdown("life").await.unwrap();
    shim.gone().await;
    eventually("shim leaves", || (!is_alive(pid)).then_some(())).await;
    assert_eq!(place.seen.topics(), ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    assert_eq!(place.seen.all::<TaskDelete>()[0].exit_status, 7);
}

#[tokio::test]
async fn codes_of_twenty_quick_deaths() {
    let place = Place::new().await;
    let first = place.bundle("q0", &["sh", "-c", "exit 1"]);
    let shim = place.start(&first);
    let task = shim.client().await;
    for n in 0..20_u32 {
        let id = format!("quick{n}");
        let script = if n % 4 == 3 { "kill -9 $$; kill -KILL 1".to_owned() } else { format!("exit {n}") };
        let bundle = place.bundle(&id, &["sh", "-c", &script]);
        if n % 4 == 3 {
            // A shell that is pid 1 cannot kill itself; let it be killed from outside at once.
            let bundle = place.bundle(&format!("{id}k"), &["sleep", "1000"]);
            task.create(&bundle.create_request()).await.unwrap();
            task.start(&bundle.id, "").await.unwrap();
            task.kill(&bundle.id, "", 9).await.unwrap();
            assert_eq!(task.wait(&bundle.id, "").await.unwrap().exit_status, 137);
            assert_eq!(task.delete(&bundle.id, "").await.unwrap().exit_status, 137);
            continue;
        }
        assert_eq!(task.run(&bundle.create_request()).await, n, "container {n}");
    }
    task.shutdown("q0").await.unwrap();
    shim.gone().await;
    // Each start before its exit, one exit each.
    let topics = place.seen.topics();
    assert_eq!(topics.iter().filter(|t| *t == "/tasks/exit").count(), 20);
    assert_eq!(
        topics
            .chunks(4)
            .filter(|c| *c == ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"])
            .count(),
        20
    );
}

#[tokio::test]
async fn execs_end_before_their_container() {
    let place = Place::new().await;
    let bundle = place.bundle("box", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("box", "").await.unwrap();
    task.exec("box", "quick", &["sh", "-c", "exit 5"], |_| {}).await.unwrap();
    assert_eq!(
        refusal(task.exec("box", "quick", &["true"], |_| {}).await),
        (Code::ALREADY_EXISTS, "id quick: already exists".into())
    );
    assert_eq!(refusal(task.exec("box", "../x", &["true"], |_| {}).await).0, Code::INVALID_ARGUMENT);
    assert_eq!(task.state("box", "quick").await.unwrap().status.unwrap(), Status::CREATED);
    assert_eq!(
        refusal(task.kill("box", "quick", 9).await),
        (Code::FAILED_PRECONDITION, "process not created: failed precondition".into())
    );
    let pid = task.start("box", "quick").await.unwrap().pid;
    assert!(pid > 0);
    assert_eq!(task.wait("box", "quick").await.unwrap().exit_status, 5);
    assert_eq!(task.delete("box", "quick").await.unwrap().exit_status, 5);
    assert_eq!(refusal(task.state("box", "quick").await).0, Code::NOT_FOUND);
    assert!(!bundle.dir.join("exits/exec.quick.json").exists() && !bundle.dir.join("quick.pid").exists());

    for n in 0..3 {
        let id = format!("long{n}");
        task.exec("box", &id, &["sleep", "1000"], |_| {}).await.unwrap();
        task.start("box", &id).await.unwrap();
    }
    assert_eq!(
        refusal(task.delete("box", "long0").await),
        (Code::UNKNOWN, "cannot delete a running process".into())
    );
    let pids = task.pids("box").await.unwrap().processes;
    assert_eq!((pids.len(), pids.iter().filter(|p| p.info.is_some()).count()), (4, 3));
    task.kill("box", "long0", 15).await.unwrap();
    assert_eq!(task.wait("box", "long0").await.unwrap().exit_status, 143);
    assert_eq!(refusal(task.start("box", "missing").await).0, Code::NOT_FOUND);
    let failed = refusal({
        task.exec("box", "none", &["/no/such"], |_| {}).await.unwrap();
        task.start("box", "none").await
    });
    assert!(
        failed.1.starts_with("OCI runtime exec failed: ") && failed.1.contains("no such file or directory"),
        "{failed:?}"
    );
    // It never ran: still created for whoever asks, and nobody waits for it in vain.
    let state = task.state("box", "none").await.unwrap();
    assert_eq!(
        (state.status.unwrap(), state.pid, state.exited_at.seconds),
        (Status::CREATED, 0, -62_135_596_800)
    );
    assert_eq!(refusal(task.kill("box", "none", 9).await).0, Code::FAILED_PRECONDITION);
    task.wait("box", "none").await.unwrap();
    task.delete("box", "none").await.unwrap();

    task.kill("box", "", 9).await.unwrap();
    assert_eq!(task.wait("box", "").await.unwrap().exit_status, 137);
    assert_eq!(place.seen.exit_of("box").await.exit_status, 137);
    let exits: Vec<String> = place.seen.all::<TaskExit>().into_iter().map(|e| e.id).collect();
    assert_eq!(exits.last().unwrap(), "box", "{exits:?}");
    assert_eq!(exits.len(), 5);
    assert_eq!(
        refusal(task.exec("box", "late", &["true"], |_| {}).await).1,
        "cannot exec in a stopped state"
    );
    task.delete("box", "").await.unwrap();
    task.shutdown("box").await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn without_a_pid_namespace_the_rest_is_killed() {
    let place = Place::new().await;
    let bundle = place.bundle("shared", &["true"]);
    let mut spec = bundle.spec(&["sh", "-c", "sleep 1000 & sleep 1000 & sleep 1000"]);
    spec["linux"]["namespaces"] = serde_json::json!([{"type": "mount"}, {"type": "uts"}]);
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    let init = task.start("shared", "").await.unwrap().pid;
    task.exec("shared", "also", &["sleep", "1000"], |_| {}).await.unwrap();
    let exec = task.start("shared", "also").await.unwrap().pid;
    // The shell, two sleeps behind it (the third is the shell itself, replaced), and the exec.
    let mut pids = Vec::new();
    for _ in 0..1000 {
        pids = task.pids("shared").await.unwrap().processes.iter().map(|p| p.pid).collect();
        if pids.len() == 4 {
            break;
        }
    }
    assert_eq!(pids.len(), 4);
    assert!(pids.contains(&init) && pids.contains(&exec));
    task.kill("shared", "", 9).await.unwrap();
    assert_eq!(task.wait("shared", "").await.unwrap().exit_status, 137);
    for pid in pids {
        eventually("everything is dead", || (!is_alive(pid)).then_some(())).await;
    }
    place.seen.exit_of("shared").await;
    let exits: Vec<String> = place.seen.all::<TaskExit>().into_iter().map(|e| e.id).collect();
    assert_eq!(exits, ["also", "shared"]);
    task.delete("shared", "").await.unwrap();
    task.shutdown("shared").await.unwrap();
    shim.gone().await;
}

#[tokio::test]
async fn pause_resume_update_and_what_is_refused() {
    let place = Place::new().await;
    let bundle = place.bundle("ice", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    assert_eq!(
        refusal(task.pause("ice").await),
        (Code::UNKNOWN, "cannot pause task in created state".into())
    );
    task.start("ice", "").await.unwrap();
    assert_eq!(refusal(task.start("ice", "").await).1, "cannot start a running process");
    assert_eq!(refusal(task.delete("ice", "").await).1, "cannot delete a running process");
    assert_eq!(refusal(task.resume("ice").await).1, "cannot resume a running process");
    task.pause("ice").await.unwrap();
    assert_eq!(task.state("ice", "").await.unwrap().status.unwrap(), Status::PAUSED);
    assert_eq!(refusal(task.exec("ice", "x", &["true"], |_| {}).await).1, "cannot exec in a paused state");
    task.resume("ice").await.unwrap();
    assert_eq!(task.state("ice", "").await.unwrap().status.unwrap(), Status::RUNNING);
    let mut update = protos::shim::task_v3::UpdateTaskRequest::new();
    update.id = "ice".into();
    let mut any = protos::shim::Any::new();
    any.value = br#"{"pids":{"limit":77}}"#.to_vec();
    update.resources = Some(any).into();
    task.0.update(forever(), &update).await.unwrap();
    update.resources.as_mut().unwrap().value = b"{".to_vec();
    assert_eq!(refusal(task.0.update(forever(), &update).await).0, Code::INVALID_ARGUMENT);
    // Killed while frozen.
    task.pause("ice").await.unwrap();
    task.kill("ice", "", 9).await.unwrap();
    assert_eq!(task.wait("ice", "").await.unwrap().exit_status, 137);
    task.delete("ice", "").await.unwrap();
    task.shutdown("ice").await.unwrap();
    shim.gone().await;
    assert_eq!(place.seen.all::<TaskStart>().len(), 1);
}

#[tokio::test]
async fn deleted_before_it_was_started() {
    let place = Place::new().await;
    let bundle = place.bundle("unborn", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let pid = task.create(&bundle.create_request()).await.unwrap().pid;
    let waiter = tokio::spawn({
        let task = task.clone();
        async move { task.wait("unborn", "").await }
    });
    let deleted = task.delete("unborn", "").await.unwrap();
    assert_eq!((deleted.pid, deleted.exit_status), (pid, 137));
    assert_eq!(waiter.await.unwrap().unwrap().exit_status, 137);
    eventually("init is gone", || (!is_alive(pid)).then_some(())).await;
    task.shutdown("unborn").await.unwrap();
    shim.gone().await;
    assert_eq!(place.seen.topics(), ["/tasks/create", "/tasks/exit", "/tasks/delete"]);
}
