//! Makes and joins the namespaces of a pod, and leaves a process in them.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use base::Error;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

use crate::flags::Flags;
use crate::pause::{MAX_PLAN, PAUSE, READY};
use crate::sandbox::plan::{Plan, Want};

/// The name of the program in that root.
const PROGRAM: &str = "pause";

/// Reads the plan, carries it out, and prints the pid of the process that stays (as the shim sees it).
///
/// # Errors
/// A plan that does not parse, a namespace that cannot be joined or made, a sysctl that is refused.
pub(crate) fn main(flags: &Flags) -> Result<(), Error> {
    let plan = read_plan()?;
    prepare_root()?;
    enter(&plan)?;
    if plan.uts == Want::New && !plan.hostname.is_empty() {
        nix::unistd::sethostname(&plan.hostname).map_err(|e| kernel("set hostname", e))?;
    }
    for (name, value) in &plan.sysctls {
        write_sysctl(name, value)?;
    }
    let pid = spawn(flags)?;
    writeln!(std::io::stdout(), "{pid}").map_err(io("tell the pid"))
}

/// Runs the process that stays, and waits until it is what it shall be.
fn spawn(flags: &Flags) -> Result<u32, Error> {
    let (mut report, answer) = std::io::pipe().map_err(io("make pipe"))?;
    let mut command = Command::new(format!("./{PROGRAM}"));
    command
        .arg0(PROGRAM)
        .args(["-namespace", &flags.namespace, "-id", &flags.id, PAUSE])
        .env_clear()
        .stdin(Stdio::inherit())
        .stderr(answer.try_clone().map_err(io("duplicate a descriptor"))?)
        .stdout(answer)
        .process_group(0);
    let child = command.spawn().map_err(io("run pause"))?;
    // Our ends of the pipe: it ends with the child's.
    drop(command);
    let mut text = String::new();
    report.read_to_string(&mut text).map_err(io("wait for pause"))?;
    if text == READY { Ok(child.id()) } else { Err(Error::unknown(format!("pause: {text}"))) }
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> Error {
    move |e| Error::unknown(what).with_source(e)
}

fn kernel(what: impl Into<String>, e: nix::Error) -> Error {
    Error::unknown(what).with_source(std::io::Error::from(e))
}

/// One line, byte by byte: what comes after it is not ours.
fn read_plan() -> Result<Plan, Error> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() <= MAX_PLAN {
        match rustix::io::read(std::io::stdin().as_fd(), &mut byte) {
            Ok(0) => break,
            Ok(_) if byte[0] == b'\n' => {
                return serde_json::from_slice(&line)
                    .map_err(|e| Error::internal("parse plan").with_source(e));
            }
            Ok(_) => line.push(byte[0]),
            Err(rustix::io::Errno::INTR) => {}
            Err(e) => return Err(io("read plan")(e.into())),
        }
    }
    Err(Error::internal("plan is cut off or too long"))
}

/// Joins and makes the namespaces.
fn enter(plan: &Plan) -> Result<(), Error> {
    let mut new = CloneFlags::empty();
    let mut joined = Vec::new();
    for (want, kind) in plan.kinds() {
        match want {
            Want::Host => {}
            Want::New => new |= kind,
            Want::Join(path) => {
                let failed = |e| Error::unknown(format!("open namespace {path}")).with_source(e);
                joined.push((path, kind, File::open(path).map_err(failed)?));
            }
        }
    }
    for (path, kind, file) in joined {
        setns(file, kind).map_err(|e| kernel(format!("join namespace {path}"), e))?;
    }
    unshare(new).map_err(|e| kernel(format!("make {new:?}"), e))
}

/// Makes the root that `pause` will have, and goes there: empty and read-only but for this program, through a mount that
/// cannot be written. Who gets at `/proc/1/root` or `/proc/1/exe` from a container of the pod finds nothing of the host.
fn prepare_root() -> Result<(), Error> {
    const NONE: Option<&str> = None;
    let failed = |what: &'static str| move |e| kernel(what, e);
    unshare(CloneFlags::CLONE_NEWNS).map_err(failed("make mount namespace"))?;
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE)
        .map_err(failed("make mounts private"))?;
    // On the bundle: it exists, and here nobody else needs it.
    let here = std::env::current_dir().map_err(io("find bundle"))?;
    let locked = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
    mount(Some("tmpfs"), &here, Some("tmpfs"), locked, Some("mode=0755,size=16m"))
        .map_err(failed("mount root"))?;
    std::env::set_current_dir(&here).map_err(io("enter root"))?;
    bring_program(Path::new(PROGRAM), locked)?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | locked;
    mount(NONE, ".", NONE, read_only, NONE).map_err(failed("make root read-only"))
}

/// By its path, so that its memory is shared with every other one; a program whose file was replaced meanwhile is copied.
fn bring_program(target: &Path, locked: MsFlags) -> Result<(), Error> {
    const NONE: Option<&str> = None;
    let program = std::env::current_exe().map_err(io("find program"))?;
    if !program.exists() {
        return std::fs::copy("/proc/self/exe", target).map(drop).map_err(io("copy program"));
    }
    File::create(target).map_err(io("make program"))?;
    mount(Some(&program), target, NONE, MsFlags::MS_BIND, NONE).map_err(|e| kernel("bind program", e))?;
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | locked;
    mount(NONE, target, NONE, read_only, NONE).map_err(|e| kernel("make program read-only", e))
}

/// `net.ipv4.ip_forward` is the file `net/ipv4/ip_forward`. Without dots in a name, nothing leads out of the directory.
fn write_sysctl(name: &str, value: &str) -> Result<(), Error> {
    let path = Path::new("/proc/sys").join(name.replace('.', "/").trim_start_matches('/'));
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|e| Error::invalid(format!("set sysctl {name}={value}")).with_source(e))
}
