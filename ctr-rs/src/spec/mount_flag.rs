//! `--mount type=bind,src=/a,dst=/b,options=rbind:ro`.

use super::model::{Mount, Spec};
use crate::error::{Error, Result};

/// Reads one flag. Fields that hold a comma can be put in double quotes, as in CSV.
pub fn parse(flag: &str) -> Result<Mount> {
    let mut mount = Mount::default();
    for field in fields(flag)? {
        let Some((key, value)) = field.split_once('=') else {
            return Err(bad(flag, "expected key=value"));
        };
        match key {
            "type" => mount.kind = value.into(),
            "source" | "src" => mount.source = value.into(),
            "destination" | "dst" => mount.destination = value.into(),
            "options" => mount.options = value.split(':').map(Into::into).collect(),
            _ => return Err(bad(flag, &format!("there is no option {key:?}"))),
        }
    }
    if mount.destination.is_empty() {
        return Err(bad(flag, "it has no dst"));
    }
    Ok(mount)
}

fn bad(flag: &str, why: &str) -> Error {
    Error::invalid(format!("mount {flag:?} cannot be used: {why}"))
}

/// One record of CSV.
fn fields(flag: &str) -> Result<Vec<String>> {
    let mut all = vec![String::new()];
    let mut quoted = false;
    let mut chars = flag.chars().peekable();
    while let Some(c) = chars.next() {
        let field = all.last_mut().ok_or_else(|| bad(flag, "it is empty"))?;
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            '"' if quoted => quoted = false,
            '"' if field.is_empty() => quoted = true,
            ',' if !quoted => all.push(String::new()),
            c => field.push(c),
        }
    }
    if quoted { Err(bad(flag, "a quote is not closed")) } else { Ok(all) }
}

/// Adds mounts; those of the spec with the same destination make room.
pub fn add(spec: &mut Spec, mounts: Vec<Mount>) {
    spec.mounts.retain(|have| !mounts.iter().any(|m| clean(&m.destination) == clean(&have.destination)));
    spec.mounts.extend(mounts);
}

fn clean(path: &str) -> &str {
    match path.trim_end_matches('/') {
        "" => "/",
        path => path,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::spec::defaults;

    #[test]
    fn flags_are_read() {
        let m = parse("type=bind,src=/tmp,dst=/host,options=rbind:ro").unwrap();
        assert_eq!((m.kind.as_str(), m.source.as_str(), m.destination.as_str()), ("bind", "/tmp", "/host"));
        assert_eq!(m.options, ["rbind", "ro"]);
        let m = parse(r#"type=bind,"source=/a,""b""",destination=/c"#).unwrap();
        assert_eq!(m.source, "/a,\"b\"");
    }

    #[test]
    fn bad_flags_are_refused() {
        for flag in ["", "bind", "type=bind,what=1,dst=/x", "type=bind,src=/x", "\"dst=/x"] {
            assert!(parse(flag).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_mount_takes_the_place_of_the_default() {
        let mut spec = defaults::spec("n", "c", true);
        let before = spec.mounts.len();
        add(&mut spec, vec![parse("type=tmpfs,src=tmpfs,dst=/run/").unwrap()]);
        assert_eq!(spec.mounts.len(), before);
        assert_eq!(spec.mounts.last().unwrap().destination, "/run/");
    }
}
