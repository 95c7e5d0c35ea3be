//! Messages as a Go peer sent them. One line each: peer's version, `Service/Method` (or `shim/<action>`), direction,
//! message type, hex.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)]

use protos::shim::any::FullName;

pub struct Line {
    pub peer: &'static str,
    pub method: &'static str,
    pub way: &'static str,
    pub message: &'static str,
    pub bytes: Vec<u8>,
}

pub fn lines() -> Vec<Line> {
    [
        include_str!("../fixtures/grpc.txt"),
        include_str!("../fixtures/cri.txt"),
        include_str!("../fixtures/shim.txt"),
    ]
    .iter()
    .flat_map(|f| f.lines())
    .map(|l| {
        let w: Vec<&str> = l.split(' ').collect();
        let bytes = hex::decode(w[4].trim_matches('-')).unwrap();
        Line { peer: w[0], method: w[1], way: w[2], message: w[3], bytes }
    })
    .collect()
}

fn of(peer: &str, method: &str, way: &str, message: &str) -> Vec<Vec<u8>> {
    let found: Vec<_> = lines()
        .into_iter()
        .filter(|l| l.peer == peer && l.method.ends_with(method) && l.way == way)
        .inspect(|l| assert_eq!(l.message, message, "{method} {way}"))
        .map(|l| l.bytes)
        .collect();
    assert!(!found.is_empty(), "nothing recorded for {method} {way}");
    found
}

/// All recorded messages of one direction of a gRPC method, read by the prost type.
pub fn prost<M: prost::Message + prost::Name + Default>(method: &str, way: &str) -> Vec<M> {
    of("2.3.4", method, way, &M::full_name()).iter().map(|b| M::decode(b.as_slice()).unwrap()).collect()
}

/// The only one, or the first.
pub fn req<M: prost::Message + prost::Name + Default>(method: &str) -> M {
    prost(method, "req").remove(0)
}

pub fn resp<M: prost::Message + prost::Name + Default>(method: &str) -> M {
    prost(method, "resp").remove(0)
}

/// As [`prost`] for a ttrpc method and the rust-protobuf type; `peer` tells the version.
pub fn ttrpc<M: protobuf::Message + FullName>(peer: &str, method: &str, way: &str) -> Vec<M> {
    of(peer, method, way, M::FULL_NAME).iter().map(|b| M::parse_from_bytes(b).unwrap()).collect()
}
