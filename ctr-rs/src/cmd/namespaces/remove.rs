//! `namespaces rm NAME...`.

use protos::api::namespaces::DeleteNamespaceRequest;

use crate::cli::Global;
use crate::cmd::flags::all_done;
use crate::error::{Answered, Error, Result};
use crate::io::output::{self, warn_error};

/// Arguments of `namespaces rm`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Remove the namespace's cgroup too
    #[arg(long, short)]
    cgroup: bool,
    /// Names
    #[arg(required = true)]
    names: Vec<String>,
}

/// Removes them all, even when one fails; prints those that are gone.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let mut failed = 0;
    for name in &args.names {
        let request = DeleteNamespaceRequest { name: name.clone() };
        let removed = client.namespaces().delete(request).await;
        let removed = match removed.or_say(format!("cannot delete namespace {name}")) {
            Err(e) if !e.is_not_found() => Err(e),
            _ if args.cgroup => remove_cgroup(name),
            _ => Ok(()),
        };
        match removed {
            Ok(()) => output::line(name)?,
            Err(e) if args.names.len() == 1 => return Err(e),
            Err(e) => {
                warn_error(&e);
                failed += 1;
            }
        }
    }
    all_done(failed, args.names.len())
}

/// The cgroup that containers of the namespace were in; none there is fine.
fn remove_cgroup(name: &str) -> Result<()> {
    base::validate_identifier(name)
        .map_err(|e| Error::refused(format!("namespace {name:?} has no cgroup"), e))?;
    let path = std::path::Path::new("/sys/fs/cgroup").join(name);
    match std::fs::remove_dir(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::io(format!("cannot remove cgroup {}", path.display()))(e))
        }
        _ => Ok(()),
    }
}
