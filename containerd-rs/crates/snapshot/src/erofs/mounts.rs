//! The mounts of an EROFS snapshot.

use std::path::Path;

use base::{ErrorKind, Labels, Mount};

use super::{DmVerity, Settings, image, mapping, verity, writable};
use crate::backend::{Backend, Chain};
use crate::error::{Error, Result};
use crate::info::Kind;

/// Images of the parents, the nearest first, then what lays them over each other. Without parents: what is written to, alone.
pub(super) fn of(
    backend: &Backend,
    settings: &Settings,
    chain: &Chain,
    labels: &Labels,
) -> Result<Vec<Mount>> {
    let directory = backend.directory(chain.id);
    match (chain.kind, chain.parents.as_slice()) {
        (Kind::View, []) => Ok(vec![bind(&directory, "ro")]),
        (_, []) if settings.options.default_size > 0 => Ok(block(settings, &directory)),
        (_, []) => Ok(vec![bind(&directory, "rw")]),
        (Kind::View, [only]) => Ok(vec![layer(settings, &backend.directory(*only))?]),
        _ => overlay(backend, settings, chain, labels),
    }
}

fn bind(directory: &Path, flag: &str) -> Mount {
    Mount::new("bind", text(&directory.join("fs")), vec![flag.into(), "rbind".into()])
}

/// A file system in a file, and the directory in it that is the snapshot.
fn block(settings: &Settings, directory: &Path) -> Vec<Mount> {
    let options = ["X-containerd.mkdir.path={{ mount 0 }}/upper:0755", "rw", "rbind"];
    let upper = Mount::new("format/mkdir/bind", "{{ mount 0 }}/upper", options.map(str::to_owned).into());
    vec![writable_image(settings, directory), upper]
}

fn writable_image(settings: &Settings, directory: &Path) -> Mount {
    let size = format!("X-containerd.mkfs.size={}", settings.options.default_size);
    let options = vec!["X-containerd.mkfs.fs=ext4".into(), size, "rw".into(), "loop".into()];
    Mount::new("mkfs/ext4", text(&writable(directory)), options)
}

fn overlay(backend: &Backend, settings: &Settings, chain: &Chain, labels: &Labels) -> Result<Vec<Mount>> {
    let mut mounts = Vec::with_capacity(chain.parents.len() + 2);
    let mut options = Vec::new();
    let directory = backend.directory(chain.id);
    let is_writable = chain.kind == Kind::Active;
    if is_writable && settings.options.default_size > 0 {
        mounts.push(writable_image(settings, &directory));
        options.extend([
            "X-containerd.mkdir.path={{ mount 0 }}/upper:0755".to_owned(),
            "X-containerd.mkdir.path={{ mount 0 }}/work:0755".to_owned(),
            "workdir={{ mount 0 }}/work".to_owned(),
            "upperdir={{ mount 0 }}/upper".to_owned(),
        ]);
    } else if is_writable {
        options.push(format!("workdir={}", text(&directory.join("work"))));
        options.push(format!("upperdir={}", text(&directory.join("fs"))));
    }
    let first = mounts.len();
    for (index, parent) in chain.parents.iter().enumerate() {
        if let Some(merged) = merged(backend, &chain.parents[index..]) {
            // It shows all that is below it, too.
            mounts.push(merged);
            break;
        }
        mounts.push(layer(settings, &backend.directory(*parent))?);
    }
    options.extend(mapping(settings, labels));
    let last = mounts.len() - 1;
    if first == last && !is_writable {
        // An overlay of one thing alone is refused by the kernel.
        options.extend(["ro".into(), "rbind".into()]);
        mounts.push(Mount::new("format/bind", format!("{{{{ mount {first} }}}}"), options));
        return Ok(mounts);
    }
    options.push(match first == last {
        true => format!("lowerdir={{{{ mount {first} }}}}"),
        false => format!("lowerdir={{{{ overlay {first} {last} }}}}"),
    });
    options.extend(settings.options.ovl_mount_options.iter().cloned());
    mounts.push(Mount::new("format/mkdir/overlay", "overlay", options));
    Ok(mounts)
}

/// The image of a committed snapshot.
fn layer(settings: &Settings, directory: &Path) -> Result<Mount> {
    let image = image(directory);
    let there = image.try_exists().map_err(|e| Error::io("stat", &image, e))?;
    if !there {
        let message = format!("failed to find valid erofs layer blob: {}", image.display());
        return Err(Error::refused(ErrorKind::Unknown, message));
    }
    if settings.options.enable_fsverity && !sys::verity::is_enabled(&image)? {
        let message = format!("fsverity is not enabled on {}", image.display());
        return Err(Error::refused(ErrorKind::Unknown, message));
    }
    let mut options: Vec<String> = vec!["ro".into(), "loop".into()];
    options.extend(verity_option(settings, &image)?);
    Ok(Mount::new("erofs", text(&image), options))
}

fn verity_option(settings: &Settings, image: &Path) -> Result<Option<String>> {
    if settings.options.dmverity_mode == DmVerity::Off {
        return Ok(None);
    }
    let metadata = verity::metadata(image);
    match metadata.try_exists().map_err(|e| Error::io("failed to access dm-verity metadata", &metadata, e))? {
        true => Ok(Some(format!("X-containerd.dmverity={}", text(&metadata)))),
        false if settings.options.dmverity_mode == DmVerity::On => {
            let message = format!(
                "dm-verity mode is 'on' but .dmverity metadata not found for layer {}: it was made before \
                 dm-verity was enabled; pull the image again, or set dmverity_mode to 'auto'",
                image.display()
            );
            Err(Error::refused(ErrorKind::Unknown, message))
        }
        false => Ok(None),
    }
}

/// A thin image over those of these snapshots, the nearest first, when somebody has made one.
fn merged(backend: &Backend, parents: &[u64]) -> Option<Mount> {
    let nearest = backend.directory(*parents.first()?).join("fsmeta.erofs");
    std::fs::metadata(&nearest).ok().filter(|meta| meta.len() > 0)?;
    let mut options: Vec<String> = vec!["ro".into(), "loop".into()];
    let devices = parents.iter().rev().map(|id| format!("device={}", text(&image(&backend.directory(*id)))));
    options.extend(devices);
    Some(Mount::new("erofs", text(&nearest), options))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}
