//! From one registry to another, past the store: nothing of the image stays on this node.

use std::sync::Arc;

use base::platform::Matcher;

use super::deliver::Deliver;
use super::origin::Remote;
use super::with_digest;
use crate::error::{Error, Result};
use crate::manifest;
use crate::registry::Resolver;
use crate::transfer::{Progress, ProgressSink, Reporter};

/// What to copy, and where to.
#[derive(Clone)]
pub struct MirrorOptions {
    /// The image, with registry and tag or digest.
    pub from: String,
    /// The reference it gets.
    pub to: String,
    /// Which manifests of an index go along. An index is copied as it is, whatever goes along.
    pub platforms: Matcher,
    /// Uploads at a time; 0: [`super::DEFAULT_UPLOADS`].
    pub max_concurrent_uploads: usize,
    /// Who is told about the progress.
    pub progress: Option<ProgressSink>,
}

impl MirrorOptions {
    /// Copies the whole image `from` to `to`.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> MirrorOptions {
        MirrorOptions {
            from: from.into(),
            to: to.into(),
            platforms: Matcher::all(),
            max_concurrent_uploads: 0,
            progress: None,
        }
    }
}

/// Copies an image between registries, each with its own resolver. Blobs that the destination has or
/// can mount are not fetched; the others pass through memory, a piece at a time. Dropping the future
/// stops it; the destination's tag changes last.
///
/// # Errors
/// What the registries say, each host tried with its answer; FailedPrecondition when the source gives
/// other bytes than it names; InvalidArgument for what is no image.
pub async fn mirror(source: &Resolver, destination: &Resolver, options: MirrorOptions) -> Result<()> {
    let (reporter, telling) = Reporter::start(options.progress.clone(), &options.from, "uploading");
    let outcome = run(source, destination, &options, &reporter).await;
    reporter.finish(telling).await;
    outcome
}

async fn run(
    source: &Resolver,
    destination: &Resolver,
    options: &MirrorOptions,
    reporter: &Reporter,
) -> Result<()> {
    let to = format!("OCI Registry ({})", options.to);
    reporter.say(Progress::event(format!("Resolving from OCI Registry ({})", options.from)));
    let from = source.repository(&options.from)?;
    let resolved = from.resolve().await.map_err(|e| Error::from(e).during("failed to resolve image"))?;
    let target = resolved.descriptor;
    manifest::refuse_schema1(&target)?;
    if !manifest::is_document(&target) {
        return Err(Error::invalid(format!("{} is no image but {:?}", options.from, target.media_type)));
    }
    reporter.say(Progress::event(format!("Pushing to {to}")));
    reporter.say(Progress::of("pushing content", &options.to, &target));
    let repository = destination.repository(&with_digest(&options.to, &target.digest))?;
    let origin = Arc::new(Remote::new(from, &repository));
    let deliver = Deliver::new(origin, repository, reporter.clone(), options.max_concurrent_uploads);
    deliver.image(&target, &options.platforms, false).await?;
    reporter.say_last(Progress::of("pushed content", &options.to, &target));
    let done = Progress::event(format!("Completed push to {to}"));
    reporter.say_last(Progress { desc: Some(target), ..done });
    Ok(())
}
