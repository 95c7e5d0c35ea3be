//! Who we say we are. Clients compare the version with what they need, so it begins with the containerd release whose
//! interfaces are served; our own version follows as build metadata (see ADR 2).

/// The containerd release whose interfaces are served.
#[cfg(test)]
pub(crate) const COMPATIBLE: &str = "2.3.4";
/// What the version service answers.
pub(crate) const VERSION: &str = concat!("v2.3.4+containerd-rs.", env!("CARGO_PKG_VERSION"));
/// The revision that was built, when the build knew it.
pub(crate) const REVISION: &str = match option_env!("CONTAINERD_RS_REVISION") {
    Some(revision) => revision,
    None => "",
};

/// The line that `--version` prints: program, package, version, revision.
pub(crate) fn line() -> String {
    format!("containerd containerd-rs {VERSION} {REVISION}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_starts_with_the_compatible_release() {
        assert!(super::VERSION.starts_with(&format!("v{}+", super::COMPATIBLE)));
    }
}
