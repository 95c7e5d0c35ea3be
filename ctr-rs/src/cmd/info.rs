//! `info`.

use serde_json::json;

use crate::cli::Global;
use crate::error::{Answered, Result};
use crate::io::output;

/// Prints what the daemon says of itself.
pub async fn run(global: &Global) -> Result<()> {
    let client = global.client()?;
    let server = client.introspection().server(()).await.or_say("cannot get the daemon's state")?;
    let deprecations: Vec<_> = server
        .deprecations
        .iter()
        .map(|d| {
            let last = d.last_occurrence.as_ref().map(super::flags::rfc3339);
            json!({ "id": d.id, "message": d.message, "last_occurrence": last })
        })
        .collect();
    let mut info = json!({ "uuid": server.uuid, "pid": server.pid, "pidns": server.pidns });
    if !deprecations.is_empty() {
        info["deprecations"] = json!(deprecations);
    }
    output::json(&json!({ "server": info }))
}
