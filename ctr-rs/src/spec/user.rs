//! Whom the process runs as: numbers for what an image or a flag calls a user.

use base::user::{UserSpec, Who};

use super::model::User;
use super::rootfs::{Rootfs, UserFiles, user_files};
use crate::error::{Error, Result};

/// Looks up `USER` in the container's files: uid, gid and supplementary groups, the primary one first.
pub fn resolve(text: &str, rootfs: Rootfs<'_>) -> Result<User> {
    let spec = UserSpec::parse(text).map_err(|e| Error::refused("user cannot be used", e))?;
    let files = match user_files(rootfs) {
        Ok(files) => files,
        // with two numbers only the supplementary groups are missed
        Err(_) if spec.is_numeric() => UserFiles::default(),
        Err(e) => return Err(e),
    };
    in_files(&spec, &files)
}

/// The user of an image that names none: root, with root's groups.
pub fn root(rootfs: Rootfs<'_>) -> Result<User> {
    resolve("0:0", rootfs)
}

fn in_files(spec: &UserSpec, files: &UserFiles) -> Result<User> {
    let ids = spec
        .resolve(&files.passwd, &files.group)
        .map_err(|e| Error::refused(format!("user {spec} is not in the container"), e))?;
    // root has its groups even when the image has no passwd file
    let known = match spec.user {
        Who::Id(0) if files.passwd.is_empty() => UserSpec { user: Who::Name("root".into()), group: None },
        _ => spec.clone(),
    };
    let mut gids = known.additional_gids(&files.passwd, &files.group);
    if !gids.contains(&ids.gid) {
        gids.insert(0, ids.gid);
    }
    Ok(User { uid: ids.uid, gid: ids.gid, additional_gids: gids, ..User::default() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn look(text: &str) -> Result<User> {
        let files = UserFiles {
            passwd: b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n".to_vec(),
            group: b"root:x:0:\nwheel:x:10:root,web\nweb:x:33:\nlog:x:44:web\n".to_vec(),
        };
        in_files(&UserSpec::parse(text).unwrap(), &files)
    }

    #[test]
    fn names_and_numbers() {
        let user = look("web").unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids), (33, 33, vec![33, 10, 44]));
        let user = look("web:log").unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids), (33, 44, vec![10, 44]));
        let user = look("1234").unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids), (1234, 0, vec![0]));
        let user = look("0").unwrap();
        assert_eq!((user.uid, user.gid, user.additional_gids), (0, 0, vec![0, 10]));
    }

    #[test]
    fn a_name_that_is_not_there_is_an_error() {
        let text = base::chain(&look("nobody").unwrap_err());
        assert_eq!(text, "user nobody is not in the container: no users found");
    }
}
