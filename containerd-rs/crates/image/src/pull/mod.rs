//! From a registry into the store, and from there into snapshots while it still downloads.
//!
//! ```text
//!  resolve --> walk: documents, with labels on their children
//!                |--> configs
//!                '--> unpack: what is there already? --demand--> blobs, a few at a time
//!                        apply each layer as its bytes come <------'
//!                                 all done --> image records
//! ```
//!
//! A layer is fetched when something needs it: one whose snapshot is there is not.

mod arrivals;
mod blobs;
mod download;
mod flight;
mod flow;
mod ranged;
mod source;
mod walk;

use std::sync::Arc;

use base::platform::Matcher;
use base::{ErrorKind, Kinded, Scope};
use store::Image;

pub(crate) use self::arrivals::{Arrivals, Stage};
pub(crate) use self::blobs::given_up;
pub(crate) use self::flow::Flow;
use self::source::Source;
pub(crate) use self::source::{mount_candidate, source_key};
use crate::damage::blame_image;
use crate::error::{Error, Result};
use crate::manifest;
use crate::registry::{Repository, Resolver};
use crate::throttle::Throttle;
use crate::transfer::{Destination, Local, Progress, ProgressSink, Reporter, TransferLease, store_images};
use crate::unpack::UnpackTarget;
use crate::verify::{Verifiers, VerifyError};

pub use crate::throttle::{DEFAULT_DOWNLOADS, ThrottleOptions};

/// What to pull, and what to do with it.
#[derive(Clone)]
pub struct PullOptions {
    /// The full reference, with registry and tag or digest.
    pub reference: String,
    /// Names and labels of the image.
    pub destination: Destination,
    /// Which manifests of an index are wanted.
    pub platforms: Matcher,
    /// Manifests and configs of the unwanted platforms as well, without their layers.
    pub all_metadata: bool,
    /// At most so many manifests of an index, the best first; 0: all that match.
    pub manifest_limit: usize,
    /// Where to unpack it to.
    pub unpack: Vec<UnpackTarget>,
    /// Do not keep the layers of what is unpacked: garbage collection takes them when the pull is over.
    pub discard_unpacked_layers: bool,
    /// Limits that this pull shares with others.
    pub throttle: Throttle,
    /// Who must allow the image, once it is known what the reference stands for.
    pub verifiers: Option<Verifiers>,
    /// Who is told about the progress.
    pub progress: Option<ProgressSink>,
}

impl PullOptions {
    /// Pulls `reference` under its own name, for every platform, without unpacking.
    pub fn new(reference: impl Into<String>) -> PullOptions {
        let reference = reference.into();
        PullOptions {
            destination: Destination::named(&reference),
            reference,
            platforms: Matcher::all(),
            all_metadata: false,
            manifest_limit: 0,
            unpack: Vec::new(),
            discard_unpacked_layers: false,
            throttle: Throttle::default(),
            verifiers: None,
            progress: None,
        }
    }
}

/// Pulls an image. Without a lease in `scope` it takes one of its own, and gives it back at the end.
///
/// Cancel-safe: when the future is dropped, downloads and unpacking stop, nothing is named, and what
/// was fetched can be resumed by the next pull.
///
/// # Errors
/// Of the registry (every host that was tried, with its answer), of the store, of unpacking;
/// InvalidArgument for schema 1 and for documents that are not what they claim; NotFound when no
/// platform matches.
pub async fn pull(
    local: &Local,
    scope: &Scope,
    resolver: &Resolver,
    options: PullOptions,
) -> Result<Vec<Image>> {
    let lease = TransferLease::take(&local.meta, scope).await?;
    let (reporter, telling) = Reporter::start(options.progress.clone(), &options.reference, "downloading");
    let mut outcome = run(local, &lease.scope, resolver, &options, &reporter).await;
    if let Err(e) = &outcome
        && e.kind() == ErrorKind::DataLoss
    {
        // The store had something and has set it aside: once more, this time it is fetched.
        tracing::warn!(reference = options.reference, error = base::chain(e), "pulling once more");
        outcome = run(local, &lease.scope, resolver, &options, &reporter).await;
    }
    let resumable = outcome.as_ref().err().is_some_and(Error::is_transient);
    lease.release(resumable).await;
    reporter.finish(telling).await;
    outcome
}

async fn run(
    local: &Local,
    scope: &Scope,
    resolver: &Resolver,
    options: &PullOptions,
    reporter: &Reporter,
) -> Result<Vec<Image>> {
    let from = format!("OCI Registry ({})", options.reference);
    reporter.say(Progress::event(format!("Resolving from {from}")));
    let repository = resolver.repository(&options.reference)?;
    let resolved =
        repository.resolve().await.map_err(|e| Error::from(e).during("failed to resolve image"))?;
    let target = resolved.descriptor;
    manifest::refuse_schema1(&target)?;
    if !manifest::is_document(&target) {
        return Err(Error::invalid(format!("{} is no image but {:?}", options.reference, target.media_type)));
    }
    if let Some(verifiers) = &options.verifiers {
        verifiers.check(&options.reference, &target).await.map_err(|e| match e {
            blocked @ VerifyError::Blocked { .. } => Error::from(blocked),
            none => Error::from(none).during(format!(
                "blocking pull of {} with digest {}: image verifier bindir returned error",
                options.reference, target.digest
            )),
        })?;
    }
    reporter.say(Progress::event(format!("Pulling from {from}")));
    reporter.say(Progress::of("fetching image content", &options.reference, &target));

    let fetch = Arc::new(Fetch {
        local: local.clone(),
        scope: scope.clone(),
        source: Source::new(&repository),
        throttle: options.throttle.clone(),
        repository,
        reporter: reporter.clone(),
    });
    let plan = fetch.walk(&target, options).await?;
    match fetch.blobs(plan, options).await {
        Err(e) if !options.unpack.is_empty() => {
            return Err(blame_image(&*local.content, scope, &target, e).await);
        }
        done => done?,
    }

    let images = store_images(&local.meta, scope, options.destination.names(&target), &target).await?;
    if images.is_empty() {
        return Err(Error::not_found("no image name found: not found"));
    }
    for image in &images {
        reporter.say_last(Progress::of("saved", &image.name, &image.target));
    }
    reporter.say_last(Progress::event(format!("Completed pull from {from}")));
    Ok(images)
}

/// What the parts of one pull share.
struct Fetch {
    local: Local,
    scope: Scope,
    repository: Repository,
    source: Source,
    reporter: Reporter,
    throttle: Throttle,
}
