//! Between wire messages and our own types.

use std::time::SystemTime;

use base::{Digest, Mount};
use prost_types::{FieldMask, Timestamp};
use protos::api;

pub(crate) fn time(stamp: Option<Timestamp>) -> SystemTime {
    let stamp = stamp.unwrap_or_default();
    base::timestamp::from_parts(stamp.seconds, stamp.nanos).unwrap_or(SystemTime::UNIX_EPOCH)
}

pub(crate) fn mask(paths: &[String]) -> Option<FieldMask> {
    (!paths.is_empty()).then(|| FieldMask { paths: paths.to_vec() })
}

pub(crate) fn mounts_in(mounts: Vec<api::types::Mount>) -> Vec<Mount> {
    let one = |m: api::types::Mount| Mount {
        fstype: m.r#type,
        source: m.source,
        target: m.target,
        options: m.options,
    };
    mounts.into_iter().map(one).collect()
}

pub(crate) fn mounts_out(mounts: &[Mount]) -> Vec<api::types::Mount> {
    let one = |m: &Mount| api::types::Mount {
        r#type: m.fstype.clone(),
        source: m.source.clone(),
        target: m.target.clone(),
        options: m.options.clone(),
    };
    mounts.iter().map(one).collect()
}

pub(crate) fn descriptor_out(d: &base::Descriptor) -> api::types::Descriptor {
    api::types::Descriptor {
        media_type: d.media_type.clone(),
        digest: d.digest.to_string(),
        size: d.size,
        annotations: d.annotations.clone(),
    }
}

/// A descriptor from another process; `Err` says what is wrong with it.
pub(crate) fn descriptor_in(d: Option<api::types::Descriptor>) -> Result<base::Descriptor, String> {
    let d = d.ok_or("the answer has no descriptor")?;
    let digest = Digest::parse(&d.digest).map_err(|e| base::chain(&e))?;
    let mut out = base::Descriptor::new(d.media_type, digest, d.size);
    out.annotations = d.annotations;
    Ok(out)
}
