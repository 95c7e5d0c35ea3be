//! The parts of the daemon that services speak for.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::Namespace;
use prost::{Message, Name};
use tonic::Status;

use crate::plugins::PluginTable;
use crate::status::{not_found, status};
use crate::streams::Streams;

/// Everything a request can reach. Built once by the daemon, shared by all services.
pub struct Parts {
    /// What the version service answers.
    pub version: String,
    /// The revision that was built; may be empty.
    pub revision: String,
    /// The server's own id, the same over restarts of one root.
    pub uuid: String,
    pub plugins: Arc<PluginTable>,
    pub metadata: store::Metadata,
    pub content: Arc<dyn store::ContentStore>,
    pub gc: store::Scheduler,
    pub events: events::Exchange,
    /// By name: `overlayfs`, `native`, ...
    pub snapshotters: BTreeMap<String, Arc<snapshot::Snapshots>>,
    /// None: its plugin is disabled.
    pub mounts: Option<mounts::Manager>,
    /// In the order in which they are tried.
    pub differs: Vec<Arc<dyn snapshot::Differ>>,
    /// Layers are on disk before an apply is answered, whatever the request says.
    pub sync_fs: bool,
    pub runtime: runtime::Runtime,
    /// Kinds of sandboxes by name: `shim`, ...
    pub sandboxers: BTreeMap<String, Arc<dyn runtime::sandbox::Sandboxer>>,
    pub transfer: crate::transfer::TransferSettings,
    pub metrics: Arc<metrics::Metrics>,
    /// Named byte streams of the streaming service.
    pub streams: Arc<Streams>,
}

impl Parts {
    /// Publish an event of `namespace`. An event that cannot be published is logged: the change it tells of is done.
    pub(crate) fn publish<M: Message + Name>(&self, namespace: &Namespace, topic: &str, event: &M) {
        let any = base::Any { type_url: M::full_name(), value: event.encode_to_vec().into() };
        if let Err(error) = self.events.publish(namespace, topic, any) {
            tracing::error!(topic, error = base::chain(&error), "cannot publish an event");
        }
    }

    /// Collect garbage now and wait for it.
    pub(crate) async fn collect(&self) -> Result<(), Status> {
        self.gc.collect_now().await.map(|_| ()).map_err(status)
    }

    /// The snapshotter `name`.
    pub(crate) fn snapshotter(&self, name: &str) -> Result<Arc<snapshot::Snapshots>, Status> {
        if name.is_empty() {
            return Err(crate::status::invalid("snapshotter argument missing"));
        }
        self.snapshotters
            .get(name)
            .cloned()
            .ok_or_else(|| crate::status::invalid(format!("snapshotter not loaded: {name}")))
    }

    /// The record of a container that a request named.
    pub(crate) fn container(&self, namespace: &Namespace, id: &str) -> Result<store::Container, Status> {
        self.metadata.containers().get(namespace, id).map_err(|e| match base::Kinded::kind(&e) {
            base::ErrorKind::NotFound => {
                not_found(format!("container {id:?} in namespace {:?}", namespace.as_str()))
            }
            _ => status(e),
        })
    }
}
