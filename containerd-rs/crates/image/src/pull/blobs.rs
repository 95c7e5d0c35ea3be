//! The blobs of one pull: downloaded as they are demanded, unpacked as they come.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use base::{Descriptor, Digest, ErrorKind, Kinded};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::arrivals::{Arrivals, Ticket};
use super::download::Download;
use super::walk::Plan;
use super::{Fetch, PullOptions};
use crate::error::{Error, Result};
use crate::stop::Stop;
use crate::unpack::Unpack;

/// How long the parts of a failed pull may take to clean up.
const CLEAN_UP: Duration = Duration::from_secs(30);

impl Fetch {
    /// Downloads the blobs of the plan and unpacks what arrives; ends with the first failure.
    pub(super) async fn blobs(self: &Arc<Self>, plan: Plan, options: &PullOptions) -> Result<()> {
        let stop = Stop::new();
        let all = plan.all();
        let (arrivals, mut tickets) = Arrivals::expect(&all);
        for blob in &all {
            self.reporter.add(blob);
        }
        let mut tasks = JoinSet::new();
        for blob in &plan.blobs {
            arrivals.demand(&blob.digest);
        }
        tasks.spawn(self.clone().images(plan, options.clone(), arrivals, stop.clone()));
        let mut demanded = true;
        let mut outcome = Outcome::default();
        while demanded || !tasks.is_empty() {
            tokio::select! {
                demand = tickets.demands.recv(), if demanded => match demand {
                    Some(digest) => {
                        if let Some(ticket) = tickets.waiting.remove(&digest) {
                            tasks.spawn(self.clone().bring(ticket, stop.clone()));
                        }
                    }
                    None => demanded = false,
                },
                Some(done) = tasks.join_next() => {
                    if outcome.takes(done.map_err(Error::Task).and_then(|done| done)) {
                        stop.raise();
                        // Whoever waits for what is not on its way is told that it will not come.
                        tickets.waiting.clear();
                        let _slow = timeout(CLEAN_UP, async { while tasks.join_next().await.is_some() {} }).await;
                        tasks.shutdown().await;
                        break;
                    }
                }
            }
        }
        outcome.result()
    }

    /// One download.
    async fn bring(self: Arc<Self>, ticket: Ticket, stop: Stop) -> Result<()> {
        let bytes = self.reporter.add(&ticket.descriptor);
        let outcome = tokio::select! {
            outcome = self.download(Download { ticket: &ticket, bytes }) => outcome,
            () = stop.raised() => Err(given_up(&ticket.descriptor.digest)),
        };
        ticket.settle(outcome.is_ok());
        outcome
    }

    /// Unpacks what is to be unpacked, and demands the layers of the rest.
    async fn images(
        self: Arc<Self>,
        plan: Plan,
        options: PullOptions,
        arrivals: Arrivals,
        stop: Stop,
    ) -> Result<()> {
        let manifests: Vec<Descriptor> =
            plan.manifests.iter().map(|(manifest, _)| manifest.clone()).collect();
        let mut unpacked = HashSet::new();
        let mut jobs = Vec::new();
        for target in options.unpack {
            let work = Unpack {
                local: self.local.clone(),
                scope: self.scope.clone(),
                target,
                arrivals: arrivals.clone(),
                reporter: self.reporter.clone(),
                throttle: self.throttle.clone(),
                stop: stop.clone(),
            };
            if let Some(chosen) = work.choose(manifests.clone()).await? {
                unpacked.insert(chosen.descriptor.digest.clone());
                jobs.push((work, chosen));
            }
        }
        for (manifest, layers) in plan.manifests {
            if !unpacked.contains(&manifest.digest) {
                layers.iter().for_each(|layer| arrivals.demand(&layer.digest));
            }
        }
        drop(arrivals);
        let jobs = jobs.into_iter().map(|(work, chosen)| async move { work.run(&chosen).await });
        let mut outcome = Outcome::default();
        for done in futures_util::future::join_all(jobs).await {
            match done {
                Ok(skipped) => {
                    for layer in skipped {
                        self.note_skipped(&layer).await?;
                    }
                }
                Err(e) => drop(outcome.takes(Err(e))),
            }
        }
        outcome.result()
    }

    /// A layer that nothing had to be fetched for: it may be in the store all the same.
    async fn note_skipped(&self, layer: &Descriptor) -> Result<()> {
        match self.note_source(&layer.digest).await {
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
            Err(e) => Err(e),
            Ok(()) => {
                self.reporter.exists(layer);
                Ok(())
            }
        }
    }
}

/// The failure to report, of several.
#[derive(Default)]
struct Outcome {
    failed: Option<Error>,
    given_up: Option<Error>,
}

impl Outcome {
    /// Takes in what became of one part; whether the others should stop. A part that only gave up
    /// because another failed is not the one to report.
    fn takes(&mut self, done: Result<()>) -> bool {
        match done {
            Ok(()) => false,
            Err(e) if e.kind() == ErrorKind::Canceled => {
                self.given_up.get_or_insert(e);
                false
            }
            Err(e) => {
                self.failed.get_or_insert(e);
                true
            }
        }
    }

    fn result(self) -> Result<()> {
        self.failed.or(self.given_up).map_or(Ok(()), Err)
    }
}

/// A part stops because another failed.
pub(crate) fn given_up(digest: &Digest) -> Error {
    Error::refused(ErrorKind::Canceled, format!("{digest} did not arrive: context canceled"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_cause_is_reported_not_who_gave_up() {
        let digest = Digest::sha256("x");
        let mut outcome = Outcome::default();
        assert!(!outcome.takes(Ok(())));
        assert!(!outcome.takes(Err(given_up(&digest))));
        assert!(outcome.takes(Err(Error::not_found("the first"))));
        assert!(outcome.takes(Err(Error::not_found("the second"))));
        assert!(base::chain(&outcome.result().unwrap_err()).contains("the first"));
        let mut outcome = Outcome::default();
        outcome.takes(Err(given_up(&digest)));
        assert_eq!(outcome.result().unwrap_err().kind(), ErrorKind::Canceled);
        assert!(Outcome::default().result().is_ok());
    }
}
