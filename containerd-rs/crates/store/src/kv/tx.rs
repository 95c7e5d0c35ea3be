//! One change: reads and writes inside the writer's transaction, with an undo log so that a change
//! that fails leaves nothing behind.

use std::collections::HashSet;
use std::path::Path;

use redb::{ReadableTable, WriteTransaction};

use super::view::{Read, Visit, bounds, is_empty_range};
use super::{Table, writer};
use crate::error::Result;
use crate::key;

type Open<'txn> = redb::Table<'txn, &'static [u8], &'static [u8]>;

/// The tables of one write transaction, opened when first used.
pub(super) struct Tables<'txn> {
    txn: &'txn WriteTransaction,
    path: &'txn Path,
    open: Vec<std::cell::OnceCell<Open<'txn>>>,
}

impl<'txn> Tables<'txn> {
    pub(super) fn new(txn: &'txn WriteTransaction, path: &'txn Path, count: usize) -> Self {
        Tables { txn, path, open: (0..count).map(|_| std::cell::OnceCell::new()).collect() }
    }

    fn table(&self, table: Table) -> Result<&Open<'txn>> {
        let cell = &self.open[table.index];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open =
            self.txn.open_table(table.definition()).map_err(|e| writer::failed(self.path, e.into()))?;
        Ok(cell.get_or_init(|| open))
    }

    fn table_mut(&mut self, table: Table) -> Result<&mut Open<'txn>> {
        self.table(table)?;
        self.open[table.index].get_mut().ok_or(crate::Error::Closed)
    }

    fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        let path = self.path;
        let open = self.table_mut(table)?;
        let old = match value {
            Some(value) => open.insert(key, value),
            None => open.remove(key),
        };
        let old = old.map_err(|e| writer::failed(path, e.into()))?;
        Ok(old.map(|v| v.value().to_vec()))
    }
}

/// Keys changed since garbage collection asked to be told; `None` in the set's place: too many.
#[derive(Default)]
pub(super) struct ChangeLog {
    pub(super) keys: HashSet<(Table, Vec<u8>)>,
    pub(super) overflow: bool,
}

impl ChangeLog {
    /// Beyond this many keys, looking at everything again is cheaper.
    const MOST: usize = 20_000;

    fn add(&mut self, table: Table, key: Vec<u8>) {
        if self.keys.len() >= Self::MOST {
            self.overflow = true;
            self.keys = HashSet::new();
        } else if !self.overflow {
            self.keys.insert((table, key));
        }
    }
}

struct Undo {
    table: Table,
    key: Vec<u8>,
    old: Option<Vec<u8>>,
}

/// A change in the making.
pub struct Tx<'a> {
    tables: &'a mut dyn Store,
    log: &'a mut Option<ChangeLog>,
    undo: Vec<Undo>,
    deletions: u64,
    silent: bool,
}

/// [`Tables`] without its lifetime.
trait Store {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;
    fn walk(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()>;
    fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<Option<Vec<u8>>>;
}

impl Store for Tables<'_> {
    fn read(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.table(table)?.get(key).map_err(|e| writer::failed(self.path, e.into()))?;
        Ok(value.map(|v| v.value().to_vec()))
    }

    fn walk(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let end = key::after(prefix);
        if is_empty_range(from, &end) {
            return Ok(());
        }
        let fail = |e: redb::StorageError| writer::failed(self.path, e.into());
        for entry in self.table(table)?.range::<&[u8]>(bounds(prefix, from, &end)).map_err(fail)? {
            let (k, v) = entry.map_err(fail)?;
            if visit(k.value(), v.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<Option<Vec<u8>>> {
        Tables::set(self, table, key, value)
    }
}

/// What an accepted change was.
pub(super) struct Accepted {
    pub(super) changed: bool,
    pub(super) mutations: u64,
    pub(super) deletions: u64,
}

impl<'a> Tx<'a> {
    pub(super) fn new(tables: &'a mut Tables<'_>, log: &'a mut Option<ChangeLog>) -> Self {
        Tx { tables, log, undo: Vec::new(), deletions: 0, silent: false }
    }

    /// Puts a value, replacing the one that is there.
    pub fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> Result<()> {
        let old = self.tables.set(table, key, Some(value))?;
        self.undo.push(Undo { table, key: key.to_vec(), old });
        Ok(())
    }

    /// Takes a value away; tells whether there was one.
    pub fn delete(&mut self, table: Table, key: &[u8]) -> Result<bool> {
        let old = self.tables.set(table, key, None)?;
        let found = old.is_some();
        if found {
            self.undo.push(Undo { table, key: key.to_vec(), old });
        }
        Ok(found)
    }

    /// Takes away everything whose key starts with `prefix`.
    pub fn delete_prefix(&mut self, table: Table, prefix: &[u8]) -> Result<usize> {
        let mut keys = Vec::new();
        self.scan(table, prefix, &mut |k, _| {
            keys.push(k.to_vec());
            Ok(std::ops::ControlFlow::Continue(()))
        })?;
        for key in &keys {
            self.delete(table, key)?;
        }
        Ok(keys.len())
    }

    /// Says that this change took away something that may have kept others alive.
    pub fn mark_dirty(&mut self) {
        self.deletions += 1;
    }

    /// Leaves this change out of [`super::Activity`].
    pub(crate) fn unobserved(&mut self) {
        self.silent = true;
    }

    /// From now on every changed key is noted, until [`Tx::stop_recording`].
    pub(crate) fn start_recording(&mut self) {
        *self.log = Some(ChangeLog::default());
    }

    /// The keys changed since [`Tx::start_recording`]; `None`: too many, or it was not recording.
    pub(crate) fn stop_recording(&mut self) -> Option<HashSet<(Table, Vec<u8>)>> {
        self.log.take().filter(|log| !log.overflow).map(|log| log.keys)
    }

    /// Puts everything back, newest first.
    pub(super) fn roll_back(mut self) -> Result<()> {
        while let Some(Undo { table, key, old }) = self.undo.pop() {
            self.tables.set(table, &key, old.as_deref())?;
        }
        Ok(())
    }

    pub(super) fn accept(self) -> Accepted {
        let changed = !self.undo.is_empty();
        if let Some(log) = self.log {
            for Undo { table, key, .. } in self.undo {
                log.add(table, key);
            }
        }
        let counted = changed && !self.silent;
        Accepted {
            changed,
            mutations: u64::from(counted),
            deletions: if counted { self.deletions } else { 0 },
        }
    }
}

impl Read for Tx<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.tables.read(table, key)
    }

    fn scan_from(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.tables.walk(table, prefix, from, visit)
    }
}
