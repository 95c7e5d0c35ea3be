//! Layers into snapshots, as they arrive.
//!
//! Where snapshotter and differ can, the layers of an image are applied at the same time, each to a
//! directory of its own, and committed in order; elsewhere one after the other. Either way a big layer
//! is applied behind its own download.

mod extraction;
mod flight;
mod layer;
mod source;

use std::sync::Arc;

use base::oci::{self, Manifest};
use base::platform::Matcher;
use base::{Descriptor, Digest, ErrorKind, Kinded, Labels, Platform, Scope, labels};
use snapshot::{Differ, REBASE, Snapshots};
use tokio::sync::watch;

use self::layer::Step;
use crate::error::{Error, Result};
use crate::manifest;
use crate::pull::{Arrivals, given_up};
use crate::stop::Stop;
use crate::throttle::Throttle;
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

/// The unpacking for one target.
pub(crate) struct Unpack {
    pub(crate) local: Local,
    pub(crate) scope: Scope,
    pub(crate) target: UnpackTarget,
    pub(crate) arrivals: Arrivals,
    pub(crate) reporter: Reporter,
    pub(crate) throttle: Throttle,
    /// Somebody else's failure ends this as well.
    pub(crate) stop: Stop,
}

/// The manifest to unpack.
pub(crate) struct Chosen {
    pub(crate) descriptor: Descriptor,
    manifest: Manifest,
}

impl Unpack {
    /// The manifest whose config (not its descriptor, which anybody can write) suits best. When none is
    /// for the target's platform that is logged and nothing is to be done, as in the original.
    pub(crate) async fn choose(&self, manifests: Vec<Descriptor>) -> Result<Option<Chosen>> {
        let content = &*self.local.content;
        let matcher = &self.target.platform;
        let mut best: Option<(Platform, Chosen)> = None;
        for descriptor in manifest::best_first(manifests, matcher) {
            let manifest = manifest::read_manifest(content, &self.scope, &descriptor).await?;
            self.wait(&manifest.config).await?;
            let platform = manifest::config_platform(content, &self.scope, &manifest.config).await?;
            let better = best.as_ref().is_none_or(|(known, ..)| matcher.less(&platform, known));
            if matcher.matches(&platform) && better {
                best = Some((platform, Chosen { descriptor, manifest }));
            }
        }
        if best.is_none() {
            let snapshotter = self.target.snapshots.name();
            tracing::warn!(snapshotter, "nothing to unpack: no manifest for the platform");
        }
        Ok(best.map(|(_, chosen)| chosen))
    }

    /// Unpacks the layers that are not unpacked yet; gives the others.
    pub(crate) async fn run(&self, chosen: &Chosen) -> Result<Vec<Descriptor>> {
        let during = |e: Error| {
            let name = self.target.snapshots.name();
            e.during(format!("unpack image {} on snapshotter {name}", chosen.descriptor.digest))
        };
        self.unpack(&chosen.manifest).await.map_err(during)
    }

    /// Waits for a blob that is being downloaded.
    async fn wait(&self, descriptor: &Descriptor) -> Result<()> {
        match self.arrivals.wait(&descriptor.digest).await {
            true => Ok(()),
            false => Err(given_up(&descriptor.digest)),
        }
    }

    async fn unpack(&self, manifest: &Manifest) -> Result<Vec<Descriptor>> {
        let content = &*self.local.content;
        let config = manifest::read_config(content, &self.scope, &manifest.config).await?;
        let diff_ids = config.rootfs.diff_ids;
        let layers = &manifest.layers;
        if diff_ids.len() != layers.len() {
            let text =
                format!("number of layers and diffIDs don't match: {} != {}", layers.len(), diff_ids.len());
            return Err(Error::invalid(text));
        }
        let chain = oci::chain_ids(&diff_ids);
        let present = self.present(&chain).await?;
        let step = |n: usize| Step {
            layer: &layers[n],
            diff_id: &diff_ids[n],
            parent: if n == 0 { "" } else { chain[n - 1].as_str() },
            chain_id: &chain[n],
            later: &layers[n..],
        };
        let mut skipped = layers[..present].to_vec();
        if self.is_apart() && layers.len() - present > 1 {
            self.apart((present..layers.len()).map(step).collect()).await?;
        } else {
            for (n, layer) in layers.iter().enumerate().skip(present) {
                if !self.layer(&step(n), None).await? {
                    skipped.push(layer.clone());
                }
            }
        }
        if let Some(top) = chain.last() {
            let key = labels::gc::ref_snapshot(self.target.snapshots.name());
            let keep = Labels::from([(key, top.to_string())]);
            manifest::add_labels(content, &self.scope, &manifest.config.digest, keep).await?;
        }
        Ok(skipped)
    }

    /// Whether layers can be applied before those below them.
    fn is_apart(&self) -> bool {
        self.throttle.is_apart()
            && self.target.differ.applies_apart()
            && self.target.snapshots.capabilities().contains(&REBASE)
    }

    /// All layers at the same time, as far as the limits allow. The first failure ends the others.
    async fn apart(&self, steps: Vec<Step<'_>>) -> Result<()> {
        for step in &steps {
            self.arrivals.demand(&step.layer.digest);
        }
        let mut below: Option<watch::Receiver<bool>> = None;
        let mut running = Vec::with_capacity(steps.len());
        for step in &steps {
            let (done, committed) = watch::channel(false);
            let below = below.replace(committed);
            running.push(async move {
                let outcome = self.layer(step, below).await;
                match &outcome {
                    Ok(_) => drop(done.send_replace(true)),
                    // The others clean up as well.
                    Err(_) => self.stop.raise(),
                }
                outcome
            });
        }
        let mut given_up = None;
        for outcome in futures_util::future::join_all(running).await {
            match outcome {
                Ok(_) => {}
                Err(e) if e.kind() == ErrorKind::Canceled => given_up = given_up.or(Some(e)),
                Err(e) => return Err(e),
            }
        }
        given_up.map_or(Ok(()), Err)
    }

    /// How many layers from the bottom are there already.
    async fn present(&self, chain: &[Digest]) -> Result<usize> {
        for n in (0..chain.len()).rev() {
            match self.target.snapshots.stat(&self.scope, chain[n].as_str()).await {
                Ok(_) => return Ok(n + 1),
                Err(e) if e.kind() == ErrorKind::NotFound => {}
                Err(e) => return Err(e.into()),
            }
        }
        Ok(0)
    }
}
