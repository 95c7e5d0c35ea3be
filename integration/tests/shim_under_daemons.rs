//! Our shim under the original's daemon and under ours: terminals, input, execs, signals, freezing, numbers, events, memory, and
//! a daemon that dies and comes back.
//!
//! `PEER_CONTAINERD=/path/to/containerd` puts another original in the place of the distribution's (2.3.4 is known), and
//! `SHIM_UNDER_TEST=/path/to/containerd-shim-runc-v2` another shim in the place of ours.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};

use integration::program::ours;
use integration::{Daemon, Image, Kind, Scratch, eventually};

const IMAGE: &str = "docker.io/test/busybox:1";

struct Pair {
    daemon: Daemon,
    shim: String,
    // Removed last.
    scratch: Scratch,
}

impl Pair {
    fn new(kind: Kind, name: &str) -> Pair {
        let scratch = Scratch::new(name).unwrap();
        let mut daemon = Daemon::new(kind, scratch.join("d"));
        if let (Kind::Peer, Some(program)) = (kind, std::env::var_os("PEER_CONTAINERD")) {
            daemon = daemon.program(PathBuf::from(program));
        }
        daemon.start().unwrap();
        let archive = scratch.join("image.tar");
        std::fs::write(&archive, Image::busybox().unwrap().oci_archive(IMAGE).unwrap()).unwrap();
        daemon.ctr(&["images", "import", archive.to_str().unwrap()]).unwrap().ok().unwrap();
        let shim = std::env::var_os("SHIM_UNDER_TEST")
            .map_or_else(|| ours("containerd-shim-runc-v2"), PathBuf::from)
            .to_string_lossy()
            .into_owned();
        Pair { daemon, shim, scratch }
    }

    fn ctr(&self, args: &[&str]) -> String {
        self.daemon.ctr(args).unwrap().ok().unwrap()
    }

    /// `run -d` of `sh -c script`, with more flags.
    fn begin(&self, id: &str, flags: &[&str], script: &str) {
        let mut args = vec!["run", "-d", "--runtime", &self.shim];
        args.extend(flags);
        args.extend([IMAGE, id, "sh", "-c", script]);
        self.ctr(&args);
    }

    /// Status of a task; empty for none.
    fn status(&self, id: &str) -> String {
        let listed = self.daemon.ctr(&["tasks", "ls"]).unwrap().stdout;
        let line = listed.lines().find(|l| l.split_whitespace().next() == Some(id));
        line.and_then(|l| l.split_whitespace().nth(2)).unwrap_or_default().to_owned()
    }

    fn until(&self, id: &str, status: &str) {
        eventually(&format!("{id} to be {status}"), || (self.status(id) == status).then_some(()));
    }

    /// Deletes what has ended; gives its exit code, which the client tells in words when it is not 0.
    fn code(&self, id: &str) -> i32 {
        self.until(id, "STOPPED");
        let said = self.daemon.ctr(&["tasks", "rm", id]).unwrap().stderr;
        self.ctr(&["containers", "rm", id]);
        let number = said.split("exit code ").nth(1).unwrap_or("0");
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap()
    }

    /// [`Pair::begin`], and wait until the script has said `ready`.
    fn begin_ready(&self, id: &str, script: &str) {
        let log = self.scratch.join(format!("{id}.log"));
        self.begin(id, &["--log-uri", &format!("file://{}", log.display())], script);
        let said = || std::fs::read_to_string(&log).unwrap_or_default();
        eventually(&format!("{id} to be ready"), || said().contains("ready").then_some(()));
    }

    fn end(mut self) {
        eventually("the shims to leave", || self.daemon.shims().is_empty().then_some(()));
        self.daemon.stop().unwrap();
        self.daemon.assert_clean();
        drop(self.scratch);
    }

    /// A client on a terminal of its own.
    fn on_terminal(&self, args: &[&str]) -> OnTerminal {
        let (master, slave) = sys::console::open_pty().unwrap();
        let size = sys::console::Winsize { rows: 33, columns: 101 };
        sys::console::set_winsize(&slave, size).unwrap();
        let mut command = self.daemon.ctr_command(args);
        let also = || Stdio::from(slave.try_clone().unwrap());
        let child = command.stdin(also()).stdout(also()).stderr(also()).spawn().unwrap();
        let shown = Arc::new(Mutex::new(String::new()));
        let (screen, mut from) = (shown.clone(), std::fs::File::from(master.try_clone().unwrap()));
        std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                screen.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..n]));
            }
        });
        OnTerminal { child, shown, master, _slave: slave }
    }
}

struct OnTerminal {
    child: Child,
    shown: Arc<Mutex<String>>,
    master: OwnedFd,
    _slave: OwnedFd,
}

