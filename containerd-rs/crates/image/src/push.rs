//! From the store to a registry: blobs first, then manifests, then the indexes that name them.

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use base::oci::media_type;
use base::platform::Matcher;
use base::{Descriptor, Digest, Scope};
use store::Blob;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::error::{Error, Result};
use crate::manifest::{self, MAX_DEPTH};
use crate::pull::{mount_candidate, source_key};
use crate::registry::{BodySource, Pushed, Repository, Resolver};
use crate::transfer::{Local, Progress, ProgressSink, Reporter, TransferLease};

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
    // With the digest in the reference only the image itself gets the tag.
    let reference = match options.reference.contains('@') {
        true => options.reference.clone(),
        false => format!("{}@{}", options.reference, image.target.digest),
    };
    let repository = resolver.repository(&reference)?;
    let push = Arc::new(Push {
        local: local.clone(),
        scope: scope.clone(),
        source_key: source_key(&repository),
        repository,
        reporter: reporter.clone(),
        permits: Arc::new(Semaphore::new(match options.max_concurrent_uploads {
            0 => DEFAULT_UPLOADS,
            n => n,
        })),
    });
    let plan = push.walk(&image.target, options).await?;
    push.all(plan.blobs).await?;
    push.all(plan.manifests).await?;
    for index in plan.indexes.into_iter().rev() {
        push.all(vec![index]).await?;
    }
    reporter.say_last(Progress::of("pushed content", &image.name, &image.target));
    reporter.say_last(Progress {
        desc: Some(image.target.clone()),
        ..Progress::event(format!("Completed push to {to}"))
    });
    Ok(())
}

/// Something to push, and the repositories of the registry that may have it.
#[derive(Clone)]
struct Item {
    descriptor: Descriptor,
    sources: Vec<String>,
}

#[derive(Default)]
struct Plan {
    blobs: Vec<Item>,
    manifests: Vec<Item>,
    /// Outer ones first.
    indexes: Vec<Item>,
}

struct Push {
    local: Local,
    scope: Scope,
    repository: Repository,
    source_key: String,
    reporter: Reporter,
    permits: Arc<Semaphore>,
}

impl Push {
    async fn walk(&self, target: &Descriptor, options: &PushOptions) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut level = vec![Item { descriptor: target.clone(), sources: Vec::new() }];
        for _ in 0..=MAX_DEPTH {
            let mut next = Vec::new();
            for mut item in level {
                if !seen.insert(item.descriptor.digest.clone()) {
                    continue;
                }
                item.sources.extend(self.sources(&item.descriptor).await);
                let descriptor = &item.descriptor;
                if !manifest::is_document(descriptor) {
                    if options.non_distributable || !media_type::is_non_distributable(&descriptor.media_type)
                    {
                        plan.blobs.push(item);
                    }
                    continue;
                }
                let children =
                    manifest::stored_children(&*self.local.content, &self.scope, descriptor).await?;
                self.reporter.children(descriptor, &children);
                let wanted = children
                    .into_iter()
                    .filter(|d| d.platform.as_ref().is_none_or(|p| options.platforms.matches(p)));
                next.extend(wanted.map(|descriptor| Item { descriptor, sources: item.sources.clone() }));
                match media_type::is_index(&descriptor.media_type) {
                    true => plan.indexes.push(item),
                    false => plan.manifests.push(item),
                }
            }
            if next.is_empty() {
                return Ok(plan);
            }
            level = next;
        }
        Err(Error::invalid(format!("image {} has too deep indexes", target.digest)))
    }

    /// Where the registry may have it: the blob's label; annotations of the descriptor.
    async fn sources(&self, descriptor: &Descriptor) -> Vec<String> {
        let label = self.local.content.info(&self.scope, &descriptor.digest).await.ok();
        let label = label.and_then(|info| info.labels.get(&self.source_key).cloned());
        label.into_iter().chain(descriptor.annotations.get(&self.source_key).cloned()).collect()
    }

    /// Pushes items that do not depend on each other.
    async fn all(self: &Arc<Self>, items: Vec<Item>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for item in items {
            let push = self.clone();
            let sent = self.reporter.add(&item.descriptor);
            tasks.spawn(async move {
                let _permit = push.permits.clone().acquire_owned().await;
                let blob = push.local.content.open(&push.scope, &item.descriptor.digest).await?;
                let source = Arc::new(StoredBlob { blob, runtime: Handle::current() });
                let sources = item.sources.join(",");
                let mount = mount_candidate(&sources, push.repository.name());
                match push.repository.push(&item.descriptor, source, mount, sent).await? {
                    Pushed::Exists => push.reporter.exists(&item.descriptor),
                    Pushed::Mounted(_) | Pushed::Uploaded => push.reporter.complete(&item.descriptor),
                }
                Ok(())
            });
        }
        while let Some(done) = tasks.join_next().await {
            if let Err(e) = done.map_err(Error::Task).and_then(|outcome| outcome) {
                tasks.shutdown().await;
                return Err(e);
            }
        }
        Ok(())
    }
}

/// A blob of the store as an upload's body; read by threads that may block.
struct StoredBlob {
    blob: Blob,
    runtime: Handle,
}

impl BodySource for StoredBlob {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.runtime
            .block_on(self.blob.read_at(offset, buffer))
            .map_err(|e| io::Error::other(base::chain(&e)))
    }
}
