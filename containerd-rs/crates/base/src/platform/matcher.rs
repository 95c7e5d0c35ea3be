//! Which platforms will do, and which of them is best.

use super::windows;
use super::{Platform, normalize_arch};

/// Variants above this get no fall-back chain; a number from outside must not set its length.
const MOST_VARIANTS: u32 = 64;

/// Chooses platforms.
#[derive(Clone, Debug)]
pub struct Matcher(Choice);

#[derive(Clone, Debug)]
enum Choice {
    All,
    /// The earlier, the better.
    Ordered(Vec<Wanted>),
    /// All the same.
    Any(Vec<Wanted>),
}

/// How good a platform is for a matcher: smaller is better. Only ranks of one matcher compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank {
    /// 0: matches. 1: would match without its features. 2: does not match.
    class: u8,
    /// Which of the wanted platforms it is.
    position: usize,
    /// More features are better.
    features: std::cmp::Reverse<usize>,
}

impl Matcher {
    /// What this host runs, the way Go clients see it: `only(Platform::host())`.
    pub fn host_default() -> Self {
        Matcher::only(&Platform::host())
    }

    /// What this host runs, best amd64 level first: `only(Platform::host_with_level())`.
    pub fn host_best() -> Self {
        Matcher::only(&Platform::host_with_level())
    }

    /// This platform and, after it, all that it runs as well: older arm variants, 32 bit arm on
    /// arm64, lower amd64 levels, 386 on amd64.
    pub fn only(platform: &Platform) -> Self {
        Matcher::ordered(&fall_back_chain(&platform.normalize()))
    }

    /// This platform (in any spelling) and nothing else.
    pub fn only_strict(platform: &Platform) -> Self {
        Matcher::ordered(std::slice::from_ref(platform))
    }

    /// Any of these, the earlier ones better.
    pub fn ordered(platforms: &[Platform]) -> Self {
        Matcher(Choice::Ordered(platforms.iter().map(Wanted::new).collect()))
    }

    /// Any of these, none better than another.
    pub fn any(platforms: &[Platform]) -> Self {
        Matcher(Choice::Any(platforms.iter().map(Wanted::new).collect()))
    }

    /// Every platform.
    pub fn all() -> Self {
        Matcher(Choice::All)
    }

    /// Whether every platform will do.
    pub fn is_all(&self) -> bool {
        matches!(self.0, Choice::All)
    }

    /// Whether this platform will do.
    pub fn matches(&self, platform: &Platform) -> bool {
        match &self.0 {
            Choice::All => true,
            Choice::Ordered(wanted) | Choice::Any(wanted) => wanted.iter().any(|w| w.matches(platform)),
        }
    }

    /// Whether `a` is better than `b`.
    pub fn less(&self, a: &Platform, b: &Platform) -> bool {
        self.rank(a) < self.rank(b)
    }

    /// How good a platform is, for sorting (best first).
    pub fn rank(&self, platform: &Platform) -> Rank {
        let rank =
            |class, position, features| Rank { class, position, features: std::cmp::Reverse(features) };
        let (wanted, ordered) = match &self.0 {
            Choice::All => return rank(0, 0, 0),
            Choice::Ordered(wanted) => (wanted, true),
            Choice::Any(wanted) => (wanted, false),
        };
        let position =
            |p: &Platform| wanted.iter().position(|w| w.matches(p)).map(|at| if ordered { at } else { 0 });
        if let Some(at) = position(platform) {
            return rank(0, at, platform.os_features.len());
        }
        let plain = Platform { os_features: Vec::new(), ..platform.clone() };
        position(&plain).map_or(rank(2, 0, 0), |at| rank(1, at, 0))
    }
}

/// One platform that will do, in canonical form.
#[derive(Clone, Debug)]
struct Wanted {
    platform: Platform,
    /// Set for Windows only.
    windows: Option<windows::Version>,
}

impl Wanted {
    fn new(platform: &Platform) -> Self {
        let windows = (platform.os == "windows").then(|| windows::version(&platform.os_version));
        Wanted { platform: platform.normalize(), windows }
    }

    /// Same system, architecture and variant; needs no feature that is not wanted.
    fn matches(&self, other: &Platform) -> bool {
        let normal = other.normalize();
        let on_windows = self.windows.is_some();
        self.platform.os == normal.os
            && self.platform.architecture == normal.architecture
            && self.platform.variant == normal.variant
            && self.windows.is_none_or(|host| windows::runs(host, &other.os_version))
            && normal
                .os_features
                .iter()
                .filter(|f| !(on_windows && *f == "win32k"))
                .all(|f| self.platform.os_features.contains(f))
    }
}

