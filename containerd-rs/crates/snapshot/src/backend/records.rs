//! The records of one snapshotter: `<root>/metadata.db`.
//!
//! Every rule of the contract about names, kinds and parents is checked here, inside the change, so
//! that two calls cannot both pass.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;
use std::path::Path;
use std::time::SystemTime;

use base::Labels;
use base::filter::FilterSet;
use base::mask::parse_mask;
use store::kv::{Kv, KvOptions, Read, Table, Tx};

use super::row::{Row, nanos};
use crate::error::{Error, Result};
use crate::info::{CommitOptions, Info, Kind, Usage};

/// Key or name -> [`Row`].
const SNAPSHOTS: Table = Table::new(0, "snapshots");
/// Number of parent and number of child, big-endian -> nothing.
const CHILDREN: Table = Table::new(1, "children");
/// Number of a committed snapshot whose files may not be on disk yet -> boot in which it was made.
pub(super) const UNSYNCED: Table = Table::new(2, "unsynced");
static TABLES: [Table; 3] = [SNAPSHOTS, CHILDREN, UNSYNCED];

/// Records are few and small.
const CACHE_BYTES: usize = 1 << 20;

/// What a mount is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Chain {
    pub(crate) kind: Kind,
    pub(crate) id: u64,
    /// Numbers of the parents, the nearest first.
    pub(crate) parents: Vec<u64>,
}

#[derive(Clone)]
pub(crate) struct Records {
    pub(super) kv: Kv,
}

