//! `version`.

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;

/// Prints our version, then the daemon's: so ours is there even when no daemon is.
pub async fn run(global: &Global) -> Result<()> {
    output::line(format!("Client:\n  Version:  {}\n", env!("CARGO_PKG_VERSION")))?;
    let client = global.client()?;
    let (mut version, mut introspection) = (client.version(), client.introspection());
    let (version, server) = tokio::join!(version.version(()), introspection.server(()));
    let version = version.or_say("cannot get the daemon's version")?;
    let server = server.or_say("cannot get the daemon's id")?;
    output::line(format!(
        "Server:\n  Version:  {}\n  Revision: {}\n  UUID: {}",
        version.version, version.revision, server.uuid
    ))
}
