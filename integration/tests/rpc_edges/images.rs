//! The images service.

use integration::rpc::{Rpc, case, contract};
use protos::api::images::*;
use tonic::{Code, Status};

use crate::making::{MANIFEST, at, descriptor, labels, long_label, mask, strings, unknown};

fn image(name: &str) -> Image {
    Image {
        name: name.to_owned(),
        labels: labels(&[("app", "web"), ("tier", "x")]),
        target: Some(descriptor(MANIFEST, unknown(), 10)),
        ..Default::default()
    }
}

fn create(image: Image) -> CreateImageRequest {
    CreateImageRequest { image: Some(image), source_date_epoch: None }
}

async fn names(rpc: Rpc, filters: Vec<String>) -> Result<Vec<String>, Status> {
    let found = rpc.images().list(ListImagesRequest { filters }).await?.into_inner().images;
    Ok(found.into_iter().map(|i| i.name).collect())
}

fn delete(name: &str, sync: bool, target: Option<protos::api::types::Descriptor>) -> DeleteImageRequest {
    DeleteImageRequest { name: name.to_owned(), sync, target }
}

#[test]
fn images() {
    contract("images", async |rpc| {
        let home = rpc.within("edges");
        home.images().create(create(image("docker.io/library/one:1"))).await?;
        home.images().create(create(Image { labels: labels(&[("app", "db")]), ..image("two") })).await?;
        let with = |change: fn(&mut Image)| {
            let mut i = image("fresh");
            change(&mut i);
            move |rpc: Rpc| async move { rpc.within("edges").images().create(create(i)).await }
        };
        let target = |change: fn(&mut protos::api::types::Descriptor)| {
            let mut i = image("fresh");
            change(i.target.as_mut().unwrap());
            move |rpc: Rpc| async move { rpc.within("edges").images().create(create(i)).await }
        };
        let change = |paths: &'static [&'static str], change: fn(&mut Image)| {
            let mut i = image("two");
            change(&mut i);
            let request =
                UpdateImageRequest { image: Some(i), update_mask: mask(paths), source_date_epoch: None };
            move |rpc: Rpc| async move { rpc.within("edges").images().update(request).await }
        };
        let remove = |request: DeleteImageRequest| {
            move |rpc: Rpc| async move { rpc.within("edges").images().delete(request).await }
        };
        let get = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").images().get(GetImageRequest { name: name.into() }).await
            }
        };
        let list =
            |filters: &'static [&'static str]| move |rpc: Rpc| names(rpc.within("edges"), strings(filters));
        Ok(vec![
            case("get an image that is not there", Code::NotFound, "image \"nope\": not found", get("nope")).older(),
            case("get with an empty name", Code::NotFound, "image \"\": not found", get("")).older(),
            case("get in a namespace that is not there", Code::NotFound, "image \"two\": not found", |rpc| async move {
                rpc.within("other").images().get(GetImageRequest { name: "two".into() }).await
            }).older(),
            case("create without an image", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").images().create(CreateImageRequest::default()).await
            }).only_ours("the original dies of it"),
            case("create without a name", Code::InvalidArgument, "Image.Name required", with(|i| i.name.clear())).older(),
            case("create without a target", Code::InvalidArgument, "", with(|i| i.target = None)).only_ours("the original dies of it"),
            case("create with a name that is no reference", Code::Ok, "", with(|i| i.name = "!! any / text".into())),
            case("create with a name of 30000 bytes", Code::Ok, "", with(|i| i.name = "n".repeat(30000))),
            case("create with an empty digest", Code::InvalidArgument, "arget.Digest \"\" invalid: invalid checksum digest format: invalid argument", target(|t| t.digest.clear())).older(),
            case("create with a malformed digest", Code::InvalidArgument, "arget.Digest \"sha256:zz\" invalid: invalid checksum digest length: invalid argument", target(|t| t.digest = "sha256:zz".into())).older(),
            case("create with a size of 0", Code::InvalidArgument, "arget.Size must be greater than zero: invalid argument", target(|t| t.size = 0)).older(),
            case("create with a negative size", Code::InvalidArgument, "arget.Size must be greater than zero: invalid argument", target(|t| t.size = -1)).older(),
            case("create without a media type", Code::InvalidArgument, "arget.MediaType must be set: invalid argument", target(|t| t.media_type.clear())).older(),
            case("create with an annotation without a key", Code::Unknown, "writing Annotations for image keyless: failed to set label \"\"=\"x\": key required", with(|i| {
                i.name = "keyless".into();
                i.target.as_mut().unwrap().annotations = labels(&[("", "x")]);
            })).ours(Code::Ok, "annotations: {\"\": \"x\"}", "annotations are kept as they came; the original's database has no place for this one"),
            case("create with an annotation", Code::Ok, "annotations: {\"k\": \"x\"}", with(|i| {
                i.name = "annotated".into();
                i.target.as_mut().unwrap().annotations = labels(&[("k", "x")]);
            })),
            case("create with a label that is too long", Code::InvalidArgument, "image.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", with(|i| i.labels = long_label())).older(),
            case("create what is there already", Code::AlreadyExists, "image \"two\": already exists", with(|i| i.name = "two".into())).older(),
            case("create of what is not in the content store", Code::Ok, "", with(|i| i.name = "dangling".into())).older(),
            case("create at another time", Code::Ok, "created_at: Some(Timestamp { seconds: 1000", |rpc| async move {
                let request = CreateImageRequest { image: Some(image("dated")), source_date_epoch: at(1000) };
                rpc.within("edges").images().create(request).await
            }),
            case("update without an image", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").images().update(UpdateImageRequest::default()).await
            }).only_ours("the original dies of it"),
            case("update without a name", Code::InvalidArgument, "Image.Name required", change(&["labels"], |i| i.name.clear())).older(),
            case("update of one that is not there", Code::NotFound, "image \"nope\": not found", change(&["labels"], |i| i.name = "nope".into())).older(),
            case("update of a field that nobody knows", Code::InvalidArgument, "cannot update \"nonsense\" field on image \"two\": invalid argument", change(&["nonsense"], |_| {})).older(),
            case("update of the name", Code::InvalidArgument, "cannot update \"name\" field on image \"two\": invalid argument", change(&["name"], |_| {})).older(),
            case("update of the labels without a target", Code::Ok, "", change(&["labels.app"], |i| { i.target = None; i.labels = labels(&[("app", "db")]); })).only_ours("the original dies of it"),
            case("update of one label", Code::Ok, "labels: {\"app\": \"db\", \"tier\": \"y\"}", change(&["labels.tier"], |i| i.labels = labels(&[("tier", "y"), ("app", "no")]))),
            case("update with a malformed digest", Code::InvalidArgument, "arget.Digest \"x\" invalid: invalid checksum digest format: invalid argument", change(&["target"], |i| i.target = Some(descriptor(MANIFEST, "x", 1)))).older(),
            case("update of everything with a size of 0", Code::InvalidArgument, "arget.Size must be greater than zero: invalid argument", change(&[], |i| i.target = Some(descriptor(MANIFEST, unknown(), 0)))).older(),
            case("update of the annotations", Code::Ok, "", change(&["annotations"], |_| {})),
            case("update of one annotation", Code::Ok, "", change(&["annotations.x"], |i| i.target.as_mut().unwrap().annotations = labels(&[("x", "y")]))),
            case("update with a label that is too long", Code::InvalidArgument, "image.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", change(&["labels"], |i| i.labels = long_label())).older(),
            case("update of two fields, one unknown, changes neither", Code::InvalidArgument, "cannot update \"nonsense\" field on image \"two\": invalid argument", change(&["labels.app", "nonsense"], |i| i.labels = labels(&[("app", "changed")]))),
            case("its label is as it was", Code::Ok, "\"app\": \"db\"", get("two")),
            case("delete of another target", Code::NotFound, "image \"two\" has target sha256:*, not sha256:*: not found", remove(delete("two", false, Some(descriptor(MANIFEST, format!("sha256:{}", "1".repeat(64)), 10))))),
            case("delete of a target of another size", Code::Ok, "", remove(delete("annotated", false, Some(descriptor(MANIFEST, unknown(), 11))))),
            case("delete of a malformed target", Code::NotFound, "image \"two\" has target sha256:*, not x: not found", remove(delete("two", false, Some(descriptor(MANIFEST, "x", 10))))),
            case("delete of an empty target", Code::Ok, "", remove(delete("dangling", false, Some(Default::default())))),
            case("delete of one that is not there", Code::NotFound, "image \"nope\": not found", remove(delete("nope", false, None))).older(),
            case("delete of one that is not there, waiting", Code::NotFound, "image \"nope\": not found", remove(delete("nope", true, None))).older(),
            case("delete with an empty name", Code::NotFound, "image \"\": not found", remove(delete("", false, None))),
            case("delete, waiting", Code::Ok, "", remove(delete("dated", true, None))),
            case("list by name", Code::Ok, "[\"two\"]", list(&["name==two"])).older(),
            case("list by an unquoted reference", Code::Ok, "[\"docker.io/library/one:1\"]", list(&["name==docker.io/library/one:1"])),
            case("list by part of the name", Code::Ok, "[\"docker.io/library/one:1\"]", list(&["name~=library"])).older(),
            case("list by target digest", Code::Ok, "two", list(&["target.digest~=/^sha256:0+$/"])),
            case("list by target media type", Code::Ok, "two", list(&["target.mediatype~=manifest"])),
            case("list by target media type, unquoted", Code::Ok, "two", list(&["target.mediatype==application/vnd.oci.image.manifest.v1+json"])),
            case("list by label", Code::Ok, "[\"two\"]", list(&["labels.app==db"])).older(),
            case("list by annotation", Code::Ok, "[\"two\"]", list(&["annotations.x==y"])),
            case("list with a bad filter", Code::InvalidArgument, "filters: parse error: [name >|=|< two]: unsupported operator \"=\": invalid argument", list(&["name=two"])),
            case("list in a namespace that is not there", Code::Ok, "[]", |rpc| names(rpc.within("other"), vec![])).older(),
        ])
    });
}