impl Records {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let options = KvOptions { cache_bytes: CACHE_BYTES, ..KvOptions::default() };
        Ok(Records { kv: Kv::open(path, &TABLES, options)? })
    }

    pub(crate) fn highest_number(&self) -> Result<u64> {
        Ok(self.numbers()?.into_iter().max().unwrap_or(0))
    }

    /// Numbers of all records.
    pub(crate) fn numbers(&self) -> Result<HashSet<u64>> {
        Ok(self.rows()?.into_iter().map(|(_, row)| row.id).collect())
    }

    /// Numbers of all records with their kinds.
    pub(crate) fn kinds(&self) -> Result<HashMap<u64, Kind>> {
        Ok(self.rows()?.into_iter().map(|(_, row)| (row.id, row.kind)).collect())
    }

    fn rows(&self) -> Result<Vec<(String, Row)>> {
        rows(&*self.kv.view()?)
    }

    pub(crate) fn stat(&self, key: &str) -> Result<(Info, u64)> {
        let row = existing(&*self.kv.view()?, key)?;
        let id = row.id;
        Ok((row.info(key), id))
    }

    pub(crate) fn usage(&self, key: &str) -> Result<(Kind, u64, Usage)> {
        let row = existing(&*self.kv.view()?, key)?;
        Ok((row.kind, row.id, row.usage()))
    }

    /// Kind, number, recorded usage, and the number of the parent.
    pub(crate) fn recorded(&self, key: &str) -> Result<(Kind, u64, Usage, Option<u64>)> {
        let view = self.kv.view()?;
        let row = existing(&*view, key)?;
        let parent = match row.parent.as_str() {
            "" => None,
            parent => Some(existing(&*view, parent)?.id),
        };
        Ok((row.kind, row.id, row.usage(), parent))
    }

    pub(crate) fn walk(&self, filters: &FilterSet) -> Result<Vec<(Info, u64)>> {
        let infos = self.rows()?.into_iter().map(|(key, row)| {
            let id = row.id;
            (row.info(&key), id)
        });
        Ok(infos.filter(|(info, _)| filters.matches(info)).collect())
    }

    pub(crate) fn chain(&self, key: &str) -> Result<(Chain, Labels)> {
        let view = self.kv.view()?;
        let row = existing(&*view, key)?;
        if row.kind == Kind::Committed {
            return Err(Error::precondition(format!("requested snapshot {key} not active or view")));
        }
        let parents = if row.parent.is_empty() { Vec::new() } else { parents(&*view, &row.parent)? };
        Ok((Chain { kind: row.kind, id: row.id, parents }, row.labels))
    }

    /// Whether a snapshot can be made; its parents, the nearest first.
    pub(crate) fn check_create(&self, key: &str, parent: &str) -> Result<Vec<u64>> {
        check_create(&*self.kv.view()?, key, parent)
    }

    pub(crate) async fn create(
        &self,
        chain: &Chain,
        key: &str,
        parent: &str,
        labels: Labels,
        now: SystemTime,
    ) -> Result<()> {
        let (chain, key, now) = (chain.clone(), key.to_owned(), nanos(now));
        let parent = parent.to_owned();
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                check_create(tx, &key, &parent)?;
                if let Some(nearest) = chain.parents.first() {
                    tx.put(CHILDREN, &child(*nearest, chain.id), b"")?;
                }
                let row = Row {
                    id: chain.id,
                    kind: chain.kind,
                    parent,
                    labels,
                    created: now,
                    updated: now,
                    size: 0,
                    inodes: 0,
                };
                put(tx, &key, &row)
            })
            .await
    }

    /// Whether `key` can be committed as `name`: what is refused in the end is refused before any work.
    pub(crate) fn check_commit(&self, name: &str, key: &str) -> Result<Chain> {
        let view = self.kv.view()?;
        let row = existing(&*view, key)?;
        if row.kind != Kind::Active {
            return Err(Error::precondition(format!("snapshot {key:?} is not active")));
        }
        if view.contains(SNAPSHOTS, name.as_bytes())? {
            return Err(committed_already(name));
        }
        let parents = if row.parent.is_empty() { Vec::new() } else { parents(&*view, &row.parent)? };
        Ok(Chain { kind: row.kind, id: row.id, parents })
    }

    pub(crate) async fn commit(
        &self,
        name: &str,
        key: &str,
        options: CommitOptions,
        usage: Usage,
        boot: &str,
    ) -> Result<()> {
        let (name, key, now) = (name.to_owned(), key.to_owned(), nanos(SystemTime::now()));
        let boot = boot.as_bytes().to_vec();
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                if tx.contains(SNAPSHOTS, name.as_bytes())? {
                    return Err(committed_already(&name));
                }
                let mut row = existing(tx, &key)?;
                if row.kind != Kind::Active {
                    return Err(Error::precondition(format!("snapshot {key:?} is not active")));
                }
                rebase(tx, &mut row, &key, options.parent)?;
                row.kind = Kind::Committed;
                row.labels = options.labels;
                (row.created, row.updated) = (now, now);
                (row.size, row.inodes) = (usage.size, usage.inodes);
                tx.delete(SNAPSHOTS, key.as_bytes())?;
                tx.put(UNSYNCED, &row.id.to_be_bytes(), &boot)?;
                put(tx, &name, &row)
            })
            .await
    }

    /// Removes a record; its number and kind.
    pub(crate) async fn remove(&self, key: &str) -> Result<(u64, Kind)> {
        let key = key.to_owned();
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                let row = existing(tx, &key)?;
                if !remove_leaf(tx, &key, &row)? {
                    return Err(Error::precondition("cannot remove snapshot with child"));
                }
                Ok((row.id, row.kind))
            })
            .await
    }

    pub(crate) async fn update(&self, info: Info, mask: Vec<String>) -> Result<(Info, u64)> {
        let now = nanos(SystemTime::now());
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                let mut row = existing(tx, &info.name)?;
                update_labels(&mut row.labels, &info, &mask)?;
                row.updated = now;
                put(tx, &info.name, &row)?;
                let id = row.id;
                Ok((row.info(&info.name), id))
            })
            .await
    }
}

/// Removes a record that has no children; whether it had none.
pub(super) fn remove_leaf(tx: &mut Tx<'_>, key: &str, row: &Row) -> Result<bool> {
    if tx.any(CHILDREN, &row.id.to_be_bytes())? {
        return Ok(false);
    }
    if !row.parent.is_empty() {
        let parent = existing(tx, &row.parent)?;
        tx.delete(CHILDREN, &child(parent.id, row.id))?;
    }
    tx.delete(SNAPSHOTS, key.as_bytes())?;
    tx.delete(UNSYNCED, &row.id.to_be_bytes())?;
    Ok(true)
}

