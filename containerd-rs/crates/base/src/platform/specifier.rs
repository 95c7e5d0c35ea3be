//! Platform specifiers: `<os>[(<version>[+<feature>]*)]|<arch>|<os>[(..)]/<arch>[/<variant>]`.

use std::fmt;
use std::str::FromStr;

use super::{Platform, normalize_arch, normalize_os};
use crate::error::{ErrorKind, Kinded};

const OS_PATTERN: &str = r"^([A-Za-z0-9_-]+)(?:\(([A-Za-z0-9_.%-]*)((?:\+[A-Za-z0-9_.%-]+)*)\))?$";
const PART_PATTERN: &str = "^[A-Za-z0-9_.-]+$";

const KNOWN_OS: [&str; 17] = [
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "hurd",
    "illumos",
    "ios",
    "js",
    "linux",
    "nacl",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];

const KNOWN_ARCH: [&str; 24] = [
    "386",
    "amd64",
    "amd64p32",
    "arm",
    "armbe",
    "arm64",
    "arm64be",
    "ppc64",
    "ppc64le",
    "loong64",
    "mips",
    "mipsle",
    "mips64",
    "mips64le",
    "mips64p32",
    "mips64p32le",
    "ppc",
    "riscv",
    "riscv64",
    "s390",
    "s390x",
    "sparc",
    "sparc64",
    "wasm",
];

/// A specifier that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlatformError {
    /// `*` somewhere.
    #[error("{0:?}: wildcards not yet supported")]
    Wildcard(String),
    /// The first part is wrong.
    #[error(
        "{part:?} is an invalid OS component of {specifier:?}: OSAndVersion specifier component must match {OS_PATTERN:?}"
    )]
    Os {
        /// The part.
        part: String,
        /// All of it.
        specifier: String,
    },
    /// A `%` in the version or a feature without two hex digits after it.
    #[error("{specifier:?} has an invalid escape in {text:?}")]
    Escape {
        /// The version or feature.
        text: String,
        /// All of it.
        specifier: String,
    },
    /// A later part is wrong.
    #[error(
        "{part:?} is an invalid component of {specifier:?}: platform specifier component must match {PART_PATTERN:?}"
    )]
    Part {
        /// The part.
        part: String,
        /// All of it.
        specifier: String,
    },
    /// A single word that is neither.
    #[error("{0:?}: unknown operating system or architecture")]
    Unknown(String),
    /// More than three parts.
    #[error("{0:?}: cannot parse platform specifier")]
    TooManyParts(String),
}

impl Kinded for PlatformError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::InvalidArgument
    }
}

impl Platform {
    /// Reads a specifier. A single word is an operating system, with this host's architecture, or an
    /// architecture, with this host's operating system.
    pub fn parse(specifier: &str) -> Result<Self, PlatformError> {
        let whole = || specifier.to_owned();
        if specifier.contains('*') {
            return Err(PlatformError::Wildcard(whole()));
        }
        let parts: Vec<&str> = specifier.splitn(4, '/').collect();
        let mut p = os_part(parts[0], specifier)?;
        if let Some(bad) = parts[1..].iter().find(|part| !is_part(part)) {
            return Err(PlatformError::Part { part: (*bad).to_owned(), specifier: whole() });
        }
        match parts[..] {
            [only] => {
                if KNOWN_OS.contains(&p.os.as_str()) {
                    let host = Platform::host();
                    p.architecture = host.architecture;
                    p.variant = if p.architecture == "arm" && host.variant != "v7" {
                        host.variant
                    } else {
                        String::new()
                    };
                    return Ok(p);
                }
                (p.architecture, p.variant) = arch_part(only, "");
                if !KNOWN_ARCH.contains(&p.architecture.as_str()) {
                    return Err(PlatformError::Unknown(whole()));
                }
                p.os = super::host::OS.to_owned();
            }
            [_, arch] => (p.architecture, p.variant) = arch_part(arch, ""),
            [_, arch, variant] => {
                (p.architecture, p.variant) = normalize_arch(arch, variant);
                if p.architecture == "arm64" && p.variant.is_empty() {
                    p.variant = "v8".to_owned();
                }
            }
            _ => return Err(PlatformError::TooManyParts(whole())),
        }
        Ok(p)
    }

    /// `os/arch[/variant]`, leaving out version and features; `unknown` without an operating system.
    pub fn format(&self) -> String {
        if self.os.is_empty() { "unknown".to_owned() } else { self.joined(&self.os) }
    }

