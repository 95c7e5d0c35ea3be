//! Turns `proto/` into Rust: prost and tonic types for gRPC (features `grpc`, `cri`), rust-protobuf types and ttrpc
//! services for the shim protocol (feature `ttrpc`). Offline, without `protoc`.

use std::collections::BTreeSet;
use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

/// What the daemon's gRPC socket speaks, CRI apart.
const GRPC: &[&str] = &[
    "containerd/services",
    "containerd/types",
    "containerd/events",
    "containerd/cgroups",
    "containerd/runtime/bootstrap",
    "google/rpc",
];

/// What shims and the daemon say to each other.
const TTRPC: &[&str] = &[
    "containerd/runtime",
    "containerd/types",
    "containerd/events",
    "containerd/cgroups",
    "containerd/services/streaming",
    "containerd/services/ttrpc",
];

const CRI: &[&str] = &["cri"];

/// Messages that carry passwords: `src/redact.rs` prints them instead of the derived `Debug`.
const SECRET: &[&str] = &[".runtime.v1.AuthConfig", ".containerd.types.transfer.AuthResponse"];

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("proto");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=build.rs");
    if feature("GRPC") {
        prost(&root, &out, "grpc", GRPC)?;
    }
    if feature("CRI") {
        prost(&root, &out, "cri", CRI)?;
    }
    if feature("TTRPC") {
        ttrpc(&root, &out.join("ttrpc"))?;
    }
    Ok(())
}

fn feature(name: &str) -> bool {
    env::var_os(format!("CARGO_FEATURE_{name}")).is_some()
}

/// The `.proto` files below `dirs`, sorted, as paths relative to `root`.
fn files(root: &Path, dirs: &[&str]) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut todo: Vec<PathBuf> = dirs.iter().map(|d| root.join(d)).collect();
    while let Some(dir) = todo.pop() {
        for entry in fs::read_dir(&dir)? {
            let path = entry?.path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|e| e == "proto") {
                found.push(path.strip_prefix(root)?.to_owned());
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Writes a module for each package below `out/name`, and a list of all messages for the test that tries each of them.
fn prost(root: &Path, out: &Path, name: &str, dirs: &[&str]) -> Result<()> {
    let set = protox::compile(files(root, dirs)?, [root])?;
    let dir = out.join(name);
    fs::create_dir_all(&dir)?;
    let mut names = tonic_prost_build::Config::new();
    names.enable_type_names();
    tonic_prost_build::configure()
        .bytes(".")
        .btree_map(".")
        .skip_debug(SECRET)
        .extern_path(".google.protobuf.Any", "crate::any::Any")
        .emit_rerun_if_changed(false)
        .include_file("mod.rs")
        .out_dir(&dir)
        .compile_fds_with_config(set.clone(), names)?;
    let packages: BTreeSet<&str> = set.file.iter().map(|f| f.package()).collect();
    let mut types = String::new();
    for package in packages.into_iter().filter(|p| !p.starts_with("google.protobuf")) {
        let module = package.replace('.', "::");
        let source = fs::read_to_string(dir.join(format!("{package}.rs")))?;
        let names =
            source.lines().filter_map(|l| l.strip_prefix("impl ::prost::Name for ")?.strip_suffix(" {"));
        for name in names {
            types += &format!("round_trip::<super::generated::{module}::{name}>,\n");
        }
    }
    fs::write(dir.join("types.rs"), format!("&[\n{types}]\n"))?;
    Ok(())
}

/// Writes messages, ttrpc services, a `mod.rs`, the names of all messages, and a list of them for the test, into `out`.
fn ttrpc(root: &Path, out: &Path) -> Result<()> {
    // What an earlier run left would end up in mod.rs.
    if out.exists() {
        fs::remove_dir_all(out)?;
    }
    fs::create_dir_all(out)?;
    let mut files = files(root, TTRPC)?;
    files.retain(|f| !f.starts_with("containerd/types/transfer"));
    ttrpc_codegen::Codegen::new()
        .out_dir(out)
        .include(root)
        .inputs(files.iter().map(|f| root.join(f)))
        .rust_protobuf()
        .rust_protobuf_customize(
            ttrpc_codegen::ProtobufCustomize::default().lite_runtime(true).gen_mod_rs(false),
        )
        .customize(ttrpc_codegen::Customize { async_all: true, ..Default::default() })
        .run()?;
    let set = protox::compile(&files, [root])?;
    let mut modules = String::new();
    let mut names = String::new();
    let mut types = String::new();
    for path in &files {
        let module = stem(path)?;
        let source = out.join(format!("{module}.rs"));
        modules += &format!("#[path = {source:?}]\npub mod {module};\n");
        let service = out.join(format!("{module}_ttrpc.rs"));
        if service.exists() {
            fs::write(&service, corrected(&fs::read_to_string(&service)?))?;
            modules += &format!("#[path = {service:?}]\npub mod {module}_ttrpc;\n");
        }
        let Some(file) = set.file.iter().find(|f| Path::new(f.name()) == path) else {
            return Err(format!("{} was not compiled", path.display()).into());
        };
        for message in &file.message_type {
            let (package, name) = (file.package(), message.name());
            names += &format!(
                "impl crate::shim::any::FullName for {module}::{name} {{ const FULL_NAME: &'static str = \"{package}.{name}\"; }}\n"
            );
            types += &format!("round_trip::<super::generated::{module}::{name}>,\n");
        }
    }
    fs::write(out.join("mod.rs"), modules + &names)?;
    fs::write(out.join("types.rs"), format!("&[\n{types}]\n"))?;
    Ok(())
}

/// Two corrections to a generated service: the permission for unsafe code goes (there is none in it, and the crate forbids
/// even the permission), and a method that is not overridden answers as Go's ttrpc does for one it does not know.
fn corrected(service: &str) -> String {
    let mut out = String::new();
    for line in service.lines().filter(|l| !l.contains("allow(unsafe_code)")) {
        match line.split_once("::ttrpc::Code::NOT_FOUND, \"/") {
            Some((head, tail)) => {
                let method = tail.split(' ').next().and_then(|m| m.split_once('/')).map_or("", |(_, m)| m);
                out += head;
                out += &format!("::ttrpc::Code::UNIMPLEMENTED, \"method {method}\".to_string())))");
            }
            None => out += line,
        }
        out.push('\n');
    }
    out
}

fn stem(path: &Path) -> Result<&str> {
    path.file_stem().and_then(|s| s.to_str()).ok_or_else(|| format!("{} has no name", path.display()).into())
}
