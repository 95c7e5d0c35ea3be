//! Answers, as lines of `key=value`.

use anyhow::Context;
use protos::shim::Timestamp;
use protos::shim::any::{is, unpack};
use protos::shim::options::ProcessDetails;
use protos::shim::task_v3::{DeleteResponse, PidsResponse, StateResponse, StatsResponse};
use protos::shim::types::RuntimeInfo;
use protos::shim::{cgroups_v1, cgroups_v2};

fn time(stamp: Option<&Timestamp>) -> String {
    let Some(stamp) = stamp else { return "-".to_owned() };
    match base::timestamp::from_parts(stamp.seconds, stamp.nanos) {
        Ok(time) => base::timestamp::to_rfc3339_nano(time),
        Err(_) => format!("{}s", stamp.seconds),
    }
}

pub(crate) fn exit(status: u32, at: Option<&Timestamp>) {
    println!("exit_status={status} exited_at={}", time(at));
}

pub(crate) fn deleted(answer: &DeleteResponse) {
    println!(
        "pid={} exit_status={} exited_at={}",
        answer.pid,
        answer.exit_status,
        time(answer.exited_at.as_ref())
    );
}

pub(crate) fn state(s: &StateResponse) {
    println!(
        "id={}\nexec_id={}\npid={}\nstatus={:?}",
        s.id,
        s.exec_id,
        s.pid,
        s.status.enum_value_or_default()
    );
    println!("bundle={}\nterminal={}", s.bundle, s.terminal);
    println!("stdin={}\nstdout={}\nstderr={}", s.stdin, s.stdout, s.stderr);
    println!("exit_status={}\nexited_at={}", s.exit_status, time(s.exited_at.as_ref()));
}

pub(crate) fn pids(answer: &PidsResponse) {
    for process in &answer.processes {
        let exec: Option<ProcessDetails> = process.info.as_ref().and_then(|any| unpack(any).ok());
        match exec {
            Some(details) => println!("pid={} exec_id={}", process.pid, details.exec_id),
            None => println!("pid={}", process.pid),
        }
    }
}

pub(crate) fn stats(answer: &StatsResponse) -> anyhow::Result<()> {
    let any = answer.stats.as_ref().context("the shim sent no stats")?;
    println!("type={}", any.type_url);
    if is::<cgroups_v1::Metrics>(any) {
        let m: cgroups_v1::Metrics = unpack(any)?;
        println!("memory.usage={} memory.limit={}", m.memory.usage.usage, m.memory.usage.limit);
        println!("memory.rss={} memory.cache={}", m.memory.rss, m.memory.cache);
        println!(
            "cpu.total_ns={} cpu.throttled_periods={}",
            m.cpu.usage.total, m.cpu.throttling.throttled_periods
        );
        println!("pids.current={} pids.limit={}", m.pids.current, m.pids.limit);
    } else if is::<cgroups_v2::Metrics>(any) {
        let m: cgroups_v2::Metrics = unpack(any)?;
        println!("memory.usage={} memory.limit={}", m.memory.usage, m.memory.usage_limit);
        println!("memory.anon={} memory.file={}", m.memory.anon, m.memory.file);
        println!("cpu.usage_us={} cpu.throttled_periods={}", m.cpu.usage_usec, m.cpu.nr_throttled);
        println!("pids.current={} pids.limit={}", m.pids.current, m.pids.limit);
    }
    Ok(())
}

pub(crate) fn info(info: &RuntimeInfo) {
    println!("name={}\nversion={} revision={}", info.name, info.version.version, info.version.revision);
    if let Some(features) = info.features.as_ref() {
        println!("features={}", String::from_utf8_lossy(&features.value));
    }
}
