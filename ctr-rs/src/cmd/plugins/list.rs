//! `plugins ls`.

use std::collections::BTreeSet;

use protos::api::introspection::{Plugin, PluginsRequest};

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;
use crate::table::Table;

/// What a plugin that was left out says in its error.
const SKIP: &str = "skip plugin";

/// Arguments of `plugins ls`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ids only
    #[arg(long, short)]
    quiet: bool,
    /// All there is to say of each
    #[arg(long, short)]
    detailed: bool,
    /// Filters, such as type~=snapshotter; any of them may match
    filters: Vec<String>,
}

/// Prints one line, or one block, per plugin.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let request = PluginsRequest { filters: args.filters };
    let answer = client.introspection().plugins(request).await.or_say("cannot list plugins")?;
    if args.quiet {
        return answer.plugins.iter().try_for_each(|plugin| output::line(&plugin.id));
    }
    if args.detailed {
        let blocks: Vec<String> = answer.plugins.iter().map(block).collect();
        return output::write(&blocks.join("\n"));
    }
    let mut table = Table::wide(["TYPE", "ID", "PLATFORMS", "STATUS"]);
    for plugin in answer.plugins {
        let (platforms, status) = (platforms(&plugin), status(&plugin).to_owned());
        let platforms = if platforms.is_empty() { "-".into() } else { platforms };
        table.row([plugin.r#type, plugin.id, platforms, status]);
    }
    table.print()
}

fn status(plugin: &Plugin) -> &'static str {
    match &plugin.init_err {
        None => "ok",
        Some(error) if error.message.contains(SKIP) => "skip",
        Some(_) => "error",
    }
}

fn platforms(plugin: &Plugin) -> String {
    let name = |p: &protos::api::types::Platform| {
        let parts = [&p.os, &p.architecture, &p.variant];
        let parts: Vec<&str> = parts.into_iter().map(String::as_str).filter(|p| !p.is_empty()).collect();
        parts.join("/")
    };
    let names: BTreeSet<String> = plugin.platforms.iter().map(name).collect();
    names.into_iter().collect::<Vec<_>>().join(",")
}

fn block(plugin: &Plugin) -> String {
    let mut lines =
        vec![format!("Type:          {}", plugin.r#type), format!("ID:            {}", plugin.id)];
    if !plugin.requires.is_empty() {
        lines.push("Requires:".into());
        lines.extend(plugin.requires.iter().map(|r| format!("               {r}")));
    }
    if !plugin.platforms.is_empty() {
        lines.push(format!("Platforms:     {}", platforms(plugin)));
    }
    if !plugin.exports.is_empty() {
        lines.push("Exports:".into());
        lines.extend(plugin.exports.iter().map(|(key, value)| format!("               {key}    {value}")));
    }
    if !plugin.capabilities.is_empty() {
        lines.push(format!("Capabilities:  {}", plugin.capabilities.join(",")));
    }
    if let Some(error) = &plugin.init_err {
        let code = base::ErrorKind::from_code(error.code);
        lines.push("Error:".into());
        lines.push(format!("     Code:     {code}"));
        lines.push(format!("     Message:  {}", error.message));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use protos::api::rpc::Status;

    #[test]
    fn skipped_is_not_broken() {
        let with = |message: &str| Plugin {
            init_err: Some(Status { code: 12, message: message.into(), ..Status::default() }),
            ..Plugin::default()
        };
        assert_eq!(status(&Plugin::default()), "ok");
        assert_eq!(status(&with("no btrfs here: skip plugin")), "skip");
        assert_eq!(status(&with("boom")), "error");
        assert!(block(&with("boom")).contains("Code:     not implemented"));
    }
}
