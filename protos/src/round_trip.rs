//! Every generated type against bytes that Go encoded: all fields set, decoded, encoded again, nothing lost.
//!
//! `tests/fixtures/wire.txt` holds one line for each message, enum and rpc of the Go peer: full name, numbers and names,
//! and for a message the hex of one with all its fields set, encoded by Go.

use crate::shim::any::FullName;
use prost::Name;
use prost_reflect::{DescriptorPool, DynamicMessage, EnumDescriptor, MessageDescriptor, MethodDescriptor};
use std::collections::BTreeMap;
use std::path::Path;

/// Gets a message of the named type through the generated type.
pub(crate) type RoundTrip = fn(&BTreeMap<String, Vec<u8>>) -> Option<(String, Vec<u8>)>;

pub(crate) fn prost<M: ::prost::Message + Name + Default>(
    all: &BTreeMap<String, Vec<u8>>,
) -> Option<(String, Vec<u8>)> {
    let name = M::full_name();
    let message = M::decode(all.get(&name)?.as_slice()).ok()?;
    Some((name, message.encode_to_vec()))
}

pub(crate) fn protobuf<M: ::protobuf::Message + FullName>(
    all: &BTreeMap<String, Vec<u8>>,
) -> Option<(String, Vec<u8>)> {
    let message = M::parse_from_bytes(all.get(M::FULL_NAME)?).ok()?;
    assert_eq!(message.special_fields().unknown_fields().iter().count(), 0, "{}", M::FULL_NAME);
    Some((M::FULL_NAME.to_owned(), message.write_to_bytes().ok()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]

    use super::*;
    use std::collections::BTreeSet;

    /// Our own `.proto` files, parsed anew: independent of any code generator.
    fn ours() -> DescriptorPool {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
        let mut files = Vec::new();
        let mut dirs = vec![root.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() { dirs.push(path) } else { files.push(path) }
            }
        }
        DescriptorPool::from_file_descriptor_set(protox::compile(files, [root]).unwrap()).unwrap()
    }

    fn lines(kind: &str) -> Vec<Vec<&'static str>> {
        include_str!("../tests/fixtures/wire.txt")
            .lines()
            .map(|l| l.split(' ').collect::<Vec<_>>())
            .filter(|w| w[0] == kind)
            .map(|w| w[1..].to_vec())
            .collect()
    }

    fn bytes() -> BTreeMap<String, Vec<u8>> {
        lines("message")
            .into_iter()
            .map(|w| (w[0].to_owned(), hex::decode(w[2].trim_matches('-')).unwrap()))
            .collect()
    }

    fn difference(mine: &BTreeMap<String, String>, theirs: &BTreeMap<String, String>) -> Vec<String> {
        let names: BTreeSet<_> = mine.keys().chain(theirs.keys()).collect();
        names
            .into_iter()
            .filter(|n| mine.get(*n) != theirs.get(*n))
            .map(|n| format!("{n}: ours {:?}, theirs {:?}", mine.get(n), theirs.get(n)))
            .collect()
    }

    fn is_ours(package: &str) -> bool {
        !package.starts_with("google.protobuf")
    }

    #[test]
    fn messages_have_the_peers_names_and_numbers() {
        let pool = ours();
        let of = |m: &MessageDescriptor| {
            let mut fields: Vec<_> = m.fields().map(|f| (f.number(), f.name().to_owned())).collect();
            fields.sort();
            let fields: Vec<_> = fields.iter().map(|(n, f)| format!("{n}:{f}")).collect();
            if fields.is_empty() { "-".to_owned() } else { fields.join(",") }
        };
        let mine: BTreeMap<_, _> = pool
            .all_messages()
            .filter(|m| is_ours(m.package_name()) && !m.is_map_entry())
            .map(|m| (m.full_name().to_owned(), of(&m)))
            .collect();
        let theirs: BTreeMap<_, _> =
            lines("message").into_iter().map(|w| (w[0].to_owned(), w[1].to_owned())).collect();
        assert_eq!(difference(&mine, &theirs), Vec::<String>::new());
    }

    #[test]
    fn enums_have_the_peers_names_and_numbers() {
        let of = |e: &EnumDescriptor| {
            e.values().map(|v| (v.number(), v.name().to_owned())).collect::<BTreeMap<_, _>>()
        };
        let mine: BTreeMap<_, _> = ours()
            .all_enums()
            .filter(|e| is_ours(e.package_name()))
            .map(|e| (e.full_name().to_owned(), of(&e)))
            .collect();
        let theirs: BTreeMap<_, _> = lines("enum")
            .into_iter()
            .map(|w| {
                let values = w[1].split(',').map(|v| v.split_once(':').unwrap());
                (w[0].to_owned(), values.map(|(n, v)| (n.parse().unwrap(), v.to_owned())).collect())
            })
            .collect();
        assert_eq!(mine, theirs);
    }

    #[test]
    fn services_have_the_peers_methods() {
        let stream = |yes: bool| if yes { "stream:" } else { "" };
        let of = |m: MethodDescriptor| {
            format!(
                "{}/{} {}{} {}{}",
                m.parent_service().full_name(),
                m.name(),
                stream(m.is_client_streaming()),
                m.input().full_name(),
                stream(m.is_server_streaming()),
                m.output().full_name()
            )
        };
        let mut mine: Vec<_> =
            ours().services().flat_map(|s| s.methods().map(of).collect::<Vec<_>>()).collect();
        mine.sort();
        let mut theirs: Vec<_> = lines("rpc").into_iter().map(|w| w.join(" ")).collect();
        theirs.sort();
        assert_eq!(mine, theirs);
    }

    #[test]
    fn every_field_that_go_sets_is_read_and_written_back() {
        let pool = ours();
        for (name, bytes) in bytes() {
            let descriptor = pool.get_message_by_name(&name).unwrap();
            let message = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).expect(&name);
            assert_eq!(message.unknown_fields().count(), 0, "{name} has fields that we do not know");
            for field in descriptor.fields() {
                let shadowed = field.containing_oneof().is_some_and(|o| o.fields().len() > 1);
                assert!(message.has_field(&field) || shadowed, "{} was not read", field.full_name());
            }
        }
    }

    /// Field order and map order are the encoder's choice, so messages are compared, not bytes.
    fn check(types: &[RoundTrip]) -> Vec<String> {
        let (pool, all) = (ours(), bytes());
        let mut names = Vec::new();
        for (at, round_trip) in types.iter().enumerate() {
            let (name, again) = round_trip(&all)
                .unwrap_or_else(|| panic!("type {at} after {:?} does not decode", names.last()));
            let descriptor = pool.get_message_by_name(&name).unwrap();
            let want = DynamicMessage::decode(descriptor.clone(), all[&name].as_slice()).unwrap();
            let got = DynamicMessage::decode(descriptor, again.as_slice()).unwrap();
            assert_eq!(got, want, "{name}");
            names.push(name);
        }
        names.sort();
        names
    }

    #[test]
    fn prost_types_keep_every_field() {
        let mut names = check(crate::api::all_types::TYPES);
        names.extend(check(crate::cri::all_types::TYPES));
        let shim_only = ["containerd.task.", "containerd.runtime.sandbox."];
        let missing: Vec<_> = ours()
            .all_messages()
            .filter(|m| is_ours(m.package_name()) && m.parent_message().is_none())
            .map(|m| m.full_name().to_owned())
            .filter(|m| !names.contains(m) && !shim_only.iter().any(|s| m.starts_with(s)))
            .collect();
        assert_eq!(missing, Vec::<String>::new());
    }

    /// What a live peer sent goes through the generated types unharmed, whatever else the tests look at.
    #[test]
    fn recorded_messages_keep_every_field() {
        let pool = ours();
        let recorded = [
            include_str!("../tests/fixtures/grpc.txt"),
            include_str!("../tests/fixtures/cri.txt"),
            include_str!("../tests/fixtures/shim.txt"),
        ];
        let mut tried = 0;
        for line in recorded.iter().flat_map(|f| f.lines()) {
            let words: Vec<_> = line.split(' ').collect();
            let Some(descriptor) = pool.get_message_by_name(words[3]).filter(|m| is_ours(m.package_name()))
            else {
                continue;
            };
            let bytes = hex::decode(words[4].trim_matches('-')).unwrap();
            let want = DynamicMessage::decode(descriptor.clone(), bytes.as_slice()).unwrap();
            assert_eq!(want.unknown_fields().count(), 0, "{line}");
            let one = BTreeMap::from([(words[3].to_owned(), bytes)]);
            for types in
                [crate::api::all_types::TYPES, crate::cri::all_types::TYPES, crate::shim::all_types::TYPES]
            {
                for (_, again) in types.iter().filter_map(|round_trip| round_trip(&one)) {
                    let got = DynamicMessage::decode(descriptor.clone(), again.as_slice()).unwrap();
                    assert_eq!(got, want, "{line}");
                    tried += 1;
                }
            }
        }
        assert!(tried > 400, "only {tried}");
    }

    #[test]
    fn ttrpc_types_keep_every_field() {
        let names = check(crate::shim::all_types::TYPES);
        for package in [
            "containerd.task.v2.",
            "containerd.task.v3.",
            "containerd.runtime.sandbox.v1.",
            "containerd.runtime.bootstrap.v1.",
            "containerd.services.events.ttrpc.v1.",
            "containerd.services.streaming.v1.",
            "containerd.events.",
            "containerd.runc.v1.",
            "runtimeoptions.v1.",
            "io.containerd.cgroups.v1.",
            "io.containerd.cgroups.v2.",
        ] {
            assert!(names.iter().any(|n| n.starts_with(package)), "nothing of {package}");
        }
    }
}
