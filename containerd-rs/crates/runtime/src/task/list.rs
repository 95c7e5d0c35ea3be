use std::sync::Arc;
use std::time::Duration;

use base::{ErrorKind, Kinded, Namespace};
use futures_util::stream::{self, StreamExt};

use crate::entry::{Entry, Phase};
use crate::model::ProcessState;
use crate::runtime::Runtime;

/// Shims asked at the same time.
const AT_ONCE: usize = 64;
/// How long a list waits for tasks that are still being recovered.
const PATIENCE: Duration = Duration::from_secs(1);

impl Runtime {
    /// Every task of a namespace with its state now. A task whose shim does not answer is listed as unknown, with
    /// the reason. All shims are asked at the same time: one that hangs costs its own bound only. Cancel-safe.
    pub async fn list(&self, namespace: &Namespace) -> Vec<ProcessState> {
        let mut entries = self.shared.table.list(Some(namespace));
        entries.sort_by(|a, b| a.bundle.id.cmp(&b.bundle.id));
        let asked = stream::iter(entries).map(|entry| async move { self.listed(&entry).await });
        asked.buffered(AT_ONCE).filter_map(std::future::ready).collect().await
    }

    /// The ids of the tasks of a namespace (or of all, with their namespaces), without asking any shim.
    pub fn ids(&self, namespace: Option<&Namespace>) -> Vec<(Namespace, String)> {
        let visible =
            |entry: &Arc<Entry>| matches!(entry.phase(), Phase::Live | Phase::Recovering | Phase::Aside(_));
        let entries = self.shared.table.list(namespace);
        entries
            .iter()
            .filter(|e| visible(e))
            .map(|e| (e.bundle.namespace.clone(), e.bundle.id.clone()))
            .collect()
    }

    async fn listed(&self, entry: &Arc<Entry>) -> Option<ProcessState> {
        self.recovered(entry, PATIENCE).await;
        let id = &entry.bundle.id;
        let unknown = |trouble: String| ProcessState {
            container_id: id.clone(),
            pid: entry.pid(),
            trouble: Some(trouble),
            ..ProcessState::default()
        };
        match entry.phase() {
            Phase::Live => {}
            Phase::Aside(reason) => return Some(unknown(reason.to_string())),
            Phase::Recovering => return Some(unknown("still being recovered".to_owned())),
            Phase::Creating | Phase::Dead | Phase::Closing | Phase::Gone => return None,
        }
        let shim = entry.shim()?;
        match self.ask_state(&shim, id, "").await {
            Ok(state) => Some(state),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => {
                let error = base::chain(&error);
                tracing::error!(id, error, "task does not tell its state");
                Some(unknown(error))
            }
        }
    }
}
