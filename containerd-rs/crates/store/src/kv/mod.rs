//! A small durable key-value store on redb.
//!
//! One thread owns the database and makes every change; changes that wait together are made durable
//! by one fsync (group commit). Each change is all or nothing by itself: one that fails or panics is
//! undone and does not disturb its neighbours. Reads are inline, see the last durable (or relaxed)
//! commit, and wait for nobody.
//!
//! ```text
//!  write(f) ──queue (bounded)──> writer thread: [f1 f2 f3 ..] one transaction ──fsync──> reply to each
//!  view()  ──> the view published after the last commit
//! ```

mod queue;
mod tx;
mod view;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use redb::TableDefinition;
use tokio::sync::{oneshot, watch};

use crate::error::{Error, Result};
use queue::Queue;
pub use tx::Tx;
pub use view::{Read, View};
use writer::{Shared, Typed};

/// A table of byte keys and byte values. A database's tables are numbered from 0 without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Table {
    index: usize,
    name: &'static str,
}

impl Table {
    /// The table `name`, at `index` in the list given to [`Kv::open`].
    pub const fn new(index: usize, name: &'static str) -> Self {
        Table { index, name }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    fn definition(&self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name)
    }
}

/// How a database is opened.
#[derive(Clone, Debug)]
pub struct KvOptions {
    /// Most bytes of pages kept in memory.
    pub cache_bytes: usize,
    /// Never fsync except when closing: for tests and throw-away roots only.
    pub no_sync: bool,
}

impl Default for KvOptions {
    fn default() -> Self {
        KvOptions { cache_bytes: 4 << 20, no_sync: false }
    }
}

/// Changes since the database was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Activity {
    /// Changes made.
    pub mutations: u64,
    /// Changes that took something away, as counted by [`Tx::mark_dirty`].
    pub deletions: u64,
}

/// Handle to an open database. Clones share it; the last one to go closes it.
#[derive(Clone)]
pub struct Kv {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    opened: u64,
    thread: Option<JoinHandle<()>>,
}

impl Kv {
    /// Opens or creates the database file at `path` and its tables, and starts the writer thread.
    ///
    /// # Errors
    /// [`Error::InUse`] when another process has it, [`Error::Damaged`] when it is not a readable
    /// database, [`Error::Io`] and [`Error::Database`] for the rest.
    pub fn open(path: &Path, tables: &'static [Table], options: KvOptions) -> Result<Self> {
        debug_assert!(tables.iter().enumerate().all(|(i, t)| t.index == i));
        let (database, opened) = writer::open(path, tables, &options)?;
        let view = writer::view_of(path, &database, tables).map_err(|e| writer::failed(path, e))?;
        let (activity, _) = watch::channel(Activity::default());
        let shared = Arc::new(Shared { view: RwLock::new(Some(Arc::new(view))), activity });
        let queue = Arc::new(Queue::new());
        let run = writer::Writer::new(path, tables, options, database, queue.clone(), shared.clone());
        let thread = std::thread::Builder::new()
            .name("metadata".into())
            .stack_size(1 << 20)
            .spawn(move || run.run())
            .map_err(|e| Error::io("start writer of", path, e))?;
        Ok(Kv {
            inner: Arc::new(Inner { path: path.to_owned(), queue, shared, opened, thread: Some(thread) }),
        })
    }

    /// Makes a change and waits until it is on disk.
    ///
    /// `change` runs on the writer thread: it must be quick and must not wait for anything. When it
    /// gives an error, all it did is undone. Cancel-safe in this sense: dropped before the change is
    /// queued, nothing happens; dropped later, the change is made all the same.
    pub async fn write<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(change, false).await
    }

    /// As [`Kv::write`], but a crash within about a second may lose the change (never a part of it,
    /// and never a later durable change built on it). For records that are cheap to lose.
    pub async fn write_relaxed<T, E, F>(&self, change: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        self.submit(change, true).await
    }

    async fn submit<T, E, F>(&self, change: F, relaxed: bool) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<Error> + Send + 'static,
        F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        self.inner.queue.push(Box::new(Typed::new(change, reply, relaxed))).await?;
        answer.await.unwrap_or_else(|_| Err(Error::Closed.into()))
    }

    /// What the last commit left: a consistent picture that later changes do not touch.
    pub fn view(&self) -> Result<Arc<View>> {
        let guard = self.inner.shared.view.read().unwrap_or_else(PoisonError::into_inner);
        guard.clone().ok_or(Error::Closed)
    }

    /// Counts of changes, for whoever schedules garbage collection.
    pub fn activity(&self) -> watch::Receiver<Activity> {
        self.inner.shared.activity.subscribe()
    }

    /// How often the database was opened, this time included: no two openings have the same number.
    pub fn opened(&self) -> u64 {
        self.inner.opened
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.inner.path
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.queue.close();
        // a change may hold the last handle: then this is the thread itself, on its way out
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!(path = %self.path.display(), "metadata writer ended abnormally");
        }
    }
}

#[cfg(test)]
mod tests;
