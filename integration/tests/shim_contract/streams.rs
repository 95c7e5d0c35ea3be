//! Where output goes and input comes from.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use integration::shim::{Bundle, collect, eventually, process};

use protos::shim::task_v3::ExecProcessRequest;

use crate::stage::{Stage, all, said};

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|e| e.to_string())
}

pub(crate) async fn none_and_files(stage: &mut Stage) {
    let bundle = stage.bundle("void", &["sh", "-c", "echo lost; read x; exit 4"]);
    let (_, task) = stage.shim(&bundle).await;
    stage.check("no streams at all", format!("{}", task.run(&bundle.create_request()).await), all("4"));
    let _ = task.shutdown("void").await;
    let bundle = stage.bundle("files", &["sh", "-c", "echo out; echo err >&2"]);
    let (_, task) = stage.shim(&bundle).await;
    let log = stage.place.dir.path().join("deep/er/log.txt");
    let mut request = bundle.create_request();
    request.stdout = format!("file://{}", log.display());
    request.stderr = request.stdout.clone();
    task.run(&request).await;
    task.run(&request).await;
    let mut lines: Vec<String> = read(&log).lines().map(str::to_owned).collect();
    lines.sort();
    stage.check("both streams of two runs in one file", lines.join(" "), all("err err out out"));
    let mode = |path: &Path| format!("{:o}", std::fs::metadata(path).unwrap().permissions().mode() & 0o777);
    stage.check("mode of the file", mode(&log), all("644"));
    stage.check("mode of its directory", mode(log.parent().unwrap()), all("755"));
    let _ = task.shutdown("files").await;
}

fn with_fifos(bundle: &Bundle, names: [Option<&str>; 3]) -> protos::shim::task_v3::CreateTaskRequest {
    let mut request = bundle.create_request();
    let [stdin, stdout, stderr] = names.map(|n| n.map(|n| text(&bundle.fifo(n))).unwrap_or_default());
    (request.stdin, request.stdout, request.stderr) = (stdin, stdout, stderr);
    request
}

pub(crate) async fn fifos(stage: &mut Stage) {
    let bundle = stage.bundle("pipes", &["sh", "-c", "cat; echo end >&2; exit 6"]);
    let (_, task) = stage.shim(&bundle).await;
    let request = with_fifos(&bundle, [Some("in"), Some("out"), Some("err")]);
    let (out, err) = (collect(Path::new(&request.stdout)), collect(Path::new(&request.stderr)));
    task.create(&request).await.unwrap();
    task.start("pipes", "").await.unwrap();
    for piece in ["one ", "two"] {
        // Each client of its own: that one goes is no end of input.
        OpenOptions::new().write(true).open(&request.stdin).unwrap().write_all(piece.as_bytes()).unwrap();
    }
    stage.check("close of its input", said(&task.close_stdin("pipes", "").await), all("ok"));
    stage.check("its status", format!("{}", task.wait("pipes", "").await.unwrap().exit_status), all("6"));
    task.delete("pipes", "").await.unwrap();
    let got = String::from_utf8(out.join().unwrap()).unwrap();
    stage.check("what came through", got, all("one two"));
    stage.check("its errors", String::from_utf8(err.join().unwrap()).unwrap(), all("end\n"));
    let _ = task.shutdown("pipes").await;

    let (bundle, task) = stage.running("side", &["sleep", "1000"]).await;
    let (input, output, errors) = (bundle.fifo("e-in"), bundle.fifo("e-out"), bundle.fifo("e-err"));
    let (out, err) = (collect(&output), collect(&errors));
    let all_three = |r: &mut ExecProcessRequest| {
        (r.stdin, r.stdout, r.stderr) = (text(&input), text(&output), text(&errors));
    };
    task.exec("side", "cat", &["cat"], all_three).await.unwrap();
    task.start("side", "cat").await.unwrap();
    OpenOptions::new().write(true).open(&input).unwrap().write_all(b"hello").unwrap();
    stage.check("close of an exec's input", said(&task.close_stdin("side", "cat").await), all("ok"));
    task.wait("side", "cat").await.unwrap();
    task.delete("side", "cat").await.unwrap();
    stage.check("what came through an exec", String::from_utf8(out.join().unwrap()).unwrap(), all("hello"));
    err.join().unwrap();
    let alone = bundle.fifo("alone");
    let read = std::fs::OpenOptions::new().read(true).custom_flags(0o4000).open(&alone).unwrap();
    task.exec("side", "half", &["echo", "hi"], |r| r.stdout = text(&alone)).await.unwrap();
    let got = said(&task.start("side", "half").await);
    let any = "streams are independent of one another; clients leave out what they do not want";
    let want = all("Unknown: *opening file \"\" failed*").ours("ok", any);
    stage.check("an exec with standard output alone", &got, want);
    if got == "ok" {
        task.wait("side", "half").await.unwrap();
    }
    task.delete("side", "half").await.unwrap();
    drop(read);
    stage.over(&task, "side").await;
}

