//! Further processes of a container.

use integration::shim::{eventually, is_alive};
use protos::shim::events::TaskExit;

use crate::life::shown;
use crate::stage::{Stage, all, said};

const NAME: &str =
    "a name becomes a file's in the bundle, and one that is a path would leave it; daemons refuse it, too";
const INVALID: &str = "what is no JSON is the caller's mistake, and told as one";

pub(crate) async fn bad_ones(stage: &mut Stage) {
    let (_bundle, task) = stage.running("box", &["sleep", "1000"]).await;
    stage.check("one", said(&task.exec("box", "twice", &["true"], |_| {}).await), all("ok"));
    stage.check(
        "its name again",
        said(&task.exec("box", "twice", &["true"], |_| {}).await),
        all("AlreadyExists: id twice: already exists"),
    );
    stage.check(
        "a name that is a path",
        said(&task.exec("box", "../x", &["true"], |_| {}).await),
        all("ok").ours("InvalidArgument: *", NAME),
    );
    stage.check(
        "an empty name",
        said(&task.exec("box", "", &["true"], |_| {}).await),
        all("ok").ours("InvalidArgument: *", NAME),
    );
    let got = task.exec("box", "junk", &["true"], |r| r.spec.as_mut().unwrap().value = b"{".to_vec()).await;
    stage.check(
        "a process that does not parse",
        said(&got),
        all("Unknown: unexpected end of JSON input")
            .ours("InvalidArgument: failed to read process spec: *", INVALID),
    );
    let got = match task.exec("box", "missing", &["/no/such"], |_| {}).await {
        Ok(_) => said(&task.start("box", "missing").await),
        refused => said(&refused),
    };
    stage.check(
        "a program that is missing",
        got,
        all("Unknown: OCI runtime exec failed: *no such file or directory*"),
    );
    let got = shown(&task.state("box", "missing").await);
    stage.check("state of that", got, all("*"));
    let got = task.delete("box", "missing").await.map(|d| d.exit_status);
    stage.check("delete of that", format!("{got:?}"), all("Ok(*)"));
    let got = match task.exec("box", "stream", &["true"], |r| r.stdout = "http://x".into()).await {
        Ok(_) => said(&task.start("box", "stream").await),
        refused => said(&refused),
    };
    stage.check("a stream of an unknown scheme", got, all("*unknown STDIO scheme http*"));
    let _ = task.delete("box", "stream").await;
    let got = task.delete("box", "twice").await.map(|d| (d.exit_status, d.pid));
    stage.check("delete of one that never ran", format!("{got:?}"), all("Ok((0, 0))"));
    stage.check(
        "the container after all that",
        shown(&task.state("box", "").await),
        all("box RUNNING pid 0 *"),
    );
    stage.over(&task, "box").await;
}

/// Last of all, for it is the last of the original.
pub(crate) async fn no_process_at_all(stage: &mut Stage) {
    let (bundle, task) = stage.running("frail", &["sleep", "1000"]).await;
    let pid = task.shim_pid("frail").await;
    let got = task.exec("frail", "none", &["true"], |r| r.spec = None.into()).await;
    let got = match &got {
        Ok(_) | Err(ttrpc::Error::RpcStatus(_)) => said(&got),
        Err(_) => {
            eventually("the shim is dead", || (!is_alive(pid)).then_some(())).await;
            "it dies".to_owned()
        }
    };
    let alone = "one bad request must not take a pod's containers with it";
    stage.check("an exec without a process", got.clone(), all("it dies").ours("InvalidArgument: *", alone));
    if got == "it dies" {
        stage.place.delete(&bundle);
    } else {
        stage.over(&task, "frail").await;
    }
}

pub(crate) async fn lives(stage: &mut Stage) {
    let (_bundle, task) = stage.running("home", &["sleep", "1000"]).await;
    task.exec("home", "quick", &["sh", "-c", "exit 5"], |_| {}).await.unwrap();
    stage.check(
        "state before it starts",
        shown(&task.state("home", "quick").await),
        all("quick CREATED no pid 0 *"),
    );
    let pid = task.start("home", "quick").await.unwrap().pid;
    stage.check("it has a pid", format!("{}", pid > 0), all("true"));
    stage.check("its status", format!("{}", task.wait("home", "quick").await.unwrap().exit_status), all("5"));
    stage.check(
        "state after its end",
        shown(&task.state("home", "quick").await),
        all("quick STOPPED pid 5 a time"),
    );
    stage.check(
        "start of it again",
        said(&task.start("home", "quick").await),
        all("Unknown: cannot start a stopped process"),
    );
    stage.check(
        "kill after its end",
        said(&task.kill("home", "quick", 9).await),
        all("NotFound: process already finished: not found"),
    );
    let deleted = task.delete("home", "quick").await.unwrap();
    stage.check("delete", format!("{} {}", deleted.exit_status, deleted.pid == pid), all("5 true"));
    stage.check("state after that", said(&task.state("home", "quick").await), all("NotFound: *"));
    stage.check(
        "its name is free again",
        said(&task.exec("home", "quick", &["true"], |_| {}).await),
        all("ok"),
    );
    task.delete("home", "quick").await.unwrap();

    task.exec("home", "long", &["sleep", "1000"], |_| {}).await.unwrap();
    task.start("home", "long").await.unwrap();
    stage.check(
        "delete while it runs",
        said(&task.delete("home", "long").await),
        all("Unknown: cannot delete a running process"),
    );
    stage.check(
        "start while it runs",
        said(&task.start("home", "long").await),
        all("Unknown: cannot start a running process"),
    );
    stage.check("SIGTERM", said(&task.kill("home", "long", 15).await), all("ok"));
    stage.check(
        "its status after SIGTERM",
        format!("{}", task.wait("home", "long").await.unwrap().exit_status),
        all("143"),
    );
    task.delete("home", "long").await.unwrap();
    stage.over(&task, "home").await;
}

/// The init's exit is told after those of its execs.
pub(crate) async fn order_of_ends(stage: &mut Stage) {
    let (_bundle, task) = stage.running("host", &["sleep", "1000"]).await;
    for id in ["a", "b", "c"] {
        task.exec("host", id, &["sleep", "1000"], |_| {}).await.unwrap();
        task.start("host", id).await.unwrap();
    }
    task.kill("host", "", 9).await.unwrap();
    stage.place.seen.exit_of("host").await;
    let exits: Vec<TaskExit> = stage.place.seen.all();
    stage.check("exits of four processes", format!("{}", exits.len()), all("4"));
    stage.check("the last of them", &exits.last().unwrap().id, all("host"));
    let statuses: Vec<u32> = exits.iter().map(|e| e.exit_status).collect();
    stage.check("their statuses", format!("{statuses:?}"), all("[137, 137, 137, 137]"));
    let told = || stage.place.seen.topics();
    eventually("all is told", || (told().len() >= 12).then_some(())).await;
    let topics = told()[..8].join(" ");
    stage.check("what was told before", topics, all("/tasks/create /tasks/start /tasks/exec-added /tasks/exec-started /tasks/exec-added /tasks/exec-started /tasks/exec-added /tasks/exec-started"));
    for id in ["a", "b", "c"] {
        task.delete("host", id).await.unwrap();
    }
    stage.over(&task, "host").await;
}
