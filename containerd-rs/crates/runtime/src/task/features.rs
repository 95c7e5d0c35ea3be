//! Runtimes ignore what they do not know; id-mapped mounts that are ignored would open files to the wrong users.

use std::path::Path;

use base::any::type_url;
use serde::Deserialize;

use crate::binary;
use crate::error::Error;
use crate::model::CreateTask;

#[derive(Deserialize)]
struct Spec {
    #[serde(default)]
    mounts: Option<Vec<SpecMount>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SpecMount {
    #[serde(default)]
    options: Option<Vec<String>>,
    uid_mappings: Option<serde_json::Value>,
    gid_mappings: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Features {
    linux: Option<LinuxFeatures>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LinuxFeatures {
    mount_extensions: Option<MountExtensions>,
}

#[derive(Deserialize)]
struct MountExtensions {
    idmap: Option<IdMap>,
}

#[derive(Deserialize)]
struct IdMap {
    enabled: Option<bool>,
}

/// Refuses a spec with id-mapped mounts when the runtime says that it cannot make them. Other specs cost one scan.
pub(super) async fn check(program: &Path, request: &CreateTask) -> Result<(), Error> {
    let Some(spec) = request.spec.as_ref().filter(|spec| spec.type_url == type_url::SPEC) else {
        return Ok(());
    };
    if !uses_id_mapped_mounts(&spec.value).map_err(Error::Spec)? {
        return Ok(());
    }
    let info = binary::info(program, request.options.as_ref()).await?;
    match info.features {
        Some(features) if features.type_url == type_url::FEATURES => judge(&features.value),
        // Runtimes that tell no features are left alone.
        _ => Ok(()),
    }
}

fn uses_id_mapped_mounts(spec: &[u8]) -> Result<bool, serde_json::Error> {
    let spec: Spec = serde_json::from_slice(spec)?;
    let mapped = |mount: &SpecMount| {
        let options = mount.options.iter().flatten();
        let mut options = options.map(String::as_str);
        mount.uid_mappings.is_some()
            || mount.gid_mappings.is_some()
            || options.any(|o| o == "idmap" || o == "ridmap")
    };
    Ok(spec.mounts.iter().flatten().any(mapped))
}

fn judge(features: &[u8]) -> Result<(), Error> {
    let features: Features = serde_json::from_slice(features).map_err(Error::Spec)?;
    let idmap = features.linux.and_then(|l| l.mount_extensions).and_then(|m| m.idmap);
    let reason = match idmap {
        None => "missing `mountExtensions.idmap` entry in `features` command",
        Some(IdMap { enabled: Some(true) }) => return Ok(()),
        Some(_) => "entry `mountExtensions.idmap.Enabled` in `features` command not present or disabled",
    };
    Err(Error::IdMapped { reason: reason.to_owned() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_id_mapped_mounts_need_the_feature() {
        for (spec, wants) in [
            (r#"{"mounts":[{"destination":"/proc","options":["nosuid"]}]}"#, false),
            (r#"{"mounts":null}"#, false),
            (r#"{}"#, false),
            (r#"{"mounts":[{"options":["rbind","ridmap"]}]}"#, true),
            (r#"{"mounts":[{"uidMappings":[{"containerID":0,"hostID":1,"size":1}]}]}"#, true),
        ] {
            assert_eq!(uses_id_mapped_mounts(spec.as_bytes()).unwrap(), wants, "{spec}");
        }
        let text = |features: &str| judge(features.as_bytes()).map_err(|e| e.to_string());
        assert_eq!(text(r#"{"linux":{"mountExtensions":{"idmap":{"enabled":true}}}}"#), Ok(()));
        assert!(
            text(r#"{"linux":{}}"#)
                .unwrap_err()
                .ends_with("missing `mountExtensions.idmap` entry in `features` command")
        );
        assert!(
            text(r#"{"linux":{"mountExtensions":{"idmap":{}}}}"#)
                .unwrap_err()
                .contains("not present or disabled")
        );
    }
}
