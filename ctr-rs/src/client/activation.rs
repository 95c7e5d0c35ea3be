//! Mounts that the daemon has to prepare before they can be mounted.

use base::{ErrorKind, Kinded};
use protos::api::mounts::{ActivateRequest, DeactivateRequest, InfoRequest};
use protos::api::types::Mount;

use super::Client;
use crate::error::{Answered, Result};

/// What is left to mount after the daemon has made what these need, under `name`; all of them when they need nothing. With `temporary`
/// the daemon mounts everything and what is left is one bind mount.
pub async fn activate(
    client: &Client,
    name: &str,
    mounts: Vec<Mount>,
    temporary: bool,
) -> Result<Vec<Mount>> {
    let what = || format!("cannot activate the mounts of {name}");
    let labels = Default::default();
    let request = ActivateRequest { name: name.to_owned(), mounts: mounts.clone(), labels, temporary };
    let info = match client.mounts().activate(request).await.or_say(what()) {
        // Also the answer of a daemon that has no such service.
        Err(e) if e.kind() == ErrorKind::Unimplemented => return Ok(mounts),
        Err(e) if e.is_already_exists() => {
            let request = InfoRequest { name: name.to_owned() };
            client.mounts().info(request).await.or_say(what())?.info
        }
        other => other?.info,
    };
    Ok(info.map_or(mounts, |info| info.system))
}

/// Takes back what was made under `name`, if anything was.
pub async fn deactivate(client: &Client, name: &str) -> Result<()> {
    let request = DeactivateRequest { name: name.to_owned() };
    match client.mounts().deactivate(request).await.or_say(format!("cannot deactivate the mounts of {name}"))
    {
        Err(e) if !e.is_not_found() && e.kind() != ErrorKind::Unimplemented => Err(e),
        _ => Ok(()),
    }
}