/// A platform (canonical) and what else it runs, best first.
fn fall_back_chain(platform: &Platform) -> Vec<Platform> {
    let mut chain = vec![platform.clone()];
    match platform.architecture.as_str() {
        "amd64" => {
            chain.extend(lower(&platform.variant, 1).map(|v| platform.with_arch("amd64", v)));
            chain.push(platform.with_arch("386", ""));
        }
        "arm" => chain.extend(lower(&platform.variant, 5).map(|v| platform.with_arch("arm", v))),
        "arm64" => {
            let variant = if platform.variant.is_empty() { "v8" } else { &platform.variant };
            let Some(generations) = arm64_generations(variant) else {
                return Vec::new();
            };
            let variants =
                generations.iter().flat_map(|&(major, minor)| (0..=minor).rev().map(move |m| (major, m)));
            chain = variants
                .map(
                    |(major, minor)| {
                        if minor == 0 { format!("v{major}") } else { format!("v{major}.{minor}") }
                    },
                )
                .map(|v| platform.with_arch("arm64", v))
                .collect();
            chain.extend(fall_back_chain(&platform.with_arch("arm", "v8")));
        }
        _ => {}
    }
    chain
}

/// Variants below `v<n>` down to `v<least>`.
fn lower(variant: &str, least: u32) -> impl Iterator<Item = String> {
    let number = variant.strip_prefix('v').unwrap_or(variant).parse().ok().filter(|n| *n <= MOST_VARIANTS);
    (least..number.unwrap_or(0)).rev().map(|n| format!("v{n}"))
}

