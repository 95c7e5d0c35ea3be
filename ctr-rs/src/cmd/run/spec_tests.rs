#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::*;
use crate::cli::Cli;
use crate::cmd::Command;
use clap::Parser;
use serde_json::{Value, json};

fn flags(line: &[&str]) -> ContainerFlags {
    let mut words = vec!["ctr-rs", "run"];
    words.extend(line);
    words.extend(["img", "id"]);
    match Cli::try_parse_from(words).unwrap().command {
        Command::Run(args) => args.container,
        other => panic!("{other:?}"),
    }
}

fn image() -> ImageConfig {
    serde_json::from_value(json!({
        "architecture": "amd64", "os": "linux",
        "config": {
            "Env": ["PATH=/bin", "LANG=C"], "Entrypoint": ["/entry"], "Cmd": ["-x"], "WorkingDir": "/work", "User": "web"
        },
        "rootfs": { "type": "layers", "diff_ids": [] }
    }))
    .unwrap()
}

/// Builds with an image whose files name `web` (33) and its group `log` (44).
fn try_with(line: &[&str], args: &[&str]) -> Result<Value> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("etc")).unwrap();
    std::fs::write(dir.path().join("etc/passwd"), "root:x:0:0::/:/x\nweb:x:33:33::/:/x\n").unwrap();
    std::fs::write(dir.path().join("etc/group"), "log:x:44:web\n").unwrap();
    let image = image();
    let source = Source { image: Some(&image), rootfs: Rootfs::Dir(dir.path()), directory: None };
    let args: Vec<String> = args.iter().map(ToString::to_string).collect();
    Ok(serde_json::to_value(build(&flags(line), "ns", "c1", &args, &source)?).unwrap())
}

fn with(line: &[&str]) -> Value {
    try_with(line, &[]).unwrap()
}

#[test]
fn the_image_says_what_runs() {
    let spec = with(&[]);
    let process = &spec["process"];
    assert_eq!(process["args"], json!(["/entry", "-x"]));
    assert_eq!(process["env"], json!(["PATH=/bin", "LANG=C"]));
    assert_eq!(process["cwd"], "/work");
    assert_eq!(process["user"], json!({ "uid": 33, "gid": 33, "additionalGids": [33, 44] }));
    assert_eq!(spec["linux"]["cgroupsPath"], "/ns/c1");
    assert_eq!(spec["linux"]["resources"]["cpu"], json!({ "shares": 1024 }));
    assert!(spec["linux"].get("seccomp").is_none());
    assert!(process.get("oomScoreAdj").is_none());
}

#[test]
fn flags_win_over_the_image() {
    let spec = try_with(
        &[
            "--env",
            "LANG=de",
            "--env",
            "A=1",
            "--env",
            "PATH",
            "--cwd",
            "/",
            "-u",
            "0:44",
            "-t",
            "--hostname",
            "h",
        ],
        &["sh", "-c", "true"],
    )
    .unwrap();
    let process = &spec["process"];
    assert_eq!(process["args"], json!(["sh", "-c", "true"]));
    assert_eq!(process["env"], json!(["LANG=de", "A=1", "TERM=xterm"]));
    assert_eq!((process["cwd"].as_str(), process["terminal"].as_bool()), (Some("/"), Some(true)));
    assert_eq!(process["user"]["gid"], 44);
    assert_eq!(spec["hostname"], "h");
}

#[test]
fn limits() {
    let spec = with(&[
        "--cpus",
        "1.5",
        "--cpu-shares",
        "512",
        "--memory-limit",
        "1048576",
        "--cpuset-cpus",
        "0-1",
        "--cgroup",
        "",
        "--rlimit-nofile",
        "64:128",
    ]);
    let resources = &spec["linux"]["resources"];
    assert_eq!(
        resources["cpu"],
        json!({ "shares": 512, "quota": 150_000, "period": 100_000, "cpus": "0-1" })
    );
    assert_eq!(resources["memory"], json!({ "limit": 1_048_576 }));
    assert!(spec["linux"].get("cgroupsPath").is_none());
    assert_eq!(spec["process"]["rlimits"], json!([{ "type": "RLIMIT_NOFILE", "soft": 64, "hard": 128 }]));
    assert_eq!(with(&["--rdt-class", "gold"])["linux"]["intelRdt"], json!({ "closID": "gold" }));
    assert!(try_with(&["--cpus", "1", "--cpu-quota", "5"], &[]).is_err());
    let spec = with(&["--cpu-quota", "5000", "--cpu-period", "10000"]);
    assert_eq!(spec["linux"]["resources"]["cpu"], json!({ "shares": 1024, "quota": 5000, "period": 10000 }));
}

