//! The content service, but for its write stream.

use integration::rpc::{Rpc, case, contract};
use protos::api::content::*;
use tonic::{Code, Status};

use crate::making::{all, digest, labels, long_label, mask, store, strings, unknown, write};

const BYTES: &[u8] = b"some bytes of a blob";

fn update(digest: &str, paths: &[&str], change: fn(&mut Info)) -> UpdateRequest {
    let mut info = Info {
        digest: digest.to_owned(),
        labels: labels(&[("app", "x"), ("containerd.io/gc.root", "again")]),
        ..Default::default()
    };
    change(&mut info);
    UpdateRequest { info: Some(info), update_mask: mask(paths) }
}

async fn read(rpc: Rpc, digest: String, offset: i64, size: i64) -> Result<String, Status> {
    let pieces = all(rpc.content().read(ReadContentRequest { digest, offset, size }).await).await?;
    let bytes: Vec<u8> = pieces.iter().flat_map(|p| p.data.to_vec()).collect();
    let offsets: Vec<i64> = pieces.iter().map(|p| p.offset).collect();
    Ok(format!("{} at {offsets:?}", String::from_utf8_lossy(&bytes)))
}

async fn listed(rpc: Rpc, filters: Vec<String>) -> Result<usize, Status> {
    let batches = all(rpc.content().list(ListContentRequest { filters }).await).await?;
    Ok(batches.iter().map(|b| b.info.len()).sum())
}

