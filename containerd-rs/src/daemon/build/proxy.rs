//! Plugins in other processes: `[proxy_plugins.NAME]`.

use std::path::Path;
use std::sync::Arc;

use proxy::{Connection, ProxyContent, ProxyDiffer, ProxySnapshotter};

use super::Context;
use super::registrations::{CONTENT, DIFFER, SNAPSHOTTER};
use crate::config::{Config, ProxyPlugin};
use crate::plugins::{Loaded, NotLoaded, Registration};

/// One registration for each proxy plugin that is understood; others are registered to tell why they are not there.
pub(super) fn registrations(config: &Config) -> Vec<Registration<Context>> {
    let one = |(name, plugin): (&String, &ProxyPlugin)| {
        let (name, plugin) = (name.clone(), plugin.clone());
        let (kind, requires): (&'static str, &'static [&'static str]) = match plugin.kind.as_str() {
            "snapshot" | SNAPSHOTTER => (SNAPSHOTTER, &[]),
            "content" | CONTENT => (CONTENT, &[]),
            "diff" | DIFFER => (DIFFER, &[]),
            "sandbox" | "io.containerd.sandbox.controller.v1" => ("io.containerd.sandbox.controller.v1", &[]),
            other => {
                tracing::error!(plugin = name, r#type = other, "unknown proxy plugin type");
                return None;
            }
        };
        let id = name.clone();
        Some(Registration::new(kind, id, requires, move |context: &mut Context| {
            load(context, kind, &name, &plugin)
        }))
    };
    config.proxy_plugins.iter().filter_map(one).collect()
}

fn load(context: &mut Context, kind: &str, name: &str, plugin: &ProxyPlugin) -> Result<Loaded, NotLoaded> {
    let connection = Connection::new(&plugin.address)?;
    let mut exports = plugin.exports.clone();
    exports.insert("address".to_owned(), plugin.address.clone());
    match kind {
        SNAPSHOTTER => {
            let root = exports.get("root").map_or(Path::new(""), Path::new);
            let proxy = ProxySnapshotter::new(name, &connection, root, &plugin.capabilities);
            context.snapshotters.insert(name.to_owned(), Arc::new(proxy));
        }
        CONTENT => context.remote_content = Some(Arc::new(ProxyContent::new(&connection))),
        DIFFER => {
            context.differs.insert(name.to_owned(), Arc::new(ProxyDiffer::new(&connection)));
        }
        _ => return Err(NotLoaded::Skip("sandbox controllers are not part of this build yet".to_owned())),
    }
    let platforms = match plugin.platform.as_str() {
        "" => vec![base::Platform::host()],
        text => vec![base::Platform::parse(text)?],
    };
    Ok(Loaded { exports, capabilities: plugin.capabilities.clone(), platforms })
}
