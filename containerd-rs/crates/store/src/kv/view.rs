//! Reading: the same calls on a published view and inside a change.

use std::ops::{Bound, ControlFlow};

use redb::{ReadOnlyTable, ReadTransaction};

use super::Table;
use crate::error::Result;
use crate::key;

/// Called with each key and value of a scan, in key order.
pub type Visit<'v> = dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>> + 'v;

/// Reads of one consistent state.
pub trait Read {
    /// The value at `key`.
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>>;

    /// Visits the entries whose key starts with `prefix`, from `from` on if that is later.
    fn scan_from(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()>;

    /// Visits the entries whose key starts with `prefix`.
    fn scan(&self, table: Table, prefix: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        self.scan_from(table, prefix, prefix, visit)
    }

    /// Whether there is a value at `key`.
    fn contains(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.get(table, key)?.is_some())
    }

    /// Whether any key starts with `prefix`.
    fn any(&self, table: Table, prefix: &[u8]) -> Result<bool> {
        let mut found = false;
        self.scan(table, prefix, &mut |_, _| {
            found = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }
}

/// The bounds of a scan.
pub(super) fn bounds<'a>(
    prefix: &'a [u8],
    from: &'a [u8],
    end: &'a Option<Vec<u8>>,
) -> (Bound<&'a [u8]>, Bound<&'a [u8]>) {
    let start = if from > prefix { from } else { prefix };
    let end = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
    (Bound::Included(start), end)
}

/// Whether a scan with these bounds can find anything (redb does not take inverted ranges).
pub(super) fn is_empty_range(from: &[u8], end: &Option<Vec<u8>>) -> bool {
    end.as_deref().is_some_and(|end| from >= end)
}

/// A picture of the whole database as one commit left it.
pub struct View {
    path: std::path::PathBuf,
    tables: Vec<ReadOnlyTable<&'static [u8], &'static [u8]>>,
    // keeps the pages of this picture from being reused
    _txn: ReadTransaction,
}

impl View {
    pub(super) fn new(
        path: &std::path::Path,
        txn: ReadTransaction,
        tables: &[Table],
    ) -> Result<Self, redb::Error> {
        let tables =
            tables.iter().map(|t| Ok(txn.open_table(t.definition())?)).collect::<Result<_, redb::Error>>()?;
        Ok(View { path: path.to_owned(), tables, _txn: txn })
    }

    fn fail(&self, e: redb::StorageError) -> crate::Error {
        super::writer::failed(&self.path, e.into())
    }
}

impl Read for View {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>> {
        let value = self.tables[table.index].get(key).map_err(|e| self.fail(e))?;
        Ok(value.map(|v| v.value().to_vec()))
    }

    fn scan_from(&self, table: Table, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<()> {
        let end = key::after(prefix);
        if is_empty_range(from, &end) {
            return Ok(());
        }
        let range =
            self.tables[table.index].range::<&[u8]>(bounds(prefix, from, &end)).map_err(|e| self.fail(e))?;
        for entry in range {
            let (k, v) = entry.map_err(|e| self.fail(e))?;
            if visit(k.value(), v.value())?.is_break() {
                break;
            }
        }
        Ok(())
    }
}
