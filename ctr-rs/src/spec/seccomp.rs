//! containerd's default seccomp profile: a list of what is allowed, more of it for some capabilities; everything else is refused.
//! The lists are data, in `seccomp.json`.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{Error, Result};

const DATA: &str = include_str!("seccomp.json");
const ALLOW: &str = "SCMP_ACT_ALLOW";
const REFUSE: &str = "SCMP_ACT_ERRNO";
const AF_ALG: u64 = 38;
const AF_VSOCK: u64 = 40;
/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const CLONE_NAMESPACES: u64 = 0x7E02_0000;
const ENOSYS: u32 = 38;

#[derive(Deserialize)]
struct Lists {
    allow: Vec<String>,
    after_4_8: Vec<String>,
    personality: Vec<u64>,
    capabilities: BTreeMap<String, Vec<String>>,
    architectures: BTreeMap<String, Architecture>,
}

#[derive(Deserialize)]
struct Architecture {
    names: Vec<String>,
    allow: Vec<String>,
}

/// The profile for a process with these bounding capabilities, on a machine of `architecture` (Go's name) and kernel
/// `(major, minor)`.
pub fn default_profile(bounding: &[String], architecture: &str, kernel: (u32, u32)) -> Result<Value> {
    static LISTS: OnceLock<Option<Lists>> = OnceLock::new();
    let lists = LISTS.get_or_init(|| serde_json::from_str(DATA).ok()).as_ref();
    let lists = lists.ok_or_else(|| Error::invalid("the built-in seccomp lists cannot be read"))?;

    let mut calls = vec![allow(&lists.allow, None)];
    calls.extend(sockets());
    let personalities = lists.personality.iter();
    calls.extend(personalities.map(|p| allow(["personality"], Some(argument(0, *p, 0, "SCMP_CMP_EQ")))));
    if kernel >= (4, 8) {
        calls.push(allow(&lists.after_4_8, None));
    }
    let machine = lists.architectures.get(architecture);
    if let Some(machine) = machine.filter(|m| !m.allow.is_empty()) {
        calls.push(allow(&machine.allow, None));
    }
    calls.extend(bounding.iter().filter_map(|c| lists.capabilities.get(c)).map(|more| allow(more, None)));
    if !bounding.iter().any(|c| c == "CAP_SYS_ADMIN") {
        // the flags are clone's first argument, on s390 the second
        let index = u32::from(architecture.starts_with("s390"));
        calls.push(allow(["clone"], Some(argument(index, CLONE_NAMESPACES, 0, "SCMP_CMP_MASKED_EQ"))));
        // libraries fall back to clone only when clone3 does not exist
        calls.push(json!({ "names": ["clone3"], "action": REFUSE, "errnoRet": ENOSYS }));
    }
    let names = machine.map(|m| m.names.as_slice()).unwrap_or_default();
    let mut profile = json!({ "defaultAction": REFUSE, "syscalls": calls });
    if !names.is_empty() {
        profile["architectures"] = json!(names);
    }
    Ok(profile)
}

/// Every address family but AF_ALG and AF_VSOCK, as three ranges: two "not equal" tests of one argument would be alternatives and
/// so allow both.
fn sockets() -> [Value; 3] {
    [(AF_ALG, "SCMP_CMP_LT"), (AF_ALG + 1, "SCMP_CMP_EQ"), (AF_VSOCK, "SCMP_CMP_GT")]
        .map(|(family, compare)| allow(["socket"], Some(argument(0, family, 0, compare))))
}

fn allow<S: AsRef<str>>(names: impl IntoIterator<Item = S>, argument: Option<Value>) -> Value {
    let names: Vec<String> = names.into_iter().map(|n| n.as_ref().to_owned()).collect();
    match argument {
        None => json!({ "names": names, "action": ALLOW }),
        Some(argument) => json!({ "names": names, "action": ALLOW, "args": [argument] }),
    }
}

fn argument(index: u32, value: u64, value_two: u64, compare: &str) -> Value {
    match value_two {
        0 => json!({ "index": index, "value": value, "op": compare }),
        _ => json!({ "index": index, "value": value, "valueTwo": value_two, "op": compare }),
    }
}

/// A profile from a file, in the runtime-spec's form.
pub fn from_file(path: &str) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(Error::io(format!("cannot read seccomp profile {path}")))?;
    serde_json::from_slice(&bytes)
        .map_err(|source| Error::Json { what: format!("seccomp profile {path} cannot be read"), source })
}

/// The running kernel's first two numbers.
pub fn kernel() -> (u32, u32) {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy().into_owned();
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn caps(list: &[&str]) -> Vec<String> {
        list.iter().map(ToString::to_string).collect()
    }

    /// Whether some rule of the profile allows the call without a condition.
    fn allows(profile: &Value, call: &str) -> bool {
        profile["syscalls"].as_array().unwrap().iter().any(|rule| {
            rule["action"] == ALLOW
                && rule.get("args").is_none()
                && rule["names"].as_array().unwrap().iter().any(|n| n == call)
        })
    }

    #[test]
    fn ordinary_calls_are_allowed_and_dangerous_ones_are_not() {
        let p = default_profile(&caps(&["CAP_CHOWN"]), "amd64", (6, 1)).unwrap();
        assert_eq!(p["defaultAction"], REFUSE);
        assert_eq!(p["architectures"], json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]));
        for call in ["read", "openat2", "futex_waitv", "ptrace", "arch_prctl"] {
            assert!(allows(&p, call), "{call}");
        }
        for call in ["mount", "bpf", "socket", "clone", "clone3", "reboot", "chroot", "userfaultfd", "keyctl"]
        {
            assert!(!allows(&p, call), "{call}");
        }
    }

    #[test]
    fn capabilities_open_what_they_are_for() {
        let p = default_profile(&caps(&["CAP_SYS_ADMIN", "CAP_SYS_CHROOT"]), "arm64", (4, 7)).unwrap();
        for call in ["mount", "clone", "clone3", "chroot", "bpf"] {
            assert!(allows(&p, call), "{call}");
        }
        assert!(!allows(&p, "ptrace"), "the kernel is too old for it");
        let rules = p["syscalls"].as_array().unwrap();
        assert!(!rules.iter().any(|r| r["names"] == json!(["clone3"])), "no rule makes clone3 unknown");
    }

    #[test]
    fn new_namespaces_are_refused_by_flag_and_clone3_does_not_exist() {
        let p = default_profile(&[], "s390x", (6, 1)).unwrap();
        let rules = p["syscalls"].as_array().unwrap();
        let clone = rules.iter().find(|r| r["names"] == json!(["clone"])).unwrap();
        assert_eq!(
            clone["args"],
            json!([{ "index": 1, "value": 2_114_060_288_u64, "op": "SCMP_CMP_MASKED_EQ" }])
        );
        let clone3 = rules.iter().find(|r| r["names"] == json!(["clone3"])).unwrap();
        assert_eq!(clone3["errnoRet"], 38);
    }

    #[test]
    fn no_socket_rule_lets_alg_or_vsock_through() {
        for family in 0..60_u64 {
            let passes = sockets().iter().any(|rule| {
                let a = &rule["args"][0];
                let value = a["value"].as_u64().unwrap();
                match a["op"].as_str().unwrap() {
                    "SCMP_CMP_LT" => family < value,
                    "SCMP_CMP_EQ" => family == value,
                    _ => family > value,
                }
            });
            assert_eq!(passes, family != AF_ALG && family != AF_VSOCK, "family {family}");
        }
    }
}
