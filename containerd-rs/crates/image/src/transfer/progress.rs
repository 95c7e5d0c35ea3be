//! Progress of a transfer: what happens once is told once, what moves is told every 300 ms.
//!
//! ```text
//!   waiting --> downloading ... --> complete --> extracting ... --> extracted
//!      \--> already exists ----------------------^
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::{Descriptor, Digest};
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use crate::manifest::ingest_ref;

/// Shortest time between two reports of the same moving thing.
const INTERVAL: Duration = Duration::from_millis(300);
/// How long the end of a transfer waits for a listener that does not take its last reports.
const LAST_WORDS: Duration = Duration::from_secs(10);

/// One report. Field for field the message of the transfer service.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What happens: a sentence, or a state.
    pub event: String,
    /// Name of what it happens to.
    pub name: String,
    /// Names of what contains that.
    pub parents: Vec<String>,
    /// Bytes so far.
    pub progress: u64,
    /// Bytes in all.
    pub total: u64,
    /// What it is.
    pub desc: Option<Descriptor>,
}

impl Progress {
    pub(crate) fn event(text: impl Into<String>) -> Progress {
        Progress {
            event: text.into(),
            name: String::new(),
            parents: Vec::new(),
            progress: 0,
            total: 0,
            desc: None,
        }
    }

    pub(crate) fn of(text: impl Into<String>, name: &str, desc: &Descriptor) -> Progress {
        Progress { name: name.to_owned(), desc: Some(desc.clone()), ..Progress::event(text) }
    }
}

/// Where reports go. A receiver that is slow gets fewer of them; it never holds up the transfer.
pub type ProgressSink = mpsc::Sender<Progress>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting,
    Moving,
    Complete,
    Extracting,
    Extracted,
}

struct Job {
    descriptor: Descriptor,
    parents: Vec<String>,
    phase: Phase,
    /// The phase last told.
    told: Phase,
    told_bytes: u64,
    bytes: Arc<AtomicU64>,
    extracted: u64,
}

#[derive(Default)]
struct State {
    jobs: HashMap<Digest, Job>,
    order: Vec<Digest>,
    parents: HashMap<Digest, Vec<String>>,
    queue: VecDeque<Progress>,
    closing: Vec<Progress>,
    done: bool,
}

struct Inner {
    root: String,
    moving: &'static str,
    state: Mutex<State>,
    wake: Notify,
}

/// Collects what happens and tells the sink. Without a sink it does nothing. Clones share it.
#[derive(Clone)]
pub(crate) struct Reporter {
    inner: Option<Arc<Inner>>,
}

/// The task that talks to the sink; ends with the transfer.
pub(crate) struct Telling(Option<JoinHandle<()>>);

impl Drop for Telling {
    fn drop(&mut self) {
        if let Some(task) = &self.0 {
            task.abort();
        }
    }
}

impl Reporter {
    /// `root`: name of the whole. `moving`: the word for bytes on their way.
    pub(crate) fn start(sink: Option<ProgressSink>, root: &str, moving: &'static str) -> (Reporter, Telling) {
        let Some(sink) = sink else { return (Reporter { inner: None }, Telling(None)) };
        let inner =
            Arc::new(Inner { root: root.to_owned(), moving, state: Mutex::default(), wake: Notify::new() });
        let task = tokio::spawn(tell(inner.clone(), sink));
        (Reporter { inner: Some(inner) }, Telling(Some(task)))
    }

    fn with(&self, change: impl FnOnce(&Inner, &mut State)) {
        if let Some(inner) = &self.inner {
            change(inner, &mut inner.lock());
            inner.wake.notify_one();
        }
    }

    /// Something that happens once.
    pub(crate) fn say(&self, progress: Progress) {
        self.with(|_, state| state.queue.push_back(progress));
    }

    /// What to say at the end, after everything else.
    pub(crate) fn say_last(&self, progress: Progress) {
        self.with(|_, state| state.closing.push(progress));
    }

