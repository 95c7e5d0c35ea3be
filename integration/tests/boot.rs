//! Start-up as containerd does it: what stops it, what is repaired, what is served.
#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;

use integration::leftovers::mounts_below;
use integration::program::{ours, run};
use integration::{Daemon, Kind, Scratch, eventually};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn refused(config: &str) -> String {
    let scratch = Scratch::new("refused").unwrap();
    let path = scratch.join("config.toml");
    std::fs::write(&path, config.replace("DIR", &scratch.path().display().to_string())).unwrap();
    let ran = run(Command::new(ours("containerd-rs")).arg("--config").arg(&path)).unwrap();
    assert_ne!(ran.code, 0, "{}", ran.stderr);
    ran.stderr
}

const PATHS: &str = "version = 2\nroot = 'DIR/r'\nstate = 'DIR/s'\n[grpc]\naddress = 'DIR/c.sock'\n";

#[test]
fn settings_that_cannot_work_are_refused_in_containerd_s_words() {
    for (config, words) in [
        (
            "version = 4\nroot = 'DIR/r'\nstate = 'DIR/s'\n[plugins.'io.containerd.server.v1.grpc']\naddress = ''\n",
            "grpc address cannot be empty",
        ),
        ("version = 2\nroot = 'DIR/r'\nstate = 'DIR/r'\n", "root and state must be different paths"),
        ("version = 9\n", "expected containerd config version equal to or less than"),
        ("version = 2\nroot = \n", "config.toml:2:"),
        (
            "version = 2\nroot = 'DIR/r'\nstate = 'DIR/s'\nrequired_plugins = ['io.containerd.snapshotter.v1.zfs']\n[grpc]\naddress = 'DIR/c.sock'\n",
            "required plugin io.containerd.snapshotter.v1.zfs is not loaded",
        ),
        (
            "version = 2\nroot = 'DIR/config.toml/r'\nstate = 'DIR/s'\n[grpc]\naddress = 'DIR/c.sock'\n",
            "create the parent of",
        ),
    ] {
        let said = refused(config);
        assert!(said.contains(words), "{words:?} not in: {said}");
    }
    let ran = run(Command::new(ours("containerd-rs")).args(["--config", "/nonexistent.toml"])).unwrap();
    assert!(ran.stderr.contains("cannot read /nonexistent.toml"), "{}", ran.stderr);
}

#[test]
fn sockets_directories_and_plugins_are_as_containerd_s() {
    let scratch = Scratch::new("boot").unwrap();
    let dir = scratch.join("d");
    std::fs::create_dir_all(dir.join("root")).unwrap();
    std::fs::set_permissions(dir.join("root"), std::fs::Permissions::from_mode(0o777)).unwrap();
    let mut daemon = Daemon::new(Kind::Ours, &dir)
        .config("[plugins.'io.containerd.snapshotter.v1.overlayfs']\nsync_remov = true\n");
    daemon.start().unwrap();
    let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o7777;
    assert_eq!(mode(&daemon.root()), 0o700);
    assert_eq!(mode(&daemon.state()), 0o711);
    assert_eq!(mode(&daemon.address()), 0o660);
    assert_eq!(mode(&dir.join("c.sock.ttrpc")), 0o660);
    let log = eventually("the boot message", || {
        Some(daemon.log()).filter(|l| l.contains("containerd successfully booted in "))
    });
    assert!(log.contains("sync_remov") && log.contains("did you mean `sync_remove`?"), "{log}");
    let plugins = daemon.ctr(&["plugins", "ls"]).unwrap().ok().unwrap();
    for plugin in
        ["io.containerd.snapshotter.v1", "overlayfs", "io.containerd.metadata.v1", "io.containerd.runtime.v2"]
    {
        assert!(plugins.contains(plugin), "{plugin} not in {plugins}");
    }
    assert!(!plugins.contains("error"), "{plugins}");
    daemon.stop().unwrap();
    assert!(!daemon.address().exists());
    daemon.assert_clean();
}

#[test]
fn a_second_daemon_on_the_same_root_is_told_so_and_the_first_goes_on() {
    let scratch = Scratch::new("second").unwrap();
    let mut first = Daemon::new(Kind::Ours, scratch.join("d"));
    first.start().unwrap();
    let config = scratch.join("second.toml");
    let text = format!(
        "version = 2\nroot = '{}'\nstate = '{}'\n[grpc]\naddress = '{}'\n",
        first.root().display(),
        scratch.join("state2").display(),
        scratch.join("c2.sock").display()
    );
    std::fs::write(&config, text).unwrap();
    let ran = run(Command::new(ours("containerd-rs")).arg("--config").arg(&config)).unwrap();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("in use by another process"), "{}", ran.stderr);
    // The same with another root and the first one's socket.
    let text = PATHS
        .replace("DIR/c.sock", &first.address().display().to_string())
        .replace("DIR", &scratch.path().display().to_string());
    std::fs::write(&config, text).unwrap();
    let ran = run(Command::new(ours("containerd-rs")).arg("--config").arg(&config)).unwrap();
    assert_ne!(ran.code, 0);
    assert!(ran.stderr.contains("c.sock"), "{}", ran.stderr);
    first.ctr(&["version"]).unwrap().ok().unwrap();
}

