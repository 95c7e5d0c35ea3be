//! Events for what a garbage collection took away.

use base::{Any, Namespace};
use prost::{Message, Name};
use protos::api::events_types::SnapshotRemove;
use protos::api::images::ImageDelete;

/// Tell subscribers of every image and snapshot that a collection removed.
pub fn publish_removed(exchange: &events::Exchange, report: &store::GcReport) {
    for (namespace, name) in &report.removed_images {
        publish(exchange, namespace, "/images/delete", &ImageDelete { name: name.clone() });
    }
    for (namespace, snapshotter, key) in &report.removed_snapshots {
        let event = SnapshotRemove { key: key.clone(), snapshotter: snapshotter.clone() };
        publish(exchange, namespace, "/snapshot/remove", &event);
    }
}

fn publish<M: Message + Name>(exchange: &events::Exchange, namespace: &str, topic: &str, event: &M) {
    let any = Any { type_url: M::full_name(), value: event.encode_to_vec().into() };
    let published = Namespace::new(namespace)
        .map_err(|e| base::chain(&e))
        .and_then(|ns| exchange.publish(&ns, topic, any).map_err(|e| base::chain(&e)));
    if let Err(error) = published {
        tracing::error!(namespace, topic, error, "cannot publish an event");
    }
}
