//! Things outside the database that leases and labels can hold: streams, mounts.

use async_trait::async_trait;

use super::node::Node;
use crate::error::Result;

/// Looks after one kind of things.
pub trait Collector: Send + Sync {
    /// Names the kind; unique.
    fn kind(&self) -> &'static str;

    /// What stands after `containerd.io/gc.ref.` in labels that refer to this kind; none: no label does.
    fn reference_label(&self) -> Option<String>;

    /// Begins a collection.
    ///
    /// # Errors
    /// On failure nothing of this kind is removed in this run.
    fn start(&self) -> Result<Box<dyn Collection>>;
}

/// One run over one kind. What it tells is the state at the start; objects may come, become active or
/// be leased meanwhile, and [`Collection::remove`] must leave those alone.
#[async_trait]
pub trait Collection: Send {
    /// Namespace and key of everything there is.
    fn all(&self, tell: &mut dyn FnMut(&str, &str));

    /// Keys that are in use in a namespace, whether or not anything refers to them. Leave out what
    /// leases hold: for those the lease decides.
    fn active(&self, namespace: &str, tell: &mut dyn FnMut(&str));

    /// Keys that a lease holds.
    fn leased(&self, namespace: &str, lease: &str, tell: &mut dyn FnMut(&str));

    /// Things (the second) that are kept for as long as another (the first) is.
    fn back_references(&self, _namespace: &str, _tell: &mut dyn FnMut(Node, Node)) {}

    /// What one of the things keeps.
    fn references(&self, _namespace: &str, _key: &str, _tell: &mut dyn FnMut(Node)) {}

    /// Notes that this is garbage, unless it came into use since the start. Quick: what takes time
    /// belongs into [`Collection::finish`].
    fn remove(&mut self, namespace: &str, key: &str);

    /// The run failed: nothing is removed.
    fn cancel(self: Box<Self>);

    /// The run succeeded: removes what was noted.
    async fn finish(self: Box<Self>) -> Result<()>;
}
