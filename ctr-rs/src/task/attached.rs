//! A process in the foreground: its exit status becomes ours.
//!
//! ```text
//! copy output -> start + wait -> { pass on signals | resize | end of input } until it ends -> rest of the output
//! ```

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::call::{ProcessRef, SIGKILL};
use super::signals::{SIGWINCH, Signals, ends_us};
use super::stdio::Stdio;
use crate::error::{Error, Result};
use crate::io::copy::Copies;
use crate::io::output::{warn, warn_error};

/// So many signals that ask to end kill a process that does not listen; one more gives up waiting for it.
const PATIENCE: u32 = 3;

/// Starts a process that was created, and stays with it until it ends and its output is written. Gives its exit status.
/// The process is not deleted.
pub async fn run(process: &ProcessRef, stdio: &mut Stdio, signals: &Signals) -> Result<(u32, Copies)> {
    let mut copies =
        stdio.copy_output()?.ok_or_else(|| Error::invalid("a detached process has no output"))?;
    let wait = process.wait();
    tokio::pin!(wait);
    let mut early = None;
    let resizer = Resizer::start(process, stdio);
    if process.exec.is_empty() {
        // the task's terminal is there already: its program should find the right size
        resizer.resize();
    }
    {
        let start = signals.guard(process.start());
        tokio::pin!(start);
        tokio::select! {
            started = &mut start => { started?; }
            // the answer to a wait can overtake the one to the start
            status = &mut wait => {
                start.await?;
                early = Some(status?);
            }
        }
    }
    stdio.started(Some(&mut copies))?;
    let status = match early {
        Some(status) => status,
        None => watch(process, &resizer, signals, &mut copies, wait.as_mut()).await?,
    };
    Ok((status, copies))
}

/// Stays with a process that runs already.
pub async fn join(process: &ProcessRef, stdio: &mut Stdio, signals: &Signals) -> Result<(u32, Copies)> {
    let mut copies =
        stdio.copy_output()?.ok_or_else(|| Error::invalid("a detached process has no output"))?;
    stdio.started(Some(&mut copies))?;
    let wait = process.wait();
    tokio::pin!(wait);
    let resizer = Resizer::start(process, stdio);
    let status = watch(process, &resizer, signals, &mut copies, wait.as_mut()).await?;
    Ok((status, copies))
}

/// Waits for the rest of the output, when the shim has let go of the process.
pub async fn drain(copies: Copies) {
    if !copies.finish().await {
        warn("something still holds the output open: not waiting for more");
    }
}

async fn watch(
    process: &ProcessRef,
    resizer: &Resizer,
    signals: &Signals,
    copies: &mut Copies,
    mut wait: std::pin::Pin<&mut impl Future<Output = Result<u32>>>,
) -> Result<u32> {
    resizer.resize();
    let mut asked = u32::from(signals.check().is_err());
    if let Err(Error::Interrupted(number)) = signals.check() {
        pass_on(process, number, asked);
    }
    loop {
        tokio::select! {
            status = &mut wait => return status,
            number = signals.next() => match number {
                SIGWINCH if resizer.task.is_some() => resizer.resize(),
                number => {
                    asked += u32::from(ends_us(number));
                    if asked > PATIENCE {
                        // even SIGKILL did not help, or the daemon is away
                        return Err(Error::Interrupted(number));
                    }
                    pass_on(process, number, asked);
                }
            },
            () = copies.stdin_ended() => {
                let process = process.clone();
                beside(async move { process.close_stdin().await });
            }
        }
    }
}

/// Keeps the process's terminal as large as ours: one call at a time, always with the latest size.
struct Resizer {
    wake: Arc<Notify>,
    task: Option<JoinHandle<()>>,
}

impl Resizer {
    /// Does nothing when there is no terminal.
    fn start(process: &ProcessRef, stdio: &Stdio) -> Self {
        let wake = Arc::new(Notify::new());
        let task = stdio.terminal.as_ref().map(|terminal| {
            let (process, size, wake) = (process.clone(), terminal.size(), wake.clone());
            tokio::spawn(async move {
                loop {
                    wake.notified().await;
                    if let Ok(size) = size.read() {
                        // a process that has ended, or was not started yet, has no terminal
                        let _no_terminal = process.resize(size).await;
                    }
                }
            })
        });
        Resizer { wake, task }
    }

    fn resize(&self) {
        self.wake.notify_one();
    }
}

impl Drop for Resizer {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn pass_on(process: &ProcessRef, number: i32, asked: u32) {
    let signal = if ends_us(number) && asked >= PATIENCE { SIGKILL } else { number.unsigned_abs() };
    let process = process.clone();
    beside(async move { process.kill(signal, false).await });
}

/// A call that the process's end does not wait for. That the process is gone, or the daemon for now, is no news.
fn beside(call: impl Future<Output = Result<()>> + Send + 'static) {
    tokio::spawn(async move {
        match call.await {
            Err(e) if !e.is_not_found() && !e.is_connection() => warn_error(&e),
            _ => {}
        }
    });
}
