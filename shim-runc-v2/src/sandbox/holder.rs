//! Starts the process that holds the namespaces (`pause`), and learns its pid.

use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use base::Error;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::oneshot;

use crate::pause::{MAX_PLAN, SETUP};
use crate::reaper::{Exit, Reaper};
use crate::sandbox::plan::Plan;

/// Time for making the namespaces. A network namespace may have to wait for the kernel's own clean-up of others.
const LIMIT: Duration = Duration::from_secs(30);
/// More than this is no answer.
const MAX_REPORT: u64 = 16 * 1024;

/// A process that holds the namespaces of a pod.
pub(crate) struct Holder {
    /// As the host numbers it.
    pub(crate) pid: u32,
    /// Its end, even when that is past already.
    pub(crate) exit: oneshot::Receiver<Exit>,
    /// Closed, it ends.
    pub(crate) lifeline: OwnedFd,
}

/// Starts one. Not cancel-safe.
///
/// # Errors
/// What `setup` says, or that it did not end in time.
pub(crate) async fn start(
    reaper: &Reaper,
    bundle: &Path,
    plan: &Plan,
    words: [&str; 2],
) -> Result<Holder, Error> {
    let failed = |e: std::io::Error| Error::unknown("run pause").with_source(e);
    let mut line = serde_json::to_vec(plan).map_err(|e| Error::internal("encode plan").with_source(e))?;
    line.push(b'\n');
    if line.len() > MAX_PLAN {
        return Err(Error::invalid("sandbox configuration is too large"));
    }
    // Until its exit is watched, exits of strangers are kept: the process may die before we learn its pid.
    let _expecting = reaper.expect();
    let (near, far) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let (report, answer) = pipe_with(PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
    let exe = std::env::current_exe().ok().filter(|p| p.exists()).unwrap_or_else(|| "/proc/self/exe".into());
    let mut command = Command::new(exe);
    command
        .args(["-namespace", words[0], "-id", words[1], SETUP])
        .env_clear()
        .current_dir(bundle)
        .stdin(Stdio::from(near))
        .stderr(Stdio::from(answer.try_clone().map_err(failed)?))
        .stdout(Stdio::from(answer));
    sys::spawn::die_with_parent(&mut command);
    let pid = command.spawn().map_err(failed)?.id();
    drop(command);
    let mut ended = reaper.watch(pid);
    let mut report = pipe::Receiver::from_owned_fd(report).map_err(failed)?.take(MAX_REPORT);
    let talk = async {
        send(&far, &line).await.map_err(failed)?;
        let mut text = String::new();
        report.read_to_string(&mut text).await.map_err(failed)?;
        Ok::<_, Error>((text, (&mut ended).await.map_or(255, |exit| exit.code)))
    };
    let (text, code) = match tokio::time::timeout(LIMIT, talk).await {
        Ok(told) => told?,
        Err(_) => {
            let _ = crate::task::kill::signal(pid, 9);
            return Err(Error::unknown(format!("namespaces were not made within {} s", LIMIT.as_secs())));
        }
    };
    match text.trim().parse::<u32>() {
        Ok(pid) if code == 0 => Ok(Holder { pid, exit: reaper.watch(pid), lifeline: far }),
        _ => Err(Error::unknown(format!("make namespaces of the sandbox: {}", words_of(&text, code)))),
    }
}

/// The reason without the program's own name before it.
fn words_of(text: &str, code: u32) -> String {
    let text = text.trim();
    match text.strip_prefix(crate::NAME).map_or(text, |rest| rest.trim_start_matches(": ")) {
        "" => format!("ended with status {code}"),
        words => words.to_owned(),
    }
}

/// Writes the plan; a pipe holds most of them at once.
async fn send(pipe: &OwnedFd, line: &[u8]) -> std::io::Result<()> {
    rustix::io::ioctl_fionbio(pipe, true)?;
    let mut file = std::fs::File::from(pipe.try_clone()?);
    let mut rest = line;
    while !rest.is_empty() {
        match file.write(rest) {
            Ok(n) => rest = &rest[n..],
            Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            // It ended early: what it says is the reason.
            Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
