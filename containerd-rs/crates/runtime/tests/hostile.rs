//! Programs that are no shims, or bad ones: one clear error each, nothing left, and the next try works.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use base::{ErrorKind, Kinded};
use runtime::{CreateTask, Timeouts};
use world::*;

/// Creates with each of `shims`, expects its failure, and then a create that works. Programs that do not end have a
/// second for `start`; the others as much as they need, and fail by themselves.
fn refused(cases: &[(&str, &str, ErrorKind)]) {
    let world = World::new(GO_SHIM);
    let patient = world.daemon_with(|options| options.timeouts = within(PATIENCE * 2));
    for (number, (script, want, kind)) in cases.iter().enumerate() {
        let script = script.replace("WORLD", &world.path("").display().to_string());
        let program = world.script(&format!("containerd-shim-bad-v{number}"), &script);
        let create =
            CreateTask { runtime_path: program.display().to_string(), ..world.container("c1", "true") };
        let endless = *kind == ErrorKind::DeadlineExceeded;
        let impatient = endless.then(|| {
            world.daemon_with(|options| {
                options.timeouts = Timeouts { start: Duration::from_secs(1), ..within(PATIENCE * 2) };
                options.ttrpc_address = world.path("impatient.ttrpc").display().to_string();
            })
        });
        let begin = Instant::now();
        let error = impatient.as_ref().unwrap_or(&patient).create(create).unwrap_err();
        let text = base::chain(&error);
        assert!(text.starts_with(want), "{script}\n{text}\n{want}");
        assert!(text.len() < 6000, "bounded");
        assert_eq!(error.kind(), *kind, "{text}");
        assert!(begin.elapsed() < PATIENCE, "{script}: {:?}", begin.elapsed());
        world.assert_clean();
    }
    let daemon = patient;
    daemon.create(world.container("c1", "exit 4")).unwrap();
    daemon.start("c1");
    assert_eq!(daemon.finish("c1").status, 4);
    world.assert_clean();
}

fn within(limit: Duration) -> Timeouts {
    Timeouts {
        start: limit,
        cleanup: limit,
        load: limit,
        shutdown: limit,
        create: limit,
        call: limit,
        ..Timeouts::default()
    }
}

/// Does nothing for `-v` and `delete`, as the simplest of shims.
const QUIET: &str = r#"for last; do :; done; [ "$last" = start ] || exit 0;"#;

#[test]
fn programs_that_are_no_shims() {
    use ErrorKind::{DeadlineExceeded, Unimplemented, Unknown};
    let quiet = |rest: &str| format!("{QUIET} {rest}");
    let cases = [
        (quiet("exit 0"), "failed to start shim: start failed: shim answered nothing to start", Unknown),
        (quiet("echo boom >&2; exit 3"), "failed to start shim: start failed: boom: exit status 3", Unknown),
        (quiet("kill -9 $$"), "failed to start shim: start failed: signal: killed", Unknown),
        (
            quiet(r#"printf 'panic: oh no\ngoroutine 1'"#),
            "failed to start shim: start failed: shim answered garbage to start: \"panic: oh no",
            Unknown,
        ),
        (
            quiet("head -c 300000 /dev/urandom"),
            "failed to start shim: start failed: shim answered garbage to start: ",
            Unknown,
        ),
        (
            quiet(r#"echo '{"version":7,"address":"unix:///x","protocol":"ttrpc"}'"#),
            "failed to start shim: start failed: unsupported shim version (7)",
            Unimplemented,
        ),
        (
            quiet(r#"echo '{"version":3,"address":"unix:///x","protocol":"smoke"}'"#),
            "failed to start shim: start failed: unexpected protocol: \"smoke\"",
            Unknown,
        ),
        (
            quiet("echo unix:///no/such/socket"),
            "failed to start shim: start failed: failed to create TTRPC connection: dial unix:///no/such/socket: ",
            ErrorKind::Unavailable,
        ),
        (
            quiet("echo some words that are no address"),
            "failed to start shim: start failed: failed to create TTRPC connection: dial some words",
            ErrorKind::Unavailable,
        ),
        (
            quiet("sleep 100 & echo waiting; wait"),
            "failed to start shim: start failed: waiting: shim killed after 1s: ",
            DeadlineExceeded,
        ),
        (
            quiet("yes | head -c 100000000; sleep 100"),
            "failed to start shim: start failed: y",
            DeadlineExceeded,
        ),
    ];
    refused(&cases.iter().map(|(script, want, kind)| (script.as_str(), *want, *kind)).collect::<Vec<_>>());
}

#[test]
fn names_that_lead_nowhere() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    let nowhere = world.path("nope").display().to_string();
    let no_program = world.path("text");
    std::fs::write(&no_program, "not a program").unwrap();
    for (runtime, want) in [
        (
            "io.containerd.nope.v1",
            "failed to start shim: failed to resolve runtime path: runtime \"io.containerd.nope.v1\" binary not \
             installed \"containerd-shim-nope-v1\": file does not exist"
                .to_owned(),
        ),
        (
            &nowhere,
            format!(
                "failed to start shim: failed to resolve runtime path: invalid custom binary path: stat {nowhere}: no \
                 such file or directory"
            ),
        ),
        (no_program.to_str().unwrap(), format!("failed to start shim: start failed: run {}: ", no_program.display())),
    ] {
        let create = CreateTask { runtime_path: runtime.to_owned(), ..world.container("c1", "true") };
        let text = base::chain(&daemon.create(create).unwrap_err());
        assert!(text.starts_with(&want), "{text}\n{want}");
        world.assert_clean();
    }
    for id in ["", "-", "a/b", "..", &"x".repeat(77)] {
        let create = CreateTask { container_id: id.to_owned(), ..world.container("c1", "true") };
        assert_eq!(daemon.create(create).unwrap_err().kind(), ErrorKind::InvalidArgument, "{id}");
    }
    world.assert_clean();
}

/// A socket that takes connections and does `act` with each.
fn server(path: PathBuf, act: impl Fn(std::os::unix::net::UnixStream) + Send + 'static) {
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            act(stream);
        }
    });
}

