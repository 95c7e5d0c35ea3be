//! The transfer of images, and who must allow it.

use std::path::PathBuf;

use anyhow::Context as _;
use image::throttle::{Throttle, ThrottleOptions};
use serde::Deserialize;

use super::Context;
use crate::config::parse_duration;
use crate::plugins::{Loaded, NotLoaded};

/// The plugin of the verifier programs.
const VERIFIER: &str = "io.containerd.image-verifier.v1.bindir";

#[derive(Deserialize)]
struct Settings {
    max_concurrent_downloads: usize,
    max_concurrent_unpacks: usize,
    concurrent_layer_fetch_buffer: u64,
    max_concurrent_uploaded_layers: usize,
    check_platform_supported: bool,
    discard_unpacked_layers: bool,
    config_path: String,
}

pub(super) fn transfer(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: Settings = context.config.plugin("io.containerd.transfer.v1.local")?;
    if context.verifiers.is_none() && !context.config.disabled_plugins.iter().any(|p| p == VERIFIER) {
        // Verifiers that cannot be asked have not allowed anything.
        return Err(anyhow::anyhow!("{VERIFIER} is not loaded").into());
    }
    context.transfer = Some(services::TransferSettings {
        config_path: settings.config_path,
        throttle: Throttle::new(ThrottleOptions {
            downloads: settings.max_concurrent_downloads,
            unpacks: settings.max_concurrent_unpacks,
            range: settings.concurrent_layer_fetch_buffer,
            ..ThrottleOptions::default()
        }),
        discard_unpacked_layers: settings.discard_unpacked_layers,
        check_platform_supported: settings.check_platform_supported,
        max_concurrent_uploads: settings.max_concurrent_uploaded_layers.max(1),
        user_agent: format!("containerd/{}", crate::version::VERSION),
        verifiers: context.verifiers.clone(),
    });
    Ok(Loaded::default())
}

#[derive(Deserialize)]
struct BinDir {
    bin_dir: PathBuf,
    max_verifiers: i64,
    per_verifier_timeout: String,
}

/// The programs of a directory that judge images before they are pulled.
pub(super) fn bindir(context: &mut Context) -> Result<Loaded, NotLoaded> {
    let settings: BinDir = context.config.plugin(VERIFIER)?;
    let text = &settings.per_verifier_timeout;
    let per_verifier_timeout =
        parse_duration(text).with_context(|| format!("per_verifier_timeout {text:?} is not a duration"))?;
    context.verifiers = Some(image::verify::Verifiers {
        bin_dir: settings.bin_dir,
        max_verifiers: settings.max_verifiers,
        per_verifier_timeout,
    });
    Ok(Loaded::default())
}
