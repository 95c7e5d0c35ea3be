//! When to collect: after deletions and enough changes, but never so often that collecting takes more
//! than its share of time; at once when asked.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Gc, GcReport};
use crate::error::{Error, Result};
use crate::kv::Activity;

/// No run counts as shorter when the pause between runs is computed.
const LEAST: Duration = Duration::from_millis(5);
/// Pause before there was a run to compute it from.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Requests that may wait.
const REQUESTS: usize = 256;

/// The keys of the `gc.v1.scheduler` plugin.
#[derive(Clone, Debug, PartialEq)]
pub struct SchedulerOptions {
    /// Largest share of time to spend collecting, 0 to 0.5.
    pub pause_threshold: f64,
    /// So many deletions force the next run; 0: one is enough, but the pause is kept.
    pub deletion_threshold: u64,
    /// So many changes make a run due; 0: changes alone never do.
    pub mutation_threshold: u64,
    /// Delay between the cause of a run and the run.
    pub schedule_delay: Duration,
    /// Delay of the first run after the start; zero: none.
    pub startup_delay: Duration,
}

impl Default for SchedulerOptions {
    fn default() -> Self {
        SchedulerOptions {
            pause_threshold: 0.02,
            deletion_threshold: 0,
            mutation_threshold: 100,
            schedule_delay: Duration::ZERO,
            startup_delay: Duration::from_millis(100),
        }
    }
}

/// Told of every run, failed ones too.
pub type OnReport = Arc<dyn Fn(&Result<GcReport>) + Send + Sync>;

/// Handle to the scheduler's task, which ends with its last handle.
#[derive(Clone)]
pub struct Scheduler {
    requests: mpsc::Sender<Option<Waiter>>,
}

type Waiter = oneshot::Sender<Result<GcReport>>;

impl Scheduler {
    /// Starts the task. Must be called in a tokio runtime.
    pub fn start(gc: Gc, options: SchedulerOptions, on_report: OnReport) -> Self {
        let (requests, asked) = mpsc::channel(REQUESTS);
        tokio::spawn(run(gc, options, on_report, asked));
        Scheduler { requests }
    }

    /// Asks for a run soon; does not wait.
    pub fn trigger(&self) {
        // when so many requests wait, a run is coming anyway
        let _ = self.requests.try_send(None);
    }

    /// Asks for a run that begins after this call, and waits until it is done.
    ///
    /// # Errors
    /// The run's own, in words.
    pub async fn collect_now(&self) -> Result<GcReport> {
        let (tell, told) = oneshot::channel();
        self.requests.send(Some(tell)).await.map_err(|_| Error::Closed)?;
        told.await.unwrap_or(Err(Error::Closed))
    }
}

/// What the decision is made from.
#[derive(Debug)]
struct Plan {
    options: SchedulerOptions,
    /// When the last run ended.
    last: Option<Instant>,
    /// When the next one begins.
    next: Option<Instant>,
    pause: Duration,
    spent: Duration,
    runs: u32,
    /// Activity that the last run has seen.
    seen: Activity,
}

impl Plan {
    fn new(options: SchedulerOptions, now: Instant, seen: Activity) -> Self {
        let next = (!options.startup_delay.is_zero()).then(|| now + options.startup_delay);
        let (last, spent) = (None, Duration::ZERO);
        Plan { options, last, next, pause: FIRST_PAUSE, spent, runs: 0, seen }
    }

    /// Someone asked.
    fn asked(&mut self, now: Instant) {
        self.no_later_than(now + self.options.schedule_delay);
    }

    /// The store changed.
    fn active(&mut self, now: Instant, activity: Activity) {
        let deletions = activity.deletions - self.seen.deletions;
        let mutations = activity.mutations - self.seen.mutations;
        let options = &self.options;
        if options.deletion_threshold > 0 && deletions >= options.deletion_threshold {
            self.no_later_than(now + options.schedule_delay);
        } else if deletions > 0 || (options.mutation_threshold > 0 && mutations >= options.mutation_threshold)
        {
            // what comes in a burst is collected together, and the pause since the last run is kept
            let rested = self.last.map_or(now, |last| last + self.pause);
            self.no_later_than((now + self.pause + options.schedule_delay).max(rested));
        }
    }

    fn no_later_than(&mut self, at: Instant) {
        self.next = Some(self.next.map_or(at, |next| next.min(at)));
    }

