//! The USER of an image config or a request, and looking it up in the image's own passwd and group files.
//!
//! All of it comes from whoever made the image. So: text that is a number is never taken as a name,
//! however big the number (CVE-2026-46680), numbers outside the range are refused and not cut
//! (CVE-2024-40635), a line with a malformed number is skipped and never read as root, and files are
//! bounded.

use std::fmt;
use std::str::FromStr;

use crate::error::{ErrorKind, Kinded};

/// Largest uid or gid; runc takes no larger.
pub const MAX_ID: u32 = i32::MAX as u32;
/// Most bytes of `etc/passwd` and `etc/group` that a caller should read.
pub const MAX_FILE: u64 = 10 << 20;
/// Longer lines are skipped.
const MAX_LINE: usize = 1 << 20;
/// Most supplementary groups of a process (the kernel's NGROUPS_MAX).
const MAX_GROUPS: usize = 65_536;

/// Why a USER cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UserError {
    /// More than one colon.
    #[error("invalid USER value {0}")]
    Syntax(String),
    /// A number for the user below 0 or above [`MAX_ID`].
    #[error("invalid USER value {0:?}: uid out of range")]
    UidRange(String),
    /// A number for the group below 0 or above [`MAX_ID`].
    #[error("invalid USER value {0:?}: gid out of range")]
    GidRange(String),
    /// The passwd file has no such name.
    #[error("no users found")]
    NoUser,
    /// The group file has no such name.
    #[error("no groups found")]
    NoGroup,
}

impl Kinded for UserError {
    fn kind(&self) -> ErrorKind {
        match self {
            UserError::NoUser | UserError::NoGroup => ErrorKind::NotFound,
            _ => ErrorKind::InvalidArgument,
        }
    }
}

/// A user or group, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// A number in range.
    Id(u32),
    /// A name that is not a number.
    Name(String),
}

/// A parsed USER: `user[:group]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    /// The part before the colon; root when that is empty.
    pub user: Who,
    /// The part after the colon; `None`: no colon. Root when empty.
    pub group: Option<Who>,
}

impl UserSpec {
    /// Reads `uid`, `name`, `uid:gid`, `name:group` and mixtures. Empty: root.
    pub fn parse(s: &str) -> Result<Self, UserError> {
        let mut parts = s.split(':');
        let (user, group) = (parts.next().unwrap_or_default(), parts.next());
        if parts.next().is_some() {
            return Err(UserError::Syntax(s.to_owned()));
        }
        let user = who(user).ok_or_else(|| UserError::UidRange(s.to_owned()))?;
        let group = group.map(|g| who(g).ok_or_else(|| UserError::GidRange(s.to_owned()))).transpose()?;
        Ok(UserSpec { user, group })
    }

    /// Whether uid and gid are both given as numbers, so that no file is needed.
    pub fn is_numeric(&self) -> bool {
        matches!((&self.user, &self.group), (Who::Id(_), Some(Who::Id(_))))
    }

    /// Uid and gid. `passwd` and `group` are the contents of the image's files, empty when it has none.
    ///
    /// Without a group it is that of the passwd line; for a uid without a line it is 0.
    pub fn resolve(&self, passwd: &[u8], group: &[u8]) -> Result<Ids, UserError> {
        let entry = match &self.user {
            Who::Name(name) => Some(users(passwd).find(|u| u.name == *name).ok_or(UserError::NoUser)?),
            // a line is only needed for its group
            Who::Id(uid) if self.group.is_none() => users(passwd).find(|u| u.uid == *uid),
            Who::Id(_) => None,
        };
        let uid = match &self.user {
            Who::Id(uid) => *uid,
            Who::Name(_) => entry.as_ref().map_or(0, |e| e.uid),
        };
        let gid = match &self.group {
            Some(Who::Id(gid)) => *gid,
            Some(Who::Name(name)) => groups(group).find(|g| g.name == *name).ok_or(UserError::NoGroup)?.gid,
            None => entry.as_ref().map_or(0, |e| e.gid),
        };
        Ok(Ids { uid, gid })
    }

    /// Supplementary groups: those that list the user as a member, but for the one with the user's
    /// own name. A uid without a passwd line is in none.
    pub fn additional_gids(&self, passwd: &[u8], group: &[u8]) -> Vec<u32> {
        let name = match &self.user {
            Who::Name(name) => name.clone(),
            Who::Id(uid) => match users(passwd).find(|u| u.uid == *uid) {
                Some(entry) => entry.name.to_owned(),
                None => return Vec::new(),
            },
        };
        let of_user = groups(group).filter(|g| g.name != name && g.has(&name));
        of_user.map(|g| g.gid).take(MAX_GROUPS).collect()
    }
}