fn logger(stage: &Stage, name: &str, ready: &str) -> String {
    let dir = stage.place.dir.path().join(name);
    std::fs::create_dir(&dir).unwrap();
    let (path, d) = (dir.join("logger"), dir.display());
    let script = format!(
        "#!/bin/sh\nenv > {d}/env; echo \"$@\" > {d}/args\ncat <&4 5>&- > {d}/err &\n{ready}\nexec 5>&-\ncat <&3 > {d}/out\nwait\necho done > {d}/done\n"
    );
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o755).open(&path).unwrap();
    file.write_all(script.as_bytes()).unwrap();
    text(&path)
}

pub(crate) async fn loggers(stage: &mut Stage) {
    let bundle = stage.bundle("told", &["sh", "-c", "echo out; echo err >&2; exit 2"]);
    let (_, task) = stage.shim(&bundle).await;
    let path = logger(stage, "first", ":");
    let mut request = bundle.create_request();
    request.stdout = format!("binary://{path}?key=a%20value");
    request.stderr = request.stdout.clone();
    stage.check("status of what a logger listens to", format!("{}", task.run(&request).await), all("2"));
    let dir = stage.place.dir.path().join("first");
    // The original ends a logger as soon as its streams are closed: what it started may take a moment more.
    let whole = || read(&dir.join("out")).ends_with('\n') && read(&dir.join("err")).ends_with('\n');
    eventually("the logger has it", || whole().then_some(())).await;
    let got =
        format!("{:?} {:?} {:?}", read(&dir.join("out")), read(&dir.join("err")), read(&dir.join("args")));
    stage.check("what it got", got, all(r#""out\n" "err\n" "key a value\n""#));
    let env = read(&dir.join("env"));
    let mut ours: Vec<&str> = env.lines().filter(|l| l.starts_with("CONTAINER_")).collect();
    ours.sort_unstable();
    stage.check("its environment", ours.join(" "), all("CONTAINER_ID=told CONTAINER_NAMESPACE=shimtest"));
    request.stdout = "binary:///bin/false".into();
    request.stderr = request.stdout.clone();
    let got = said(&task.create(&request).await);
    stage.check("one that dies before it is ready", got.clone(), all("ok"));
    if got == "ok" {
        task.start("told", "").await.unwrap();
        stage.check(
            "the container of a dead logger",
            format!("{}", task.wait("told", "").await.unwrap().exit_status),
            all("2"),
        );
        task.delete("told", "").await.unwrap();
    }
    let path = logger(stage, "second", "echo x >&5");
    request.stdout = format!("binary-v2://{path}");
    request.stderr = request.stdout.clone();
    let got = said(&task.create(&request).await);
    stage.check("the second form", got.clone(), all("Unknown: *unknown STDIO scheme binary-v2*").newer("ok"));
    if got == "ok" {
        task.start("told", "").await.unwrap();
        task.wait("told", "").await.unwrap();
        task.delete("told", "").await.unwrap();
    }
    request.stdout = "binary-v2:///bin/true".into();
    request.stderr = request.stdout.clone();
    let got = said(&task.create(&request).await);
    stage.check(
        "the second form, never ready",
        got,
        all("Unknown: *unknown STDIO scheme binary-v2*").newer("Unknown: *"),
    );
    let _ = task.shutdown("told").await;
}

pub(crate) async fn terminals(stage: &mut Stage) {
    let bundle = stage.bundle("tty", &["true"]);
    let mut spec = bundle.spec(&[]);
    spec["process"] = process(&["sh", "-c", "read x; stty size; echo got $x; exit 3"], true);
    bundle.write_spec(&spec);
    let (_, task) = stage.shim(&bundle).await;
    let mut request = with_fifos(&bundle, [Some("in"), Some("out"), None]);
    request.terminal = true;
    let out = collect(Path::new(&request.stdout));
    task.create(&request).await.unwrap();
    stage.check("resize", said(&task.resize("tty", "", 132, 43).await), all("ok"));
    task.start("tty", "").await.unwrap();
    stage.check("state says so", format!("{}", task.state("tty", "").await.unwrap().terminal), all("true"));

    let exec_out = bundle.fifo("exec-out");
    let exec_read = collect(&exec_out);
    let second = task.exec("tty", "second", &["sh", "-c", "[ -t 1 ] && stty size"], |r| {
        (r.terminal, r.stdout) = (true, text(&exec_out));
    });
    second.await.unwrap();
    task.start("tty", "second").await.unwrap();
    stage.check(
        "an exec with a terminal",
        format!("{}", task.wait("tty", "second").await.unwrap().exit_status),
        all("0"),
    );
    task.delete("tty", "second").await.unwrap();
    let got = String::from_utf8(exec_read.join().unwrap()).unwrap();
    stage.check("its terminal", got, all("* *\r\n"));

    OpenOptions::new().write(true).open(&request.stdin).unwrap().write_all(b"hello\n").unwrap();
    stage.check("its status", format!("{}", task.wait("tty", "").await.unwrap().exit_status), all("3"));
    task.delete("tty", "").await.unwrap();
    let got = String::from_utf8(out.join().unwrap()).unwrap();
    stage.check("what the terminal showed", got, all("*43 132\r\ngot hello\r\n"));
    let _ = task.shutdown("tty").await;

    let (_bundle, task) = stage.running("flat", &["sleep", "1000"]).await;
    stage.check("resize without a terminal", said(&task.resize("flat", "", 80, 25).await), all("ok"));
    stage.over(&task, "flat").await;
}