/// Each major version with the highest minor one that is included, for a known arm64 variant.
fn arm64_generations(variant: &str) -> Option<Vec<(u32, u32)>> {
    let (_, variant) = normalize_arch("arm64", variant);
    let text = if variant.is_empty() { "8" } else { variant.strip_prefix('v')? };
    let (major, minor) = text.split_once('.').unwrap_or((text, "0"));
    if minor.len() != 1 {
        return None;
    }
    match (major, minor.parse::<u32>().ok()?) {
        ("8", minor) => Some(vec![(8, minor)]),
        // v9.N has what v8.(N+5) has, and v8 ends at 9
        ("9", minor @ 0..=7) => Some(vec![(9, minor), (8, (minor + 5).min(9))]),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn p(s: &str) -> Platform {
        match s {
            "unknown/unknown" => Platform::new("unknown", "unknown", ""),
            s => Platform::parse(s).unwrap(),
        }
    }

    fn chain(s: &str) -> Vec<String> {
        fall_back_chain(&p(s).normalize()).iter().map(Platform::format).collect()
    }

    #[test]
    fn chains() {
        for (s, want) in [
            ("linux/amd64", &["linux/amd64", "linux/386"][..]),
            ("linux/amd64/v3", &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64/v1", "linux/386"]),
            ("linux/386", &["linux/386"]),
            ("linux/arm", &["linux/arm/v7", "linux/arm/v6", "linux/arm/v5"]),
            ("linux/arm/v6", &["linux/arm/v6", "linux/arm/v5"]),
            ("linux/arm/v5", &["linux/arm/v5"]),
            (
                "linux/arm64",
                &["linux/arm64/v8", "linux/arm/v8", "linux/arm/v7", "linux/arm/v6", "linux/arm/v5"],
            ),
            (
                "linux/arm64/v8.2",
                &[
                    "linux/arm64/v8.2",
                    "linux/arm64/v8.1",
                    "linux/arm64/v8",
                    "linux/arm/v8",
                    "linux/arm/v7",
                    "linux/arm/v6",
                    "linux/arm/v5",
                ],
            ),
            (
                "linux/arm64/v9",
                &[
                    "linux/arm64/v9",
                    "linux/arm64/v8.5",
                    "linux/arm64/v8.4",
                    "linux/arm64/v8.3",
                    "linux/arm64/v8.2",
                    "linux/arm64/v8.1",
                    "linux/arm64/v8",
                    "linux/arm/v8",
                    "linux/arm/v7",
                    "linux/arm/v6",
                    "linux/arm/v5",
                ],
            ),
            ("linux/arm64/v7", &[]),
            ("linux/arm64/v9.8", &[]),
            ("linux/arm64/8.2", &[]),
            ("linux/arm64/v8.10", &[]),
            ("linux/riscv64", &["linux/riscv64"]),
            ("linux/amd64/v4000000000", &["linux/amd64/v4000000000", "linux/386"]),
        ] {
            assert_eq!(chain(s), want, "{s}");
        }
        assert!(chain("linux/arm64/v9.7").contains(&"linux/arm64/v8.9".to_owned()));
    }

    #[test]
    fn matching() {
        for (matcher, yes, no) in [
            (
                Matcher::only(&p("linux/amd64")),
                &["linux/amd64", "linux/386", "linux/x86_64/v1"][..],
                &["linux/amd64/v2", "linux/arm64", "windows/amd64", "unknown/unknown"][..],
            ),
            (
                Matcher::only(&p("linux/amd64/v3")),
                &["linux/amd64/v3", "linux/amd64/v2", "linux/amd64", "linux/386"],
                &["linux/amd64/v4"],
            ),
            (Matcher::only_strict(&p("linux/amd64")), &["linux/amd64"], &["linux/386"]),
            (Matcher::only_strict(&p("linux/arm64")), &["linux/arm64/v8", "linux/arm64"], &["linux/arm/v7"]),
            (
                Matcher::only(&p("linux/arm64")),
                &["linux/arm64/v8", "linux/arm/v7", "linux/arm", "linux/arm/v5"],
                &["linux/arm64/v9", "linux/amd64"],
            ),
            (
                Matcher::any(&[p("linux/amd64"), p("linux/arm64")]),
                &["linux/amd64", "linux/arm64/v8"],
                &["linux/386", "linux/arm/v7"],
            ),
            (Matcher::any(&[]), &[], &["linux/amd64"]),
            (Matcher::all(), &["linux/amd64", "unknown/unknown", "windows/arm"], &[]),
            (
                Matcher::only(&p("windows(10.0.26100)/amd64")),
                &["windows(10.0.20348)/amd64", "windows(+win32k)/amd64"],
                &["windows(10.0.17763)/amd64"],
            ),
            (
                Matcher::only(&p("linux(+erofs)/amd64")),
                &["linux(+erofs)/amd64", "linux/amd64"],
                &["linux(+other)/amd64", "linux(+erofs+other)/amd64"],
            ),
        ] {
            for s in yes {
                assert!(matcher.matches(&p(s)), "{matcher:?} {s}");
            }
            for s in no {
                assert!(!matcher.matches(&p(s)), "{matcher:?} {s}");
            }
        }
        assert!(Matcher::host_default().matches(&Platform::host()));
        assert!(Matcher::host_best().matches(&Platform::host()));
    }

    #[test]
    fn best_first() {
        for (matcher, sorted) in [
            (
                Matcher::only(&p("linux/arm64")),
                &["linux/arm64", "linux/arm/v7", "linux/arm/v6", "linux/amd64"][..],
            ),
            (
                Matcher::only(&p("linux/amd64/v3")),
                &["linux/amd64/v3", "linux/amd64", "linux/386", "linux/s390x"],
            ),
            (
                Matcher::ordered(&[p("linux/s390x"), p("linux/386")]),
                &["linux/s390x", "linux/386", "linux/amd64"],
            ),
            (
                Matcher::only(&p("linux(+erofs)/amd64")),
                &["linux(+erofs)/amd64", "linux/amd64", "linux/386", "linux(+zzz)/amd64", "linux/arm64"],
            ),
            (
                Matcher::any(&[p("linux(+a)/amd64"), p("linux/386")]),
                &["linux(+a)/amd64", "linux/amd64", "linux(+b)/amd64", "linux/arm64"],
            ),
        ] {
            let mut platforms: Vec<Platform> = sorted.iter().rev().map(|s| p(s)).collect();
            platforms.sort_by_key(|x| matcher.rank(x));
            assert_eq!(platforms.iter().map(Platform::to_string).collect::<Vec<_>>(), sorted);
            for pair in sorted.windows(2) {
                assert!(matcher.less(&p(pair[0]), &p(pair[1])), "{pair:?}");
                assert!(!matcher.less(&p(pair[1]), &p(pair[0])), "{pair:?}");
            }
        }
        assert!(!Matcher::all().less(&p("linux/amd64"), &p("linux/386")));
        let any = Matcher::any(&[p("linux/amd64"), p("linux/386")]);
        assert!(
            !any.less(&p("linux/amd64"), &p("linux/386")) && !any.less(&p("linux/386"), &p("linux/amd64"))
        );
    }

    proptest! {
        #![proptest_config(crate::seeded())]

        #[test]
        fn chains_are_short_and_never_panic(arch in "(amd64|arm|arm64)", variant in "v?[0-9.]{0,12}") {
            prop_assert!(fall_back_chain(&Platform::new("linux", arch, variant).normalize()).len() <= MOST_VARIANTS as usize + 2);
        }
    }
}
