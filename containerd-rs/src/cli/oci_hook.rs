//! `oci-hook`: expand the container's state into a command line, and become that command.
//!
//! Templates: `{{id}}`, `{{bundle}}`, `{{rootfs}}`, `{{pid}}`, `{{status}}`, `{{annotation KEY}}`.

use std::collections::BTreeMap;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use anyhow::{Context, bail};
use serde::Deserialize;

const MAX_STATE: u64 = 4 << 20;

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The program and its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
    command: Vec<String>,
}

/// The state that a runtime gives to hooks (runtime-spec, "State").
#[derive(Debug, Default, Deserialize)]
struct State {
    id: String,
    bundle: String,
    #[serde(default)]
    pid: i64,
    #[serde(default)]
    status: String,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
struct Spec {
    root: Option<Root>,
}

#[derive(Debug, Deserialize)]
struct Root {
    path: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let mut text = Vec::new();
    std::io::stdin().take(MAX_STATE).read_to_end(&mut text).context("read the state from standard input")?;
    let state: State = serde_json::from_slice(&text).context("standard input is not a container state")?;
    let rootfs = rootfs(&state)?;
    let expanded: Vec<String> =
        args.command.iter().map(|a| expand(a, &state, &rootfs)).collect::<Result<_, _>>()?;
    let env = std::env::vars()
        .map(|(k, v)| Ok((k, expand(&v, &state, &rootfs)?)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let [program, rest @ ..] = &expanded[..] else { bail!("no command given") };
    let error = Command::new(program).args(rest).env_clear().envs(env).exec();
    Err(error).with_context(|| format!("run {program}"))
}

fn rootfs(state: &State) -> anyhow::Result<String> {
    let path = std::path::Path::new(&state.bundle).join("config.json");
    let bytes = std::fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let spec: Spec = serde_json::from_slice(&bytes).with_context(|| format!("parse {}", path.display()))?;
    let root = spec.root.map(|r| r.path).unwrap_or_default();
    Ok(std::path::Path::new(&state.bundle).join(root).to_string_lossy().into_owned())
}

fn expand(text: &str, state: &State, rootfs: &str) -> anyhow::Result<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some(start) = rest.find("{{") {
        let Some(len) = rest[start..].find("}}") else { break };
        out.push_str(&rest[..start]);
        let inner = rest[start + 2..start + len].trim();
        match inner.split_once(char::is_whitespace) {
            None => match inner {
                "id" => out.push_str(&state.id),
                "bundle" => out.push_str(&state.bundle),
                "rootfs" => out.push_str(rootfs),
                "pid" => out.push_str(&state.pid.to_string()),
                "status" => out.push_str(&state.status),
                other => bail!("unknown template {{{{{other}}}}} in {text:?}"),
            },
            Some(("annotation", key)) => {
                let key = key.trim().trim_matches('"');
                out.push_str(state.annotations.get(key).map_or("", String::as_str));
            }
            Some(_) => bail!("unknown template {{{{{inner}}}}} in {text:?}"),
        }
        rest = &rest[start + len + 2..];
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_expanded_and_unknown_ones_refused() {
        let mut state = State {
            id: "c1".into(),
            bundle: "/b".into(),
            pid: 7,
            status: "created".into(),
            ..State::default()
        };
        state.annotations.insert("k/x".into(), "v".into());
        for (text, want) in [
            ("plain", "plain"),
            ("{{id}}-{{pid}}", "c1-7"),
            ("{{ bundle }}/{{status}}", "/b/created"),
            ("{{rootfs}}", "/b/rootfs"),
            ("{{annotation \"k/x\"}}{{annotation none}}", "v"),
            ("{{ open", "{{ open"),
        ] {
            assert_eq!(expand(text, &state, "/b/rootfs").unwrap(), want);
        }
        assert!(expand("{{nope}}", &state, "").is_err());
    }
}