    /// What contains what; call before the children are added.
    pub(crate) fn children(&self, parent: &Descriptor, children: &[Descriptor]) {
        self.with(|_, state| {
            for child in children {
                state.parents.entry(child.digest.clone()).or_default().push(ingest_ref(parent));
            }
        });
    }

    /// A descriptor that will be moved. The counter is for whoever moves it.
    pub(crate) fn add(&self, descriptor: &Descriptor) -> Arc<AtomicU64> {
        let mut bytes = Arc::default();
        self.with(|inner, state| {
            let job = state.job(inner, descriptor);
            bytes = job.bytes.clone();
        });
        bytes
    }

    /// It is there already.
    pub(crate) fn exists(&self, descriptor: &Descriptor) {
        self.with(|inner, state| {
            let job = state.job(inner, descriptor);
            (job.phase, job.told) = (Phase::Complete, Phase::Complete);
            let report = job.report("already exists", job.size());
            state.queue.push_back(report);
        });
    }

    /// It has arrived.
    pub(crate) fn complete(&self, descriptor: &Descriptor) {
        self.with(|inner, state| state.job(inner, descriptor).phase = Phase::Complete);
    }

    /// So many bytes of it were unpacked.
    pub(crate) fn extracting(&self, descriptor: &Descriptor, bytes: u64) {
        self.with(|inner, state| {
            let job = state.job(inner, descriptor);
            job.extracted = bytes;
            job.phase = if bytes >= job.size() { Phase::Extracted } else { Phase::Extracting };
        });
    }

