//! Docker's grammar of image names, piece by piece.
//!
//! ```text
//! reference      = name [ ":" tag ] [ "@" digest ]
//! name           = [ domain "/" ] path
//! domain         = ( domain-part *( "." domain-part ) | "[" IPv6 "]" ) [ ":" digits ]
//! path           = path-part *( "/" path-part )
//! path-part      = lower-alnum *( ( "." | "_" | "__" | 1*"-" ) lower-alnum )
//! tag            = word-char 0*127( word-char | "." | "-" )
//! ```

/// The pieces of a reference.
pub(super) struct Pieces<'a> {
    /// Empty: none.
    pub(super) domain: &'a str,
    pub(super) path: &'a str,
    pub(super) tag: Option<&'a str>,
    pub(super) digest: Option<&'a str>,
}

/// Cuts a reference; `None` when it does not follow the grammar.
pub(super) fn cut(s: &str) -> Option<Pieces<'_>> {
    let (rest, digest) = match s.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (s, None),
    };
    // a colon before the last slash belongs to the domain
    let last = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[last..].find(':') {
        Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
        None => (rest, None),
    };
    let (domain, path) = cut_name(name)?;
    let fine = tag.is_none_or(is_tag) && digest.is_none_or(is_digest);
    fine.then_some(Pieces { domain, path, tag, digest })
}

/// Domain (or empty) and path; a first part that could be either is taken as the domain.
fn cut_name(name: &str) -> Option<(&str, &str)> {
    match name.split_once('/') {
        Some((domain, path)) if is_domain(domain) && is_path(path) => Some((domain, path)),
        _ => is_path(name).then_some(("", name)),
    }
}

/// 64 lower case hex digits: an id, never a name.
pub(super) fn is_identifier(s: &str) -> bool {
    s.len() == 64 && s.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

pub(super) fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let bytes = tag.as_bytes();
    let rest_fine = bytes.iter().skip(1).all(|&b| word(b) || b == b'.' || b == b'-');
    (1..=128).contains(&bytes.len()) && word(bytes[0]) && rest_fine
}

fn is_digest(digest: &str) -> bool {
    let name = |part: &str| {
        part.starts_with(|c: char| c.is_ascii_alphabetic()) && part.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    digest.split_once(':').is_some_and(|(algorithm, hex)| {
        algorithm.split(['-', '_', '+', '.']).all(name)
            && hex.len() >= 32
            && hex.bytes().all(|b| b.is_ascii_hexdigit())
    })
}

fn is_domain(s: &str) -> bool {
    if let Some(rest) = s.strip_prefix('[') {
        return rest.split_once(']').is_some_and(|(address, port)| {
            !address.is_empty()
                && address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':')
                && (port.is_empty() || port.strip_prefix(':').is_some_and(is_digits))
        });
    }
    let (host, port) = match s.split_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (s, None),
    };
    let part = |p: &str| {
        !p.is_empty()
            && !p.starts_with('-')
            && !p.ends_with('-')
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(part) && port.is_none_or(is_digits)
}

fn is_digits(s: &str) -> bool {
    !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit())
}

fn is_path(s: &str) -> bool {
    s.split('/').all(is_path_part)
}

fn is_path_part(part: &str) -> bool {
    let alnum = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = part.as_bytes();
    let ends_fine = bytes.first().is_some_and(alnum) && bytes.last().is_some_and(alnum);
    // what is between letters and digits: one separator of a known kind
    ends_fine
        && part
            .split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit())
            .all(|sep| matches!(sep, "" | "." | "_" | "__") || sep.bytes().all(|b| b == b'-'))
}
