//! A process in the foreground: its exit status becomes ours.
//!
//! ```text
//! copy output -> start + wait -> { pass on signals | resize | end of input } until it ends -> rest of the output
//! ```

use super::call::{ProcessRef, SIGKILL};
use super::signals::{SIGWINCH, Signals, ends_us};
use super::stdio::Stdio;
use crate::error::{Error, Result};
use crate::io::copy::Copies;
use crate::io::output::{warn, warn_error};

/// So many signals that ask to end kill a process that does not listen.
const PATIENCE: u32 = 3;

/// Starts a process that was created, and stays with it until it ends and its output is written. Gives its exit status.
/// The process is not deleted.
pub async fn run(process: &ProcessRef, stdio: &mut Stdio, signals: &Signals) -> Result<(u32, Copies)> {
    let mut copies =
        stdio.copy_output()?.ok_or_else(|| Error::invalid("a detached process has no output"))?;
    let wait = process.wait();
    tokio::pin!(wait);
    let mut early = None;
    if process.exec.is_empty() {
        // the task's terminal is there already: its program should find the right size
        resize(process, stdio).await;
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
        None => watch(process, stdio, signals, &mut copies, wait.as_mut()).await?,
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
    let status = watch(process, stdio, signals, &mut copies, wait.as_mut()).await?;
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
    stdio: &Stdio,
    signals: &Signals,
    copies: &mut Copies,
    mut wait: std::pin::Pin<&mut impl Future<Output = Result<u32>>>,
) -> Result<u32> {
    resize(process, stdio).await;
    let mut asked = u32::from(signals.check().is_err());
    if let Err(Error::Interrupted(number)) = signals.check() {
        pass_on(process, number, asked).await;
    }
    loop {
        tokio::select! {
            status = &mut wait => return status,
            number = signals.next() => match number {
                SIGWINCH if stdio.terminal.is_some() => resize(process, stdio).await,
                number => {
                    asked += u32::from(ends_us(number));
                    pass_on(process, number, asked).await;
                }
            },
            () = copies.stdin_ended() => match process.close_stdin().await {
                Err(e) if !e.is_not_found() && !e.is_connection() => warn_error(&e),
                _ => {}
            },
        }
    }
}

async fn resize(process: &ProcessRef, stdio: &Stdio) {
    let Some(terminal) = &stdio.terminal else { return };
    let done = match terminal.size() {
        Ok(size) => process.resize(size).await,
        Err(e) => Err(e),
    };
    match done {
        Err(e) if !e.is_not_found() => warn_error(&e),
        _ => {}
    }
}

async fn pass_on(process: &ProcessRef, number: i32, asked: u32) {
    let signal = if ends_us(number) && asked >= PATIENCE { SIGKILL } else { number.unsigned_abs() };
    match process.kill(signal, false).await {
        // it has ended
        Err(e) if !e.is_not_found() => warn_error(&e),
        _ => {}
    }
}
