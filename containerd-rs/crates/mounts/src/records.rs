//! The records of activations: `mounts.db`, keys `<namespace>/<name>`.

use std::ops::ControlFlow;
use std::path::Path;

use base::{ErrorKind, Labels, Mount};
use serde::{Deserialize, Serialize};
use store::kv::{Kv, KvOptions, Read, Table, Tx};

use crate::activation::{Activation, Active, Time};
use crate::error::{Error, Result};

const MOUNTS: Table = Table::new(0, "mounts");
static TABLES: [Table; 1] = [MOUNTS];

/// Records are few and small.
const CACHE_BYTES: usize = 1 << 20;

/// One activation.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Row {
    /// Names its directory.
    pub(crate) id: u64,
    pub(crate) created: Time,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lease: Option<String>,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    pub(crate) labels: Labels,
    pub(crate) active: Vec<Active>,
    pub(crate) system: Vec<Mount>,
}

impl Row {
    pub(crate) fn activation(self, name: &str) -> Activation {
        Activation { name: name.to_owned(), active: self.active, system: self.system, labels: self.labels }
    }
}

/// A record with where it is.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) row: Row,
}

#[derive(Clone)]
pub(crate) struct Records {
    kv: Kv,
}

impl Records {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let options = KvOptions { cache_bytes: CACHE_BYTES, ..KvOptions::default() };
        Ok(Records { kv: Kv::open(path, &TABLES, options)? })
    }

    pub(crate) fn get(&self, namespace: &str, name: &str) -> Result<Option<Row>> {
        find(&*self.kv.view()?, &key(namespace, name))
    }

    /// Those of a namespace; all of them when it is empty.
    pub(crate) fn list(&self, namespace: &str) -> Result<Vec<Record>> {
        let prefix = if namespace.is_empty() { Vec::new() } else { key(namespace, "") };
        let mut raw = Vec::new();
        self.kv.view()?.scan(MOUNTS, &prefix, &mut |key, value| {
            raw.push((key.to_vec(), value.to_vec()));
            Ok(ControlFlow::Continue(()))
        })?;
        raw.into_iter().map(|(key, value)| record(&key, &value)).collect()
    }

    pub(crate) async fn put(&self, namespace: &str, name: &str, row: Row) -> Result<()> {
        let key = key(namespace, name);
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                let bytes = serde_json::to_vec(&row).map_err(|e| {
                    Error::refused(ErrorKind::Internal, format!("encode record of a mount: {e}"))
                })?;
                tx.put(MOUNTS, &key, &bytes)?;
                Ok(())
            })
            .await
    }

    /// Removes the record; none when there is none, or when it is not the one with this number.
    pub(crate) async fn remove(&self, namespace: &str, name: &str, id: Option<u64>) -> Result<Option<Row>> {
        let key = key(namespace, name);
        self.kv
            .write(move |tx: &mut Tx<'_>| {
                let found = find(&*tx, &key)?.filter(|row| id.is_none_or(|id| id == row.id));
                if found.is_some() {
                    tx.delete(MOUNTS, &key)?;
                }
                Ok(found)
            })
            .await
    }
}

/// Namespaces have no slash in them.
fn key(namespace: &str, name: &str) -> Vec<u8> {
    format!("{namespace}/{name}").into_bytes()
}

fn find(read: &dyn Read, key: &[u8]) -> Result<Option<Row>> {
    match read.get(MOUNTS, key)? {
        Some(bytes) => record(key, &bytes).map(|r| Some(r.row)),
        None => Ok(None),
    }
}

fn record(key: &[u8], value: &[u8]) -> Result<Record> {
    let key = String::from_utf8_lossy(key);
    let (namespace, name) = key.split_once('/').unwrap_or(("", &key));
    let row = serde_json::from_slice(value).map_err(|e| {
        Error::refused(ErrorKind::DataLoss, format!("record of mount {name:?} is damaged: {e}"))
    })?;
    Ok(Record { namespace: namespace.to_owned(), name: name.to_owned(), row })
}