impl FromStr for UserSpec {
    type Err = UserError;
    fn from_str(s: &str) -> Result<Self, UserError> {
        UserSpec::parse(s)
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Id(id) => write!(f, "{id}"),
            Who::Name(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for UserSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.group {
            None => write!(f, "{}", self.user),
            Some(group) => write!(f, "{}:{group}", self.user),
        }
    }
}

/// Resolved numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Ids {
    pub uid: u32,
    pub gid: u32,
}

/// `None`: a number out of range. Empty is root.
fn who(s: &str) -> Option<Who> {
    if s.is_empty() {
        return Some(Who::Id(0));
    }
    if !is_number(s) {
        return Some(Who::Name(s.to_owned()));
    }
    id(s).map(Who::Id)
}

fn is_number(s: &str) -> bool {
    let digits = s.strip_prefix(['+', '-']).unwrap_or(s);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn id(s: &str) -> Option<u32> {
    if !is_number(s) {
        return None;
    }
    let n: i64 = s.parse().ok()?;
    u32::try_from(n).ok().filter(|n| *n <= MAX_ID)
}

/// One line of passwd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PasswdEntry<'a> {
    /// Login name.
    pub name: &'a str,
    /// Number.
    pub uid: u32,
    /// Number of the first group.
    pub gid: u32,
    /// Home directory; may be empty.
    pub home: &'a str,
}

/// One line of group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupEntry<'a> {
    /// Name.
    pub name: &'a str,
    /// Number.
    pub gid: u32,
    members: &'a str,
}

impl GroupEntry<'_> {
    /// Whether the line lists this user.
    pub fn has(&self, user: &str) -> bool {
        !user.is_empty() && self.members.split(',').any(|m| m == user)
    }
}

/// The readable lines of a passwd file: `name:password:uid:gid:gecos:home:shell`.
pub fn users(passwd: &[u8]) -> impl Iterator<Item = PasswdEntry<'_>> {
    lines(passwd).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let (uid, gid) = (id(fields.next()?)?, id(fields.next()?)?);
        let home = fields.nth(1).unwrap_or_default();
        Some(PasswdEntry { name, uid, gid, home })
    })
}

