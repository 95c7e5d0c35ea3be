//! Which thin device belongs to which snapshot.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;

use base::ErrorKind;
use serde::{Deserialize, Serialize};
use store::kv::{Kv, KvOptions, Read, Table, Tx};

use crate::error::{Error, Result};

/// Number of the snapshot, big-endian -> [`Device`].
const DEVICES: Table = Table::new(0, "devices");
/// Numbers in the pool that something we do not know has, big-endian -> nothing.
const FAULTY: Table = Table::new(1, "faulty");
static TABLES: [Table; 2] = [DEVICES, FAULTY];

/// Thin devices have numbers of 24 bits.
const MOST: u32 = (1 << 24) - 1;

/// A thin device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Device {
    /// Its number in the pool.
    pub(super) device: u32,
    /// Type of the file system on it.
    pub(super) fs: String,
    /// Whether it should be active: it is after a reboot only if somebody makes it so.
    pub(super) active: bool,
}

/// The records. Blocking: for threads that may wait, with a runtime around them.
pub(super) struct Devices {
    kv: Kv,
    runtime: tokio::runtime::Handle,
}

impl Devices {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let options = KvOptions { cache_bytes: 1 << 20, ..KvOptions::default() };
        Ok(Devices { kv: Kv::open(path, &TABLES, options)?, runtime: tokio::runtime::Handle::current() })
    }

    pub(super) fn get(&self, id: u64) -> Result<Option<Device>> {
        let found = self.kv.view()?.get(DEVICES, &id.to_be_bytes())?;
        found.map(|bytes| decode(id, &bytes)).transpose()
    }

    pub(super) fn all(&self) -> Result<Vec<(u64, Device)>> {
        all(&*self.kv.view()?)
    }

    /// Gives a snapshot a number in the pool that nothing has.
    pub(super) fn add(&self, id: u64, fs: &str) -> Result<Device> {
        let fs = fs.to_owned();
        self.write(move |tx| {
            let device = Device { device: free(tx)?, fs, active: false };
            tx.put(DEVICES, &id.to_be_bytes(), &encode(&device)?)?;
            Ok(device)
        })
    }

    pub(super) fn set_active(&self, id: u64, active: bool) -> Result<()> {
        self.write(move |tx| {
            let Some(bytes) = tx.get(DEVICES, &id.to_be_bytes())? else { return Ok(()) };
            let device = Device { active, ..decode(id, &bytes)? };
            tx.put(DEVICES, &id.to_be_bytes(), &encode(&device)?)?;
            Ok(())
        })
    }

    pub(super) fn remove(&self, id: u64) -> Result<()> {
        self.write(move |tx| {
            tx.delete(DEVICES, &id.to_be_bytes())?;
            Ok(())
        })
    }

    /// Somebody else has this number: it is never given out again.
    pub(super) fn avoid(&self, id: u64, device: u32) -> Result<()> {
        self.write(move |tx| {
            tx.delete(DEVICES, &id.to_be_bytes())?;
            tx.put(FAULTY, &device.to_be_bytes(), b"")?;
            Ok(())
        })
    }

    fn write<T: Send + 'static>(
        &self,
        change: impl FnOnce(&mut Tx<'_>) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.runtime.block_on(self.kv.write(change))
    }
}

/// The lowest number that nothing has.
fn free(tx: &Tx<'_>) -> Result<u32> {
    let mut taken: HashSet<u32> = all(tx)?.into_iter().map(|(_, device)| device.device).collect();
    tx.scan(FAULTY, b"", &mut |key, _| {
        taken.extend(key.first_chunk().map(|bytes| u32::from_be_bytes(*bytes)));
        Ok(ControlFlow::Continue(()))
    })?;
    let free = (1..=MOST).find(|number| !taken.contains(number));
    free.ok_or_else(|| Error::refused(ErrorKind::ResourceExhausted, "every device id of the pool is taken"))
}

fn all(read: &dyn Read) -> Result<Vec<(u64, Device)>> {
    let mut raw = Vec::new();
    read.scan(DEVICES, b"", &mut |key, value| {
        raw.extend(key.first_chunk().map(|bytes| (u64::from_be_bytes(*bytes), value.to_vec())));
        Ok(ControlFlow::Continue(()))
    })?;
    raw.into_iter().map(|(id, value)| Ok((id, decode(id, &value)?))).collect()
}

fn decode(id: u64, bytes: &[u8]) -> Result<Device> {
    serde_json::from_slice(bytes)
        .map_err(|e| Error::refused(ErrorKind::DataLoss, format!("record of device {id} is damaged: {e}")))
}

fn encode(device: &Device) -> Result<Vec<u8>> {
    serde_json::to_vec(device)
        .map_err(|e| Error::refused(ErrorKind::Internal, format!("encode record of a device: {e}")))
}
