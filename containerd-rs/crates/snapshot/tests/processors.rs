//! Stream processors: real programs between the content store and the worker.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod differ;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base::oci::media_type;
use base::{Any, Digest, ErrorKind, Kinded};
use snapshot::walking::{StreamProcessor, Walking};
use snapshot::{ApplyOptions, Differ};

use differ::{Scene, gzip, noise, tar};

const ENCRYPTED: &str = media_type::OCI_LAYER_GZIP_ENCRYPTED;

/// A processor that is a shell script.
fn script(id: &str, accepts: &str, returns: &str, text: &str) -> StreamProcessor {
    StreamProcessor {
        id: id.into(),
        accepts: vec![accepts.into()],
        returns: returns.into(),
        path: PathBuf::from("sh"),
        args: vec!["-c".into(), text.into(), "decode".into()],
        env: vec!["GREETING=hello".into()],
    }
}

/// "Encryption" that `tr` takes back.
fn rot(bytes: &[u8]) -> Vec<u8> {
    bytes.iter().map(|b| b ^ 0x80).collect()
}

const UNROT: &str = r"LC_ALL=C tr '\000-\177\200-\377' '\200-\377\000-\177'";

async fn apply(
    s: &Scene,
    processors: Vec<StreamProcessor>,
    media_type: &str,
    bytes: &[u8],
    payloads: BTreeMap<String, Any>,
) -> snapshot::Result<base::Descriptor> {
    let layer = s.put(media_type, bytes).await;
    let differ = Walking::new(s.content.clone(), s.options.clone()).with_processors(processors);
    let options = ApplyOptions { payloads, ..ApplyOptions::default() };
    differ.apply(&s.scope, &layer, &s.bind("d"), options).await
}

#[tokio::test]
async fn a_layer_goes_through_its_programs() {
    let s = Scene::new();
    let plain = tar(&[("file", b"body"), ("big", &noise(3 << 20))]);
    let processors = vec![
        script("outer", "x/twice", ENCRYPTED, UNROT),
        script("inner", ENCRYPTED, media_type::OCI_LAYER_GZIP, UNROT),
        script("straight", "x/straight", media_type::OCI_LAYER, "gzip -dc"),
    ];
    let packed = gzip(&plain);
    for (media_type, bytes) in
        [(ENCRYPTED, rot(&packed)), ("x/twice", rot(&rot(&packed))), ("x/straight", packed.clone())]
    {
        let done = apply(&s, processors.clone(), media_type, &bytes, BTreeMap::new()).await.unwrap();
        assert_eq!((done.digest, done.size), (Digest::sha256(&plain), plain.len() as i64), "{media_type}");
        assert_eq!(done.media_type, media_type::OCI_LAYER);
        assert_eq!(std::fs::read(s.root.path().join("d/file")).unwrap(), b"body");
        std::fs::remove_dir_all(s.root.path().join("d")).unwrap();
    }
    // Without one, nobody knows the type.
    let e = apply(&s, Vec::new(), ENCRYPTED, &packed, BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Unimplemented);
}

#[tokio::test]
async fn a_program_gets_its_media_type_environment_arguments_and_payload() {
    let s = Scene::new();
    let packed = gzip(&tar(&[("file", b"body")]));
    let seen = s.root.path().join("seen");
    let text = format!(
        r#"{{ echo "$STREAM_PROCESSOR_MEDIATYPE $GREETING $1 ${{PATH:+path}}"; od -An -tx1 <&3; }} > {} 2>&1; cat"#,
        seen.display()
    );
    let mut processor = script("keys", "x/with", media_type::OCI_LAYER_GZIP, &text);
    processor.args.push("argument".into());
    let other = ("other".to_owned(), Any { type_url: "not.this".into(), value: "no".into() });
    let payload = Any { type_url: "type/url".into(), value: vec![7; 3].into() };
    let payloads = BTreeMap::from([("keys".to_owned(), payload), other]);
    apply(&s, vec![processor.clone()], "x/with", &packed, payloads).await.unwrap();
    let said = std::fs::read_to_string(&seen).unwrap();
    let (first, bytes) = said.split_once('\n').unwrap();
    assert_eq!(first, "x/with hello argument path");
    // Field 1: "type/url"; field 2: three sevens.
    let bytes: Vec<&str> = bytes.split_whitespace().collect();
    assert_eq!(bytes.join(""), "0a08747970652f75726c1203070707");
    // Without a payload there is nothing on descriptor 3.
    apply(&s, vec![processor], "x/with", &packed, BTreeMap::new()).await.unwrap();
    assert!(std::fs::read_to_string(&seen).unwrap().contains("3: Bad file descriptor"));
}

#[tokio::test]
async fn a_payload_that_nobody_reads_does_not_hold_anything_up() {
    let s = Scene::new();
    let packed = gzip(&tar(&[("file", b"body")]));
    let processor = script("deaf", "x/deaf", media_type::OCI_LAYER_GZIP, "cat");
    let big = Any { type_url: "t".into(), value: vec![1; 1 << 20].into() };
    let payloads = BTreeMap::from([("deaf".to_owned(), big)]);
    apply(&s, vec![processor], "x/deaf", &packed, payloads).await.unwrap();
}

#[tokio::test]
async fn a_program_that_fails_says_why() {
    let s = Scene::new();
    let packed = gzip(&tar(&[("file", b"body"), ("big", &noise(3 << 20))]));
    for (text, wanted) in [
        (
            "echo no key for this layer >&2; exit 3",
            "bad (sh) failed with exit status: 3: no key for this layer",
        ),
        ("head -c 1000; echo cut >&2; exit 1", "bad (sh) failed with exit status: 1: cut"),
        ("cat; echo too late >&2; exit 1", "bad (sh) failed with exit status: 1: too late"),
        ("cat >/dev/null; kill -9 $$", "failed with signal: 9"),
    ] {
        let processor = script("bad", "x/bad", media_type::OCI_LAYER_GZIP, text);
        let result = apply(&s, vec![processor], "x/bad", &packed, BTreeMap::new()).await;
        match result {
            Err(e) => assert!(base::chain(&e).contains(wanted), "{text}: {}", base::chain(&e)),
            // An empty stream is an empty layer: only the signal tells.
            Ok(_) => panic!("{text}: applied"),
        }
    }
    let absent = StreamProcessor {
        path: "/nonexistent/decoder".into(),
        ..script("a", "x/a", media_type::OCI_LAYER, "")
    };
    let e = apply(&s, vec![absent], "x/a", &packed, BTreeMap::new()).await.unwrap_err();
    let said = base::chain(&e);
    assert!(said.contains("failed to get stream processor for x/a"), "{said}");
    assert!(said.contains("start stream processor /nonexistent/decoder"), "{said}");
}

#[tokio::test]
async fn a_broken_layer_ends_its_programs() {
    let s = Scene::new();
    let endless = script("endless", "x/endless", media_type::OCI_LAYER, "yes not a tar; exit 0");
    let e = apply(&s, vec![endless], "x/endless", b"x", BTreeMap::new()).await.unwrap_err();
    assert!(base::chain(&e).contains("invalid layer archive"), "{}", base::chain(&e));
    let mut s = Scene::new();
    s.options.stall = Duration::from_millis(300);
    let silent = script("silent", "x/silent", media_type::OCI_LAYER, "exec sleep 1000");
    let e = apply(&s, vec![silent], "x/silent", b"x", BTreeMap::new()).await.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::DeadlineExceeded);
}
