//! The daemon's counters and their text form (Prometheus exposition, served at `/v1/metrics`).
//!
//! Names and labels are containerd's, so that dashboards keep working. Must not: do I/O outside of a scrape.
#![forbid(unsafe_code)]

use std::sync::Mutex;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, LabelSetEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The media type of [`Metrics::encode`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Label pairs in a fixed order.
#[derive(Clone, Debug, Hash, PartialEq, Eq)]
struct Pairs(Vec<(&'static str, String)>);

impl EncodeLabelSet for Pairs {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> Result<(), std::fmt::Error> {
        let pairs: Vec<(String, String)> = self.0.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        pairs.encode(encoder)
    }
}

/// All counters of the daemon.
pub struct Metrics {
    registry: Mutex<Registry>,
    gc_collections: Family<Pairs, Counter>,
    gc_seconds: Histogram,
    started: Family<Pairs, Counter>,
    handled: Family<Pairs, Counter>,
}

impl Metrics {
    /// Fresh counters; `version` and `revision` go into `containerd_build_info_total`.
    pub fn new(version: &str, revision: &str) -> Self {
        let mut registry = Registry::default();
        let build: Family<Pairs, Counter> = Family::default();
        build
            .get_or_create(&Pairs(vec![("version", version.to_owned()), ("revision", revision.to_owned())]))
            .inc();
        registry.register("containerd_build_info", "containerd build information", build);
        let gc_collections: Family<Pairs, Counter> = Family::default();
        registry.register("containerd_gc_collections", "counter of gc collections", gc_collections.clone());
        let gc_seconds = Histogram::new(exponential_buckets(0.001, 4.0, 8));
        registry.register("containerd_gc_gc_seconds", "time taken by a collection", gc_seconds.clone());
        let started: Family<Pairs, Counter> = Family::default();
        registry.register("grpc_server_started", "RPCs started on the server", started.clone());
        let handled: Family<Pairs, Counter> = Family::default();
        registry.register("grpc_server_handled", "RPCs completed on the server, by code", handled.clone());
        Self { registry: Mutex::new(registry), gc_collections, gc_seconds, started, handled }
    }

    /// A collection ended after `elapsed`.
    pub fn collected(&self, ok: bool, elapsed: Duration) {
        let status = if ok { "success" } else { "fail" };
        self.gc_collections.get_or_create(&Pairs(vec![("status", status.to_owned())])).inc();
        self.gc_seconds.observe(elapsed.as_secs_f64());
    }

    /// A call of `/service/method` began.
    pub fn call_started(&self, service: &str, method: &str) {
        self.started.get_or_create(&call(service, method, None)).inc();
    }

    /// A call of `/service/method` ended with a gRPC code name such as `OK` or `NotFound`.
    pub fn call_handled(&self, service: &str, method: &str, code: &str) {
        self.handled.get_or_create(&call(service, method, Some(code))).inc();
    }

    /// Everything in the text format. A counter that cannot be written is left out.
    pub fn encode(&self) -> String {
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if encode(&mut out, &registry).is_err() {
            tracing::warn!("some metrics could not be encoded");
        }
        out
    }
}

fn call(service: &str, method: &str, code: Option<&str>) -> Pairs {
    let mut pairs = vec![("grpc_service", service.to_owned()), ("grpc_method", method.to_owned())];
    pairs.extend(code.map(|c| ("grpc_code", c.to_owned())));
    Pairs(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_labels_are_containerd_s() {
        let metrics = Metrics::new("v1", "abc");
        metrics.collected(true, Duration::from_millis(3));
        metrics.call_started("s", "M");
        metrics.call_handled("s", "M", "NotFound");
        let text = metrics.encode();
        for line in [
            "containerd_build_info_total{version=\"v1\",revision=\"abc\"} 1",
            "containerd_gc_collections_total{status=\"success\"} 1",
            "grpc_server_started_total{grpc_service=\"s\",grpc_method=\"M\"} 1",
            "grpc_server_handled_total{grpc_service=\"s\",grpc_method=\"M\",grpc_code=\"NotFound\"} 1",
            "containerd_gc_gc_seconds_count 1",
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