    fn joined(&self, os: &str) -> String {
        let parts = [os, &self.architecture, &self.variant];
        parts.into_iter().filter(|p| !p.is_empty()).collect::<Vec<_>>().join("/")
    }
}

/// An architecture without a variant; v7 goes without saying for arm.
fn arch_part(arch: &str, variant: &str) -> (String, String) {
    match normalize_arch(arch, variant) {
        (a, v) if a == "arm" && v == "v7" => (a, String::new()),
        other => other,
    }
}

fn is_part(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
}

/// `<os>[(<version>[+<feature>]*)]`.
fn os_part(part: &str, specifier: &str) -> Result<Platform, PlatformError> {
    let (os, options) = match part.split_once('(') {
        Some((os, rest)) => (os, rest.strip_suffix(')')),
        None => (part, Some("")),
    };
    let word = |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'));
    let option =
        |s: &str| s.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'%'));
    let bad = || PlatformError::Os { part: part.to_owned(), specifier: specifier.to_owned() };
    let options = options.filter(|_| !os.is_empty() && word(os)).ok_or_else(bad)?;
    let mut split = options.split('+');
    let version = split.next().unwrap_or_default();
    let features: Vec<&str> = split.collect();
    if !option(version) || features.iter().any(|f| f.is_empty() || !option(f)) {
        return Err(bad());
    }
    let decode = |text: &str| {
        unescape(text)
            .ok_or_else(|| PlatformError::Escape { text: text.to_owned(), specifier: specifier.to_owned() })
    };
    Ok(Platform {
        os: normalize_os(os),
        os_version: decode(version)?,
        os_features: features.into_iter().map(decode).collect::<Result<_, _>>()?,
        ..Platform::default()
    })
}

/// `%2B` is a plus; text that does not come out as UTF-8 is refused, too.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut pieces = text.split('%');
    bytes.extend_from_slice(pieces.next().unwrap_or_default().as_bytes());
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        if !code.bytes().all(|b| b.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '%' => out.push_str("%25"),
            '+' => out.push_str("%2B"),
            '(' => out.push_str("%28"),
            ')' => out.push_str("%29"),
            '/' => out.push_str("%2F"),
            c => out.push(c),
        }
    }
    out
}

impl fmt::Display for Platform {
    /// The specifier with version and features; `unknown` without an operating system.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.os.is_empty() {
            return f.write_str("unknown");
        }
        let mut features: Vec<&str> =
            self.os_features.iter().map(String::as_str).filter(|x| !x.is_empty()).collect();
        features.sort_unstable();
        features.dedup();
        let mut options = escape(&self.os_version);
        for feature in features {
            options.push('+');
            options.push_str(&escape(feature));
        }
        let os = if options.is_empty() { self.os.clone() } else { format!("{}({options})", self.os) };
        f.write_str(&self.joined(&os))
    }
}

