//! The transfer service: what cannot be transferred, and pulls that go wrong.

use integration::rpc::{Rpc, case, newer_contract};
use integration::{Image, Registry};
use prost::{Message, Name};
use protos::api::Any;
use protos::api::transfer::{TransferOptions, TransferRequest};
use protos::api::types::Platform;
use protos::api::types_transfer::{
    ImageImportStream, ImageStore, OciRegistry, RegistryResolver, UnpackConfiguration,
};
use tonic::Code;

use crate::making::any;

fn pack<M: Message + Name>(message: &M) -> Option<Any> {
    Some(Any::pack(message))
}

fn registry(reference: &str) -> Option<Any> {
    let resolver = Some(RegistryResolver { default_scheme: "http".into(), ..Default::default() });
    pack(&OciRegistry { reference: reference.to_owned(), resolver })
}

fn store(name: &str) -> Option<Any> {
    pack(&ImageStore { name: name.to_owned(), ..Default::default() })
}

fn request(source: Option<Any>, destination: Option<Any>) -> TransferRequest {
    TransferRequest { source, destination, options: None }
}

fn linux(architecture: &str) -> Platform {
    Platform { os: "linux".into(), architecture: architecture.into(), ..Default::default() }
}

#[test]
fn transfer() {
    let scratch = integration::Scratch::new("edgereg").unwrap();
    let server = Registry::start(scratch.path()).unwrap();
    let image: &'static str =
        server.push(&Image::busybox().unwrap(), "edges/busybox", "latest").unwrap().leak();
    let missing: &'static str = image.replace("busybox", "missing").leak();
    let copy: &'static str = image.replace("edges/busybox", "edges/copy").leak();
    let untagged: &'static str = image.replace(":latest", ":nope").leak();
    newer_contract("transfer", async |_| {
        let send = |request: TransferRequest| {
            move |rpc: Rpc| async move { rpc.within("edges").transfer().transfer(request).await }
        };
        let pull = |to: ImageStore| send(request(registry(image), pack(&to)));
        let named = |change: fn(&mut ImageStore)| {
            let mut to = ImageStore { name: image.to_owned(), ..Default::default() };
            change(&mut to);
            to
        };
        Ok(vec![
            case("nothing", Code::Unknown, "type with url : not found", send(request(None, None))).ours(Code::InvalidArgument, "transfer source must be set", "the original loses the kind of its own error"),
            case("no source", Code::Unknown, "type with url : not found", send(request(None, store("x")))).ours(Code::InvalidArgument, "transfer source must be set", "the original loses the kind of its own error"),
            case("no destination", Code::Unknown, "type with url : not found", send(request(registry(image), None))).ours(Code::InvalidArgument, "transfer destination must be set", "the original loses the kind of its own error"),
            case("a source that nobody knows", Code::Unknown, "type with url nonsense: not found", send(request(any("nonsense", b""), store("x")))).ours(Code::Unimplemented, "transfer source of type \"nonsense\" is not supported", "the original loses the kind of its own error"),
            case("a destination that nobody knows", Code::Unknown, "type with url nonsense: not found", send(request(registry(image), any("nonsense", b"")))).ours(Code::Unimplemented, "transfer destination of type \"nonsense\" is not supported", "the original loses the kind of its own error"),
            case("a broken source", Code::Unknown, "proto: cannot parse invalid wire-format data", send(request(any("containerd.types.transfer.OCIRegistry", b"\xff\xff"), store("x")))).ours(Code::InvalidArgument, "malformed containerd.types.transfer.OCIRegistry", "the original loses the kind of its own error"),
            case("a registry to a registry", Code::Unimplemented, "not *implemented", send(request(registry(image), registry(copy)))).ours(Code::Ok, "", "the original copies nothing between registries"),
            case("the copy", Code::NotFound, "not found", send(request(registry(copy), store(copy)))).ours(Code::Ok, "", "the original copies nothing between registries"),
            case("a registry that lacks it to a registry", Code::Unimplemented, "not *implemented", send(request(registry(missing), registry(copy)))).ours(Code::NotFound, "failed to resolve image: */edges/missing:latest: not found", "the original copies nothing between registries"),
            case("a store to an import stream", Code::NotFound, "not found", send(request(store("x"), pack(&ImageImportStream::default())))).ours(Code::Unimplemented, "is not supported", "the pair is looked at before the stream is looked for"),
            case("an empty reference", Code::Unknown, "failed to resolve image: hostname required", send(request(registry(""), store("x")))).ours(Code::InvalidArgument, "hostname required", "the original loses the kind of its own error"),
            case("a reference that is none", Code::Unknown, "failed to resolve image: parse \"dummy://not a reference\": invalid character \" \" in host name", send(request(registry("not a reference"), store("x")))).ours(Code::InvalidArgument, "invalid character", "the original loses the kind of its own error"),
            case("a reference without a tag", Code::Unknown, "failed to resolve image: object required", send(request(registry(image.trim_end_matches(":latest")), store("x")))).ours(Code::InvalidArgument, "object required", "the original loses the kind of its own error"),
            case("an image that the registry does not have", Code::NotFound, "failed to resolve image: */edges/missing:latest: not found", send(request(registry(missing), store(missing)))),
            case("a tag that the registry does not have", Code::NotFound, "failed to resolve image: */edges/busybox:nope: not found", send(request(registry(untagged), store(untagged)))),
            case("a registry that is not there", Code::Unknown, "failed to resolve image: *127.0.0.1:1/*onnection refused", send(request(registry("127.0.0.1:1/x/y:1"), store("x")))),
            case("a progress stream that is not there", Code::NotFound, "not found", {
                let options = Some(TransferOptions { progress_stream: "nope".into() });
                send(TransferRequest { options, ..request(registry(image), store(image)) })
            }),
            case("an auth stream that is not there", Code::NotFound, "not found", {
                let resolver = Some(RegistryResolver { auth_stream: "nope".into(), default_scheme: "http".into(), ..Default::default() });
                send(request(pack(&OciRegistry { reference: image.to_owned(), resolver }), store(image)))
            }),
            case("an import stream that is not there", Code::NotFound, "not found", send(request(pack(&ImageImportStream { stream: "nope".into(), ..Default::default() }), store("x")))),
            case("unpacked into a snapshotter that nobody knows", Code::InvalidArgument, ": invalid argument", pull(named(|to| {
                to.unpacks = vec![UnpackConfiguration { platform: Some(linux(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" })), snapshotter: "nonsense".into() }];
            }))),
            case("for a platform that the image does not have", Code::Ok, "", pull(named(|to| to.platforms = vec![linux("s390x")]))),
            case("a tag of an image that is not there", Code::NotFound, "image \"nope\": not found", send(request(store("nope"), store("x")))),
            case("a tag without a name", Code::NotFound, "image \"nope\": not found", send(request(store("nope"), store("")))),
            case("a pull", Code::Ok, "", pull(named(|_| {}))),
            case("a tag", Code::Ok, "", send(request(store(image), store("docker.io/library/x:1")))),
            case("the same tag again", Code::Ok, "", send(request(store(image), store("docker.io/library/x:1")))),
            case("a push of an image that is not there", Code::NotFound, "image \"docker.io/library/nope:1\": not found", send(request(store("docker.io/library/nope:1"), registry(missing)))),
        ])
    });
    drop(server);
}
