//! A plan carried out in a directory, and undone.
//!
//! `t/<id>/<n>` is the mount point of a mount, `t/<id>/<n>-type` its type. The last mount has the lowest number: going through them
//! in order takes everything away backwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::{ErrorKind, Mount};

use crate::activation::{Active, Time};
use crate::error::{Error, Result};
use crate::handler::Handlers;
use crate::plan::Plan;
use crate::transform::Roots;

/// More mounts than any image has layers.
const MOST: usize = 4096;

/// What came of it.
pub(crate) struct Performed {
    pub(crate) active: Vec<Active>,
    pub(crate) system: Vec<Mount>,
}

/// Makes `directory` and everything in it. After a failure the caller undoes.
pub(crate) fn perform(
    plan: &Plan,
    mounts: &[Mount],
    temporary: bool,
    directory: &Path,
    roots: &Roots,
    handlers: Handlers,
) -> Result<Performed> {
    if plan.first_system > MOST {
        let message = format!("{} mounts are more than the {MOST} that can be active", plan.first_system);
        return Err(Error::refused(ErrorKind::ResourceExhausted, message));
    }
    make_directory(directory)?;
    let mut active: Vec<Active> = Vec::with_capacity(plan.first_system);
    for (index, mount) in mounts.iter().enumerate().take(plan.first_system) {
        let mount = prepared(plan, index, mount, &active, roots)?;
        let point = directory.join(format!("{:04}", plan.first_system - index));
        let note = type_file(&point);
        std::fs::write(&note, &mount.fstype).map_err(|e| Error::io("write", &note, e))?;
        let shown = format!("mount handler failed for {} of type {:?}", mount.source, mount.fstype);
        let made = handlers.of(&mount.fstype).mount(mount, &point).map_err(|e| e.during(shown))?;
        active.push(Active {
            mount: made,
            mounted_at: Time::now(),
            mount_point: point.display().to_string(),
        });
    }
    let mut system: Vec<Mount> = mounts[plan.first_system..].to_vec();
    if let Some(first) = system.first_mut() {
        *first = prepared(plan, plan.first_system, first, &active, roots)?;
    }
    // Whoever asked must have something to mount, unless the last thing is a device.
    if (temporary || system.is_empty())
        && let Some(last) = active.last()
        && handlers.of(&last.mount.fstype).gives_directory()
    {
        system.push(Mount::new("bind", last.mount_point.clone(), vec!["rbind".into()]));
    }
    Ok(Performed { active, system })
}

fn prepared(plan: &Plan, index: usize, mount: &Mount, before: &[Active], roots: &Roots) -> Result<Mount> {
    let step = &plan.steps[index];
    let mut mount = Mount { fstype: step.fstype.clone(), ..mount.clone() };
    for kind in &step.transforms {
        mount = kind.apply(mount, before, roots)?;
    }
    Ok(mount)
}

/// Takes everything in `directory` away, and the directory. Gone already is fine; the first failure is given after all was tried.
pub(crate) fn undo(directory: &Path, handlers: Handlers) -> Result<()> {
    let mut first = Ok(());
    for (point, fstype) in points(directory)? {
        let done = handlers.of(&fstype).unmount(&point).and_then(|()| remove_file(&type_file(&point)));
        first = first.and(done);
    }
    first?;
    match std::fs::remove_dir(directory) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", directory, e)),
        _ => Ok(()),
    }
}

/// Mount points with their types, the last mount first.
fn points(directory: &Path) -> Result<BTreeMap<PathBuf, String>> {
    let failed = |e| Error::io("list", directory, e);
    let entries = match std::fs::read_dir(directory) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        other => other.map_err(failed)?,
    };
    let mut points = BTreeMap::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        if let Some(number) = name.strip_suffix("-type") {
            let fstype = sys::fs::read_text(&path, 256)?;
            points.insert(path.with_file_name(number), fstype);
        } else if path.extension().is_none() {
            points.entry(path).or_default();
        }
    }
    Ok(points)
}

fn type_file(point: &Path) -> PathBuf {
    let mut name = point.file_name().unwrap_or_default().to_owned();
    name.push("-type");
    point.with_file_name(name)
}

fn make_directory(path: &Path) -> Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(path);
    made.map_err(|e| Error::io("create", path, e))
}

fn remove_file(path: &Path) -> Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io("remove", path, e)),
        _ => Ok(()),
    }
}
