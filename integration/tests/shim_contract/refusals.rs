//! What is refused: names that nobody has, and steps out of turn.

use integration::shim::{Task, forever};
use protos::shim::task_v3::*;

use crate::life::shown;
use crate::stage::{Stage, Want, all, said};

const LOST: &str = "the original loses the kind of its own error";
const INVALID: &str = "what is no JSON is the caller's mistake, and told as one";
const FIRST: &str =
    "the shim knows its containers: it answers before the runtime is asked, and with the kind";

const KILLED: &str =
    "the runtime kills what was made and not started; the original answers before it knows how that ended";

const NONE: &str = "NotFound: container not created: not found";

/// Every method once, on one container; the table says what each must answer.
async fn each(stage: &mut Stage, task: &Task, id: &str, rows: &[(&'static str, Want)]) {
    for (case, want) in rows {
        let got = ask(task, id, case.split(' ').next().unwrap_or_default()).await;
        stage.check(case, got, *want);
    }
}

async fn ask(task: &Task, id: &str, method: &str) -> String {
    match method {
        "State" => said(&task.state(id, "").await),
        "Start" => said(&task.start(id, "").await),
        "Delete" => said(&task.delete(id, "").await),
        "Pids" => said(&task.pids(id).await),
        "Pause" => said(&task.pause(id).await),
        "Resume" => said(&task.resume(id).await),
        "Kill" => said(&task.kill(id, "", 9).await),
        "KillAll" => said(&task.kill_all(id, 9).await),
        "Exec" => said(&task.exec(id, "e", &["true"], |_| {}).await),
        "ResizePty" => said(&task.resize(id, "", 80, 25).await),
        "CloseIO" => said(&task.close_stdin(id, "").await),
        "Update" => said(&task.update(id, br#"{"pids":{"limit":50}}"#).await),
        "Wait" => said(&task.wait(id, "").await),
        "Stats" => said(&task.stats(id).await),
        "Connect" => said(&task.connect(id).await),
        "Checkpoint" => {
            let mut request = CheckpointTaskRequest::new();
            (request.id, request.path) = (id.to_owned(), "/dev/null/checkpoint".into());
            said(&task.0.checkpoint(forever(), &request).await)
        }
        other => panic!("{other}"),
    }
}

pub(crate) async fn ids_that_nobody_has(stage: &mut Stage) {
    let bundle = stage.bundle("nobody", &["true"]);
    let (_, task) = stage.shim(&bundle).await;
    each(
        stage,
        &task,
        "nobody",
        &[
            ("State of nobody", all(NONE)),
            ("Start of nobody", all(NONE)),
            ("Delete of nobody", all(NONE)),
            ("Pids of nobody", all(NONE)),
            ("Pause of nobody", all(NONE)),
            ("Resume of nobody", all(NONE)),
            ("Kill of nobody", all(NONE)),
            ("KillAll of nobody", all(NONE)),
            ("Exec of nobody", all(NONE)),
            ("ResizePty of nobody", all(NONE)),
            ("CloseIO of nobody", all(NONE)),
            ("Update of nobody", all(NONE)),
            ("Wait of nobody", all(NONE)),
            ("Stats of nobody", all(NONE)),
            ("Connect of nobody", all("ok")),
            ("Checkpoint of nobody", all(NONE)),
        ],
    )
    .await;
    stage.check("an empty id", said(&task.state("", "").await), all(NONE));
    let got = task.connect("nobody").await.unwrap().task_pid;
    stage.check("the task pid that connect gives", format!("{got}"), all("0"));
    let _ = task.shutdown("nobody").await;
}

pub(crate) async fn execs_that_nobody_has(stage: &mut Stage) {
    let (_bundle, task) = stage.running("host", &["sleep", "1000"]).await;
    let none = "NotFound: process does not exist ghost: not found";
    let close = all("Unknown: process does not exist ghost: not found").ours(none, LOST);
    stage.check("CloseIO of no exec", said(&task.close_stdin("host", "ghost").await), close);
    let rows = [
        ("State of no exec", said(&task.state("host", "ghost").await)),
        ("Start of no exec", said(&task.start("host", "ghost").await)),
        ("Delete of no exec", said(&task.delete("host", "ghost").await)),
        ("Kill of no exec", said(&task.kill("host", "ghost", 9).await)),
        ("Wait of no exec", said(&task.wait("host", "ghost").await)),
        ("ResizePty of no exec", said(&task.resize("host", "ghost", 1, 1).await)),
    ];
    for (case, got) in rows {
        stage.check(case, got, all(none));
    }
    stage.over(&task, "host").await;
}

pub(crate) async fn created(stage: &mut Stage) {
    let bundle = stage.bundle("fresh", &["sleep", "1000"]);
    let (_, task) = stage.shim(&bundle).await;
    task.create(&bundle.create_request()).await.unwrap();
    each(
        stage,
        &task,
        "fresh",
        &[
            ("Pause of what is created", all("Unknown: cannot pause task in created state")),
            ("Resume of what is created", all("Unknown: cannot resume task in created state")),
            ("Checkpoint of what is created", all("Unknown: cannot checkpoint a task in created state")),
            ("Pids of what is created", all("ok")),
            ("Stats of what is created", all("ok")),
            ("Update of what is created", all("ok")),
            ("ResizePty of what is created", all("ok")),
            ("CloseIO of what is created", all("ok")),
            ("Connect of what is created", all("ok")),
        ],
    )
    .await;
    let got = said(&task.create(&bundle.create_request()).await);
    stage.check(
        "a second create",
        got,
        all("Unknown: OCI runtime create failed: *already exists")
            .ours("AlreadyExists: container fresh: already exists", FIRST),
    );
    stage.check("the first after that", shown(&task.state("fresh", "").await), all("fresh CREATED pid 0 *"));
    stage.check(
        "an exec in what is created",
        said(&task.exec("fresh", "soon", &["true"], |_| {}).await),
        all("ok"),
    );
    stage.check(
        "kill of it before it runs",
        said(&task.kill("fresh", "soon", 9).await),
        all("FailedPrecondition: process not created: failed precondition"),
    );
    stage.check("state of it", shown(&task.state("fresh", "soon").await), all("soon CREATED no pid 0 *"));
    let got = task.start("fresh", "soon").await;
    stage.check("start of it before its container", said(&got), all("ok"));
    let got = task.wait("fresh", "soon").await.unwrap().exit_status;
    stage.check("its status", format!("{got}"), all("0"));
    task.delete("fresh", "soon").await.unwrap();
    stage.check("Kill of what is created", said(&task.kill("fresh", "", 9).await), all("ok"));
    stage.check("its end", format!("{}", task.wait("fresh", "").await.unwrap().exit_status), all("137"));
    task.delete("fresh", "").await.unwrap();

    task.create(&bundle.create_request()).await.unwrap();
    let got = task.delete("fresh", "").await.map(|d| d.exit_status);
    stage.check("Delete of what is created", format!("{got:?}"), all("Ok(0)").ours("Ok(137)", KILLED));
    let _ = task.shutdown("fresh").await;
}

pub(crate) async fn running(stage: &mut Stage) {
    let (bundle, task) = stage.running("alive", &["sleep", "1000"]).await;
    each(
        stage,
        &task,
        "alive",
        &[
            ("Start of what runs", all("Unknown: cannot start a running process")),
            ("Delete of what runs", all("Unknown: cannot delete a running process")),
            ("Resume of what runs", all("Unknown: cannot resume a running process")),
            ("ResizePty of what runs", all("ok")),
            ("CloseIO of what runs", all("ok")),
        ],
    )
    .await;
    let got = said(&task.create(&bundle.create_request()).await);
    stage.check(
        "a create of its name",
        got,
        all("Unknown: OCI runtime create failed: *already exists")
            .ours("AlreadyExists: container alive: already exists", FIRST),
    );
    stage.check(
        "update with what is no JSON",
        said(&task.update("alive", b"{").await),
        all("Unknown: unexpected end of JSON input")
            .ours("InvalidArgument: failed to read resources: *", INVALID),
    );
    stage.check(
        "update with another type",
        said(&task.update("alive", b"[]").await),
        all("Unknown: *json: cannot unmarshal array into Go value of type specs.LinuxResources"),
    );
    stage.check(
        "update with nothing",
        said(&task.update("alive", b"").await),
        all("Unknown: unexpected end of JSON input")
            .ours("InvalidArgument: failed to read resources: *", INVALID),
    );
    let got = task.update("alive", br#"{"memory":{"limit":1}}"#).await;
    stage.check(
        "update that the kernel refuses",
        said(&got),
        all("Unknown: *unable to set memory limit to 1 *"),
    );
    let got = ask(&task, "alive", "Checkpoint").await;
    stage.check(
        "checkpoint into no directory",
        got,
        all("Unknown: *not a directory path= DIR/alive/criu-dump.log"),
    );
    stage.check("it still runs", shown(&task.state("alive", "").await), all("alive RUNNING pid 0 *"));
    stage.over(&task, "alive").await;
}

pub(crate) async fn stopped(stage: &mut Stage) {
    let (_bundle, task) = stage.running("done", &["sh", "-c", "exit 3"]).await;
    task.wait("done", "").await.unwrap();
    each(
        stage,
        &task,
        "done",
        &[
            ("Start of what has ended", all("Unknown: cannot start a stopped process")),
            ("Pause of what has ended", all("Unknown: cannot pause a stopped container")),
            ("Resume of what has ended", all("Unknown: cannot resume a stopped container")),
            ("Kill of what has ended", all("NotFound: process already finished: not found")),
            ("KillAll of what has ended", all("*")),
            ("Exec of what has ended", all("Unknown: cannot exec in a stopped state")),
            ("Update of what has ended", all("Unknown: cannot update a stopped container")),
            ("Checkpoint of what has ended", all("Unknown: cannot checkpoint a stopped container")),
            ("ResizePty of what has ended", all("ok")),
            ("CloseIO of what has ended", all("ok")),
            ("Pids of what has ended", all("*")),
            ("Stats of what has ended", all("*")),
            ("Wait of what has ended", all("ok")),
            ("State of what has ended", all("ok")),
        ],
    )
    .await;
    let got = task.delete("done", "").await.map(|d| d.exit_status).unwrap();
    stage.check("Delete of what has ended", format!("{got}"), all("3"));
    each(
        stage,
        &task,
        "done",
        &[
            ("Start of what was deleted", all(NONE)),
            ("Kill of what was deleted", all(NONE)),
            ("Wait of what was deleted", all(NONE)),
            ("Stats of what was deleted", all(NONE)),
        ],
    )
    .await;
    let _ = task.shutdown("done").await;
}