/// The readable lines of a group file: `name:password:gid:members`.
pub fn groups(group: &[u8]) -> impl Iterator<Item = GroupEntry<'_>> {
    lines(group).filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next().filter(|n| !n.is_empty())?;
        let _password = fields.next()?;
        let gid = id(fields.next()?)?;
        Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
    })
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &str> {
    bytes
        .split(|b| *b == b'\n')
        .filter(|line| line.len() <= MAX_LINE)
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\n# comment:x:7:7\n  guest:x:405:100:guest:/home/guest:/bin/sh\r\n\
        1001:x:0:0:trap:/:/bin/sh\nbad:x:abc:0::/:\nhuge:x:4294967296:0::/:\nneg:x:-1:0::/:\nshort:x:5\nempty:x:::::\n\
        nohome:x:12:13\n\xff\xfe:x:1:1:::\n:x:9:9:::\nlimit:x:2147483647:2147483647::/l:\nover:x:2147483648:0:::\n";
    const GROUP: &[u8] =
        b"root:x:0:root\nwheel:x:10:root,guest\nusers:x:100:guest\nguest:x:405:guest\nbad:x:zz:guest\n\
        nomembers:x:11\nempty:x:12:\nbig:x:99999999999:guest\n";

    fn name(s: &str) -> Who {
        Who::Name(s.to_owned())
    }

    #[test]
    fn reads() {
        for (s, user, group) in [
            ("", Who::Id(0), None),
            ("0", Who::Id(0), None),
            ("1000", Who::Id(1000), None),
            ("+5", Who::Id(5), None),
            ("guest", name("guest"), None),
            ("1000:1001", Who::Id(1000), Some(Who::Id(1001))),
            ("guest:users", name("guest"), Some(name("users"))),
            ("guest:7", name("guest"), Some(Who::Id(7))),
            ("1000:users", Who::Id(1000), Some(name("users"))),
            (":7", Who::Id(0), Some(Who::Id(7))),
            ("1000:", Who::Id(1000), Some(Who::Id(0))),
            ("2147483647", Who::Id(MAX_ID), None),
            ("1000x", name("1000x"), None),
            (" 1000", name(" 1000"), None),
            ("0x10", name("0x10"), None),
            ("-", name("-"), None),
        ] {
            assert_eq!(UserSpec::parse(s).unwrap(), UserSpec { user, group }, "{s:?}");
        }
    }

    #[test]
    fn refuses() {
        for (s, text) in [
            ("a:b:c", "invalid USER value a:b:c"),
            ("-1", r#"invalid USER value "-1": uid out of range"#),
            ("2147483648", r#"invalid USER value "2147483648": uid out of range"#),
            ("4294967296", r#"invalid USER value "4294967296": uid out of range"#),
            ("99999999999999999999999", r#"invalid USER value "99999999999999999999999": uid out of range"#),
            (
                "-99999999999999999999999:0",
                r#"invalid USER value "-99999999999999999999999:0": uid out of range"#,
            ),
            ("0:4294967296", r#"invalid USER value "0:4294967296": gid out of range"#),
            ("guest:-5", r#"invalid USER value "guest:-5": gid out of range"#),
        ] {
            let e = UserSpec::parse(s).unwrap_err();
            assert_eq!(e.to_string(), text);
            assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        }
    }

    #[test]
    fn resolves() {
        for (s, want) in [
            ("guest", Ok((405, 100))),
            ("405", Ok((405, 100))),
            ("4242", Ok((4242, 0))),
            // the line of that name gives root: a number is not a name
            ("1001", Ok((1001, 0))),
            ("1001:5", Ok((1001, 5))),
            ("guest:users", Ok((405, 100))),
            ("guest:wheel", Ok((405, 10))),
            ("7:wheel", Ok((7, 10))),
            ("guest:0", Ok((405, 0))),
            ("", Ok((0, 0))),
            ("nohome", Ok((12, 13))),
            ("limit", Ok((MAX_ID, MAX_ID))),
            ("nosuch", Err(UserError::NoUser)),
            ("bad", Err(UserError::NoUser)),
            ("huge", Err(UserError::NoUser)),
            ("neg", Err(UserError::NoUser)),
            ("over", Err(UserError::NoUser)),
            ("short", Err(UserError::NoUser)),
            ("empty", Err(UserError::NoUser)),
            ("comment", Err(UserError::NoUser)),
            ("guest:nosuch", Err(UserError::NoGroup)),
            ("guest:bad", Err(UserError::NoGroup)),
            ("guest:big", Err(UserError::NoGroup)),
        ] {
            let ids = UserSpec::parse(s).unwrap().resolve(PASSWD, GROUP).map(|i| (i.uid, i.gid));
            assert_eq!(ids, want, "{s:?}");
        }
        let no_files = |s: &str| UserSpec::parse(s).unwrap().resolve(b"", b"");
        assert_eq!(no_files("1000"), Ok(Ids { uid: 1000, gid: 0 }));
        assert_eq!(no_files("guest"), Err(UserError::NoUser));
        assert!(UserSpec::parse("1:2").unwrap().is_numeric() && !UserSpec::parse("1").unwrap().is_numeric());
    }

    #[test]
    fn supplementary_groups() {
        for (s, want) in
            [("guest", &[10, 100][..]), ("405", &[10, 100]), ("root", &[10]), ("4242", &[]), ("nosuch", &[])]
        {
            assert_eq!(UserSpec::parse(s).unwrap().additional_gids(PASSWD, GROUP), want, "{s}");
        }
    }

    #[test]
    fn homes() {
        let home = |n: &str| users(PASSWD).find(|u| u.name == n).unwrap().home;
        assert_eq!((home("guest"), home("nohome"), home("limit")), ("/home/guest", "", "/l"));
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn numbers_are_never_names(n in any::<i128>(), plus in any::<bool>()) {
            let s = if plus && n >= 0 { format!("+{n}") } else { n.to_string() };
            match UserSpec::parse(&s) {
                Ok(spec) => prop_assert_eq!(spec.user, Who::Id(u32::try_from(n).unwrap())),
                Err(e) => {
                    prop_assert!(!(0..=i128::from(MAX_ID)).contains(&n));
                    prop_assert_eq!(e, UserError::UidRange(s));
                }
            }
        }

        #[test]
        fn never_panics(s in "\\PC{0,30}", file in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(spec) = UserSpec::parse(&s) {
                let _ = spec.resolve(&file, &file);
                spec.additional_gids(&file, &file);
                prop_assert_eq!(UserSpec::parse(&spec.to_string()).unwrap(), spec);
            }
        }

        #[test]
        fn lines_turn_back(name in "[a-z_][a-z0-9_-]{0,8}", uid in 0..=MAX_ID, gid in 0..=MAX_ID) {
            let passwd = format!("{name}:x:{uid}:{gid}:::\n");
            let ids = UserSpec::parse(&name).unwrap().resolve(passwd.as_bytes(), b"").unwrap();
            prop_assert_eq!(ids, Ids { uid, gid });
        }
    }
}
