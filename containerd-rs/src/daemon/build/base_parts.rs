//! Events, streams, the server's identity.

use std::sync::Arc;

use anyhow::Context as _;

use super::Context;
use crate::plugins::{Loaded, NotLoaded};

pub(super) fn exchange(context: &mut Context) -> Result<Loaded, NotLoaded> {
    context.events = Some(events::Exchange::new(Arc::new(services::event_field)));
    Ok(Loaded::default())
}

pub(super) fn streaming(context: &mut Context) -> Result<Loaded, NotLoaded> {
    context.streams = Some(Arc::default());
    Ok(Loaded::default())
}

/// The uuid is made once for a root and kept.
pub(super) fn introspection(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let dir = context.root_of("io.containerd.grpc.v1", "introspection");
    sys::fs::ensure_dir(&dir, 0o700)?;
    let path = dir.join("uuid");
    let uuid = match sys::fs::read_text(&path, 64) {
        Ok(text) if uuid::Uuid::parse_str(text.trim()).is_ok() => text.trim().to_owned(),
        _ => {
            let fresh = uuid::Uuid::new_v4().to_string();
            sys::fs::write_atomic(&path, fresh.as_bytes(), 0o600).context("keep the server's uuid")?;
            fresh
        }
    };
    context.uuid = Some(uuid);
    Ok(Loaded::default())
}
