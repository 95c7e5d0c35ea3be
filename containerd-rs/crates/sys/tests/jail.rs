//! The jail, tried from inside: each test starts this program again, which enters the jail and says what it can still do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use caps::{CapSet, Capability};
use sys::jail::{self, JailOptions, Purpose};
use sys::tree::{Kind, Root, Time};

/// Names the directory to be jailed in; set only in the child.
const INSIDE: &str = "SYS_TEST_JAIL";

/// What the child does.
const TASK: &str = "SYS_TEST_JAIL_TASK";

/// The test harness runs tests in threads, and a process with threads cannot be jailed: so this program is its own harness, with the
/// part of the usual command line that test runners need.
fn main() {
    if let Some(task) = std::env::var_os(TASK) {
        let root = PathBuf::from(std::env::var_os(INSIDE).unwrap());
        return match task.to_str() {
            Some("inside") => inside(&root),
            _ => with_threads(),
        };
    }
    let args: Vec<String> = std::env::args().skip(1).collect();
    let tests: [(&str, fn()); 2] = [
        ("what_is_left_in_the_jail", what_is_left_in_the_jail),
        ("processes_with_threads_are_refused", processes_with_threads_are_refused),
    ];
    let has = |flag: &str| args.iter().any(|a| a == flag);
    let named = |name: &str| args.iter().filter(|a| !a.starts_with("-") && *a != "terse").all(|a| a == name);
    for (name, test) in tests.iter().filter(|_| !has("--ignored")).filter(|(name, _)| named(name)) {
        if has("--list") {
            println!("{name}: test");
        } else {
            test();
            println!("test {name} ... ok");
        }
    }
}

/// Runs a task in a process of its own, with one thread.
fn run(task: &str, root: &Path) -> BTreeMap<String, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.env(TASK, task).env(INSIDE, root).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let says = text.lines().filter_map(|l| l.strip_prefix("says ")?.split_once('='));
    says.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()
}

fn say(what: &str, value: impl std::fmt::Display) {
    println!("says {what}={value}");
}

fn errno_of<T>(result: std::io::Result<T>) -> i32 {
    result.err().and_then(|e| e.raw_os_error()).unwrap_or(0)
}

fn what_is_left_in_the_jail() {
    let dir = tempfile::tempdir().unwrap();
    let said = run("inside", dir.path());
    let expect = |what: &str, value: &str| {
        assert_eq!(said.get(what).map(String::as_str), Some(value), "{what}: {said:?}")
    };
    expect("tree", "ok");
    expect("outside", &libc::ENOENT.to_string());
    expect("thread", "42");
    expect("spawn", &libc::EPERM.to_string());
    expect("socket", &libc::EPERM.to_string());
    expect("allowed", "");
    expect("fork", &libc::EPERM.to_string());
    expect("memory", "refused");
    expect("raise", "refused");
    expect("caps", "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_FSETID CAP_MKNOD CAP_SETFCAP CAP_SYS_ADMIN");
    expect("nnp", "true");
    assert!(dir.path().join("usr/tool").exists());
}

fn inside(root: &Path) {
    let root = jail::enclosed::directory(root, Purpose::Change).unwrap();
    let options =
        JailOptions { root: Some(root.fd.as_fd()), memory_limit: Some(1 << 30), ..JailOptions::default() };
    jail::enter(&options).unwrap();
    say("tree", unpack().map_or_else(|e| base::chain(&e), |()| "ok".to_owned()));
    say("outside", errno_of(std::fs::read("/etc/hostname")));
    say("thread", std::thread::spawn(|| 42).join().unwrap());
    say("spawn", errno_of(Command::new("/bin/true").spawn()));
    say("socket", errno_of(std::net::TcpListener::bind("127.0.0.1:0")));
    let needed: Vec<libc::c_long> = jail::UNPACK_CALLS.iter().map(jail::Allow::call).collect();
    let came_through = |call: &libc::c_long| {
        // SAFETY: every call but the needed ones is refused before the kernel looks at its arguments; were one not, it would get no pointers.
        let rc = unsafe { libc::syscall(*call, 0, 0, 0, 0, 0, 0) };
        let errno = std::io::Error::last_os_error().raw_os_error();
        rc != -1 || !matches!(errno, Some(libc::EPERM | libc::ENOSYS))
    };
    // These two belong to the kernel's probes: a process that makes them is killed, whatever the filter says.
    #[cfg(target_arch = "x86_64")]
    let probes = 335..=336;
    #[cfg(not(target_arch = "x86_64"))]
    let probes = -1..=-1;
    let all = (0..600).filter(|call| !probes.contains(call) && !needed.contains(call));
    let allowed: Vec<String> = all.filter(came_through).map(|call| call.to_string()).collect();
    say("allowed", allowed.join(" "));
    // SAFETY: a plain fork; refused, or the child ends at once.
    let forked = unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) };
    if forked == 0 {
        // SAFETY: ends the child without running anything of the parent's.
        unsafe { libc::_exit(0) };
    }
    say("fork", errno_of::<()>(if forked < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }));
    let mut huge: Vec<u8> = Vec::new();
    say("memory", if huge.try_reserve_exact(2 << 30).is_err() { "refused" } else { "given" });
    let raised = caps::raise(None, CapSet::Effective, Capability::CAP_SYS_PTRACE);
    say("raise", if raised.is_err() { "refused" } else { "given" });
    let mut names: Vec<String> =
        caps::read(None, CapSet::Effective).unwrap().into_iter().map(|c| c.to_string()).collect();
    names.sort();
    say("caps", names.join(" "));
    say("nnp", rustix::thread::no_new_privs().unwrap());
}

/// All that a layer asks for.
fn unpack() -> sys::Result<()> {
    let root = Root::open_at(Path::new("/"))?;
    root.mkdir_all("usr", 0o755)?;
    let tool = root.entry("usr/tool")?;
    drop(tool.create_file(0o755)?);
    tool.chown(1, 2)?;
    tool.chmod(0o4755)?;
    tool.set_xattr("user.x", b"1")?;
    // cap_net_bind_service, revision 2.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    tool.set_xattr("security.capability", &capability)?;
    tool.set_times(None, Some(Time { secs: 1, nanos: 0 }))?;
    root.symlink("tool", "usr/link")?;
    root.entry("usr/link")?.chown(3, 4)?;
    root.link("usr/tool", "usr/hard")?;
    root.mknod("usr/null", Kind::Char, 0o666, (1, 3))?;
    root.entry("usr")?.set_opaque(false)?;
    root.entry("usr/gone")?.whiteout()?;
    root.mkdir_all("usr/deep/er", 0o700)?;
    assert!(root.read_bounded("usr/tool", 10)?.is_empty());
    root.remove_all("usr/deep")
}

fn processes_with_threads_are_refused() {
    let said = run("with threads", Path::new("/"));
    assert_eq!(said["threads"], "a process with 2 threads cannot be jailed");
    assert_eq!(said["no new privileges"], "false", "nothing may have changed");
}

fn with_threads() {
    let (stop, wait) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait.recv());
    say("threads", jail::enter(&JailOptions::default()).unwrap_err());
    say("no new privileges", rustix::thread::no_new_privs().unwrap());
    drop(stop);
    thread.join().unwrap().unwrap_err();
}
