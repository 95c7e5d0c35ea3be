//! To a registry, from the store or from another registry: blobs first, then manifests, then the
//! indexes that name them. Bytes are read only when the registry neither has them nor can take them
//! from another of its repositories, and are checked against their digest on the way.

mod checked;
mod deliver;
mod mirror;
mod origin;

use std::sync::Arc;

use base::Scope;
use base::platform::Matcher;

use self::deliver::Deliver;
use self::origin::Stored;
use crate::error::Result;
use crate::registry::Resolver;
use crate::transfer::{Local, Progress, ProgressSink, Reporter, TransferLease};

pub use self::mirror::{MirrorOptions, mirror};

/// Uploads at a time when the caller does not say.
pub const DEFAULT_UPLOADS: usize = 3;

/// What to push, and where to.
#[derive(Clone)]
pub struct PushOptions {
    /// Name of the image in the store.
    pub image: String,
    /// The reference it gets at the registry.
    pub reference: String,
    /// Which manifests of an index go along.
    pub platforms: Matcher,
    /// Layers that their makers do not want to be passed on go along as well.
    pub non_distributable: bool,
    /// Uploads at a time; 0: [`DEFAULT_UPLOADS`].
    pub max_concurrent_uploads: usize,
    /// Who is told about the progress.
    pub progress: Option<ProgressSink>,
}

impl PushOptions {
    /// Pushes the whole image `image` to `reference`.
    pub fn new(image: impl Into<String>, reference: impl Into<String>) -> PushOptions {
        PushOptions {
            image: image.into(),
            reference: reference.into(),
            platforms: Matcher::all(),
            non_distributable: false,
            max_concurrent_uploads: 0,
            progress: None,
        }
    }
}

/// Pushes an image. Dropping the future stops it; what is up stays up and is found by the next push.
///
/// # Errors
/// NotFound for an image or content that is not in the store; what the registry says.
pub async fn push(local: &Local, scope: &Scope, resolver: &Resolver, options: PushOptions) -> Result<()> {
    let lease = TransferLease::take(&local.meta, scope).await?;
    let (reporter, telling) = Reporter::start(options.progress.clone(), &options.image, "uploading");
    let outcome = run(local, &lease.scope, resolver, &options, &reporter).await;
    lease.release(false).await;
    reporter.finish(telling).await;
    outcome
}

async fn run(
    local: &Local,
    scope: &Scope,
    resolver: &Resolver,
    options: &PushOptions,
    reporter: &Reporter,
) -> Result<()> {
    let image = local.meta.images().get(&scope.namespace, &options.image)?;
    let to = format!("OCI Registry ({})", options.reference);
    reporter.say(Progress::event(format!("Pushing to {to}")));
    reporter.say(Progress::of("pushing content", &image.name, &image.target));
    let repository = resolver.repository(&with_digest(&options.reference, &image.target.digest))?;
    let origin = Arc::new(Stored::new(local, scope, &repository));
    let deliver = Deliver::new(origin, repository, reporter.clone(), options.max_concurrent_uploads);
    deliver.image(&image.target, &options.platforms, options.non_distributable).await?;
    reporter.say_last(Progress::of("pushed content", &image.name, &image.target));
    reporter.say_last(Progress {
        desc: Some(image.target.clone()),
        ..Progress::event(format!("Completed push to {to}"))
    });
    Ok(())
}

/// The reference with the digest of what it will stand for: only the image itself gets the tag, not
/// what an index names.
fn with_digest(reference: &str, digest: &base::Digest) -> String {
    match reference.contains('@') {
        true => reference.to_owned(),
        false => format!("{reference}@{digest}"),
    }
}
