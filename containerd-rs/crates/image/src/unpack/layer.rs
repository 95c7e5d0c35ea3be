//! One layer: prepare, apply, compare the digest, commit.
//!
//! ```text
//!  in order:  wait for the parent -> prepare on it -> apply ----------------------> commit
//!  apart:     prepare on nothing  -> apply -> wait for the parent -> settle -------> commit on it
//!                                      |                               '-- cannot be: in order, again
//!                                      '-- the download broke off: again, from the store
//! ```

use std::sync::Arc;

use base::{Descriptor, Digest, ErrorKind, Kinded, Labels, Mount, labels};
use snapshot::{Apart, ApplyOptions};
use tokio::sync::watch;

use super::extraction::Extraction;
use super::{Unpack, flight};
use crate::error::{Error, Result};
use crate::manifest;
use crate::pull::given_up;

/// A layer and its place in the chain.
pub(super) struct Step<'a> {
    pub(super) layer: &'a Descriptor,
    pub(super) diff_id: &'a Digest,
    /// Chain id of the layers below; empty at the bottom.
    pub(super) parent: &'a str,
    pub(super) chain_id: &'a Digest,
    /// This layer and those above.
    pub(super) later: &'a [Descriptor],
}

/// How a layer is unpacked.
#[derive(Clone, Copy)]
struct Way {
    /// Behind its download.
    follow: bool,
    /// Before its parent is there.
    apart: bool,
}

/// What became of one try.
enum Filled {
    Done,
    /// The download broke off under it, or the layers below do not let it be.
    Again(Way),
}

impl Unpack {
    /// Unpacks one layer; `false`: its snapshot was there. `below`: becomes true when the parent is
    /// committed, where this may begin before that.
    pub(super) async fn layer(&self, step: &Step<'_>, below: Option<watch::Receiver<bool>>) -> Result<bool> {
        let snapshots = &self.target.snapshots;
        let _flight = tokio::select! {
            flight = flight::take(snapshots, &self.scope.namespace, step.chain_id) => flight,
            () = self.stop.raised() => return Err(given_up(&step.layer.digest)),
        };
        let mut way = Way { follow: true, apart: below.is_some() };
        loop {
            if !way.apart {
                self.parent(step, below.as_ref()).await?;
            }
            let onto = if way.apart { "" } else { step.parent };
            let Some(extraction) = Extraction::prepare(snapshots, &self.scope, step, onto).await? else {
                return Ok(false);
            };
            step.later.iter().for_each(|layer| self.arrivals.demand(&layer.digest));
            let filled = tokio::select! {
                filled = self.fill(step, &extraction.mounts, way, below.as_ref()) => filled,
                () = self.stop.raised() => Err(given_up(&step.layer.digest)),
            };
            match filled {
                Ok(Filled::Done) => {
                    let onto = if way.apart { step.parent } else { "" };
                    extraction.commit(step, onto).await?;
                    return Ok(true);
                }
                Ok(Filled::Again(other)) => {
                    extraction.discard().await;
                    way = other;
                }
                Err(e) => {
                    extraction.discard().await;
                    return Err(e);
                }
            }
        }
    }

    /// Waits until the parent is committed.
    async fn parent(&self, step: &Step<'_>, below: Option<&watch::Receiver<bool>>) -> Result<()> {
        let Some(below) = below else { return Ok(()) };
        let mut below = below.clone();
        let committed = tokio::select! {
            committed = below.wait_for(|committed| *committed) => committed.is_ok(),
            () = self.stop.raised() => false,
        };
        if committed { Ok(()) } else { Err(given_up(&step.layer.digest)) }
    }

    /// Applies the layer, and makes sure that its snapshot may be committed.
    async fn fill(
        &self,
        step: &Step<'_>,
        mounts: &[Mount],
        way: Way,
        below: Option<&watch::Receiver<bool>>,
    ) -> Result<Filled> {
        let apart = way.apart.then(|| Arc::new(Apart::default()));
        {
            let source = self.source(step.layer, way.follow).await?;
            match self.apply(step, mounts, &source, apart.clone()).await {
                Ok(()) => {}
                Err(_) if source.flow.as_ref().is_some_and(|flow| flow.is_broken()) => {
                    return Ok(Filled::Again(Way { follow: false, ..way }));
                }
                Err(e) if way.apart && e.kind() == ErrorKind::Unimplemented => {
                    return Ok(Filled::Again(Way { apart: false, ..way }));
                }
                Err(e) => return Err(e),
            }
        }
        // Applied behind its download: now the blob must be there as well.
        self.wait(step.layer).await?;
        let inside = Labels::from([(labels::UNCOMPRESSED.to_owned(), step.diff_id.to_string())]);
        manifest::add_labels(&*self.local.content, &self.scope, &step.layer.digest, inside).await?;
        self.reporter.extracting(step.layer, step.layer.size.max(0).unsigned_abs());
        self.parent(step, below).await?;
        match apart {
            Some(apart) if !self.settle(step, &apart).await? => {
                Ok(Filled::Again(Way { apart: false, ..way }))
            }
            _ => Ok(Filled::Done),
        }
    }

    async fn apply(
        &self,
        step: &Step<'_>,
        mounts: &[Mount],
        source: &super::source::Source,
        apart: Option<Arc<Apart>>,
    ) -> Result<()> {
        let (reporter, told) = (self.reporter.clone(), step.layer.clone());
        let follows = source.flow.clone();
        let options = ApplyOptions {
            // While it downloads, that is what is told.
            progress: follows
                .is_none()
                .then(|| -> snapshot::Progress { Arc::new(move |bytes| reporter.extracting(&told, bytes)) }),
            arriving: follows.map(|flow| flow as Arc<dyn snapshot::Arriving>),
            apart,
            ..ApplyOptions::default()
        };
        let applied = self.target.differ.apply(&self.scope, step.layer, mounts, options).await?;
        if applied.digest != *step.diff_id {
            return Err(Error::precondition(format!(
                "wrong diff id {} calculated on extraction, expected {} for layer {}",
                applied.digest, step.diff_id, step.layer.digest
            )));
        }
        Ok(())
    }

    /// Decides what had to wait for the layers below; `false`: the layer must be applied again.
    async fn settle(&self, step: &Step<'_>, apart: &Apart) -> Result<bool> {
        if apart.is_settled() {
            return Ok(true);
        }
        let snapshots = &self.target.snapshots;
        let key = format!("settle-{:016x} {}", rand::random::<u64>(), step.chain_id);
        let below = snapshots.view(&self.scope, &key, step.parent, Labels::new()).await?;
        let settled = apart.settle(&below).await;
        if let Err(e) = snapshots.remove(&self.scope, &key).await {
            let error = base::chain(&e);
            tracing::warn!(key, error, "view of the layers below stays until its lease ends");
        }
        match settled {
            Err(e) if e.kind() == ErrorKind::Unimplemented => Ok(false),
            other => Ok(other?),
        }
    }
}