    /// Ends the reports: everything is told, as long as the sink takes it in reasonable time.
    pub(crate) async fn finish(&self, mut telling: Telling) {
        self.with(|_, state| state.done = true);
        if let Some(task) = telling.0.take() {
            let abort = task.abort_handle();
            if timeout(LAST_WORDS, task).await.is_err() {
                abort.abort();
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn job(&mut self, inner: &Inner, descriptor: &Descriptor) -> &mut Job {
        if !self.jobs.contains_key(&descriptor.digest) {
            let parents = match self.parents.get(&descriptor.digest) {
                Some(parents) => parents.clone(),
                None => vec![inner.root.clone()],
            };
            let job = Job {
                descriptor: descriptor.clone(),
                parents,
                phase: Phase::Waiting,
                told: Phase::Waiting,
                told_bytes: 0,
                bytes: Arc::default(),
                extracted: 0,
            };
            self.queue.push_back(job.report("waiting", 0));
            self.order.push(descriptor.digest.clone());
            self.jobs.insert(descriptor.digest.clone(), job);
        }
        self.jobs.entry(descriptor.digest.clone()).or_insert_with(|| Job::orphan(descriptor))
    }

    /// What moved since the last time.
    fn moved(&mut self, moving: &str) -> Vec<Progress> {
        let mut reports = Vec::new();
        for digest in &self.order {
            if let Some(job) = self.jobs.get_mut(digest) {
                job.news(moving, &mut reports);
            }
        }
        reports
    }
}

impl Job {
    fn orphan(descriptor: &Descriptor) -> Job {
        Job {
            descriptor: descriptor.clone(),
            parents: Vec::new(),
            phase: Phase::Waiting,
            told: Phase::Waiting,
            told_bytes: 0,
            bytes: Arc::default(),
            extracted: 0,
        }
    }

    fn size(&self) -> u64 {
        self.descriptor.size.max(0) as u64
    }

    fn report(&self, event: &str, bytes: u64) -> Progress {
        Progress {
            event: event.to_owned(),
            name: ingest_ref(&self.descriptor),
            parents: self.parents.clone(),
            progress: bytes,
            total: self.size(),
            desc: Some(self.descriptor.clone()),
        }
    }

    fn news(&mut self, moving: &str, reports: &mut Vec<Progress>) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        if matches!(self.phase, Phase::Waiting | Phase::Moving) {
            if bytes > self.told_bytes {
                reports.push(self.report(moving, bytes));
                (self.phase, self.told, self.told_bytes) = (Phase::Moving, Phase::Moving, bytes);
            }
            return;
        }
        if matches!(self.told, Phase::Waiting | Phase::Moving) {
            reports.push(self.report("complete", self.size()));
            (self.told, self.told_bytes) = (Phase::Complete, 0);
        }
        match self.phase {
            Phase::Extracting if self.told != Phase::Extracting || self.extracted != self.told_bytes => {
                reports.push(self.report("extracting", self.extracted));
                (self.told, self.told_bytes) = (Phase::Extracting, self.extracted);
            }
            Phase::Extracted if self.told != Phase::Extracted => {
                reports.push(self.report("extracted", self.size()));
                self.told = Phase::Extracted;
            }
            _ => {}
        }
    }
}

/// Sends what is queued as it comes, and what moved at intervals; ends when all is told.
async fn tell(inner: Arc<Inner>, sink: ProgressSink) {
    let mut due = Instant::now() + INTERVAL;
    loop {
        let (reports, done) = {
            let mut state = inner.lock();
            let mut reports: Vec<Progress> = state.queue.drain(..).collect();
            if state.done || Instant::now() >= due {
                reports.extend(state.moved(inner.moving));
                due = Instant::now() + INTERVAL;
            }
            if state.done {
                reports.append(&mut state.closing);
            }
            (reports, state.done)
        };
        for report in reports {
            if sink.send(report).await.is_err() {
                return;
            }
        }
        if done {
            return;
        }
        tokio::select! {
            () = inner.wake.notified() => {}
            () = sleep_until(due) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use base::oci::media_type::{OCI_LAYER, OCI_MANIFEST};

    fn descriptor(media_type: &str, name: &str) -> Descriptor {
        Descriptor::new(media_type, Digest::sha256(name), 1000)
    }

    #[tokio::test(start_paused = true)]
    async fn a_story_in_order_with_pauses() {
        let (sink, mut reports) = mpsc::channel(64);
        let (reporter, telling) = Reporter::start(Some(sink), "r.io/a:1", "downloading");
        let (manifest, layer) = (descriptor(OCI_MANIFEST, "m"), descriptor(OCI_LAYER, "l"));
        reporter.say(Progress::event("Pulling"));
        reporter.add(&manifest);
        reporter.children(&manifest, std::slice::from_ref(&layer));
        let bytes = reporter.add(&layer);
        reporter.complete(&manifest);
        for step in 1..100 {
            bytes.store(step * 10, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        reporter.complete(&layer);
        reporter.extracting(&layer, 500);
        tokio::time::sleep(INTERVAL * 2).await;
        reporter.extracting(&layer, 1000);
        reporter.say_last(Progress::event("Completed"));
        reporter.finish(telling).await;
        let mut told = Vec::new();
        while let Some(report) = reports.recv().await {
            if report.name.starts_with("layer-") {
                assert_eq!(report.parents, [ingest_ref(&manifest)]);
            }
            told.push((report.event, report.progress));
        }
        let events: Vec<&str> = told.iter().map(|(e, _)| e.as_str()).collect();
        assert_eq!(&events[..3], ["Pulling", "waiting", "waiting"]);
        let moving = events.iter().filter(|e| **e == "downloading").count();
        assert!((3..=4).contains(&moving), "{events:?}");
        assert_eq!(&events[events.len() - 4..], ["complete", "extracting", "extracted", "Completed"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_listener_holds_up_nothing_for_long() {
        let (sink, _reports) = mpsc::channel(1);
        let (reporter, telling) = Reporter::start(Some(sink), "r", "downloading");
        for n in 0..50 {
            reporter.add(&descriptor(OCI_LAYER, &n.to_string()));
        }
        let before = Instant::now();
        reporter.finish(telling).await;
        assert!(before.elapsed() <= LAST_WORDS + INTERVAL);
    }
}
