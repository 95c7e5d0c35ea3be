//! The transfer of images.

use serde::Deserialize;

use super::Context;
use crate::plugins::{Loaded, NotLoaded};

#[derive(Deserialize)]
struct Settings {
    max_concurrent_downloads: usize,
    max_concurrent_uploaded_layers: usize,
    config_path: String,
}

pub(super) fn transfer(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: Settings = context.config.plugin("io.containerd.transfer.v1.local")?;
    context.transfer = Some(services::TransferSettings {
        config_path: settings.config_path,
        max_concurrent_downloads: settings.max_concurrent_downloads.max(1),
        max_concurrent_uploads: settings.max_concurrent_uploaded_layers.max(1),
        user_agent: format!("containerd/{}", crate::version::VERSION),
    });
    Ok(Loaded::default())
}
