//! The transfer of images.

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use super::{Context, made};
use crate::plugins::{Loaded, NotLoaded};

#[derive(Deserialize)]
struct TransferSettings {
    max_concurrent_downloads: usize,
    max_concurrent_uploaded_layers: usize,
    config_path: String,
}

pub(super) fn transfer(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: TransferSettings = context.config.plugin("io.containerd.transfer.v1.local")?;
    let options = image::TransferOptions {
        hosts_dirs: settings.config_path.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect(),
        max_concurrent_downloads: settings.max_concurrent_downloads.max(1),
        max_concurrent_uploads: settings.max_concurrent_uploaded_layers.max(1),
        user_agent: format!("containerd/{}", crate::version::VERSION),
        default_snapshotter: base::defaults::SNAPSHOTTER.to_owned(),
    };
    let differ = context.differs.get("walking").cloned();
    let parts = image::TransferParts {
        metadata: made(&context.metadata, "metadata")?,
        content: Arc::new(made(&context.content, "content")?),
        snapshotters: context.namespaced.clone(),
        differ: made(&differ, "differ")?,
        options,
    };
    context.transfer = Some(Arc::new(image::Transfer::new(parts)?));
    Ok(Loaded::default())
}
