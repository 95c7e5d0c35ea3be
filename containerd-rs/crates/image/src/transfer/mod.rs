//! What every transfer needs: the node's stores, progress, leases, and names for the result.

mod lease;
mod naming;
mod progress;

use std::sync::Arc;

use store::{ContentStore, Metadata};

pub(crate) use lease::TransferLease;
pub(crate) use naming::store_images;
pub use naming::{Destination, ExtraReference};
pub(crate) use progress::Reporter;
pub use progress::{Progress, ProgressSink};

/// The stores of this node that a transfer reads and writes. Clones share them.
#[derive(Clone)]
pub struct Local {
    /// Image names and leases.
    pub meta: Metadata,
    /// Blobs and ingests.
    pub content: Arc<dyn ContentStore>,
}
