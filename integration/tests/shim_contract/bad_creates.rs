//! Creates that cannot be: what they answer, and that nothing of them is left.

use std::os::unix::fs::OpenOptionsExt;

use integration::shim::{Bundle, Task};
use protos::shim::Any;
use protos::shim::task_v3::CreateTaskRequest;
use protos::shim::types::Mount;

use crate::stage::{Stage, all, said};

const CALLER: &str = "options that cannot be read are the caller's mistake; the original loses the kind";

/// A program that acts as the runtime.
fn script(stage: &Stage, name: &str, body: &str) -> String {
    use std::io::Write;
    let path = stage.place.dir.path().join(name);
    let mut file =
        std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o755).open(&path).unwrap();
    file.write_all(format!("#!/bin/sh\n{body}\n").as_bytes()).unwrap();
    path.to_string_lossy().into_owned()
}

async fn create(task: &Task, bundle: &Bundle, set: impl FnOnce(&mut CreateTaskRequest)) -> String {
    let mut request = bundle.create_request();
    set(&mut request);
    said(&task.create(&request).await)
}

/// Nothing is mounted, no id is taken, and the runtime knows of nothing.
fn left(stage: &Stage, id: &str) -> String {
    let state = stage.place.dir.path().join("runc").join(integration::shim::NAMESPACE).join(id);
    let mounts = integration::leftovers::mounts_below(stage.place.dir.path()).len();
    format!("{mounts} mounts, state {}", state.exists())
}

pub(crate) async fn impossible_requests(stage: &mut Stage) {
    let bundle = stage.bundle("odd", &["sh", "-c", "exit 4"]);
    let (_, task) = stage.shim(&bundle).await;
    let good = std::fs::read(bundle.dir.join("config.json")).unwrap();
    let got = create(&task, &bundle, |r| r.bundle = "/nonexistent/bundle".into()).await;
    stage.check(
        "a bundle that is not there",
        got,
        all("NotFound: *options.json: no such file or directory*"),
    );
    std::fs::write(bundle.dir.join("config.json"), "{").unwrap();
    let got = create(&task, &bundle, |_| {}).await;
    stage.check("a spec that does not parse", got, all("*unexpected EOF*"));
    let mut spec = bundle.spec(&["true"]);
    spec.as_object_mut().unwrap().remove("process");
    bundle.write_spec(&spec);
    let got = create(&task, &bundle, |_| {}).await;
    stage.check("a spec without a process", got, all("*"));
    spec = bundle.spec(&[]);
    bundle.write_spec(&spec);
    let got = create(&task, &bundle, |_| {}).await;
    stage.check("a process without arguments", got, all("*"));
    std::fs::remove_file(bundle.dir.join("config.json")).unwrap();
    let got = create(&task, &bundle, |_| {}).await;
    stage.check("no spec", got, all("*"));
    std::fs::write(bundle.dir.join("config.json"), &good).unwrap();
    let got = create(&task, &bundle, |r| r.stdout = "http://x".into()).await;
    stage.check("a stream of an unknown scheme", got, all("Unknown: *unknown STDIO scheme http*"));
    let got = create(&task, &bundle, |r| r.stdout = "/nonexistent/fifo".into()).await;
    stage.check("a FIFO that is not there", got, all("*no such file or directory*"));
    let got = create(&task, &bundle, |r| r.stdout = "binary:///nonexistent/logger".into()).await;
    stage.check("a logger that is not there", got, all("*no such file or directory*"));
    let junk = Any { type_url: "containerd.runc.v1.Options".into(), value: vec![0xff; 9], ..Any::default() };
    let got = create(&task, &bundle, |r| r.options = Some(junk).into()).await;
    stage.check(
        "options that do not parse",
        got,
        all("FailedPrecondition: *")
            .newer("Unknown: *")
            .ours("InvalidArgument: failed to read runtime options: *", CALLER),
    );
    let strange = Any { type_url: "some.where.Else".into(), value: vec![8, 1], ..Any::default() };
    let got = create(&task, &bundle, |r| r.options = Some(strange).into()).await;
    stage.check(
        "options that nobody knows",
        got,
        all("Unknown: type with url some.where.Else: not found")
            .ours("InvalidArgument: unexpected runtime options \"some.where.Else\"*", CALLER),
    );
    let got = create(&task, &bundle, |r| r.checkpoint = "/dev/null/checkpoint".into()).await;
    stage.check("a checkpoint that is not there", got, all("*"));
    if got_created(&task).await {
        let _ = task.start("odd", "").await;
        let _ = task.delete("odd", "").await;
    }
    stage.check("what is left of them", left(stage, "odd"), all("0 mounts, state false"));
    let got = said(&task.state("odd", "").await);
    stage.check("the name is free", got, all("NotFound: container not created: not found"));
    stage.check("and can be had", format!("{}", task.run(&bundle.create_request()).await), all("4"));
    let _ = task.shutdown("odd").await;
}

async fn got_created(task: &Task) -> bool {
    task.state("odd", "").await.is_ok()
}

