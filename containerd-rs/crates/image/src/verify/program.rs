//! One verifier program, from start to end.
//!
//! tokio deprecates the safe constructors of `AsyncFd` because a type could name another descriptor
//! each time it is asked; `OwnedFd` does not.
#![allow(deprecated)]

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, Interest};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Bytes of each output that are looked at.
const MAX_OUTPUT: usize = 32 << 10;
/// How long the rest of the output may take once the program and its group are gone.
const GRACE: Duration = Duration::from_secs(1);

/// What a program says.
pub(super) struct Verdict {
    /// Its exit code.
    pub(super) code: i32,
    /// Its standard output.
    pub(super) reason: String,
}

/// Runs a program in a process group of its own, which does not outlive this call.
pub(super) async fn run(path: &Path, args: &[&str], input: Vec<u8>, limit: Duration) -> io::Result<Verdict> {
    let mut command = Command::new(path);
    command.args(args).process_group(0).kill_on_drop(true);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = start(&mut command).await?;
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let mut group = Group::of(&child)?;
    let (mut out, mut err) = (Output::new(stdout), Output::new(stderr));
    let feed = async {
        if let Some(mut stdin) = stdin.take()
            && let Err(error) = stdin.write_all(&input).await
        {
            // It need not read what it does not want to know.
            tracing::debug!(%error, program = %path.display(), "image verifier did not read its input");
        }
        std::future::pending::<()>().await;
    };
    let ended = async {
        tokio::pin!(feed);
        loop {
            tokio::select! {
                biased;
                ended = group.leader.readable() => return ended.map(drop),
                () = &mut feed => {}
                () = out.pump() => {}
                () = err.pump() => {}
            }
        }
    };
    let in_time = timeout(limit, ended).await;
    // The leader is not waited for yet: the number of the group is still its own.
    group.kill();
    let status = timeout(GRACE, child.wait()).await;
    let rest = async {
        while !(out.ended && err.ended) {
            tokio::select! { () = out.pump() => {}, () = err.pump() => {} }
        }
    };
    let _held_open_elsewhere = timeout(GRACE, rest).await;
    for line in err.text().lines() {
        tracing::debug!(program = %path.display(), line, "image verifier's standard error");
    }
    in_time
        .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("it did not end within {limit:?}")))??;
    let status = status.map_err(|_| io::Error::other("it cannot be killed"))??;
    match (status.code(), status.signal()) {
        (Some(code), _) => Ok(Verdict { code, reason: out.text() }),
        (None, signal) => Err(io::Error::other(format!("killed by signal {}", signal.unwrap_or_default()))),
    }
}

/// A program that was just written may still be open for writing in a child of some other thread.
async fn start(command: &mut Command) -> io::Result<Child> {
    let mut pause = Duration::from_millis(5);
    loop {
        match command.spawn() {
            Err(e) if e.kind() == io::ErrorKind::ExecutableFileBusy && pause < GRACE => {
                tokio::time::sleep(pause).await;
                pause *= 2;
            }
            done => return done,
        }
    }
}

/// The program and what it started; killed with the value, as long as the program is not waited for.
struct Group {
    leader: AsyncFd<std::os::fd::OwnedFd>,
    pid: Option<Pid>,
}

impl Group {
    fn of(child: &Child) -> io::Result<Group> {
        let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        let pid = pid.ok_or_else(|| io::Error::other("it has no process id"))?;
        let leader = AsyncFd::with_interest(pidfd_open(pid, PidfdFlags::NONBLOCK)?, Interest::READABLE)?;
        Ok(Group { leader, pid: Some(pid) })
    }

    fn kill(&mut self) {
        if let Some(pid) = self.pid.take() {
            // Fails when nobody is left in it but the dead leader; that is fine.
            let _nobody = kill_process_group(pid, Signal::KILL);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

/// One output, kept up to a limit and thrown away beyond it.
struct Output<R> {
    from: Option<R>,
    kept: Vec<u8>,
    more: bool,
    ended: bool,
    buffer: Box<[u8; 4096]>,
}

impl<R: AsyncRead + Unpin> Output<R> {
    fn new(from: Option<R>) -> Self {
        let ended = from.is_none();
        Output { from, kept: Vec::new(), more: false, ended, buffer: Box::new([0; 4096]) }
    }

    /// Takes in what comes next. After the end it never returns. Cancel-safe.
    async fn pump(&mut self) {
        let Some(from) = self.from.as_mut().filter(|_| !self.ended) else {
            return std::future::pending().await;
        };
        match from.read(&mut self.buffer[..]).await {
            Ok(0) | Err(_) => self.ended = true,
            Ok(n) => {
                let kept = n.min(MAX_OUTPUT - self.kept.len());
                self.kept.extend_from_slice(&self.buffer[..kept]);
                self.more |= kept < n;
            }
        }
    }

    /// As text without space around it and without control characters.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let mut text: String =
            text.trim().chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        if self.more {
            text.push_str("(stdout truncated)");
        }
        text
    }
}
