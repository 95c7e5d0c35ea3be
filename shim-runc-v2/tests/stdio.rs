//! What goes in and out of processes. As root; needs runc and a static busybox.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod driver;

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use driver::*;
use protos::shim::task_v3::{CloseIORequest, CreateTaskRequest, ResizePtyRequest};

fn path(p: &Path) -> String {
    p.to_string_lossy().into_owned()
}

fn with_fifos(bundle: &Bundle, names: [Option<&str>; 3]) -> CreateTaskRequest {
    let mut request = bundle.create_request();
    let [stdin, stdout, stderr] = names.map(|n| n.map(|n| path(&bundle.fifo(n))).unwrap_or_default());
    (request.stdin, request.stdout, request.stderr) = (stdin, stdout, stderr);
    request
}

/// Resident memory of a process, in KiB.
fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = text.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gigabyte_passes_byte_exact_in_constant_memory() {
    const COUNT: u64 = 1 << 30;
    let place = Place::new().await;
    let bundle = place.bundle("giga", &["sh", "-c", "dd if=/dev/zero bs=65536 count=16384 2>/dev/null"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let request = with_fifos(&bundle, [None, Some("out"), None]);
    let out = request.stdout.clone();
    let reader = std::thread::spawn(move || {
        let mut file = File::open(out).unwrap();
        let (mut total, mut buffer, mut clean) = (0_u64, vec![1_u8; 1 << 16], true);
        let zeroes = vec![0_u8; 1 << 16];
        loop {
            let n = file.read(&mut buffer).unwrap();
            if n == 0 {
                return (total, clean);
            }
            total += n as u64;
            clean &= buffer[..n] == zeroes[..n];
        }
    });
    task.create(&request).await.unwrap();
    let pid = task.shim_pid("giga").await;
    let before = resident(pid);
    task.start("giga", "").await.unwrap();
    assert_eq!(task.wait("giga", "").await.unwrap().exit_status, 0);
    let grown = resident(pid).saturating_sub(before);
    assert_eq!(reader.join().unwrap(), (COUNT, true));
    assert!(grown < 512, "the shim grew by {grown} KiB");
    task.delete("giga", "").await.unwrap();
    task.shutdown("giga").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn input_comes_out_in_order_and_ends_when_it_is_closed() {
    let place = Place::new().await;
    let bundle = place.bundle("echo", &["cat"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let request = with_fifos(&bundle, [Some("in"), Some("out"), Some("err")]);
    let data: Vec<u8> = (0..(16_u32 << 20)).map(|i| (i % 251) as u8).collect();
    let (out, err) = (collect(Path::new(&request.stdout)), collect(Path::new(&request.stderr)));
    task.create(&request).await.unwrap();
    task.start("echo", "").await.unwrap();
    let (stdin, sent) = (request.stdin.clone(), data.clone());
    std::thread::spawn(move || OpenOptions::new().write(true).open(stdin).unwrap().write_all(&sent).unwrap())
        .join()
        .unwrap();
    // The client is gone; that is no end of input yet.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(task.state("echo", "").await.unwrap().exit_status == 0 && place.seen.topics().len() == 2);
    let mut close = CloseIORequest::new();
    close.id = "echo".into();
    close.stdin = true;
    task.0.close_io(forever(), &close).await.unwrap();
    assert_eq!(task.wait("echo", "").await.unwrap().exit_status, 0);
    assert!(out.join().unwrap() == data && err.join().unwrap().is_empty());
    task.delete("echo", "").await.unwrap();
    task.shutdown("echo").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn output_that_nobody_reads_holds_up_no_exit() {
    let place = Place::new().await;
    let bundle = place.bundle("mute", &["sh", "-c", "cat /dev/zero"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let request = with_fifos(&bundle, [None, Some("out"), Some("err")]);
    task.create(&request).await.unwrap();
    task.start("mute", "").await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    // A delete waits ten seconds for output at most; an exit does not wait for it at all.
    let begun = Instant::now();
    task.kill("mute", "", 9).await.unwrap();
    assert_eq!(task.wait("mute", "").await.unwrap().exit_status, 137);
    place.seen.exit_of("mute").await;
    assert!(begun.elapsed() < Duration::from_secs(3), "exit took {:?}", begun.elapsed());
    task.delete("mute", "").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(10), "delete took {:?}", begun.elapsed());
    task.shutdown("mute").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_may_go_and_another_come() {
    let place = Place::new().await;
    let bundle = place
        .bundle("relay", &["sh", "-c", "i=0; while [ $i -lt 30000 ]; do echo line $i; i=$((i+1)); done"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let request = with_fifos(&bundle, [None, Some("out"), None]);
    task.create(&request).await.unwrap();
    task.start("relay", "").await.unwrap();
    // The first reader takes some and dies; nothing but what it took is gone, nobody gets SIGPIPE.
    let mut first = vec![0; 100_000];
    File::open(&request.stdout).unwrap().read_exact(&mut first).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let rest = collect(Path::new(&request.stdout));
    assert_eq!(task.wait("relay", "").await.unwrap().exit_status, 0);
    first.extend(rest.join().unwrap());
    let want: String = (0..30_000).map(|i| format!("line {i}\n")).collect();
    assert!(first == want.as_bytes(), "{} bytes of {}", first.len(), want.len());
    task.delete("relay", "").await.unwrap();
    task.shutdown("relay").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_for_init_and_exec() {
    let place = Place::new().await;
    let bundle = place.bundle("tty", &["true"]);
    let mut spec = bundle.spec(&[]);
    spec["process"] = process(&["sh", "-c", "read x; stty size; echo got $x; exit 3"], true);
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = with_fifos(&bundle, [Some("in"), Some("out"), None]);
    request.terminal = true;
    let out = collect(Path::new(&request.stdout));
    task.create(&request).await.unwrap();
    let mut size = ResizePtyRequest::new();
    size.id = "tty".into();
    (size.width, size.height) = (132, 43);
    task.0.resize_pty(forever(), &size).await.unwrap();
    task.start("tty", "").await.unwrap();

    let exec_out = bundle.fifo("exec-out");
    let exec_read = collect(&exec_out);
    task.exec("tty", "second", &["sh", "-c", "[ -t 1 ] && echo terminal"], |r| {
        r.terminal = true;
        r.stdout = path(&exec_out);
    })
    .await
    .unwrap();
    task.start("tty", "second").await.unwrap();
    assert_eq!(task.wait("tty", "second").await.unwrap().exit_status, 0);
    task.delete("tty", "second").await.unwrap();
    assert_eq!(exec_read.join().unwrap(), b"terminal\r\n");

    OpenOptions::new().write(true).open(&request.stdin).unwrap().write_all(b"hello\n").unwrap();
    assert_eq!(task.wait("tty", "").await.unwrap().exit_status, 3);
    let text = String::from_utf8(out.join().unwrap()).unwrap();
    assert!(text.contains("43 132\r\n") && text.contains("got hello\r\n"), "{text:?}");
    task.delete("tty", "").await.unwrap();
    task.shutdown("tty").await.unwrap();
    shim.gone().await;
    assert!(
        std::fs::read_dir(std::env::temp_dir())
            .unwrap()
            .flatten()
            .all(|e| !e.path().join("pty.sock").exists())
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_terminal_whose_input_ends_is_hung_up() {
    let place = Place::new().await;
    let bundle = place.bundle("hup", &["true"]);
    let mut spec = bundle.spec(&[]);
    spec["process"] =
        process(&["sh", "-c", "trap 'exit 8' HUP; echo ready; while :; do sleep 1000 & wait; done"], true);
    bundle.write_spec(&spec);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let mut request = with_fifos(&bundle, [Some("in"), Some("out"), None]);
    request.terminal = true;
    // Its first words say that it is ready for the signal.
    let (ready, said) = tokio::sync::oneshot::channel();
    let stdout = request.stdout.clone();
    let out = std::thread::spawn(move || {
        let (mut out, mut first) = (File::open(stdout).unwrap(), vec![0; 7]);
        out.read_exact(&mut first).unwrap();
        ready.send(()).unwrap();
        out.read_to_end(&mut first).unwrap();
        first
    });
    task.create(&request).await.unwrap();
    task.start("hup", "").await.unwrap();
    drop(OpenOptions::new().write(true).open(&request.stdin).unwrap());
    let mut close = CloseIORequest::new();
    (close.id, close.stdin) = ("hup".into(), true);
    tokio::time::timeout(PATIENCE, said).await.unwrap().unwrap();
    task.0.close_io(forever(), &close).await.unwrap();
    assert_eq!(task.wait("hup", "").await.unwrap().exit_status, 8);
    assert_eq!(out.join().unwrap(), b"ready\r\n");
    task.delete("hup", "").await.unwrap();
    task.shutdown("hup").await.unwrap();
    shim.gone().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn into_a_file_and_into_a_logger() {
    let place = Place::new().await;
    let bundle = place.bundle("files", &["sh", "-c", "echo out; echo err >&2"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    let log = place.dir.path().join("deep/er/log.txt");
    let mut request = bundle.create_request();
    request.stdout = format!("file://{}", log.display());
    request.stderr = request.stdout.clone();
    task.run(&request).await;
    let text = std::fs::read_to_string(&log).unwrap();
    assert!(text.len() == 8 && text.contains("out\n") && text.contains("err\n"), "{text:?}");

    let logger = place.dir.path().join("logger");
    let dir = place.dir.path().display();
    let script = format!(
        "#!/bin/sh\nenv > {dir}/env; echo \"$@\" > {dir}/args\ncat <&4 5>&- > {dir}/err &\nexec 5>&-\ncat <&3 > {dir}/out\nwait\n"
    );
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o755)
        .open(&logger)
        .unwrap()
        .write_all(script.as_bytes())
        .unwrap();
    let bundle = place.bundle("logged", &["sh", "-c", "echo out; echo err >&2"]);
    let mut request = bundle.create_request();
    request.stdout = format!("binary://{}?key=a%20value&bare", logger.display());
    request.stderr = request.stdout.clone();
    task.run(&request).await;
    let read = |name: &str| std::fs::read_to_string(place.dir.path().join(name)).unwrap();
    assert_eq!(
        (read("out").as_str(), read("err").as_str(), read("args").trim()),
        ("out\n", "err\n", "key a value bare")
    );
    assert!(
        read("env").contains("CONTAINER_ID=logged\n")
            && read("env").contains(&format!("CONTAINER_NAMESPACE={NAMESPACE}\n"))
    );

    // A logger that dies before it is ready: fine for the first form, not for the second.
    let bundle = place.bundle("strict", &["true"]);
    let mut request = bundle.create_request();
    request.stdout = "binary-v2:///bin/true".into();
    assert!(refusal(task.create(&request).await).1.contains("did not call ready"));
    request.stdout = "http://x".into();
    assert_eq!(refusal(task.create(&request).await).1, "unknown STDIO scheme http");
    request.stdout = String::new();
    assert_eq!(task.run(&request).await, 0, "the same id works after failures");
    task.shutdown("files").await.unwrap();
    shim.gone().await;
    assert_eq!(std::fs::metadata(&log).unwrap().permissions().mode() & 0o777, 0o644);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_child_that_keeps_the_output_open_holds_up_no_delete() {
    let place = Place::new().await;
    let bundle = place.bundle("kept", &["sleep", "1000"]);
    let shim = place.start(&bundle);
    let task = shim.client().await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("kept", "").await.unwrap();
    let fifo = bundle.fifo("exec-out");
    let read = collect(&fifo);
    task.exec("kept", "forks", &["sh", "-c", "sleep 1000 & echo hi"], |r| r.stdout = path(&fifo))
        .await
        .unwrap();
    task.start("kept", "forks").await.unwrap();
    assert_eq!(task.wait("kept", "forks").await.unwrap().exit_status, 0);
    let begun = Instant::now();
    task.delete("kept", "forks").await.unwrap();
    // Output that somebody holds open without a word is waited for for one second, output that comes for ten.
    assert!(begun.elapsed() < Duration::from_secs(9), "{:?}", begun.elapsed());
    assert_eq!(read.join().unwrap(), b"hi\n");
    task.kill("kept", "", 9).await.unwrap();
    task.wait("kept", "").await.unwrap();
    task.delete("kept", "").await.unwrap();
    task.shutdown("kept").await.unwrap();
    shim.gone().await;
}