impl OnTerminal {
    fn shows(&self, text: &str) {
        eventually(&format!("{text:?} on the screen"), || {
            self.shown.lock().unwrap().contains(text).then_some(())
        });
    }

    fn types(&self, text: &str) {
        std::fs::File::from(self.master.try_clone().unwrap()).write_all(text.as_bytes()).unwrap();
    }

    fn code(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap()
    }
}

fn terminals_and_input(pair: Pair) {
    let script = "read x; echo got-$x; stty size; exit 9";
    let client =
        pair.on_terminal(&["run", "--rm", "-t", "--runtime", &pair.shim, IMAGE, "tty", "sh", "-c", script]);
    pair.until("tty", "RUNNING");
    let script = "echo in-$((40+2)); read y; exit 4";
    let exec = pair.on_terminal(&["tasks", "exec", "-t", "--exec-id", "e", "tty", "sh", "-c", script]);
    exec.shows("in-42");
    exec.types("\n");
    assert_eq!(exec.code(), 4);
    client.types("word\n");
    client.shows("got-word");
    client.shows("33 101");
    assert_eq!(client.code(), 9);

    let mut command = pair.daemon.ctr_command(&["run", "--rm", "--runtime", &pair.shim, IMAGE, "cat", "cat"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let data: Vec<u8> = (0..(1_u32 << 20)).map(|i| (i % 253) as u8).collect();
    let (mut input, sent) = (child.stdin.take().unwrap(), data.clone());
    let writer = std::thread::spawn(move || input.write_all(&sent).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success() && output.stdout == data, "{} bytes came back", output.stdout.len());
    pair.end();
}

fn signals_and_freezing(pair: Pair) {
    let script = "trap 'exit 12' USR1; trap 'exit 13' TERM; echo ready; while :; do sleep 0.05; done";
    pair.begin_ready("sig", script);
    pair.ctr(&["tasks", "kill", "-s", "SIGUSR1", "sig"]);
    assert_eq!(pair.code("sig"), 12);

    pair.begin_ready("ice", script);
    pair.ctr(&["tasks", "pause", "ice"]);
    assert_eq!(pair.status("ice"), "PAUSED");
    let refused = pair.daemon.ctr(&["tasks", "exec", "--exec-id", "x", "ice", "true"]).unwrap();
    assert!(
        refused.code != 0 && refused.stderr.contains("cannot exec in a paused state"),
        "{}",
        refused.stderr
    );
    assert!(pair.ctr(&["tasks", "metrics", "ice"]).contains("memory"));
    pair.ctr(&["tasks", "resume", "ice"]);
    pair.ctr(&["tasks", "kill", "ice"]);
    assert_eq!(pair.code("ice"), 13);

    pair.begin("frost", &[], "sleep 1000");
    pair.ctr(&["tasks", "exec", "-d", "--exec-id", "side", "frost", "sleep", "1000"]);
    assert!(pair.ctr(&["tasks", "ps", "frost"]).contains("side"));
    pair.ctr(&["tasks", "kill", "--exec-id", "side", "-s", "SIGKILL", "frost"]);
    eventually("the exec to end", || (!pair.ctr(&["tasks", "ps", "frost"]).contains("side")).then_some(()));
    pair.ctr(&["tasks", "pause", "frost"]);
    pair.ctr(&["tasks", "kill", "-a", "-s", "SIGKILL", "frost"]);
    // Frozen processes die when they thaw; ours thaws them itself.
    let _ = pair.daemon.ctr(&["tasks", "resume", "frost"]);
    assert_eq!(pair.code("frost"), 137);

    let absent =
        pair.daemon.ctr(&["run", "--rm", "--runtime", &pair.shim, IMAGE, "absent", "/no/such"]).unwrap();
    assert!(absent.stderr.contains("no such file or directory"), "{}", absent.stderr);
    let _ = pair.daemon.ctr(&["containers", "rm", "absent"]);
    pair.end();
}

fn events_and_memory(pair: Pair) {
    let log = pair.scratch.join("events");
    let mut command = pair.daemon.ctr_command(&["events"]);
    let out = std::fs::File::create(&log).unwrap();
    let mut watcher = command.stdout(out).stderr(Stdio::null()).spawn().unwrap();
    let topics = |of: &str| -> Vec<String> {
        let text = std::fs::read_to_string(&log).unwrap();
        let lines = text.lines().filter(|l| l.contains(of));
        lines
            .filter_map(|l| l.split_whitespace().find(|w| w.starts_with("/tasks/")))
            .map(str::to_owned)
            .collect()
    };
    // The watcher may come late: what it is sure to see is what it has seen of a first try.
    let mut tries = 0;
    eventually("the watcher to see events", || {
        tries += 1;
        let run =
            pair.daemon.ctr(&["run", "--rm", "--runtime", &pair.shim, IMAGE, &format!("try{tries}"), "true"]);
        assert_eq!(run.unwrap().code, 0);
        topics("try").iter().any(|t| t == "/tasks/delete").then_some(())
    });
    let hungry = [
        "run",
        "--rm",
        "--memory-limit",
        "16777216",
        "--runtime",
        &pair.shim,
        IMAGE,
        "hungry",
        "tail",
        "/dev/zero",
    ];
    assert_eq!(pair.daemon.ctr(&hungry).unwrap().code, 137);
    let ended = || topics("\"hungry\"").contains(&"/tasks/delete".to_owned());
    eventually("the end to be told", || ended().then_some(()));
    let mut told = topics("\"hungry\"");
    // A process may use up its memory before it is told that it has started; its end comes after both.
    let at = |topic: &str| told.iter().position(|t| t == topic);
    assert!(at("/tasks/oom").is_some() && at("/tasks/oom") < at("/tasks/exit"), "{told:?}");
    told.retain(|t| t != "/tasks/oom");
    assert_eq!(told, ["/tasks/create", "/tasks/start", "/tasks/exit", "/tasks/delete"]);
    watcher.kill().unwrap();
    watcher.wait().unwrap();
    pair.end();
}

fn a_daemon_that_dies_and_comes_back(mut pair: Pair) {
    let log = pair.scratch.join("out.log");
    let uri = format!("file://{}", log.display());
    let count = "i=0; while [ $i -lt 40 ]; do i=$((i+1)); echo line-$i; sleep 0.05; done; sleep 1000";
    pair.begin("talks", &["--log-uri", &uri], count);
    pair.begin("brief", &[], "while [ ! -e /tmp/go ]; do sleep 0.05; done; exit 21");
    pair.begin("cold", &[], "sleep 1000");
    pair.ctr(&["tasks", "pause", "cold"]);
    pair.ctr(&["tasks", "exec", "-d", "--exec-id", "side", "talks", "sleep", "1000"]);
    let shims = pair.daemon.shims();
    // It ends while nobody listens.
    pair.ctr(&["tasks", "exec", "--exec-id", "go", "brief", "sh", "-c", "(sleep 0.5; : > /tmp/go) &"]);
    pair.daemon.kill9().unwrap();
    eventually("all of its output", || {
        std::fs::read_to_string(&log).unwrap().contains("line-40").then_some(())
    });
    pair.daemon.start().unwrap();
    pair.until("talks", "RUNNING");
    pair.until("cold", "PAUSED");
    if std::env::var_os("PEER_CONTAINERD").is_some() {
        // From 2.0 on the original clears away what ended while it was down.
        pair.until("brief", "");
        pair.ctr(&["containers", "rm", "brief"]);
    } else {
        assert_eq!(pair.code("brief"), 21);
    }
    let lines = std::fs::read_to_string(&log).unwrap().lines().count();
    assert_eq!(lines, 40, "each line once");
    assert!(pair.ctr(&["tasks", "ps", "talks"]).contains("side"));
    assert_eq!(pair.ctr(&["tasks", "exec", "--exec-id", "again", "talks", "echo", "hi"]), "hi\n");
    // The same processes as before, but for the one that has nothing left to do.
    eventually("two of the shims to stay", || {
        let left = pair.daemon.shims();
        assert!(left.iter().all(|pid| shims.contains(pid)), "{shims:?} became {left:?}");
        (left.len() == 2).then_some(())
    });
    pair.ctr(&["tasks", "resume", "cold"]);
    for id in ["talks", "cold"] {
        pair.ctr(&["tasks", "kill", "-s", "SIGKILL", id]);
        assert_eq!(pair.code(id), 137);
    }
    pair.end();
}

macro_rules! stories {
    ($who:ident, $kind:expr, $prefix:literal; $($story:ident $short:literal),* $(,)?) => {
        mod $who { $(
            #[test]
            fn $story() {
                super::$story(super::Pair::new($kind, concat!($prefix, $short)));
            }
        )* }
    };
}

stories! { original, super::Kind::Peer, "g";
    terminals_and_input "tty",
    signals_and_freezing "sig",
    events_and_memory "mem",
    a_daemon_that_dies_and_comes_back "back",
}

// Deaths of our own daemon have a suite to themselves (survival.rs).
stories! { ours, super::Kind::Ours, "o";
    terminals_and_input "tty",
    signals_and_freezing "sig",
    events_and_memory "mem",
}
