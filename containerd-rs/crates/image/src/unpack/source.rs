//! Where the bytes of a layer come from, and the right to unpack them.

use std::sync::Arc;

use base::Descriptor;
use tokio::sync::OwnedSemaphorePermit;

use super::Unpack;
use crate::error::Result;
use crate::pull::{Flow, Stage, given_up};

/// The bytes of a layer. The right to unpack is given back with it.
pub(super) struct Source {
    /// They are on their way; else the store has them.
    pub(super) flow: Option<Arc<Flow>>,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Unpack {
    /// Waits until the layer can be unpacked: behind its download when `follow`, the differ can, and
    /// not too many are; else when it is in the store.
    pub(super) async fn source(&self, layer: &Descriptor, follow: bool) -> Result<Source> {
        if follow && self.target.differ.follows(&layer.media_type) {
            match self.arrivals.begun(&layer.digest).await {
                Stage::Flowing(flow) => {
                    if let Some(permit) = self.throttle.follow() {
                        return Ok(Source { flow: Some(flow), _permit: Some(permit) });
                    }
                }
                Stage::Here(false) => return Err(given_up(&layer.digest)),
                Stage::Here(true) | Stage::Waiting => {}
            }
        }
        self.wait(layer).await?;
        Ok(Source { flow: None, _permit: self.throttle.unpack().await })
    }
}
