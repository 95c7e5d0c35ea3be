//! The writer thread: takes what waits, runs each change in one transaction, commits once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use redb::{
    Database, DatabaseError, Durability, ReadableDatabase, ReadableTable, StorageError, TableDefinition,
};
use tokio::sync::{oneshot, watch};

use super::queue::{Next, Queue};
use super::tx::{ChangeLog, Tables, Tx};
use super::view::View;
use super::{Activity, KvOptions, Table};
use crate::error::{Error, Result};

/// How long a relaxed change may stay only in memory.
const RELAXED: Duration = Duration::from_secs(1);
/// How long to wait for readers of a failed database to let go of it.
const REOPEN_TRIES: u32 = 100;
const REOPEN_PAUSE: Duration = Duration::from_millis(10);

/// What the thread and the handles both see.
pub(super) struct Shared {
    pub(super) view: RwLock<Option<Arc<View>>>,
    pub(super) activity: watch::Sender<Activity>,
}

/// A queued change.
pub(super) trait Work: Send {
    /// Runs it; true: keep what it did.
    fn run(&mut self, tx: &mut Tx<'_>) -> bool;
    /// Tells the caller: the change's own answer, or why it did not reach the disk.
    fn finish(self: Box<Self>, failure: Option<Error>);
    fn relaxed(&self) -> bool;
}

/// A change with its answer.
pub(super) struct Typed<T, E, F> {
    change: Option<F>,
    answer: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
    relaxed: bool,
}

impl<T, E, F> Typed<T, E, F> {
    pub(super) fn new(change: F, reply: oneshot::Sender<Result<T, E>>, relaxed: bool) -> Self {
        Typed { change: Some(change), answer: None, reply, relaxed }
    }
}

impl<T, E, F> Work for Typed<T, E, F>
where
    T: Send,
    E: From<Error> + Send,
    F: FnOnce(&mut Tx<'_>) -> Result<T, E> + Send,
{
    fn run(&mut self, tx: &mut Tx<'_>) -> bool {
        let Some(change) = self.change.take() else { return false };
        let answer = catch_unwind(AssertUnwindSafe(|| change(tx))).unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|s| (*s).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
            tracing::error!(panic = text, "metadata change panicked");
            Err(Error::Panicked(text).into())
        });
        let keep = answer.is_ok();
        self.answer = Some(answer);
        keep
    }

    fn finish(self: Box<Self>, failure: Option<Error>) {
        let answer = match (failure, self.answer) {
            // a change that was refused stays refused, whatever became of the others
            (_, Some(Err(refused))) => Err(refused),
            (Some(failure), _) => Err(failure.into()),
            (None, Some(answer)) => answer,
            (None, None) => Err(Error::Closed.into()),
        };
        // the caller may have gone
        let _ = self.reply.send(answer);
    }

    fn relaxed(&self) -> bool {
        self.relaxed
    }
}

/// Counts how often the file was opened.
const OPENED: TableDefinition<'static, &'static str, u64> = TableDefinition::new("opened");

/// Opens or creates the file and all its tables; tells how often that was done.
pub(super) fn open(path: &Path, tables: &[Table], options: &KvOptions) -> Result<(Database, u64)> {
    if let Some(dir) = path.parent() {
        std::fs::create_dir_all(dir).map_err(|e| Error::io("create directory", dir, e))?;
    }
    if !path.exists() {
        create(path, tables, options)?;
    }
    let database = open_file(path, options)?;
    let opened = create_tables(&database, tables).map_err(|e| failed(path, e))?;
    Ok((database, opened))
}

/// Makes a new database beside its place and puts it there whole.
fn create(path: &Path, tables: &[Table], options: &KvOptions) -> Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    // what an earlier attempt left was never used
    remove(&new)?;
    let database = open_file(&new, options)?;
    create_tables(&database, tables).map_err(|e| failed(&new, e))?;
    drop(database);
    match std::fs::hard_link(&new, path) {
        // another process was faster, and has it open by now
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Error::io("put in place", path, e));
        }
        _ => {}
    }
    remove(&new)?;
    crate::content::sync_dir(path.parent().unwrap_or(path))
}

