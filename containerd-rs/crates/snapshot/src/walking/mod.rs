//! The walking differ: applies layers through the worker, makes layers by walking two trees.

mod apply;
mod compare;
mod place;
mod processors;

pub(crate) use apply::packing;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Descriptor, Mount, Scope};
use store::ContentStore;

use crate::differ::{ApplyOptions, CompareOptions, Differ};
use crate::error::Result;
use crate::worker::{WorkerOptions, Workers};

pub use processors::StreamProcessor;

/// The differ that every snapshotter can be used with.
#[derive(Clone)]
pub struct Walking {
    content: Arc<dyn ContentStore>,
    workers: Workers,
    processors: Arc<[StreamProcessor]>,
    mounts: Option<mounts::Manager>,
}

impl Walking {
    /// A differ on `content` that applies layers in workers.
    pub fn new(content: Arc<dyn ContentStore>, options: WorkerOptions) -> Self {
        Walking { content, workers: Workers::new(options), processors: Arc::default(), mounts: None }
    }

    /// The same differ, with programs that make layers out of media types that it does not know. The last one that accepts a type is used.
    #[must_use]
    pub fn with_processors(self, processors: Vec<StreamProcessor>) -> Self {
        Walking { processors: processors.into(), ..self }
    }

    /// The same, for mounts that have to be made by the mount manager first.
    #[must_use]
    pub fn with_mounts(self, manager: Option<mounts::Manager>) -> Self {
        Walking { mounts: manager, ..self }
    }
}

#[async_trait]
impl Differ for Walking {
    async fn apply(
        &self,
        scope: &Scope,
        layer: &Descriptor,
        mounts: &[Mount],
        options: ApplyOptions,
    ) -> Result<Descriptor> {
        apply::apply(self, scope, layer, mounts, options).await
    }

    async fn compare(
        &self,
        scope: &Scope,
        lower: &[Mount],
        upper: &[Mount],
        options: CompareOptions,
    ) -> Result<Descriptor> {
        compare::compare(self, scope, lower, upper, options).await
    }

    fn follows(&self, media_type: &str) -> bool {
        apply::is_plain(&self.processors, media_type)
    }

    fn applies_apart(&self) -> bool {
        !crate::overlay::in_user_namespace()
    }
}
