//! `tasks metrics ID`.

use protos::api::tasks::MetricsRequest;
use protos::api::{cgroups_v1, cgroups_v2};
use serde_json::{Map, Value, json};

use crate::cli::Global;
use crate::cmd::flags::rfc3339;
use crate::error::{Answered, Error, Result};
use crate::io::output;
use crate::table::Table;

/// Arguments of `tasks metrics`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// How to print
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// Id of the container
    id: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Table,
    Json,
}

/// Prints one reading.
pub async fn run(global: &Global, args: Args) -> Result<()> {
    let client = global.client()?;
    let what = format!("cannot get the metrics of task {}", args.id);
    let request = MetricsRequest { filters: vec![format!("id=={}", args.id)] };
    let answer = client.tasks().metrics(request).await.or_say(&what)?;
    let Some(metric) = answer.metrics.into_iter().find(|m| m.id == args.id) else {
        return Err(Error::invalid(format!("{what}: there is no such task, or it has ended")));
    };
    let data = metric.data.unwrap_or_default();
    let rows = if data.is::<cgroups_v2::Metrics>() {
        rows_v2(&data.unpack().map_err(|e| Error::invalid(format!("{what}: {e}")))?)
    } else if data.is::<cgroups_v1::Metrics>() {
        rows_v1(&data.unpack().map_err(|e| Error::invalid(format!("{what}: {e}")))?)
    } else {
        return Err(Error::invalid(format!("{what}: metrics of type {:?} are not known", data.type_url)));
    };
    let time = metric.timestamp.as_ref().map(rfc3339).unwrap_or_default();
    match args.format {
        Format::Table => print_table(&metric.id, &time, rows),
        Format::Json => {
            let values: Map<String, Value> =
                rows.into_iter().map(|(name, value)| (name.into(), value)).collect();
            output::json(&json!({ "id": metric.id, "timestamp": time, "metrics": values }))
        }
    }
}

fn print_table(id: &str, time: &str, rows: Vec<(&'static str, Value)>) -> Result<()> {
    let mut head = Table::wide(["ID", "TIMESTAMP"]);
    head.row([id.to_owned(), time.to_owned()]);
    head.print()?;
    output::line("")?;
    let mut table = Table::wide(["METRIC", "VALUE"]);
    for (name, value) in rows {
        table.row([name.to_owned(), value.to_string()]);
    }
    table.print()
}

fn rows_v2(m: &cgroups_v2::Metrics) -> Vec<(&'static str, Value)> {
    let mut rows = Vec::new();
    if let Some(pids) = &m.pids {
        rows.extend([("pids.current", json!(pids.current)), ("pids.limit", json!(pids.limit))]);
    }
    if let Some(cpu) = &m.cpu {
        rows.extend([
            ("cpu.usage_usec", json!(cpu.usage_usec)),
            ("cpu.user_usec", json!(cpu.user_usec)),
            ("cpu.system_usec", json!(cpu.system_usec)),
            ("cpu.nr_periods", json!(cpu.nr_periods)),
            ("cpu.nr_throttled", json!(cpu.nr_throttled)),
            ("cpu.throttled_usec", json!(cpu.throttled_usec)),
        ]);
    }
    if let Some(memory) = &m.memory {
        rows.extend([
            ("memory.usage", json!(memory.usage)),
            ("memory.usage_limit", json!(memory.usage_limit)),
            ("memory.swap_usage", json!(memory.swap_usage)),
            ("memory.swap_limit", json!(memory.swap_limit)),
        ]);
    }
    rows
}

fn rows_v1(m: &cgroups_v1::Metrics) -> Vec<(&'static str, Value)> {
    let mut rows = Vec::new();
    if let Some(memory) = &m.memory {
        if let Some(usage) = &memory.usage {
            rows.push(("memory.usage_in_bytes", json!(usage.usage)));
            rows.push(("memory.limit_in_bytes", json!(usage.limit)));
        }
        rows.push(("memory.stat.cache", json!(memory.total_cache)));
    }
    if let Some(usage) = m.cpu.as_ref().and_then(|cpu| cpu.usage.as_ref()) {
        rows.push(("cpuacct.usage", json!(usage.total)));
        rows.push(("cpuacct.usage_percpu", json!(usage.per_cpu)));
    }
    if let Some(pids) = &m.pids {
        rows.extend([("pids.current", json!(pids.current)), ("pids.limit", json!(pids.limit))]);
    }
    rows
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn readings_have_their_kernel_names() {
        let metrics = cgroups_v2::Metrics {
            memory: Some(cgroups_v2::MemoryStat { usage: 5, usage_limit: 9, ..Default::default() }),
            ..Default::default()
        };
        let rows = rows_v2(&metrics);
        assert_eq!(rows[0], ("memory.usage", json!(5)));
        assert_eq!(rows.len(), 4);
    }
}