    /// A run has ended.
    fn done(&mut self, now: Instant, seen: Activity, elapsed: Option<Duration>) {
        self.last = Some(now);
        self.next = None;
        let Some(elapsed) = elapsed else {
            self.next = Some(now + self.pause + FIRST_PAUSE);
            return;
        };
        self.seen = seen;
        self.spent += elapsed;
        self.runs += 1;
        let share = self.options.pause_threshold.clamp(0.0, 0.5);
        if share > 0.0 {
            let average = (self.spent / self.runs).max(LEAST);
            self.pause = average.div_f64(share).saturating_sub(average);
        }
    }
}

async fn run(
    gc: Gc,
    options: SchedulerOptions,
    on_report: OnReport,
    mut asked: mpsc::Receiver<Option<Waiter>>,
) {
    let mut activity = gc.meta().activity();
    let mut plan = Plan::new(options, Instant::now(), Activity::default());
    let mut waiters: Vec<Waiter> = Vec::new();
    loop {
        let next = plan.next;
        let due = async move {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            request = asked.recv() => {
                let Some(waiter) = request else { return };
                waiters.extend(waiter);
                plan.asked(Instant::now());
                continue;
            }
            changed = activity.changed() => {
                if changed.is_err() {
                    return;
                }
                let seen = *activity.borrow_and_update();
                plan.active(Instant::now(), seen);
                continue;
            }
        }
        let seen = *activity.borrow();
        let result = gc.run().await;
        if let Err(e) = &result {
            tracing::error!(error = base::chain(e), "garbage collection failed");
        }
        plan.done(Instant::now(), seen, result.as_ref().ok().map(|r| r.elapsed));
        on_report(&result);
        for waiter in waiters.drain(..) {
            let answer = match &result {
                Ok(report) => Ok(report.clone()),
                Err(e) => {
                    Err(Error::refused(base::Kinded::kind(e), format!("gc failed: {}", base::chain(e))))
                }
            };
            // the waiter may have gone
            let _ = waiter.send(answer);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn plan(options: SchedulerOptions) -> (Plan, Instant) {
        let now = Instant::now();
        (Plan::new(options, now, Activity::default()), now)
    }

    fn activity(mutations: u64, deletions: u64) -> Activity {
        Activity { mutations, deletions }
    }

    #[test]
    fn first_run_comes_after_the_startup_delay() {
        let (plan, now) = plan(SchedulerOptions::default());
        assert_eq!(plan.next, Some(now + 100 * MS));
        let none = SchedulerOptions { startup_delay: Duration::ZERO, ..SchedulerOptions::default() };
        assert_eq!(self::plan(none).0.next, None);
    }

    #[test]
    fn pause_keeps_the_share_of_time() {
        let (mut plan, now) = plan(SchedulerOptions::default());
        plan.done(now, activity(0, 0), Some(Duration::from_millis(20)));
        // 2 % of the time: 20 ms of each second
        assert_eq!(plan.pause, 980 * MS);
        plan.done(now, activity(0, 0), Some(Duration::ZERO));
        assert_eq!(plan.pause, 490 * MS);
        assert_eq!(plan.next, None, "an idle store is not collected again");
        plan.active(now + 100 * MS, activity(1, 1));
        assert_eq!(plan.next, Some(now + 590 * MS));
        // more of the same does not push it back
        plan.active(now + 300 * MS, activity(2, 2));
        assert_eq!(plan.next, Some(now + 590 * MS));
    }

    #[test]
    fn changes_alone_need_the_threshold() {
        let (mut plan, now) = plan(SchedulerOptions::default());
        plan.done(now, activity(50, 0), Some(5 * MS));
        plan.active(now, activity(149, 0));
        assert_eq!(plan.next, None);
        plan.active(now, activity(150, 0));
        assert!(plan.next.is_some());
    }

    #[test]
    fn deletion_threshold_and_requests_do_not_wait_for_the_pause() {
        let options =
            SchedulerOptions { deletion_threshold: 3, schedule_delay: 7 * MS, ..SchedulerOptions::default() };
        let (mut plan, now) = plan(options);
        plan.done(now, activity(0, 0), Some(5 * MS));
        plan.active(now, activity(3, 3));
        assert_eq!(plan.next, Some(now + 7 * MS));
        plan.done(now, activity(3, 3), Some(5 * MS));
        plan.asked(now);
        assert_eq!(plan.next, Some(now + 7 * MS));
    }

    #[test]
    fn failed_runs_come_again_and_forget_nothing() {
        let (mut plan, now) = plan(SchedulerOptions::default());
        plan.done(now, activity(9, 9), None);
        assert_eq!(plan.next, Some(now + 2 * FIRST_PAUSE));
        assert_eq!(plan.seen, activity(0, 0));
    }
}