/// Every record.
pub(super) fn rows(read: &dyn Read) -> Result<Vec<(String, Row)>> {
    let mut raw = Vec::new();
    read.scan(SNAPSHOTS, b"", &mut |key, value| {
        raw.push((String::from_utf8_lossy(key).into_owned(), value.to_vec()));
        Ok(ControlFlow::Continue(()))
    })?;
    raw.into_iter()
        .map(|(key, value)| {
            let row = Row::decode(&key, &value)?;
            Ok((key, row))
        })
        .collect()
}

/// Carries out an update mask on labels; any other field is refused.
pub(crate) fn update_labels(labels: &mut Labels, info: &Info, mask: &[String]) -> Result<()> {
    let mask = parse_mask(mask);
    if let Some(path) = mask.unknown(&[], &["labels"]) {
        return Err(Error::invalid(format!("cannot update {path:?} field on snapshot {:?}", info.name)));
    }
    mask.apply_labels(labels, &info.labels);
    Ok(())
}

fn rebase(tx: &mut Tx<'_>, row: &mut Row, key: &str, onto: String) -> Result<()> {
    if onto.is_empty() || onto == row.parent {
        // The parent that it has must still be what it was: children keep it from going.
        return Ok(());
    }
    if !row.parent.is_empty() {
        return Err(Error::invalid(format!("cannot change parent of active snapshot {key:?} on commit")));
    }
    let Some(parent) = find(tx, &onto)? else {
        let message = format!("missing parent {onto:?} of snapshot {key:?}");
        return Err(Error::refused(base::ErrorKind::NotFound, message));
    };
    if parent.kind != Kind::Committed {
        return Err(Error::precondition(format!("parent {onto:?} is not committed")));
    }
    tx.put(CHILDREN, &child(parent.id, row.id), b"")?;
    row.parent = onto;
    Ok(())
}

fn check_create(read: &dyn Read, key: &str, parent: &str) -> Result<Vec<u64>> {
    let mut chain = Vec::new();
    if !parent.is_empty() {
        let Some(row) = find(read, parent)? else {
            return Err(Error::refused(
                base::ErrorKind::NotFound,
                format!("missing parent {parent:?} bucket"),
            ));
        };
        if row.kind != Kind::Committed {
            return Err(Error::invalid(format!("parent {parent:?} is not committed snapshot")));
        }
        chain = parents(read, parent)?;
    }
    if read.contains(SNAPSHOTS, key.as_bytes())? {
        return Err(Error::exists(key));
    }
    Ok(chain)
}

/// Numbers of `name` and its parents.
fn parents(read: &dyn Read, name: &str) -> Result<Vec<u64>> {
    let mut ids = Vec::new();
    let mut name = name.to_owned();
    while !name.is_empty() {
        let row = existing(read, &name)?;
        ids.push(row.id);
        name = row.parent;
    }
    Ok(ids)
}

fn committed_already(name: &str) -> Error {
    Error::refused(base::ErrorKind::AlreadyExists, format!("committed snapshot {name}"))
}

fn existing(read: &dyn Read, key: &str) -> Result<Row> {
    find(read, key)?.ok_or_else(|| Error::not_found(key))
}

fn find(read: &dyn Read, key: &str) -> Result<Option<Row>> {
    match read.get(SNAPSHOTS, key.as_bytes())? {
        Some(bytes) => Row::decode(key, &bytes).map(Some),
        None => Ok(None),
    }
}

fn put(tx: &mut Tx<'_>, key: &str, row: &Row) -> Result<()> {
    tx.put(SNAPSHOTS, key.as_bytes(), &row.encode()?)?;
    Ok(())
}

fn child(parent: u64, child: u64) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&parent.to_be_bytes());
    key[8..].copy_from_slice(&child.to_be_bytes());
    key
}
