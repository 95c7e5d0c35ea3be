//! As much of Go's net/url as containerd's references go through.

/// Host and decoded path of `dummy://<s>`, or what is wrong in Go's words.
pub(super) fn split(s: &str) -> Result<(String, String), String> {
    if s.bytes().any(|b| b < b' ' || b == 0x7f) {
        return Err("net/url: invalid control character in URL".to_owned());
    }
    let (s, fragment) = s.split_once('#').unwrap_or((s, ""));
    let s = s.split_once('?').map_or(s, |(before, _)| before);
    let (authority, path) = s.find('/').map_or((s, ""), |at| s.split_at(at));
    let host = host(authority)?;
    let path = unescape(path, Part::Path)?;
    unescape(fragment, Part::Path)?;
    Ok((host, path))
}

/// Go's `path.Join(host, path)`.
pub(super) fn join(host: &str, path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for part in host.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if kept.last().is_some_and(|last| *last != "..") => {
                kept.pop();
            }
            part => kept.push(part),
        }
    }
    if kept.is_empty() { ".".to_owned() } else { kept.join("/") }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Host,
    Zone,
    Path,
}

fn host(authority: &str) -> Result<String, String> {
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let in_user = |b: u8| b.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&b);
    if !user.bytes().all(in_user) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let bad_escape_in_user = user.split(':').find_map(|part| unescape(part, Part::Path).err());
    if let Some(reason) = bad_escape_in_user {
        return Err(reason);
    }
    if host.starts_with('[') {
        return bracketed(host);
    }
    if let Some(at) = host.rfind(':') {
        check_port(&host[at..])?;
    }
    unescape(host, Part::Host)
}

/// An IPv6 address in brackets, perhaps with a zone after `%25`.
fn bracketed(host: &str) -> Result<String, String> {
    let end = host.rfind(']').ok_or("missing ']' in host")?;
    check_port(&host[end + 1..])?;
    let Some(zone) = host[..end].find("%25") else {
        return unescape(host, Part::Host);
    };
    let (before, rest) = host.split_at(zone);
    let (zone, after) = rest.split_at(end - zone);
    Ok(unescape(before, Part::Host)? + &unescape(zone, Part::Zone)? + &unescape(after, Part::Host)?)
}

fn check_port(port: &str) -> Result<(), String> {
    let digits = port.strip_prefix(':').unwrap_or(port);
    if port.is_empty() || (port.starts_with(':') && digits.bytes().all(|b| b.is_ascii_digit())) {
        Ok(())
    } else {
        Err(format!("invalid port {port:?} after host"))
    }
}

/// Decodes percent escapes and refuses what the part may not hold. What is not UTF-8 then is
/// replaced, as it cannot be a name that anybody stored.
fn unescape(text: &str, part: Part) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if byte == b'%' {
            let code = bytes.get(at + 1..at + 3).and_then(hex_byte);
            let shown = || String::from_utf8_lossy(&bytes[at..bytes.len().min(at + 3)]).into_owned();
            let Some(code) = code else {
                return Err(format!("invalid URL escape {:?}", shown()));
            };
            // in hosts only bytes that are not ASCII may be escaped, in zones anything harmless
            let allowed = match part {
                Part::Path => true,
                Part::Host => code >= 0x80,
                Part::Zone => code == b'%' || code >= 0x80 || code == b' ' || in_host(code),
            };
            if !allowed {
                return Err(format!("invalid URL escape {:?}", shown()));
            }
            out.push(code);
            at += 3;
            continue;
        }
        if part != Part::Path && byte < 0x80 && !in_host(byte) {
            return Err(format!("invalid character {:?} in host name", char::from(byte).to_string()));
        }
        out.push(byte);
        at += 1;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn in_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte)
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let digit = |b: u8| char::from(b).to_digit(16);
    let [high, low] = pair else { return None };
    u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_like_go() {
        for (host, path, want) in [
            ("h", "", "h"),
            ("h", "/a/b", "h/a/b"),
            ("h", "/a//b/", "h/a/b"),
            ("h", "/a/./../b", "h/b"),
            ("h", "/../x", "x"),
            ("h", "/..", "."),
            ("h", "/../../x", "../x"),
        ] {
            assert_eq!(join(host, path), want, "{host} {path}");
        }
    }
}
