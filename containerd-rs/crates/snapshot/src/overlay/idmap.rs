//! Id mapping labels: `ctr:host:size[,ctr:host:size...]`.

use base::Labels;
use base::labels::snapshot as label;

use crate::error::{Error, Result};

/// Host owner that stands for root, when the labels map ids at all.
pub(crate) fn mapped_root(labels: &Labels) -> Result<Option<(u32, u32)>> {
    let (uid, gid) = (labels.get(label::UID_MAPPING), labels.get(label::GID_MAPPING));
    if uid.is_none() && gid.is_none() {
        return Ok(None);
    }
    let host = |text: Option<&String>| -> Result<u32> {
        let text = text.map_or("", String::as_str);
        let ranges: Option<Vec<[u32; 3]>> = text.split(',').map(range).collect();
        let ranges = ranges.ok_or_else(|| Error::invalid(format!("invalid id mapping label {text:?}")))?;
        let covering = ranges.iter().find(|[container, host, size]| {
            *container == 0 && *size > 0 && host.checked_add(size - 1).is_some_and(|last| last != u32::MAX)
        });
        match covering {
            Some([_, host, _]) => Ok(*host),
            None => Err(Error::invalid(format!("container id 0 cannot be mapped to host by {text:?}"))),
        }
    };
    Ok(Some((host(uid)?, host(gid)?)))
}

fn range(text: &str) -> Option<[u32; 3]> {
    let mut parts = text.split(':').map(|p| p.parse().ok());
    match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some(Some(container)), Some(Some(host)), Some(Some(size)), None) => Some([container, host, size]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn root(uid: Option<&str>, gid: Option<&str>) -> Result<Option<(u32, u32)>> {
        let mut labels = Labels::new();
        for (key, value) in [(label::UID_MAPPING, uid), (label::GID_MAPPING, gid)] {
            if let Some(value) = value {
                labels.insert(key.into(), value.into());
            }
        }
        mapped_root(&labels)
    }

    #[test]
    fn labels() {
        assert_eq!(root(None, None).unwrap(), None);
        assert_eq!(root(Some("0:1000:10"), Some("0:2000:10")).unwrap(), Some((1000, 2000)));
        assert_eq!(root(Some("5:9:1,0:1000:10"), Some("0:0:1")).unwrap(), Some((1000, 0)));
        for bad in [
            "",
            "x",
            "0:1",
            "0:1:2:3",
            "-1:0:1",
            "0:1000:0",
            "1:1000:5",
            "0:4294967295:1",
            "0:4294967290:100",
        ] {
            assert!(root(Some(bad), Some("0:0:1")).is_err(), "{bad}");
        }
        assert!(root(Some("0:0:1"), None).is_err());
    }
}