#[test]
fn a_dead_socket_is_replaced_and_a_foreign_file_is_left_alone() {
    let scratch = Scratch::new("sock").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    std::fs::create_dir_all(scratch.join("d")).unwrap();
    drop(UnixListener::bind(daemon.address()).unwrap());
    daemon.start().unwrap();
    daemon.stop().unwrap();
    std::fs::write(daemon.address(), b"precious").unwrap();
    let error = daemon.start().unwrap_err().to_string();
    assert!(error.contains("exists and is not a socket"), "{error}");
    assert_eq!(std::fs::read(daemon.address()).unwrap(), b"precious");
    std::fs::remove_file(daemon.address()).unwrap();
}

#[test]
fn stale_temporary_mounts_are_gone_after_a_start() {
    let scratch = Scratch::new("tmp").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    let stale = daemon.root().join("tmpmounts/old");
    std::fs::create_dir_all(&stale).unwrap();
    run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&stale)).unwrap().ok().unwrap();
    daemon.start().unwrap();
    assert_eq!(mounts_below(&stale), Vec::<String>::new());
}

fn http(mut stream: impl Read + Write, path: &str) -> String {
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn debug_metrics_and_the_state_dump_answer() {
    let scratch = Scratch::new("debug").unwrap();
    let (metrics, debug) = (integration::registry::free_port().unwrap(), scratch.join("debug.sock"));
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d")).config(&format!(
        "[debug]\naddress = '{}'\n[metrics]\naddress = '127.0.0.1:{metrics}'\n",
        debug.display()
    ));
    daemon.start().unwrap();
    let vars = http(UnixStream::connect(&debug).unwrap(), "/debug/vars");
    assert!(vars.starts_with("HTTP/1.1 200") && vars.contains("alive_tasks"), "{vars}");
    let text = http(std::net::TcpStream::connect(("127.0.0.1", metrics)).unwrap(), "/v1/metrics");
    assert!(text.contains("containerd_build_info_total{version="), "{text}");
    let pid = daemon.pid().unwrap();
    kill(Pid::from_raw(pid.try_into().unwrap()), Signal::SIGUSR1).unwrap();
    let dump = std::env::temp_dir().join(format!("containerd.{pid}.stacks.log"));
    eventually("the state dump", || std::fs::read_to_string(&dump).ok().filter(|t| t.contains("thread ")));
    std::fs::remove_file(dump).unwrap();
    daemon.ctr(&["version"]).unwrap().ok().unwrap();
}

#[test]
fn the_command_line_prints_configuration_and_version() {
    let text = run(Command::new(ours("containerd-rs")).args(["config", "default"])).unwrap().ok().unwrap();
    assert!(text.starts_with("version = 4\n"));
    let scratch = Scratch::new("cfg").unwrap();
    let path = scratch.join("c.toml");
    std::fs::write(&path, &text).unwrap();
    let again =
        run(Command::new(ours("containerd-rs")).arg("--config").arg(&path).args(["config", "migrate"]))
            .unwrap();
    assert_eq!(again.ok().unwrap(), text);
    let version = run(Command::new(ours("containerd-rs")).arg("--version")).unwrap().ok().unwrap();
    assert!(version.starts_with("containerd "), "{version}");
}

#[test]
fn a_root_of_another_containerd_is_refused_and_left_as_it_was() {
    let scratch = Scratch::new("foreign").unwrap();
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"));
    let metadata = daemon.root().join("io.containerd.metadata.v1.bolt");
    let blobs = daemon.root().join("io.containerd.content.v1.content/blobs/sha256");
    std::fs::create_dir_all(&metadata).unwrap();
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(metadata.join("meta.db"), b"bolt").unwrap();
    std::fs::write(blobs.join("aa"), b"blob").unwrap();
    let error = daemon.start().unwrap_err().to_string();
    assert!(error.contains("filled by another containerd"), "{error}");
    assert_eq!(std::fs::read(blobs.join("aa")).unwrap(), b"blob");
}

#[test]
fn a_disabled_service_does_not_answer() {
    let scratch = Scratch::new("off").unwrap();
    let config = "[debug]\naddress = '127.0.0.1:1'\n";
    let mut daemon = Daemon::new(Kind::Ours, scratch.join("d"))
        .top("disabled_plugins = ['io.containerd.grpc.v1.leases', 'io.containerd.server.v1.debug']\n")
        .config(config);
    daemon.start().unwrap();
    let ran = daemon.ctr(&["leases", "ls"]).unwrap();
    assert!(ran.code != 0 && ran.stderr.to_lowercase().contains("not implemented"), "{}", ran.stderr);
    daemon.ctr(&["version"]).unwrap().ok().unwrap();
}