async fn statuses(rpc: Rpc, filters: &[&str]) -> Result<Vec<String>, Status> {
    let filters = strings(filters);
    let found = rpc.content().list_statuses(ListStatusesRequest { filters }).await?.into_inner().statuses;
    Ok(found.into_iter().map(|s| s.r#ref).collect())
}

#[test]
fn content() {
    contract("content", async |rpc| {
        let home = rpc.within("edges");
        let blob = store(&home, BYTES).await?;
        store(&home, b"another").await?;
        write(&home, vec![crate::making::data("half", 0, b"part")]).await?;
        let info = |digest: String| {
            move |rpc: Rpc| async move { rpc.within("edges").content().info(InfoRequest { digest }).await }
        };
        let delete = |digest: String| {
            move |rpc: Rpc| async move {
                rpc.within("edges").content().delete(DeleteContentRequest { digest }).await
            }
        };
        let status = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").content().status(StatusRequest { r#ref: name.into() }).await
            }
        };
        let abort = |name: &'static str| {
            move |rpc: Rpc| async move {
                rpc.within("edges").content().abort(AbortRequest { r#ref: name.into() }).await
            }
        };
        let change = |digest: String, paths: &'static [&'static str], change: fn(&mut Info)| {
            move |rpc: Rpc| async move {
                rpc.within("edges").content().update(update(&digest, paths, change)).await
            }
        };
        let part = |digest: String, offset: i64, size: i64| {
            move |rpc: Rpc| read(rpc.within("edges"), digest, offset, size)
        };
        let list = |filters: Vec<String>| move |rpc: Rpc| listed(rpc.within("edges"), filters);
        let ingests = |filters: &'static [&'static str]| {
            move |rpc: Rpc| async move { statuses(rpc.within("edges"), filters).await }
        };
        let b = || blob.clone();
        let mut cases = Vec::new();
        for (what, bad) in [
            ("an empty digest", String::new()),
            ("a word for a digest", "nonsense".into()),
            ("a digest of an algorithm that nobody knows", format!("md4:{}", "0".repeat(32))),
            ("a digest that is too short", "sha256:abcd".into()),
            ("a digest in capitals", digest(BYTES).to_uppercase().replace("SHA", "sha")),
            ("a digest with a path in it", format!("sha256:../../{}", "0".repeat(58))),
            ("a sha512 digest of sha256's length", format!("sha512:{}", "0".repeat(64))),
        ] {
            cases.push(case(format!("info of {what}"), Code::InvalidArgument, "", info(bad.clone())).older());
            cases.push(
                case(format!("delete of {what}"), Code::InvalidArgument, "", delete(bad.clone())).older(),
            );
            cases.push(
                case(format!("read of {what}"), Code::InvalidArgument, "", part(bad.clone(), 0, 0)).older(),
            );
            cases.push(
                case(
                    format!("update of {what}"),
                    Code::InvalidArgument,
                    "",
                    change(bad, &["labels"], |_| {}),
                )
                .older(),
            );
        }
        cases.extend([
            case("info of a blob that is not there", Code::NotFound, "content digest sha256:*: not found", info(unknown())).older(),
            case("info of a blob of another namespace", Code::NotFound, "content digest sha256:*: not found", move |rpc| async move {
                rpc.within("other").content().info(InfoRequest { digest: digest(BYTES) }).await
            }).older(),
            case("info of a sha512 blob that is not there", Code::NotFound, "content digest sha512:*: not found", info(format!("sha512:{}", "0".repeat(128)))).older(),
            case("delete of a blob that is not there", Code::NotFound, "content digest sha256:*: not found", delete(unknown())).older(),
            case("delete of a blob of another namespace", Code::NotFound, "content digest sha256:*: not found", move |rpc| async move {
                rpc.within("other").content().delete(DeleteContentRequest { digest: digest(BYTES) }).await
            }).older(),
            case("read of a blob that is not there", Code::NotFound, "content digest sha256:*: not found", part(unknown(), 0, 0)).older(),
            case("read of all", Code::Ok, "some bytes of a blob at [0]", part(b(), 0, 0)).older(),
            case("read of the middle", Code::Ok, "bytes at [", part(b(), 5, 5)).older(),
            case("read from the end", Code::Ok, " at [", part(b(), BYTES.len() as i64, 0)),
            case("read beyond the end", Code::OutOfRange, "read past object length 20 bytes", part(b(), 21, 0)).older(),
            case("read of more than there is", Code::Ok, "bytes of a blob", part(b(), 5, 100)),
            case("read with a negative offset", Code::Ok, "some bytes of a blob", part(b(), -1, 0)),
            case("read with a negative size", Code::Ok, "some bytes of a blob", part(b(), 0, -1)),
            case("read with the greatest size", Code::Ok, "some bytes of a blob", part(b(), 0, i64::MAX)),
            case("read of the greatest size from the second byte", Code::Ok, "ome bytes of a blob", part(b(), 1, i64::MAX)),
            case("update without info", Code::InvalidArgument, "", |rpc| async move {
                rpc.within("edges").content().update(UpdateRequest::default()).await
            }).only_ours("the original dies of it"),
            case("update of a blob that is not there", Code::NotFound, "content digest sha256:*: not found", change(unknown(), &["labels"], |_| {})).older(),
            case("update of the size", Code::InvalidArgument, "cannot update \"size\" field on content info \"sha256:*\": invalid argument", change(b(), &["size"], |_| {})).older(),
            case("update of a label and of the size", Code::InvalidArgument, "cannot update \"size\" field on content info \"sha256:*\": invalid argument", change(b(), &["labels.app", "size"], |_| {})).older(),
            case("update of the digest", Code::InvalidArgument, "cannot update \"digest\" field on content info \"sha256:*\": invalid argument", change(b(), &["digest"], |_| {})).older(),
            case("update with a label that is too long", Code::InvalidArgument, "info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", change(b(), &["labels"], |i| i.labels = long_label())).older(),
            case("update of one label that is too long", Code::InvalidArgument, "info.Labels: label key and value*greater than maximum size (4096 bytes), key: key: invalid argument", change(b(), &["labels.key"], |i| i.labels = long_label())),
            case("update of one label", Code::Ok, "\"app\": \"x\"", change(b(), &["labels.app"], |_| {})).older(),
            case("the other label is still there", Code::Ok, "\"app\": \"x\", \"containerd.io/gc.root\"", info(digest(BYTES))).older(),
            case("update of everything", Code::Ok, "{\"app\": \"x\", \"containerd.io/gc.root\": \"again\"}", change(b(), &[], |_| {})).older(),
            case("list all", Code::Ok, "2", list(vec![])).older(),
            case("list by digest", Code::Ok, "1", list(vec![format!("digest=={}", b())])),
            case("list by unquoted part of a digest", Code::Ok, "1", list(vec![format!("digest~={}", &b()[7..12])])),
            case("list by label", Code::Ok, "1", list(strings(&["labels.app==x"]))).older(),
            case("list by size", Code::Ok, "0", list(strings(&["size==20"]))).ours(Code::Ok, "1", "the field is documented; here it works"),
            case("list with a bad filter", Code::InvalidArgument, "filters: parse error: [digest >|=|< x]: unsupported operator \"=\": invalid argument", list(strings(&["digest=x"]))),
            case("list with a regular expression that is none", Code::Ok, "0", list(strings(&["digest~=|*|"]))),
            case("list in a namespace that is not there", Code::Ok, "0", |rpc| listed(rpc.within("other"), vec![])).older(),
            case("status of an ingest", Code::Ok, "r#ref: \"half\", offset: 4, total: 0", status("half")).older(),
            case("status of an ingest that is not there", Code::NotFound, "reference nope: not found", status("nope")).older(),
            case("status with an empty reference", Code::NotFound, "reference : not found", status("")).older(),
            case("status of an ingest of another namespace", Code::NotFound, "reference half: not found", |rpc| async move {
                rpc.within("other").content().status(StatusRequest { r#ref: "half".into() }).await
            }).older(),
            case("statuses", Code::Ok, "[\"half\"]", ingests(&[])).older(),
            case("statuses by reference", Code::Ok, "[\"half\"]", ingests(&["ref==half"])),
            case("statuses by another reference", Code::Ok, "[]", ingests(&["ref==other"])),
            case("statuses with a bad filter", Code::InvalidArgument, "filters: parse error: [ref >|=|< x]: unsupported operator \"=\": invalid argument", ingests(&["ref=x"])),
            case("statuses in a namespace that is not there", Code::Ok, "[]", |rpc| async move { statuses(rpc.within("other"), &[]).await }).older(),
            case("abort of an ingest that is not there", Code::NotFound, "reference nope: not found", abort("nope")).older(),
            case("abort with an empty reference", Code::NotFound, "reference : not found", abort("")).older(),
            case("abort of an ingest of another namespace", Code::NotFound, "reference half: not found", |rpc| async move {
                rpc.within("other").content().abort(AbortRequest { r#ref: "half".into() }).await
            }).older(),
            case("abort", Code::Ok, "", abort("half")).older(),
            case("abort again", Code::NotFound, "reference half: not found", abort("half")).older(),
            case("delete", Code::Ok, "", delete(b())).older(),
            case("delete again", Code::NotFound, "content digest sha256:*: not found", delete(b())).older(),
        ]);
        Ok(cases)
    });
}