#[test]
fn capabilities_and_seccomp() {
    let spec = with(&["--cap-add", "CAP_SYS_ADMIN", "--cap-drop", "CAP_MKNOD", "--seccomp"]);
    let caps = &spec["process"]["capabilities"];
    for set in ["bounding", "effective", "permitted"] {
        let set = caps[set].as_array().unwrap();
        assert!(set.contains(&json!("CAP_SYS_ADMIN")) && !set.contains(&json!("CAP_MKNOD")));
    }
    assert_eq!(spec["linux"]["seccomp"]["defaultAction"], "SCMP_ACT_ERRNO");
    assert!(try_with(&["--cap-add", "SYS_ADMIN"], &[]).is_err());
    assert!(try_with(&["--seccomp-profile", "/x"], &[]).is_err());
}

#[test]
fn privileged_containers_hide_nothing() {
    let spec = with(&["--privileged", "--privileged-without-host-devices", "--allow-new-privs"]);
    assert!(spec["linux"].get("maskedPaths").is_none() && spec["linux"].get("readonlyPaths").is_none());
    assert!(spec["process"].get("noNewPrivileges").is_none());
    let sys = spec["mounts"].as_array().unwrap().iter().find(|m| m["type"] == "sysfs").unwrap().clone();
    assert_eq!(sys["options"], json!(["nosuid", "noexec", "nodev", "rw"]));
    assert_eq!(spec["linux"]["resources"]["devices"][0]["allow"], false);
    let spec = with(&["--privileged"]);
    assert_eq!(spec["linux"]["resources"]["devices"], json!([{ "allow": true, "access": "rwm" }]));
    let devices = spec["linux"]["devices"].as_array().unwrap();
    assert!(devices.iter().any(|d| d["path"] == "/dev/null"));
    assert!(try_with(&["--privileged-without-host-devices"], &[]).is_err());
}

#[test]
fn namespaces_and_mounts() {
    let spec = with(&[
        "--net-host",
        "--with-ns",
        "pid:/proc/1/ns/pid",
        "--mount",
        "type=bind,src=/a,dst=/b,options=rbind:ro",
    ]);
    let namespaces = spec["linux"]["namespaces"].as_array().unwrap();
    assert!(!namespaces.iter().any(|n| n["type"] == "network"));
    assert!(namespaces.contains(&json!({ "type": "pid", "path": "/proc/1/ns/pid" })));
    let mounts = spec["mounts"].as_array().unwrap();
    assert!(mounts.contains(
        &json!({ "destination": "/b", "type": "bind", "source": "/a", "options": ["rbind", "ro"] })
    ));
    assert!(mounts.iter().any(|m| m["destination"] == "/etc/resolv.conf"));
    assert!(try_with(&["--with-ns", "other:/x"], &[]).is_err());
}

#[test]
fn labels_become_annotations_too() {
    let spec = with(&["--label", "a=1", "--annotation", "b=2"]);
    assert_eq!(spec["annotations"], json!({ "a": "1", "b": "2" }));
}

#[test]
fn user_namespaces() {
    let spec = with(&["--uidmap", "0:1000:10", "--gidmap", "0:2000:10", "--remap-labels"]);
    assert_eq!(spec["linux"]["uidMappings"], json!([{ "containerID": 0, "hostID": 1000, "size": 10 }]));
    assert!(spec["linux"]["namespaces"].as_array().unwrap().contains(&json!({ "type": "user" })));
    for bad in ["0:1", "0:1:2:3", "a:1:2", "0:-1:2"] {
        assert!(id_mappings(&[bad.into()]).is_err(), "{bad}");
    }
}

#[test]
fn everything_after_the_id_is_the_command() {
    let words = ["ctr-rs", "-n", "x", "run", "--rm", "-t", "img", "id", "sh", "--rm", "-c", "x", "--", "-d"];
    let Command::Run(args) = Cli::try_parse_from(words).unwrap().command else { panic!() };
    assert!(args.rm && args.container.process.tty && !args.task.detach);
    assert_eq!(args.words, ["img", "id", "sh", "--rm", "-c", "x", "--", "-d"]);
}

#[test]
fn an_image_without_a_command_needs_one() {
    let mut image = image();
    image.config.entrypoint.clear();
    image.config.cmd.clear();
    image.config.user.clear();
    let dir = tempfile::tempdir().unwrap();
    let source = Source { image: Some(&image), rootfs: Rootfs::Dir(dir.path()), directory: None };
    let text = base::chain(&build(&flags(&[]), "n", "c", &[], &source).unwrap_err());
    assert!(text.contains("nothing to run"), "{text}");
}
