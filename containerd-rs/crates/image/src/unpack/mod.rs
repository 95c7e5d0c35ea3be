//! Layers into snapshots, as they arrive.

mod flight;

use std::sync::Arc;

use base::oci::{self, Manifest};
use base::platform::Matcher;
use base::{Descriptor, Digest, ErrorKind, Labels, Platform, Scope, labels};
use snapshot::{ApplyOptions, CommitOptions, Differ, Snapshots};

use crate::error::{Error, Result};
use crate::manifest;
use crate::pull::Arrivals;
use crate::transfer::{Local, Reporter};

/// Where to unpack an image to, and which of its platforms.
#[derive(Clone)]
pub struct UnpackTarget {
    /// The snapshotter that gets the layers.
    pub snapshots: Arc<Snapshots>,
    /// What applies them.
    pub differ: Arc<dyn Differ>,
    /// Which manifest to unpack: the best match.
    pub platform: Matcher,
}

/// Unpacks the best of `manifests` for the target; a layer is applied as soon as it and those below
/// have arrived. When none is for the target's platform that is logged and nothing happens, as in the
/// original.
pub(crate) async fn unpack(
    local: &Local,
    scope: &Scope,
    target: &UnpackTarget,
    manifests: Vec<Descriptor>,
    arrivals: Arrivals,
    reporter: Reporter,
) -> Result<()> {
    let work = Unpack { local, scope, target, arrivals, reporter };
    match work.choose(manifests).await? {
        Some((descriptor, manifest)) => {
            let name = target.snapshots.name();
            let during =
                |e: Error| e.during(format!("unpack image {} on snapshotter {name}", descriptor.digest));
            work.run(&manifest).await.map_err(during)
        }
        None => {
            tracing::warn!(
                snapshotter = target.snapshots.name(),
                "nothing to unpack: no manifest for the platform"
            );
            Ok(())
        }
    }
}

struct Unpack<'a> {
    local: &'a Local,
    scope: &'a Scope,
    target: &'a UnpackTarget,
    arrivals: Arrivals,
    reporter: Reporter,
}

