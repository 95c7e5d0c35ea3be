//! The devices of one pool.

use std::time::Duration;

use base::labels::snapshot as label;
use base::{ErrorKind, Labels, Mount};
use rustix::io::Errno;

use super::DevmapperOptions;
use super::dmsetup::{Dmsetup, is_errno};
use super::ids::{Device, Devices};
use crate::backend::Chain;
use crate::error::{Error, Result};
use crate::info::{Kind, Usage};
use crate::volume::{Found, Storage};

/// Longest that making a file system, or discarding one, may take.
const LIMIT: Duration = Duration::from_secs(600);
/// What is set for ext4 unless the operator says otherwise.
const EXT4_OPTIONS: &str = "nodiscard,lazy_itable_init=0,lazy_journal_init=0";
/// How often a device number is tried that turns out to be taken.
const TRIES: usize = 16;

pub(super) struct Pool {
    pub(super) dmsetup: Dmsetup,
    pub(super) devices: Devices,
    pub(super) options: DevmapperOptions,
}

impl Pool {
    fn name(&self, id: u64) -> String {
        format!("{}-snap-{id}", self.options.pool_name)
    }

    fn device(&self, id: u64) -> Result<Device> {
        let missing = || Error::refused(ErrorKind::NotFound, format!("device of snapshot {id} is not known"));
        self.devices.get(id)?.ok_or_else(missing)
    }

    /// After a reboot no device is active.
    pub(super) fn activate_again(&self) -> Result<()> {
        for (id, device) in self.devices.all()?.into_iter().filter(|(_, device)| device.active) {
            if !self.dmsetup.is_loaded(&self.name(id))? {
                tracing::warn!(device = self.name(id), "thin device is not active, activating it");
                self.activate(id, &device)?;
            }
        }
        Ok(())
    }

    fn activate(&self, id: u64, device: &Device) -> Result<()> {
        let (pool, size) = (&self.options.pool_name, self.options.base_image_size);
        self.dmsetup.activate(pool, &self.name(id), device.device, size)
    }

    /// A number, and the device under it. A number that somebody else has is set aside.
    fn allocate(&self, id: u64, fs: &str, make: impl Fn(u32) -> Result<()>) -> Result<Device> {
        for _ in 0..TRIES {
            let device = self.devices.add(id, fs)?;
            match make(device.device) {
                Ok(()) => return Ok(device),
                Err(e) if is_errno(&e, Errno::EXIST) => {
                    tracing::warn!(
                        pool = self.options.pool_name,
                        device = device.device,
                        "device id is faulty"
                    );
                    self.devices.avoid(id, device.device)?;
                }
                Err(e) => return Err(e.during("failed to create thin device")),
            }
        }
        let message = format!("{TRIES} device ids of the pool were taken by others");
        Err(Error::refused(ErrorKind::ResourceExhausted, message))
    }

    /// The parent must not be written to while it is snapped.
    fn snap(&self, parent: u64, device: u32) -> Result<()> {
        let (origin, name) = (self.device(parent)?.device, self.name(parent));
        let active = self.dmsetup.is_loaded(&name)?;
        if active {
            self.dmsetup.suspend(&name)?;
        }
        let snapped = self.dmsetup.create_snap(&self.options.pool_name, device, origin);
        if active {
            self.dmsetup.resume(&name)?;
        }
        snapped
    }

    fn make_file_system(&self, id: u64) -> Result<()> {
        let fs = &self.options.fs_type;
        let path = self.dmsetup.path(&self.name(id));
        let options = match (fs.as_str(), self.options.fs_options.as_str()) {
            ("ext4", "") => EXT4_OPTIONS,
            (_, options) => options,
        };
        let mut arguments = Vec::new();
        if fs != "xfs" && !options.is_empty() {
            arguments.extend(["-E", options]);
        }
        arguments.push(&path);
        sys::program::run(&format!("mkfs.{fs}"), &arguments, LIMIT)
            .map_err(|e| Error::from(e).during(format!("couldn't initialize {path:?}")))?;
        self.remove_lost_and_found(fs, &path)
    }

    /// No image expects that directory.
    fn remove_lost_and_found(&self, fs: &str, path: &str) -> Result<()> {
        let mounted = sys::mount::TempMount::new(&[Mount::new(fs, path, Vec::new())], &std::env::temp_dir())?;
        match std::fs::remove_dir(mounted.path().join("lost+found")) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path, error = %e, "failed to remove lost+found");
            }
            _ => {}
        }
        Ok(mounted.close()?)
    }

    fn discard(&self, name: &str) {
        let path = self.dmsetup.path(name);
        if let Err(e) = sys::program::run("blkdiscard", &[&path], LIMIT) {
            tracing::warn!(name, error = %base::chain(&e), "blocks are not discarded");
        }
    }
}

impl Storage for Pool {
    fn create(&self, chain: &Chain, _: &Labels) -> Result<()> {
        let (id, pool) = (chain.id, &self.options.pool_name);
        let Some(parent) = chain.parents.first() else {
            let fs = &self.options.fs_type;
            let device = self.allocate(id, fs, |device| self.dmsetup.create_thin(pool, device))?;
            self.activate(id, &device)?;
            self.devices.set_active(id, true)?;
            return self.make_file_system(id);
        };
        let fs = self.device(*parent)?.fs;
        let device = self.allocate(id, &fs, |device| self.snap(*parent, device))?;
        self.activate(id, &device)?;
        self.devices.set_active(id, true)
    }

    fn mounts(&self, chain: &Chain, _: &Labels) -> Result<Vec<Mount>> {
        let fs = self.device(chain.id)?.fs;
        let mut options = Vec::new();
        if fs == "xfs" {
            // The copy has the id of what it was copied from.
            options.push("nouuid".to_owned());
        }
        if chain.kind != Kind::Active {
            options.push("ro".to_owned());
        }
        Ok(vec![Mount::new(fs, self.dmsetup.path(&self.name(chain.id)), options)])
    }

    fn usage(&self, id: u64, _: Option<u64>) -> Result<Usage> {
        let size = self.dmsetup.mapped(&self.name(id))?;
        Ok(Usage { size: i64::try_from(size).unwrap_or(i64::MAX), inodes: 0 })
    }

    /// What is on its way to the device must be on it. A suspended one would hold up whoever still writes.
    fn seal(&self, id: u64) -> Result<()> {
        let name = self.name(id);
        self.dmsetup.suspend(&name)?;
        self.dmsetup.resume(&name)
    }

    fn sealed(&self, id: u64) -> Result<()> {
        self.devices.set_active(id, false)?;
        self.dmsetup.deactivate(&self.name(id), true)
    }

    fn remove(&self, id: u64, _: Option<Kind>) -> Result<()> {
        let Some(device) = self.devices.get(id)? else { return Ok(()) };
        let name = self.name(id);
        if self.dmsetup.is_loaded(&name)? {
            if self.options.discard_blocks {
                self.discard(&name);
            }
            self.dmsetup.deactivate(&name, false)?;
        }
        self.dmsetup.delete(&self.options.pool_name, device.device)?;
        self.devices.remove(id)
    }

    fn found(&self) -> Result<Vec<Found>> {
        Ok(self.devices.all()?.into_iter().map(|(id, _)| Found { id, kind: None }).collect())
    }

    fn labels(&self, id: u64) -> Labels {
        let device = self.devices.get(id).ok().flatten();
        device.map(|device| (label::DEVMAPPER_FSTYPE.to_owned(), device.fs)).into_iter().collect()
    }
}