pub(crate) async fn runtimes(stage: &mut Stage) {
    let bundle = stage.bundle("run", &["sh", "-c", "exit 4"]);
    let (_, task) = stage.shim(&bundle).await;
    let with = |binary: &str| bundle.options(binary);
    let got = create(&task, &bundle, |r| r.options = Some(with("no-runc")).into()).await;
    stage.check(
        "one that is missing",
        got,
        all("Unknown: *exec: \"no-runc\": executable file not found in $PATH*"),
    );
    let got = create(&task, &bundle, |r| r.options = Some(with("/nonexistent/runc")).into()).await;
    stage.check("a path that is missing", got, all("Unknown: *no such file or directory*"));
    let path = script(stage, "fails", "exit 3");
    let got = create(&task, &bundle, |r| r.options = Some(with(&path)).into()).await;
    stage.check(
        "one that fails without a word",
        got,
        all("Unknown: *OCI runtime create failed*exit status 3*"),
    );
    let path = script(stage, "garbage", "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1");
    let got = create(&task, &bundle, |r| r.options = Some(with(&path)).into()).await;
    let size = if got.len() < 100_000 { "short" } else { "long" };
    let got = format!("{size} {}", got.chars().take(40).collect::<String>());
    stage.check("one that prints a megabyte", got, all("* Unknown: *"));
    let words = r#"while [ $# -gt 0 ]; do [ "$1" = --log ] && log=$2; shift; done
echo '{"level":"info","msg":"all well"}' > $log; echo '{"level":"error","msg":"exec: \"x\": executable file not found in $PATH"}' >> $log; exit 1"#;
    let path = script(stage, "words", words);
    let got = create(&task, &bundle, |r| r.options = Some(with(&path)).into()).await;
    let text = "Unknown: OCI runtime create failed: exec: \"x\": executable file not found in $PATH*";
    stage.check("one that says why", got, all(text));
    let path = script(stage, "liar", "exit 0");
    let got = create(&task, &bundle, |r| r.options = Some(with(&path)).into()).await;
    stage.check(
        "one that claims to have done it",
        got,
        all("Unknown: *failed to retrieve OCI runtime container pid*"),
    );
    stage.check("what is left of them", left(stage, "run"), all("0 mounts, state false"));
    bundle.write_spec(&bundle.spec(&["/no/such/program"]));
    let got = match task.create(&bundle.create_request()).await {
        Ok(_) => said(&task.start("run", "").await),
        refused => said(&refused),
    };
    stage.check("a program that is not in the image", got, all("Unknown: *no such file or directory*"));
    let _ = task.delete("run", "").await;
    bundle.write_spec(&bundle.spec(&["sh", "-c", "exit 4"]));
    stage.check("after all that", format!("{}", task.run(&bundle.create_request()).await), all("4"));
    let _ = task.shutdown("run").await;
}

pub(crate) async fn root_file_systems(stage: &mut Stage) {
    let bundle = stage.bundle("root", &["sh", "-c", "exit 4"]);
    let (_, task) = stage.shim(&bundle).await;
    let mount = |fstype: &str, source: &str, options: &[&str]| {
        let mut mount = Mount::new();
        (mount.type_, mount.source) = (fstype.to_owned(), source.to_owned());
        mount.options = options.iter().map(|o| (*o).to_owned()).collect();
        mount
    };
    let source = stage.place.dir.path().join("source");
    std::fs::rename(bundle.dir.join("rootfs"), &source).unwrap();
    let source = source.to_string_lossy().into_owned();
    let bind = mount("bind", &source, &["rbind", "rw"]);
    let bad = mount("nosuchfs", "none", &[]);
    let got = create(&task, &bundle, |r| r.rootfs = vec![bad.clone()]).await;
    stage.check(
        "a kind that nobody knows",
        got,
        all("Unknown: failed to mount rootfs component*no such device*"),
    );
    let missing = mount("bind", "/nonexistent/source", &["rbind"]);
    let got = create(&task, &bundle, |r| r.rootfs = vec![missing]).await;
    stage.check("a source that is missing", got, all("*no such file or directory*"));
    let overlay = mount("overlay", "overlay", &["lowerdir=/nonexistent/a:/nonexistent/b"]);
    let got = create(&task, &bundle, |r| r.rootfs = vec![overlay]).await;
    stage.check("an overlay of nothing", got, all("*no such file or directory*"));
    let got = create(&task, &bundle, |r| r.rootfs = vec![bind.clone(), bad]).await;
    stage.check("a good one and then a bad", got, all("Unknown: failed to mount rootfs component*"));
    stage.check("what is left of them", left(stage, "root"), all("0 mounts, state false"));
    let mut request = bundle.create_request();
    request.rootfs = vec![bind];
    task.create(&request).await.unwrap();
    let mounted = sys::mount::is_mount_point(&bundle.dir.join("rootfs")).unwrap();
    stage.check("a good one is mounted", format!("{mounted}"), all("true"));
    task.start("root", "").await.unwrap();
    stage.check("and runs", format!("{}", task.wait("root", "").await.unwrap().exit_status), all("4"));
    task.delete("root", "").await.unwrap();
    stage.check("delete unmounts it", left(stage, "root"), all("0 mounts, state false"));
    let _ = task.shutdown("root").await;
}
