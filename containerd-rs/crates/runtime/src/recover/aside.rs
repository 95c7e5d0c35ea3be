//! Shims that hold their socket but do not answer: frozen, thrashing, stuck in the kernel.

use std::sync::Arc;
use std::time::Duration;

use super::take_over::{Known, Met};
use crate::entry::{Entry, Phase};
use crate::runtime::Runtime;
use crate::shim::Shim;

/// The first pause between two attempts; doubled up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

impl Runtime {
    /// Lists the task as not answering, and asks again in the background until it answers or is dead.
    pub(super) fn set_aside(
        &self,
        entry: &Arc<Entry>,
        known: Known,
        shim: Option<Arc<Shim>>,
        reason: String,
    ) {
        tracing::warn!(id = entry.bundle.id, namespace = %entry.bundle.namespace, reason, "shim does not answer, set aside");
        if let Some(pid) = entry.bundle.init_pid() {
            entry.set_pid(pid);
        }
        entry.advance(|_| true, Phase::Aside(Arc::from(reason)));
        let (runtime, entry) = (self.clone(), entry.clone());
        tokio::spawn(async move { runtime.ask_again(entry, known, shim).await });
    }

    async fn ask_again(self, entry: Arc<Entry>, known: Known, mut shim: Option<Arc<Shim>>) {
        let mut pause = FIRST_PAUSE;
        loop {
            // One question stays with a connected shim for as long as it takes: thawed, it answers at once.
            let met = match &shim {
                Some(earlier) => match earlier.question(&entry.bundle.id).await {
                    Ok(()) => self.meet(&entry, &known, shim.clone()).await,
                    Err(error) => Met::Silent { shim: None, reason: error.to_string() },
                },
                None => {
                    tokio::time::sleep(pause).await;
                    self.meet(&entry, &known, None).await
                }
            };
            pause = (pause * 2).min(LONGEST_PAUSE);
            match met {
                Met::Silent { shim: kept, reason } => {
                    let fresh = shim.is_some() && kept.is_none();
                    shim = kept;
                    if fresh {
                        pause = FIRST_PAUSE;
                    }
                    if !entry.advance(|p| matches!(p, Phase::Aside(_)), Phase::Aside(Arc::from(reason))) {
                        return;
                    }
                }
                met => {
                    let outcome = self.settle(&entry, met, known.program.clone()).await;
                    tracing::info!(id = entry.bundle.id, ?outcome, "shim that was set aside");
                    return;
                }
            }
        }
    }
}
