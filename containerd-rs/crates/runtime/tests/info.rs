//! `-info`: what a runtime says about itself, and programs that say nothing sensible.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod world;

use base::{Any, ErrorKind, Kinded};
use protobuf::{Message, MessageField};
use protos::shim::types::{RuntimeInfo as Wire, RuntimeVersion};
use runtime::RuntimeInfo;
use world::*;

#[test]
fn a_runtime_describes_itself_as_it_would_run_with_the_options() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    let features = protobuf::well_known_types::any::Any {
        type_url: "types.containerd.io/opencontainers/runtime-spec/1/features/Features".to_owned(),
        value: br#"{"ociVersionMin":"1.0.0"}"#.to_vec(),
        ..Default::default()
    };
    let mut said = Wire {
        name: "io.containerd.some.v7".to_owned(),
        version: MessageField::some(RuntimeVersion {
            version: "v7.1".to_owned(),
            revision: "abc".to_owned(),
            ..RuntimeVersion::default()
        }),
        features: MessageField::some(features.clone()),
        ..Wire::default()
    };
    said.annotations.insert("k".to_owned(), "v".to_owned());
    std::fs::write(world.path("said"), said.write_to_bytes().unwrap()).unwrap();
    let here = world.path("").display().to_string();
    let program = world.script(
        "containerd-shim-some-v7",
        &format!("[ \"$*\" = -info ] || exit 9; cat > {here}/heard; cat {here}/said"),
    );
    let ask = |options: Option<&Any>| {
        daemon.run(daemon.runtime.runtime_info(&program.display().to_string(), options))
    };
    let options = Any::new("containerd.runc.v1.Options", vec![0x18, 0x01]);
    let info = ask(Some(&options)).unwrap();
    let expected = RuntimeInfo {
        name: said.name.clone(),
        version: "v7.1".to_owned(),
        revision: "abc".to_owned(),
        options: None,
        features: Some(Any::new(features.type_url, features.value)),
        annotations: [("k".to_owned(), "v".to_owned())].into(),
    };
    assert_eq!(info, expected);
    let heard = std::fs::read(world.path("heard")).unwrap();
    let heard = protobuf::well_known_types::any::Any::parse_from_bytes(&heard).unwrap();
    assert_eq!((heard.type_url.as_str(), heard.value), ("containerd.runc.v1.Options", vec![0x18, 0x01]));
    ask(None).unwrap();
    assert_eq!(std::fs::read(world.path("heard")).unwrap(), b"", "without options nothing is said");
}

#[test]
fn runtimes_that_cannot_describe_themselves() {
    let world = World::new(GO_SHIM);
    let daemon = world.daemon();
    for (number, (script, want)) in [
        ("echo no such flag >&2; exit 2", "no such flag: exit status 2"),
        ("printf '\\377\\377\\377'", "shim answered -info with something that is not its response: "),
        ("kill -9 $$", "signal: killed"),
    ]
    .into_iter()
    .enumerate()
    {
        let program = world.script(&format!("containerd-shim-mute-v{number}"), script);
        let asked = daemon.run(daemon.runtime.runtime_info(&program.display().to_string(), None));
        let text = base::chain(&asked.unwrap_err());
        assert!(text.starts_with(want), "{script}: {text}");
    }
    let nowhere = daemon.run(daemon.runtime.runtime_info("io.containerd.nowhere.v1", None)).unwrap_err();
    assert_eq!(nowhere.kind(), ErrorKind::Unknown);
    assert!(base::chain(&nowhere).contains("containerd-shim-nowhere-v1"), "{}", base::chain(&nowhere));
}