impl Unpack<'_> {
    /// The manifest whose config (not its descriptor, which anybody can write) suits best.
    async fn choose(&self, manifests: Vec<Descriptor>) -> Result<Option<(Descriptor, Manifest)>> {
        let content = &*self.local.content;
        let matcher = &self.target.platform;
        let mut best: Option<(Platform, Descriptor, Manifest)> = None;
        for descriptor in manifest::best_first(manifests, matcher) {
            let manifest = manifest::read_manifest(content, self.scope, &descriptor).await?;
            self.wait(&manifest.config).await?;
            let platform = manifest::config_platform(content, self.scope, &manifest.config).await?;
            let better = best.as_ref().is_none_or(|(known, ..)| matcher.less(&platform, known));
            if matcher.matches(&platform) && better {
                best = Some((platform, descriptor, manifest));
            }
        }
        Ok(best.map(|(_, descriptor, manifest)| (descriptor, manifest)))
    }

    /// Waits for a blob that is being downloaded.
    async fn wait(&self, descriptor: &Descriptor) -> Result<()> {
        match self.arrivals.wait(&descriptor.digest).await {
            true => Ok(()),
            false => Err(Error::refused(
                ErrorKind::Canceled,
                format!("{} did not arrive: context canceled", descriptor.digest),
            )),
        }
    }

    async fn run(&self, manifest: &Manifest) -> Result<()> {
        let content = &*self.local.content;
        let config = manifest::read_config(content, self.scope, &manifest.config).await?;
        let diff_ids = config.rootfs.diff_ids;
        let layers = &manifest.layers;
        if diff_ids.len() != layers.len() {
            let text =
                format!("number of layers and diffIDs don't match: {} != {}", layers.len(), diff_ids.len());
            return Err(Error::invalid(text));
        }
        let chain = oci::chain_ids(&diff_ids);
        for n in self.present(&chain).await?..layers.len() {
            let parent = if n == 0 { "" } else { chain[n - 1].as_str() };
            self.layer(&layers[n], &diff_ids[n], parent, &chain[n]).await?;
        }
        match chain.last() {
            Some(top) => {
                let key = labels::gc::ref_snapshot(self.target.snapshots.name());
                let keep = Labels::from([(key, top.to_string())]);
                manifest::add_labels(content, self.scope, &manifest.config.digest, keep).await
            }
            None => Ok(()),
        }
    }

    /// How many layers from the bottom are there already.
    async fn present(&self, chain: &[Digest]) -> Result<usize> {
        for n in (0..chain.len()).rev() {
            match self.target.snapshots.stat(self.scope, chain[n].as_str()).await {
                Ok(_) => return Ok(n + 1),
                Err(e) if base::Kinded::kind(&e) == ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(0)
    }

    /// One layer onto its parent: prepare, apply, compare the digest, commit. Labels are ours alone:
    /// annotations of a layer could ask for id mappings and the like.
    async fn layer(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        parent: &str,
        chain_id: &Digest,
    ) -> Result<()> {
        self.wait(layer).await?;
        let snapshots = &self.target.snapshots;
        let _flight = flight::take(snapshots, &self.scope.namespace, chain_id).await;
        let key = format!("extract-{:016x} {chain_id}", rand::random::<u64>());
        let mut labels = Labels::from([
            (labels::snapshot::REF.to_owned(), chain_id.to_string()),
            (labels::snapshot::DIFF_ID.to_owned(), diff_id.to_string()),
        ]);
        if !parent.is_empty() {
            labels.insert(labels::snapshot::PARENT_CHAIN_ID.to_owned(), parent.to_owned());
        }
        let mounts = match snapshots.prepare(self.scope, &key, parent, labels.clone()).await {
            Err(e) if base::Kinded::kind(&e) == ErrorKind::AlreadyExists => return Ok(()),
            mounts => mounts?,
        };
        let outcome = self.apply(layer, diff_id, &mounts).await;
        // A committed snapshot does not inherit the labels of the active one.
        let options = CommitOptions { labels, parent: String::new() };
        let committed = match outcome {
            Ok(()) => {
                snapshots.commit(self.scope, chain_id.as_str(), &key, options).await.map_err(Error::from)
            }
            Err(e) => Err(e),
        };
        match committed {
            Ok(()) => Ok(()),
            Err(e) => {
                if let Err(left) = snapshots.remove(self.scope, &key).await {
                    tracing::warn!(
                        key,
                        error = base::chain(&left),
                        "snapshot of a failed unpack stays until its lease ends"
                    );
                }
                match base::Kinded::kind(&e) {
                    // Somebody else unpacked the same layer meanwhile.
                    ErrorKind::AlreadyExists => Ok(()),
                    _ => Err(e),
                }
            }
        }
    }

    async fn apply(&self, layer: &Descriptor, diff_id: &Digest, mounts: &[base::Mount]) -> Result<()> {
        let (reporter, told) = (self.reporter.clone(), layer.clone());
        let options = ApplyOptions {
            progress: Some(Arc::new(move |bytes| reporter.extracting(&told, bytes))),
            ..ApplyOptions::default()
        };
        let applied = self.target.differ.apply(self.scope, layer, mounts, options).await?;
        if applied.digest != *diff_id {
            return Err(Error::precondition(format!(
                "wrong diff id {} calculated on extraction, expected {diff_id} for layer {}",
                applied.digest, layer.digest
            )));
        }
        self.reporter.extracting(layer, layer.size.max(0).unsigned_abs());
        let inside = Labels::from([(labels::UNCOMPRESSED.to_owned(), diff_id.to_string())]);
        manifest::add_labels(&*self.local.content, self.scope, &layer.digest, inside).await
    }
}
