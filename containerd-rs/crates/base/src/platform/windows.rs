//! Which Windows images run on which Windows: pulling for other hosts needs it.

/// Build of Windows Server 2022, the first with a stable container ABI.
const LTSC2022: u16 = 20348;
/// Long-term releases with a stable container ABI, oldest first.
const STABLE: [u16; 2] = [LTSC2022, 26100];

/// Major, minor, build; zeros: not given or not readable.
pub(super) type Version = (u8, u8, u16);

/// Reads `major.minor.build[.revision]`.
pub(super) fn version(text: &str) -> Version {
    let read = || {
        let mut parts = text.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    };
    read().unwrap_or_default()
}

/// Whether a host of version `host` runs an image that says `image`. Either may be unknown.
pub(super) fn runs(host: Version, image: &str) -> bool {
    if host == Version::default() || image.is_empty() {
        return true;
    }
    let (major, minor, build) = version(image);
    if (host.0, host.1) != (major, minor) {
        return false;
    }
    if host.2 < LTSC2022 {
        return host.2 == build;
    }
    // from the long-term release before the host's own generation up to the host
    let newest = STABLE.iter().rposition(|&s| host.2 >= s).unwrap_or(0);
    (STABLE[newest.saturating_sub(1)]..=host.2).contains(&build)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table() {
        for (host, image, want) in [
            ("", "10.0.17763", true),
            ("10.0.17763", "", true),
            ("10.0.17763", "10.0.17763.1", true),
            ("10.0.17763", "10.0.17764", false),
            ("10.0.20348", "10.0.17763", false),
            ("10.0.20348", "10.0.20348", true),
            ("10.0.22621", "10.0.20348", true),
            ("10.0.26100", "10.0.20348", true),
            ("10.0.26200", "10.0.20348", true),
            ("10.0.26100", "10.0.26200", false),
            ("10.0.26100", "11.0.26100", false),
            ("10.0.26100", "nonsense", false),
            ("10.0", "10.0.17763", true),
            ("10.0.99999999", "10.0.17763", true),
        ] {
            assert_eq!(runs(version(host), image), want, "{host} {image}");
        }
    }
}