impl FromStr for Platform {
    type Err = PlatformError;
    fn from_str(s: &str) -> Result<Self, PlatformError> {
        Platform::parse(s)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn platform(os: &str, arch: &str, variant: &str, version: &str, features: &[&str]) -> Platform {
        let os_features = features.iter().map(|f| (*f).to_owned()).collect();
        Platform { os_version: version.to_owned(), os_features, ..Platform::new(os, arch, variant) }
    }

    #[test]
    fn specifiers() {
        for (s, want, shown) in [
            ("linux/amd64", platform("linux", "amd64", "", "", &[]), "linux/amd64"),
            ("Linux/x86_64", platform("linux", "amd64", "", "", &[]), "linux/amd64"),
            ("linux/arm64", platform("linux", "arm64", "", "", &[]), "linux/arm64"),
            ("linux/arm64/v8", platform("linux", "arm64", "v8", "", &[]), "linux/arm64/v8"),
            ("linux/aarch64/8", platform("linux", "arm64", "v8", "", &[]), "linux/arm64/v8"),
            ("linux/arm", platform("linux", "arm", "", "", &[]), "linux/arm"),
            ("linux/arm/v7", platform("linux", "arm", "v7", "", &[]), "linux/arm/v7"),
            ("linux/arm/7", platform("linux", "arm", "v7", "", &[]), "linux/arm/v7"),
            ("linux/armhf", platform("linux", "arm", "", "", &[]), "linux/arm"),
            ("linux/armel", platform("linux", "arm", "v6", "", &[]), "linux/arm/v6"),
            ("linux/amd64/v1", platform("linux", "amd64", "", "", &[]), "linux/amd64"),
            ("linux/amd64/v3", platform("linux", "amd64", "v3", "", &[]), "linux/amd64/v3"),
            ("arm64", platform("linux", "arm64", "", "", &[]), "linux/arm64"),
            ("armel", platform("linux", "arm", "v6", "", &[]), "linux/arm/v6"),
            ("386", platform("linux", "386", "", "", &[]), "linux/386"),
            ("macOS/arm64", platform("darwin", "arm64", "", "", &[]), "darwin/arm64"),
            ("whatever/cpu", platform("whatever", "cpu", "", "", &[]), "whatever/cpu"),
            (
                "windows(10.0.17763)/amd64",
                platform("windows", "amd64", "", "10.0.17763", &[]),
                "windows(10.0.17763)/amd64",
            ),
            (
                "windows(10.0.1+win32k)/amd64",
                platform("windows", "amd64", "", "10.0.1", &["win32k"]),
                "windows(10.0.1+win32k)/amd64",
            ),
            ("linux(+erofs)/amd64", platform("linux", "amd64", "", "", &["erofs"]), "linux(+erofs)/amd64"),
            ("linux()/amd64", platform("linux", "amd64", "", "", &[]), "linux/amd64"),
            (
                "linux(a%2Bb+c%2F)/amd64",
                platform("linux", "amd64", "", "a+b", &["c/"]),
                "linux(a%2Bb+c%2F)/amd64",
            ),
        ] {
            let p = Platform::parse(s).unwrap();
            assert_eq!(p, want, "{s}");
            assert_eq!(p.to_string(), shown, "{s}");
        }
        assert_eq!(platform("windows", "amd64", "", "10", &[]).format(), "windows/amd64");
        assert_eq!(Platform::new("", "amd64", "").to_string(), "unknown");
        assert_eq!(Platform::new("", "amd64", "").format(), "unknown");
        let host = Platform::parse("linux").unwrap();
        assert_eq!((host.os.as_str(), host.architecture), ("linux", Platform::host().architecture));
    }

    #[test]
    fn errors() {
        for (s, text) in [
            ("*/amd64", r#""*/amd64": wildcards not yet supported"#),
            ("foo", r#""foo": unknown operating system or architecture"#),
            ("linux/arm/v7/x", r#""linux/arm/v7/x": cannot parse platform specifier"#),
            (
                "linux/",
                r#""" is an invalid component of "linux/": platform specifier component must match "^[A-Za-z0-9_.-]+$""#,
            ),
        ] {
            let e = Platform::parse(s).unwrap_err();
            assert_eq!(e.to_string(), text, "{s}");
            assert_eq!(e.kind(), ErrorKind::InvalidArgument);
        }
        let e = Platform::parse("li nux/amd64").unwrap_err().to_string();
        let pattern = r#""^([A-Za-z0-9_-]+)(?:\\(([A-Za-z0-9_.%-]*)((?:\\+[A-Za-z0-9_.%-]+)*)\\))?$""#;
        assert_eq!(
            e,
            format!(
                r#""li nux" is an invalid OS component of "li nux/amd64": OSAndVersion specifier component must match {pattern}"#
            )
        );
        for bad in [
            "",
            "/amd64",
            "linux(/amd64",
            "linux)/amd64",
            "linux(1/2)/amd64",
            "linux(+)/x",
            "linux(1+)/x",
            "linux(%zz)/x",
            "linux(%f)/x",
            "linux(%ff)/x",
            "linux(1)x/y",
            "linux/amd 64",
        ] {
            assert!(Platform::parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn never_panics(s in "\\PC{0,30}", t in "[a-z(+%0-9)/]{0,20}") {
            let _ = Platform::parse(&s);
            let _ = Platform::parse(&t);
        }

        #[test]
        fn shown_reads_back(os in "[a-z]{1,6}", arch in "[a-z]{1,6}", version in "[a-z0-9.%+()/]{0,6}", feature in "[a-z%+()/]{0,5}") {
            let p = Platform { os_version: version, os_features: if feature.is_empty() { vec![] } else { vec![feature] }, ..Platform::new(os, arch, "") }.normalize();
            let again = Platform::parse(&p.to_string()).unwrap();
            prop_assert_eq!(again.normalize(), p);
        }
    }
}