#[test]
fn sockets_that_do_not_speak_ttrpc() {
    use std::io::Write;
    let world = World::new(GO_SHIM);
    let patient = world.daemon_with(|options| options.timeouts = within(PATIENCE * 2));
    let impatient = world.daemon_with(|options| {
        let short = Duration::from_millis(500);
        options.timeouts =
            Timeouts { cleanup: short, shutdown: short, create: short, ..within(PATIENCE * 2) };
        options.ttrpc_address = world.path("impatient.ttrpc").display().to_string();
    });
    server(world.path("http"), |mut s| drop(s.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")));
    server(world.path("zero"), |mut s| {
        // Frames of a kind that there is, for streams that there are not, and then nothing.
        for _ in 0..1000 {
            let _ = s.write_all(&[0, 0, 0, 0, 0, 9, 9, 9, 2, 0]);
        }
        std::mem::forget(s);
    });
    server(world.path("mute"), std::mem::forget);
    server(world.path("shut"), drop);
    let silent = "failed to create shim task: shim did not answer Create within 500ms";
    for (name, want, kind) in [
        ("http", "failed to create shim task: ttrpc: closed", ErrorKind::Unknown),
        ("zero", silent, ErrorKind::DeadlineExceeded),
        ("mute", silent, ErrorKind::DeadlineExceeded),
        ("shut", "failed to create shim task: ttrpc: closed", ErrorKind::Unknown),
    ] {
        let script = format!("{QUIET} echo unix://{}", world.path(name).display());
        let program = world.script(&format!("containerd-shim-{name}-v1"), &script);
        let create =
            CreateTask { runtime_path: program.display().to_string(), ..world.container("c1", "true") };
        let daemon = if want == silent { &impatient } else { &patient };
        let begin = Instant::now();
        let error = daemon.create(create).unwrap_err();
        let text = base::chain(&error);
        assert!(text.starts_with(want) && error.kind() == kind, "{name}: {text}");
        assert!(begin.elapsed() < PATIENCE, "{name}: {:?}", begin.elapsed());
        world.assert_clean();
    }
}

#[test]
fn a_shim_that_answers_and_dies_at_once() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    // The real one, killed as soon as it has answered.
    let script = format!(
        "for last; do :; done; [ \"$last\" = start ] || exec {GO_SHIM} \"$@\"\n\
         answer=$({GO_SHIM} \"$@\"); \
         for p in /proc/[0-9]*; do [ \"$(readlink $p/cwd)\" = \"$(pwd)\" ] && [ ${{p#/proc/}} != $$ ] && kill -9 ${{p#/proc/}}; done; \
         echo $answer"
    );
    let program = world.script("containerd-shim-brief-v1", &script);
    let create = CreateTask { runtime_path: program.display().to_string(), ..world.container("c1", "true") };
    let error = daemon.create(create).unwrap_err();
    let text = base::chain(&error);
    assert!(text.contains("dial unix://") || text.contains("ttrpc: closed"), "{text}");
    world.assert_clean();
    daemon.create(world.container("c1", "true")).unwrap();
    daemon.finish("c1");
    world.assert_clean();
}