fn remove(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("delete", path, e)),
        _ => Ok(()),
    }
}

fn open_file(path: &Path, options: &KvOptions) -> Result<Database> {
    match catch_unwind(|| Database::builder().set_cache_size(options.cache_bytes).create(path)) {
        Ok(Ok(database)) => Ok(database),
        Ok(Err(e)) => Err(open_failed(path, e)),
        Err(_) => Err(Error::Damaged { path: path.to_owned(), source: "page check failed".into() }),
    }
}

fn create_tables(database: &Database, tables: &[Table]) -> Result<u64, redb::Error> {
    let mut txn = database.begin_write()?;
    txn.set_quick_repair(true);
    for table in tables {
        txn.open_table(table.definition())?;
    }
    let mut opened = txn.open_table(OPENED)?;
    let count = opened.get("count")?.map_or(0, |v| v.value()) + 1;
    opened.insert("count", count)?;
    drop(opened);
    txn.commit()?;
    Ok(count)
}

fn open_failed(path: &Path, e: DatabaseError) -> Error {
    let path = path.to_owned();
    match e {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => Error::InUse { path },
        DatabaseError::Storage(StorageError::Io(source)) => match source.kind() {
            // redb says so of a file that does not begin as its own do
            std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof => {
                Error::Damaged { path, source: source.into() }
            }
            _ => Error::Io { action: "open metadata database", path, source },
        },
        other => Error::Damaged { path, source: other.into() },
    }
}

/// A failed operation on an open database.
pub(super) fn failed(path: &Path, e: redb::Error) -> Error {
    let path = path.to_owned();
    match e {
        redb::Error::Corrupted(_) => Error::Damaged { path, source: e.into() },
        e => Error::Database { path, source: Arc::new(e) },
    }
}

pub(super) fn view_of(path: &Path, database: &Database, tables: &[Table]) -> Result<View, redb::Error> {
    View::new(path, database.begin_read()?, tables)
}

pub(super) struct Writer {
    path: PathBuf,
    tables: &'static [Table],
    options: KvOptions,
    /// None after an I/O error, until it could be opened again.
    database: Option<Database>,
    queue: Arc<Queue>,
    shared: Arc<Shared>,
    log: Option<ChangeLog>,
    /// Since when a relaxed commit has not been followed by a durable one.
    unsynced: Option<Instant>,
}

/// However the thread ends, nobody waits for it in vain.
impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
        while let Next::Batch(batch) = self.queue.take(Duration::ZERO) {
            batch.into_iter().for_each(|w| w.finish(Some(Error::Closed)));
        }
    }
}

/// What a batch did to the database.
#[derive(Default)]
struct Outcome {
    changed: bool,
    activity: Activity,
}

impl Writer {
    pub(super) fn new(
        path: &Path,
        tables: &'static [Table],
        options: KvOptions,
        database: Database,
        queue: Arc<Queue>,
        shared: Arc<Shared>,
    ) -> Self {
        let path = path.to_owned();
        Writer { path, tables, options, database: Some(database), queue, shared, log: None, unsynced: None }
    }

    pub(super) fn run(mut self) {
        loop {
            let patience = if self.unsynced.is_some() && !self.options.no_sync {
                RELAXED
            } else {
                Duration::from_secs(3600)
            };
            match self.queue.take(patience) {
                Next::Batch(batch) => self.batch(batch),
                Next::Idle => self.sync(),
                Next::Closed => break,
            }
        }
        self.sync();
        self.set_view(None);
    }

    fn batch(&mut self, mut batch: Vec<Box<dyn Work>>) {
        let overdue = self.unsynced.is_some_and(|since| since.elapsed() > RELAXED);
        let durable = !self.options.no_sync && (overdue || batch.iter().any(|w| !w.relaxed()));
        // a page that cannot be right may panic in the database
        let run = AssertUnwindSafe(|| self.reopen().and_then(|()| self.transact(&mut batch, durable)));
        let result = catch_unwind(run).unwrap_or_else(|_| {
            Err(Error::Damaged { path: self.path.clone(), source: "page check failed".into() })
        });
        match result {
            Ok(outcome) => {
                if outcome.activity != Activity::default() {
                    self.shared.activity.send_modify(|a| {
                        a.mutations += outcome.activity.mutations;
                        a.deletions += outcome.activity.deletions;
                    });
                }
                batch.into_iter().for_each(|w| w.finish(None));
            }
            Err(e) => {
                tracing::error!(error = base::chain(&e), "metadata commit failed");
                self.fail();
                let mut first = Some(e);
                for work in batch {
                    let e = first.as_ref().map(|e| self.copy(e));
                    work.finish(e);
                }
                first.take();
            }
        }
    }

