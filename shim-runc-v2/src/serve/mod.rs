//! The process that lives as long as its containers: one thread, an event loop, and these tasks:
//!
//! * signals: collects children, takes wishes to leave (`signals.rs`);
//! * accept: lets clients in (`accept.rs`), and the ttrpc server's tasks for each of them;
//! * publisher: tells the daemon what happened (`events.rs`);
//! * for each process one that waits for its end, for each of its streams one that copies it, and for each
//!   container one that watches its memory (`task`, `io`).

pub(crate) mod accept;
pub(crate) mod lifetime;
pub(crate) mod signals;

use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::Error;
use nix::sys::signal::Signal;
use ttrpc::r#async::Server;

use crate::beside;
use crate::events::Publisher;
use crate::flags::Flags;
use crate::logger::{self, debug, info, warning};
use crate::reaper::Reaper;
use crate::rpc;
use crate::sandbox::Sandbox;
use crate::task::Tasks;
use lifetime::Lifetime;
use signals::Signals;

/// Time to tell the daemon the last news before we leave.
const FLUSH: Duration = Duration::from_secs(3);
/// Time for creates that were stopped to be undone.
const UNDO: Duration = Duration::from_secs(5);
/// Time for answers that are on their way when we leave.
const ANSWERS: Duration = Duration::from_secs(1);
/// Time for a client that found our socket just before we took it away.
const LAST_CLIENT: Duration = Duration::from_millis(50);

/// Serves until it is time to leave.
///
/// # Errors
/// There is no socket, or the kernel refuses something at the start.
pub(crate) fn main(flags: &Flags) -> Result<(), Error> {
    logger::to_fifo(Path::new("log"), flags.debug);
    // Their processes become our children when the runtime leaves.
    sys::process::set_subreaper(true).map_err(|e| Error::internal("set subreaper").with_source(e))?;
    // A huge page under a heap of kilobytes would be most of our memory.
    if let Err(e) = sys::process::thp_disable(true) {
        debug!("{}", base::chain(&e));
    }
    let runtime = beside::event_loop()?;
    let done = runtime.block_on(serve(flags));
    // What still hangs in the kernel must not keep us.
    runtime.shutdown_timeout(ANSWERS);
    done
}

async fn serve(flags: &Flags) -> Result<(), Error> {
    let listener = listener(flags)?;
    let path = listener.local_addr().ok().and_then(|a| a.as_pathname().map(Path::to_owned));
    let reaper = Reaper::default();
    let lifetime = Lifetime::default();
    let address = std::env::var("TTRPC_ADDRESS").unwrap_or_else(|_| format!("{}.ttrpc", flags.address));
    let events = Publisher::new(&address, &flags.namespace);
    let tasks = Tasks::new(flags.namespace.clone(), reaper.clone(), events.clone(), lifetime.clone());
    let sandbox = Sandbox::new(&flags.id, &flags.namespace, reaper.clone(), lifetime.clone(), tasks.clone());

    let (leave, dumped, pod) = (lifetime.clone(), tasks.clone(), sandbox.clone());
    tokio::spawn(Signals::take()?.run(reaper, move |signal| match signal {
        Signal::SIGUSR1 => info!("state: {}{}", pod.dump(), dumped.dump()),
        other => {
            info!("leaving: {other}");
            leave.asked_to_leave();
        }
    }));
    tokio::spawn(events.clone().run());
    let (clients, incoming) = accept::channel();
    let mut server = Server::new()
        .add_listener(incoming)
        .register_service(rpc::services(&tasks))
        .register_service(rpc::sandbox::service(&sandbox));
    server.start().await.map_err(|e| Error::internal("start server").with_source(e))?;
    tokio::spawn(accept::accept(async_listener(listener)?, clients, lifetime.clone(), events.clone()));
    debug!("serving {} in {}", flags.id, flags.namespace);

    loop {
        lifetime.over(|| tasks.count()).await;
        if lifetime.was_asked() || take_away(path.as_deref(), &lifetime).await {
            break;
        }
    }
    if let Some(path) = &path {
        let _ = std::fs::remove_file(path);
    }
    if tokio::time::timeout(UNDO, tasks.none_in_the_making()).await.is_err() {
        warning!("leaving while the runtime still makes a container");
    }
    events.flush(FLUSH).await;
    if tokio::time::timeout(ANSWERS, server.shutdown()).await.is_err() {
        warning!("some clients still wait for an answer");
    }
    Ok(())
}

/// Takes the socket away, unless a client finds it in the same moment: then it is put back and we stay.
async fn take_away(path: Option<&Path>, lifetime: &Lifetime) -> bool {
    let Some(path) = path else { return true };
    let aside: PathBuf = path.with_extension("leaving");
    if std::fs::rename(path, &aside).is_err() {
        return true;
    }
    tokio::time::sleep(LAST_CLIENT).await;
    if lifetime.connections() == 0 {
        let _ = std::fs::remove_file(&aside);
        return true;
    }
    // Somebody may have started another shim under the name since; that one then stays, and we serve our client.
    let _ = std::fs::hard_link(&aside, path);
    let _ = std::fs::remove_file(&aside);
    false
}

/// The socket that `start` gave us as standard input, or a new one at `-socket`.
fn listener(flags: &Flags) -> Result<UnixListener, Error> {
    if !flags.socket.is_empty() {
        return match crate::socket::bind(Path::new(&flags.socket))? {
            crate::socket::Bound::New(listener) => Ok(listener),
            crate::socket::Bound::Taken => Err(Error::already_exists(format!("socket {}", flags.socket))),
        };
    }
    let failed = |e: std::io::Error| Error::failed_precondition("no socket was inherited").with_source(e);
    let stdin = std::io::stdin();
    rustix::net::sockopt::socket_acceptconn(stdin.as_fd()).map_err(|e| failed(e.into()))?;
    let listener = UnixListener::from(stdin.as_fd().try_clone_to_owned().map_err(failed)?);
    let null = std::fs::File::open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdin(&null).map_err(|e| failed(e.into()))?;
    Ok(listener)
}

fn async_listener(listener: UnixListener) -> Result<tokio::net::UnixListener, Error> {
    listener
        .set_nonblocking(true)
        .and_then(|()| tokio::net::UnixListener::from_std(listener))
        .map_err(|e| Error::internal("watch socket").with_source(e))
}
