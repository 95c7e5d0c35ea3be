//! The few fields of CRI's `runtime.v1.PodSandboxConfig` that concern the pod's namespaces, read from its bytes: the
//! whole API would be larger than this program.

use std::collections::BTreeMap;

use base::Error;
use protobuf::CodedInputStream;

/// What options of this type are.
const TYPE: &str = "runtime.v1.PodSandboxConfig";

/// See the module.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PodConfig {
    pub(crate) hostname: String,
    pub(crate) cgroup_parent: String,
    pub(crate) sysctls: BTreeMap<String, String>,
    pub(crate) host_network: bool,
    pub(crate) host_ipc: bool,
    pub(crate) shared_pid: bool,
    pub(crate) own_users: bool,
}

/// A value on the wire.
enum Value {
    Number(u64),
    Bytes(Vec<u8>),
}

/// `NamespaceMode`.
const POD: u64 = 0;
const NODE: u64 = 2;

impl PodConfig {
    /// Whether an `Any` of this type holds one.
    pub(crate) fn is(type_url: &str) -> bool {
        type_url.rsplit('/').next() == Some(TYPE)
    }

    /// Reads the message.
    ///
    /// # Errors
    /// `InvalidArgument`: the bytes are not a message.
    pub(crate) fn parse(bytes: &[u8]) -> Result<PodConfig, Error> {
        let mut config = PodConfig::default();
        for field in fields(bytes)? {
            match field {
                (2, Value::Bytes(name)) => config.hostname = text(name)?,
                (8, Value::Bytes(linux)) => config.linux(&linux)?,
                _ => {}
            }
        }
        Ok(config)
    }

    /// `LinuxPodSandboxConfig`.
    fn linux(&mut self, bytes: &[u8]) -> Result<(), Error> {
        for field in fields(bytes)? {
            match field {
                (1, Value::Bytes(parent)) => self.cgroup_parent = text(parent)?,
                (2, Value::Bytes(security)) => {
                    for field in fields(&security)? {
                        if let (1, Value::Bytes(options)) = field {
                            self.namespaces(&options)?;
                        }
                    }
                }
                (3, Value::Bytes(entry)) => {
                    let (mut name, mut value) = (String::new(), String::new());
                    for field in fields(&entry)? {
                        match field {
                            (1, Value::Bytes(bytes)) => name = text(bytes)?,
                            (2, Value::Bytes(bytes)) => value = text(bytes)?,
                            _ => {}
                        }
                    }
                    self.sysctls.insert(name, value);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// `NamespaceOption`. A number that is not there is zero, which means the pod's.
    fn namespaces(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let (mut network, mut pid, mut ipc) = (POD, POD, POD);
        for field in fields(bytes)? {
            match field {
                (1, Value::Number(mode)) => network = mode,
                (2, Value::Number(mode)) => pid = mode,
                (3, Value::Number(mode)) => ipc = mode,
                (5, Value::Bytes(users)) => {
                    // `UserNamespace`: the mode comes first, and zero, the pod's, is not written.
                    self.own_users = !fields(&users)?.iter().any(|f| matches!(f, (1, Value::Number(NODE))));
                }
                _ => {}
            }
        }
        (self.host_network, self.host_ipc, self.shared_pid) = (network == NODE, ipc == NODE, pid == POD);
        Ok(())
    }
}

fn wrong(e: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("parse {TYPE}")).with_source(e)
}

fn text(bytes: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(bytes).map_err(wrong)
}

/// The fields of a message, by number.
fn fields(bytes: &[u8]) -> Result<Vec<(u32, Value)>, Error> {
    let mut input = CodedInputStream::from_bytes(bytes);
    let mut all = Vec::new();
    while let Some(tag) = input.read_raw_tag_or_eof().map_err(wrong)? {
        let value = match tag & 7 {
            0 => Value::Number(input.read_raw_varint64().map_err(wrong)?),
            1 => Value::Number(input.read_fixed64().map_err(wrong)?),
            2 => Value::Bytes(input.read_bytes().map_err(wrong)?),
            5 => Value::Number(input.read_fixed32().map_err(wrong)?.into()),
            other => return Err(Error::invalid(format!("parse {TYPE}: wire type {other}"))),
        };
        all.push((tag >> 3, value));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn message(number: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(body.len()).unwrap()];
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn the_fields_that_matter() {
        let entry = [message(1, b"net.core.somaxconn"), message(2, b"9")].concat();
        let modes = message(1, &[1 << 3, 2, 2 << 3, 1, 3 << 3, 2]);
        let linux = [message(1, b"/kubepods/pod1"), message(2, &modes), message(3, &entry)].concat();
        let bytes = [message(1, b"\x0a\x03pod"), message(2, b"web-0"), message(8, &linux)].concat();
        let config = PodConfig::parse(&bytes).unwrap();
        let want = PodConfig {
            hostname: "web-0".into(),
            cgroup_parent: "/kubepods/pod1".into(),
            sysctls: BTreeMap::from([("net.core.somaxconn".into(), "9".into())]),
            host_network: true,
            host_ipc: true,
            shared_pid: false,
            own_users: false,
        };
        assert_eq!(config, want);
        let users = |body: &[u8]| message(8, &message(2, &message(1, &message(5, body))));
        assert!(PodConfig::parse(&users(b"")).unwrap().own_users);
        assert!(!PodConfig::parse(&users(&[1 << 3, 2])).unwrap().own_users);
        // Modes that are all the pod's are not on the wire at all.
        let shared = message(8, &message(2, &message(1, b"")));
        assert!(PodConfig::parse(&shared).unwrap().shared_pid);
        assert_eq!(PodConfig::parse(b"").unwrap(), PodConfig::default());
        assert!(
            PodConfig::is("runtime.v1.PodSandboxConfig") && PodConfig::is("x/runtime.v1.PodSandboxConfig")
        );
        assert!(!PodConfig::is("containerd.runc.v1.Options"));
    }

    #[test]
    fn garbage_is_refused() {
        for bytes in [&b"\x12\x05ab"[..], b"\x07", b"\x12\x02\xff\xfe", b"\x42\x02\x0a\x09"] {
            assert!(PodConfig::parse(bytes).is_err(), "{bytes:?}");
        }
    }
}
