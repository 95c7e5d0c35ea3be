//! What this host is.

use std::sync::OnceLock;

use super::Platform;

/// Go's name for the only operating system this runs on.
pub(super) const OS: &str = "linux";

/// Go's name for the architecture this is built for.
fn architecture() -> &'static str {
    let little = cfg!(target_endian = "little");
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "x86" => "386",
        "aarch64" => "arm64",
        "powerpc64" if little => "ppc64le",
        "powerpc64" => "ppc64",
        "loongarch64" => "loong64",
        "mips64" if little => "mips64le",
        "mips" if little => "mipsle",
        other => other,
    }
}

impl Platform {
    /// This host as Go containerd describes it: a variant only on arm. On arm the first call reads
    /// `/proc/cpuinfo`.
    pub fn host() -> Self {
        static HOST: OnceLock<Platform> = OnceLock::new();
        HOST.get_or_init(|| Platform::new(OS, architecture(), host_variant())).clone()
    }

    /// This host with its amd64 level as variant (`linux/amd64/v3`): for choosing the most specific
    /// manifest. Go clients do not look that far, so do not use it where both sides must agree.
    pub fn host_with_level() -> Self {
        let mut host = Platform::host();
        if let Some(level) = amd64_level().filter(|l| *l > 1) {
            host.variant = format!("v{level}");
        }
        host
    }
}

#[cfg(any(target_arch = "arm", target_arch = "aarch64"))]
fn host_variant() -> &'static str {
    use std::io::Read;
    /// The first core is enough, and the field is in its first lines.
    const ENOUGH: u64 = 64 << 10;
    let read = |path: &str| {
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).ok()?;
        file.take(ENOUGH).read_to_end(&mut bytes).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    };
    let machine = read("/proc/sys/kernel/arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    arm_variant(&read("/proc/cpuinfo").unwrap_or_default(), machine.trim(), architecture())
}

#[cfg(not(any(target_arch = "arm", target_arch = "aarch64")))]
fn host_variant() -> &'static str {
    ""
}

/// The variant of an arm host: from the text of `/proc/cpuinfo`, else from the machine name of
/// uname (emulated hosts). `architecture` is what this program is built for, in Go's names.
/// `unknown` when nothing tells.
pub fn arm_variant(cpuinfo: &str, machine: &str, architecture: &str) -> &'static str {
    let field = |name: &str| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim()
                .eq_ignore_ascii_case(name)
                .then(|| value.split(':').next().unwrap_or_default().trim().to_lowercase())
        })
    };
    let from_machine = || {
        let machine = machine.to_lowercase();
        if machine == "aarch64" {
            return "8".to_owned();
        }
        machine.strip_prefix("armv").and_then(|rest| rest.get(..1)).unwrap_or_default().to_owned()
    };
    let mut told = field("cpu architecture").unwrap_or_else(from_machine);
    // A Raspberry Pi with an ARMv6 processor says 7.
    if architecture == "arm"
        && told == "7"
        && field("model name").is_some_and(|m| m.starts_with("armv6-compatible"))
    {
        "6".clone_into(&mut told);
    }
    match told.as_str() {
        "8" | "aarch64" => "v8",
        "7" | "7m" | "?(12)" | "?(13)" | "?(14)" | "?(15)" | "?(16)" | "?(17)" => "v7",
        "6" | "6tej" => "v6",
        "5" | "5t" | "5te" | "5tej" => "v5",
        "4" | "4t" => "v4",
        "3" => "v3",
        _ => "unknown",
    }
}

/// The x86-64 psABI level (1 to 4) of this processor; `None` on others.
#[cfg(target_arch = "x86_64")]
pub fn amd64_level() -> Option<u8> {
    macro_rules! all {
        ($($feature:tt)*) => { true $(&& std::arch::is_x86_feature_detected!($feature))* };
    }
    let v2 = all!("cmpxchg16b" "popcnt" "sse3" "ssse3" "sse4.1" "sse4.2");
    let v3 = v2 && all!("avx" "avx2" "bmi1" "bmi2" "f16c" "fma" "lzcnt" "movbe");
    let v4 = v3 && all!("avx512f" "avx512bw" "avx512cd" "avx512dq" "avx512vl");
    Some(1 + u8::from(v2) + u8::from(v3) + u8::from(v4))
}

/// The x86-64 psABI level (1 to 4) of this processor; `None` on others.
#[cfg(not(target_arch = "x86_64"))]
pub fn amd64_level() -> Option<u8> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arm_hosts() {
        let pi1 =
            "processor\t: 0\nmodel name\t: ARMv6-compatible processor rev 7 (v6l)\nCPU architecture: 7\n";
        let pi3 = "processor : 0\nmodel name : ARMv7 Processor rev 4 (v7l)\nCPU architecture: 7\n\nprocessor : 1\nCPU architecture: 8\n";
        for (cpuinfo, machine, arch, want) in [
            (pi1, "armv6l", "arm", "v6"),
            (pi1, "armv6l", "arm64", "v7"),
            (pi3, "armv7l", "arm", "v7"),
            ("CPU architecture: 8\n", "aarch64", "arm64", "v8"),
            ("CPU architecture: AArch64\n", "aarch64", "arm64", "v8"),
            ("CPU architecture: 5TEJ\n", "", "arm", "v5"),
            ("CPU architecture: ?(13)\n", "", "arm", "v7"),
            ("vendor_id : GenuineIntel\n", "armv7l", "arm", "v7"),
            ("", "aarch64", "arm64", "v8"),
            ("", "armv8l", "arm", "v8"),
            ("", "armv", "arm", "unknown"),
            ("", "x86_64", "arm", "unknown"),
            ("", "", "arm", "unknown"),
        ] {
            assert_eq!(arm_variant(cpuinfo, machine, arch), want, "{cpuinfo:?} {machine}");
        }
    }

    #[test]
    fn this_host() {
        let host = Platform::host();
        assert_eq!(host.os, "linux");
        assert_eq!(host.normalize().architecture, host.architecture);
        if cfg!(target_arch = "x86_64") {
            assert_eq!(host, Platform::new("linux", "amd64", ""));
            assert!(matches!(amd64_level(), Some(1..=4)));
        } else {
            assert_eq!(amd64_level(), None);
        }
        assert_eq!(Platform::host_with_level().architecture, host.architecture);
    }
}
