//! Bringing the tree below a manifest or index to a registry, in the order that it accepts.

use std::collections::HashSet;
use std::sync::Arc;

use base::oci::media_type;
use base::platform::Matcher;
use base::{Descriptor, Digest};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::DEFAULT_UPLOADS;
use super::checked::Checked;
use super::origin::Origin;
use crate::error::{Error, Result};
use crate::manifest::{self, MAX_DEPTH, MAX_DOCUMENTS};
use crate::pull::mount_candidate;
use crate::registry::{Offer, Pushed, RegistryError, Repository};
use crate::transfer::Reporter;

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

/// A delivery from somewhere to one repository. Clones share it.
#[derive(Clone)]
pub(super) struct Deliver {
    origin: Arc<dyn Origin>,
    repository: Repository,
    reporter: Reporter,
    permits: Arc<Semaphore>,
}

impl Deliver {
    /// `uploads` at a time; 0: [`DEFAULT_UPLOADS`].
    pub(super) fn new(
        origin: Arc<dyn Origin>,
        repository: Repository,
        reporter: Reporter,
        uploads: usize,
    ) -> Deliver {
        let uploads = if uploads == 0 { DEFAULT_UPLOADS } else { uploads };
        Deliver { origin, repository, reporter, permits: Arc::new(Semaphore::new(uploads)) }
    }

    /// Delivers `target` and what it names, as far as the platforms ask for it.
    pub(super) async fn image(
        &self,
        target: &Descriptor,
        platforms: &Matcher,
        non_distributable: bool,
    ) -> Result<()> {
        let plan = self.walk(target, platforms, non_distributable).await?;
        self.all(plan.blobs).await?;
        self.all(plan.manifests).await?;
        for index in plan.indexes.into_iter().rev() {
            self.all(vec![index]).await?;
        }
        Ok(())
    }

    async fn walk(&self, target: &Descriptor, platforms: &Matcher, non_distributable: bool) -> Result<Plan> {
        let mut plan = Plan::default();
        let mut seen: HashSet<Digest> = HashSet::new();
        let mut level = vec![Item { descriptor: target.clone(), sources: Vec::new() }];
        for _ in 0..=MAX_DEPTH {
            let mut next = Vec::new();
            for mut item in level {
                if !seen.insert(item.descriptor.digest.clone()) {
                    continue;
                }
                item.sources.extend(self.origin.sources(&item.descriptor).await);
                let descriptor = &item.descriptor;
                if !manifest::is_document(descriptor) {
                    if non_distributable || !media_type::is_non_distributable(&descriptor.media_type) {
                        plan.blobs.push(item);
                    }
                    continue;
                }
                if plan.manifests.len() + plan.indexes.len() >= MAX_DOCUMENTS {
                    return Err(Error::invalid(format!("image {} has too many manifests", target.digest)));
                }
                let children = self.origin.children(descriptor).await?;
                self.reporter.children(descriptor, &children);
                let wanted =
                    children.into_iter().filter(|d| d.platform.as_ref().is_none_or(|p| platforms.matches(p)));
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

    /// Delivers items that do not depend on each other.
    async fn all(&self, items: Vec<Item>) -> Result<()> {
        let mut tasks = JoinSet::new();
        for item in items {
            let (deliver, sent) = (self.clone(), self.reporter.add(&item.descriptor));
            tasks.spawn(async move {
                let _permit = deliver.permits.clone().acquire_owned().await;
                match deliver.one(&item, sent).await? {
                    Pushed::Exists => deliver.reporter.exists(&item.descriptor),
                    Pushed::Mounted(_) | Pushed::Uploaded => deliver.reporter.complete(&item.descriptor),
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

    /// Only what the registry wants is opened: it may not even be here.
    async fn one(&self, item: &Item, sent: Arc<std::sync::atomic::AtomicU64>) -> Result<Pushed> {
        let sources = item.sources.join(",");
        let mount = mount_candidate(&sources, self.repository.name());
        let upload = match self.repository.offer(&item.descriptor, mount).await? {
            Offer::Settled(how) => return Ok(how),
            Offer::Wanted(upload) => upload,
        };
        let source = Arc::new(Checked::new(self.origin.open(&item.descriptor).await?, &item.descriptor));
        match upload.send(source.clone(), sent).await {
            Ok(how) => Ok(how),
            Err(RegistryError::Source(e)) => {
                let damaged = source.is_damaged();
                Err(self.origin.unreadable(&item.descriptor, e, damaged).await)
            }
            Err(e) => Err(e.into()),
        }
    }
}