    /// The same failure for another caller.
    fn copy(&self, e: &Error) -> Error {
        match e {
            Error::Database { path, source } => {
                Error::Database { path: path.clone(), source: source.clone() }
            }
            Error::InUse { path } => Error::InUse { path: path.clone() },
            e => Error::Damaged { path: self.path.clone(), source: base::chain(e).into() },
        }
    }

    /// Runs the changes in one transaction and commits it.
    fn transact(&mut self, batch: &mut [Box<dyn Work>], durable: bool) -> Result<Outcome> {
        let Some(database) = &self.database else { return Err(Error::Closed) };
        let fail = |e: redb::Error| failed(&self.path, e);
        let mut txn = database.begin_write().map_err(|e| fail(e.into()))?;
        if durable {
            txn.set_quick_repair(true);
        } else {
            txn.set_durability(Durability::None).map_err(|e| fail(e.into()))?;
        }
        let mut outcome = Outcome::default();
        let mut tables = Tables::new(&txn, &self.path, self.tables.len());
        for work in batch {
            let mut tx = Tx::new(&mut tables, &mut self.log);
            if !work.run(&mut tx) {
                tx.roll_back()?;
                continue;
            }
            let accepted = tx.accept();
            outcome.changed |= accepted.changed;
            outcome.activity.mutations += accepted.mutations;
            outcome.activity.deletions += accepted.deletions;
        }
        drop(tables);
        if !outcome.changed {
            txn.abort().map_err(|e| fail(e.into()))?;
            return Ok(outcome);
        }
        txn.commit().map_err(|e| fail(e.into()))?;
        let view = view_of(&self.path, database, self.tables).map_err(fail)?;
        self.set_view(Some(view));
        self.unsynced = if durable { None } else { self.unsynced.or_else(|| Some(Instant::now())) };
        Ok(outcome)
    }

    /// Makes relaxed commits durable.
    fn sync(&mut self) {
        if self.unsynced.is_none() {
            return;
        }
        let Some(database) = &self.database else { return };
        let flush = || -> Result<(), redb::Error> {
            let mut txn = database.begin_write()?;
            txn.set_quick_repair(true);
            Ok(txn.commit()?)
        };
        match flush() {
            Ok(()) => self.unsynced = None,
            Err(e) => {
                tracing::error!(error = %e, path = %self.path.display(), "metadata sync failed");
                self.fail();
            }
        }
    }

    fn set_view(&self, view: Option<View>) {
        let old = {
            let mut guard = self.shared.view.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *guard, view.map(Arc::new))
        };
        drop(old);
    }

    /// After an I/O error redb refuses everything until the file is opened again.
    fn fail(&mut self) {
        self.set_view(None);
        self.log = None;
        self.unsynced = None;
        self.database = None;
        if let Err(e) = self.reopen() {
            tracing::warn!(error = base::chain(&e), "metadata database could not be opened again yet");
        }
    }

    /// Opens the file again after a failure; readers of the failed one may still hold it for a moment.
    fn reopen(&mut self) -> Result<()> {
        if self.database.is_some() {
            return Ok(());
        }
        let mut tries = 0;
        let (database, _) = loop {
            match open(&self.path, self.tables, &self.options) {
                Err(Error::InUse { .. }) if tries < REOPEN_TRIES => {
                    tries += 1;
                    std::thread::sleep(REOPEN_PAUSE);
                }
                other => break other?,
            }
        };
        let view = view_of(&self.path, &database, self.tables).map_err(|e| failed(&self.path, e))?;
        self.set_view(Some(view));
        self.database = Some(database);
        Ok(())
    }
}
