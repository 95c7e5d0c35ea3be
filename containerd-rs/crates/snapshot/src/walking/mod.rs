//! The walking differ: applies layers through the worker, makes layers by walking two trees.

mod apply;
mod compare;
mod place;

use std::sync::Arc;

use async_trait::async_trait;
use base::{Descriptor, Mount, Scope};
use store::ContentStore;

use crate::differ::{ApplyOptions, CompareOptions, Differ};
use crate::error::Result;
use crate::worker::{WorkerOptions, Workers};

/// The differ that every snapshotter can be used with.
#[derive(Clone)]
pub struct Walking {
    content: Arc<dyn ContentStore>,
    workers: Workers,
}

impl Walking {
    /// A differ on `content` that applies layers in workers.
    pub fn new(content: Arc<dyn ContentStore>, options: WorkerOptions) -> Self {
        Walking { content, workers: Workers::new(options) }
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
}
