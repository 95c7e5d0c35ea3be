//! Flags, verbs and what they print.

use std::process::{Command, Stdio};

use integration::shim::Answer;
use protobuf::Message;

use crate::stage::{Stage, all};

const PARSER: &str = "another parser's words, and the file's name";
const NEVER: &str =
    "the clean-up of what never was is done at once; the pid of nobody is 0 (2.3 answers 4294967295)";

/// Exit code, and the first line that was printed to each of standard output and error.
fn ran(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let first = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().next().unwrap_or_default().to_owned();
    format!("{} {:?} {:?}", output.status.code().unwrap_or(-1), first(&output.stdout), first(&output.stderr))
}

impl Stage {
    fn with(&self, args: &[&str]) -> String {
        let mut command = Command::new(&self.place.program.file);
        command.args(args).current_dir(self.place.dir.path());
        ran(command)
    }
}

pub(crate) async fn flags(stage: &mut Stage) {
    let version = r#"0 "*containerd-shim-runc-v2:" """#;
    let got = stage.with(&["-v"]);
    stage.check("the version", got, all(version));
    let got = stage.with(&["--v"]);
    stage.check("the version with two dashes", got, all(version));
    let got = stage.with(&["-v=true", "start"]);
    stage.check("the version with a value, before a verb", got, all(version));
    let got = stage.with(&["-h"]);
    stage.check("help", got, all(r#"0 "" "Usage of *""#));
    let got = stage.with(&["-nope"]);
    stage.check("an unknown flag", got, all(r#"2 "" "flag provided but not defined: -nope""#));
    let got = stage.with(&["-id"]);
    stage.check("a flag without its value", got, all(r#"2 "" "flag needs an argument: -id""#));
    let got = stage.with(&["-debug=maybe"]);
    let text = r#"2 "" "invalid boolean value \"maybe\" for -debug: parse error""#;
    stage.check("a boolean that is none", got, all(text));
    let got = stage.with(&["---id", "x"]);
    stage.check("three dashes", got, all(r#"2 "" "bad flag syntax: ---id""#));
    let empty = r#"1 "" "io.containerd.runc.v2: shim namespace cannot be empty""#;
    for (case, args) in [
        ("no namespace", &["-id", "x", "start"][..]),
        ("an empty namespace", &["-namespace", "", "-id", "x", "start"]),
        ("an empty namespace after =", &["--namespace=", "--id=x", "delete"]),
    ] {
        let got = stage.with(args);
        stage.check(case, got, all(empty));
    }
}

pub(crate) async fn start_that_cannot(stage: &mut Stage) {
    let bundle = stage.bundle("bare", &["true"]);
    let config = bundle.dir.join("config.json");
    let spec = std::fs::read(&config).unwrap();
    std::fs::remove_file(&config).unwrap();
    let got = ran(stage.place.command(&bundle, "start"));
    let sandbox = "a sandbox of which nothing is specified has no config.json, and its shim must start";
    let want = all(r#"1 "" "*config.json: no such file or directory*""#).ours(r#"0 "unix://*" """#, sandbox);
    stage.check("no config.json", &got, want);
    if let Some(address) = got.split('"').nth(1).filter(|a| !a.is_empty()) {
        let task = integration::shim::Task::dial(address, stage.version).await.unwrap();
        let _ = task.shutdown("bare").await;
    }
    std::fs::write(&config, "{").unwrap();
    let got = ran(stage.place.command(&bundle, "start"));
    stage.check(
        "a config.json that does not parse",
        got,
        all(r#"1 "" "io.containerd.runc.v2: unexpected EOF""#)
            .ours(r#"1 "" "io.containerd.runc.v2: parse *config.json: EOF while parsing*""#, PARSER),
    );
    std::fs::write(&config, r#"{"annotations": 5}"#).unwrap();
    let got = ran(stage.place.command(&bundle, "start"));
    stage.check(
        "annotations that are none",
        got,
        all(r#"1 "" "io.containerd.runc.v2: json: cannot unmarshal number*""#)
            .ours(r#"1 "" "io.containerd.runc.v2: parse *config.json: invalid type*""#, PARSER),
    );
    std::fs::write(&config, spec).unwrap();
}

pub(crate) async fn delete_verb(stage: &mut Stage) {
    let bundle = stage.bundle("left", &["sleep", "1000"]);
    let told = |r: anyhow::Result<protos::shim::task_v3::DeleteResponse>| match r {
        Ok(r) => format!(
            "pid {} status {} time {}",
            if r.pid > 0 { "of init" } else { "0" },
            r.exit_status,
            r.exited_at.is_some()
        ),
        Err(e) => format!("{e:#}"),
    };
    let got = told(stage.place.program.delete(&bundle.dir, "left"));
    stage.check(
        "delete of what never was",
        got,
        all("*runtime: no such file or directory")
            .newer("pid of init status 137 time true")
            .ours("pid 0 status 137 time true", NEVER),
    );
    let (_, task) = stage.shim(&bundle).await;
    task.create(&bundle.create_request()).await.unwrap();
    task.start("left", "").await.unwrap();
    let pid = task.shim_pid("left").await;
    integration::shim::signal(pid, 9);
    integration::shim::eventually("the shim is dead", || (!integration::shim::is_alive(pid)).then_some(()))
        .await;
    let got = told(stage.place.program.delete(&bundle.dir, "left"));
    stage.check("delete after the shim was killed", got, all("pid of init status 137 time true"));
    let got = told(stage.place.program.delete(&bundle.dir, "left"));
    stage.check("delete once more", got, all("pid of init status 137 time true"));
    let state = stage.place.dir.path().join("runc").join(integration::shim::NAMESPACE).join("left");
    stage.check("the runtime's state after that", format!("{}", state.exists()), all("false"));
}

pub(crate) async fn info(stage: &mut Stage) {
    let got = match stage.place.program.info(None) {
        Ok(info) => {
            let features = info.features.as_ref().map(|f| f.type_url.clone()).unwrap_or_default();
            format!("{} features {features:?}", info.name)
        }
        Err(e) => format!("{e:#}").lines().next().unwrap_or_default().to_owned(),
    };
    let known = r#"io.containerd.runc.v2 features "types.containerd.io/opencontainers/runtime-spec/1/features/Features""#;
    let older = "*exit status: 2: flag provided but not defined: -info";
    stage.check("what it can do", got, all(older).newer(known));
}

/// Every daemon asks in its own way, and reads the answer in its own way.
pub(crate) async fn dialects(stage: &mut Stage) {
    let bundle = stage.bundle("tongue", &["true"]);
    let options = bundle.options("runc");
    let as_all = "ours answers whoever asks in the form that it reads; each original knows its own";
    let mut addresses = std::collections::BTreeSet::new();
    let stdin_options = options.write_to_bytes().unwrap();
    let params = stage.place.program.params("tongue").write_to_bytes().unwrap();
    for (case, stdin, max, want) in [
        (
            "of 1.6, without options",
            &b""[..],
            None,
            all("Address 2").newer("Params 3").ours("Address 2", as_all),
        ),
        (
            "of 1.6, with options",
            &stdin_options[..],
            None,
            all("Address 2").newer("Params 3").ours("Address 2", as_all),
        ),
        (
            "of 1.7 to 2.2",
            &stdin_options[..],
            Some("2"),
            all("Address 2").newer("Params 3").ours("Json 2", as_all),
        ),
        ("of 2.3", &params[..], Some("2"), all("Address 2").newer("Params 3")),
    ] {
        let env: Vec<(&str, &str)> = max.map(|m| ("MAX_SHIM_VERSION", m)).into_iter().collect();
        let (output, _) = stage.place.run_start(&bundle, stdin, &env);
        let answer = Answer::read(&output).unwrap();
        stage.check(case, format!("{:?} {}", answer.dialect, answer.version), want);
        addresses.insert(answer.address);
    }
    stage.check("all name one shim", format!("{}", addresses.len()), all("1").newer("2").ours("1", as_all));
    let noted = std::fs::read_to_string(bundle.dir.join("address")).unwrap_or_else(|_| "none".to_owned());
    let noted = if addresses.contains(&noted) { "the address" } else { "none" };
    stage.check("the file address", noted, all("the address").newer("none").ours("the address", as_all));
    for address in addresses {
        let task = integration::shim::Task::dial(&address, stage.version).await.unwrap();
        let _ = task.shutdown("tongue").await;
    }
}
