//! Statistics of version 1 groups: the fields of `io.containerd.cgroups.v1.Metrics`.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use super::text::{HUGE_PAGES, huge_page_sizes, malformed, number, rdma, read as read_file, single, table};
pub use super::text::{RdmaEntry, RdmaStat};
use crate::error::Result;
use crate::fs::read_text;

/// All statistics. A part is `None` when its controller is not mounted or the group is gone.
#[allow(missing_docs)] // the names are the message's own
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub hugetlb: Vec<HugetlbStat>,
    pub pids: Option<PidsStat>,
    pub cpu: CpuStat,
    pub memory: Option<MemoryStat>,
    pub blkio: Option<BlkioStat>,
    pub rdma: Option<RdmaStat>,
    pub memory_oom_control: Option<MemoryOomControl>,
}

/// Use of one size of huge pages, in bytes.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStat {
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
    /// As in "2MB".
    pub pagesize: String,
}

/// Number of processes; limit 0 is none.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStat {
    pub current: u64,
    pub limit: u64,
}

/// CPU time in nanoseconds, and how often the group was held back.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    pub usage_total: u64,
    pub usage_kernel: u64,
    pub usage_user: u64,
    pub usage_per_cpu: Vec<u64>,
    pub throttling_periods: u64,
    pub throttled_periods: u64,
    pub throttled_time: u64,
}

/// One of the four kinds of memory that are limited.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryEntry {
    pub limit: u64,
    pub usage: u64,
    pub max: u64,
    pub failcnt: u64,
}

/// `memory.oom_control`.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryOomControl {
    pub oom_kill_disable: u64,
    pub under_oom: u64,
    pub oom_kill: u64,
}

/// Block devices.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioStat {
    pub io_service_bytes_recursive: Vec<BlkioEntry>,
    pub io_serviced_recursive: Vec<BlkioEntry>,
    pub io_queued_recursive: Vec<BlkioEntry>,
    pub io_service_time_recursive: Vec<BlkioEntry>,
    pub io_wait_time_recursive: Vec<BlkioEntry>,
    pub io_merged_recursive: Vec<BlkioEntry>,
    pub io_time_recursive: Vec<BlkioEntry>,
    pub sectors_recursive: Vec<BlkioEntry>,
}

/// One operation on one device.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BlkioEntry {
    /// "Read", "Write", ...; empty where the file has none.
    pub op: String,
    /// Device node, empty when it is not known.
    pub device: String,
    pub major: u64,
    pub minor: u64,
    pub value: u64,
}

macro_rules! memory_stat {
    ($($field:ident = $key:literal,)*) => {
        /// `memory.stat` and the limited kinds, in bytes or events.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, Default, PartialEq, Eq)]
        pub struct MemoryStat {
            $(pub $field: u64,)*
            pub usage: MemoryEntry,
            pub swap: MemoryEntry,
            pub kernel: MemoryEntry,
            pub kernel_tcp: MemoryEntry,
        }

        impl MemoryStat {
            fn of(values: &HashMap<String, u64>) -> MemoryStat {
                let get = |key: &str| values.get(key).copied().unwrap_or(0);
                MemoryStat { $($field: get($key),)* ..MemoryStat::default() }
            }
        }
    };
}

memory_stat! {
    cache = "cache",
    rss = "rss",
    rss_huge = "rss_huge",
    mapped_file = "mapped_file",
    dirty = "dirty",
    writeback = "writeback",
    pg_pg_in = "pgpgin",
    pg_pg_out = "pgpgout",
    pg_fault = "pgfault",
    pg_maj_fault = "pgmajfault",
    inactive_anon = "inactive_anon",
    active_anon = "active_anon",
    inactive_file = "inactive_file",
    active_file = "active_file",
    unevictable = "unevictable",
    hierarchical_memory_limit = "hierarchical_memory_limit",
    hierarchical_swap_limit = "hierarchical_memsw_limit",
    total_cache = "total_cache",
    total_rss = "total_rss",
    total_rss_huge = "total_rss_huge",
    total_mapped_file = "total_mapped_file",
    total_dirty = "total_dirty",
    total_writeback = "total_writeback",
    total_pg_pg_in = "total_pgpgin",
    total_pg_pg_out = "total_pgpgout",
    total_pg_fault = "total_pgfault",
    total_pg_maj_fault = "total_pgmajfault",
    total_inactive_anon = "total_inactive_anon",
    total_active_anon = "total_active_anon",
    total_inactive_file = "total_inactive_file",
    total_active_file = "total_active_file",
    total_unevictable = "total_unevictable",
}

/// Reads the statistics of the group with these directories, by controller.
pub fn read(dirs: &BTreeMap<String, PathBuf>) -> Result<Metrics> {
    let mut metrics = Metrics::default();
    let dir = |controller: &str| dirs.get(controller).map(PathBuf::as_path);
    if let Some(dir) = dir("cpuacct") {
        read_usage(dir, &mut metrics.cpu)?;
    }
    if let Some(dir) = dir("cpu") {
        read_throttling(dir, &mut metrics.cpu)?;
    }
    if let Some(dir) = dir("memory") {
        metrics.memory = read_memory(dir)?;
        metrics.memory_oom_control = read_oom_control(dir)?;
    }
    if let Some(dir) = dir("pids") {
        metrics.pids = read_pids(dir)?;
    }
    if let Some(dir) = dir("hugetlb") {
        metrics.hugetlb = read_hugetlb(dir, &huge_page_sizes(Path::new(HUGE_PAGES)))?;
    }
    if let Some(dir) = dir("blkio") {
        metrics.blkio = read_blkio(dir, &device_names(Path::new("/proc/partitions")))?;
    }
    if let Some(dir) = dir("rdma") {
        metrics.rdma = rdma(dir)?;
    }
    Ok(metrics)
}

fn read_usage(dir: &Path, cpu: &mut CpuStat) -> Result<()> {
    if let Some(stat) = table(dir, "cpuacct.stat")? {
        // In clock ticks, 100 a second on every architecture (USER_HZ).
        let nanos = |key: &str| stat.get(key).map_or(0, |ticks| ticks.saturating_mul(10_000_000));
        (cpu.usage_user, cpu.usage_kernel) = (nanos("user"), nanos("system"));
    }
    cpu.usage_total = single(dir, "cpuacct.usage", 0)?;
    let per_cpu = read_file(dir, "cpuacct.usage_percpu")?.unwrap_or_default();
    let numbers = per_cpu
        .split_ascii_whitespace()
        .map(|word| number(word).ok_or_else(|| malformed(dir, "cpuacct.usage_percpu", word)));
    cpu.usage_per_cpu = numbers.collect::<Result<_>>()?;
    Ok(())
}

fn read_throttling(dir: &Path, cpu: &mut CpuStat) -> Result<()> {
    let stat = table(dir, "cpu.stat")?.unwrap_or_default();
    let get = |key: &str| stat.get(key).copied().unwrap_or(0);
    (cpu.throttling_periods, cpu.throttled_periods) = (get("nr_periods"), get("nr_throttled"));
    cpu.throttled_time = get("throttled_time");
    Ok(())
}

fn read_memory(dir: &Path) -> Result<Option<MemoryStat>> {
    let Some(values) = table(dir, "memory.stat")? else { return Ok(None) };
    let mut stat = MemoryStat::of(&values);
    let kinds: [(&str, &mut MemoryEntry); 4] = [
        ("memory", &mut stat.usage),
        ("memory.memsw", &mut stat.swap),
        ("memory.kmem", &mut stat.kernel),
        ("memory.kmem.tcp", &mut stat.kernel_tcp),
    ];
    for (prefix, entry) in kinds {
        let get = |name: &str| single(dir, &format!("{prefix}.{name}"), 0);
        *entry = MemoryEntry {
            limit: get("limit_in_bytes")?,
            usage: get("usage_in_bytes")?,
            max: get("max_usage_in_bytes")?,
            failcnt: get("failcnt")?,
        };
    }
    Ok(Some(stat))
}

fn read_oom_control(dir: &Path) -> Result<Option<MemoryOomControl>> {
    let Some(values) = table(dir, "memory.oom_control")? else { return Ok(None) };
    let get = |key: &str| values.get(key).copied().unwrap_or(0);
    let (oom_kill_disable, under_oom) = (get("oom_kill_disable"), get("under_oom"));
    Ok(Some(MemoryOomControl { oom_kill_disable, under_oom, oom_kill: get("oom_kill") }))
}

fn read_pids(dir: &Path) -> Result<Option<PidsStat>> {
    if read_file(dir, "pids.current")?.is_none() {
        return Ok(None);
    }
    Ok(Some(PidsStat { current: single(dir, "pids.current", 0)?, limit: single(dir, "pids.max", 0)? }))
}

fn read_hugetlb(dir: &Path, sizes: &[String]) -> Result<Vec<HugetlbStat>> {
    let mut stats = Vec::new();
    for size in sizes {
        let get = |name: &str| single(dir, &format!("hugetlb.{size}.{name}"), 0);
        if read_file(dir, &format!("hugetlb.{size}.usage_in_bytes"))?.is_some() {
            let (usage, max, failcnt) = (get("usage_in_bytes")?, get("max_usage_in_bytes")?, get("failcnt")?);
            stats.push(HugetlbStat { usage, max, failcnt, pagesize: size.clone() });
        }
    }
    Ok(stats)
}

/// Names of block devices by number; the first name of a number counts.
fn device_names(partitions: &Path) -> HashMap<(u64, u64), String> {
    let text = read_text(partitions, 1 << 20).unwrap_or_default();
    let mut names = HashMap::new();
    for line in text.lines().skip(2) {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        if let [major, minor, _, name] = fields[..]
            && let (Ok(major), Ok(minor)) = (major.parse(), minor.parse())
        {
            names.entry((major, minor)).or_insert_with(|| format!("/dev/{name}"));
        }
    }
    names
}

fn read_blkio(dir: &Path, names: &HashMap<(u64, u64), String>) -> Result<Option<BlkioStat>> {
    let mut stat = BlkioStat::default();
    let mut found = false;
    let mut fill = |file: &str, entries: &mut Vec<BlkioEntry>| -> Result<()> {
        if let Some(text) = read_file(dir, file)? {
            found = true;
            *entries = parse_blkio(dir, file, &text, names)?;
        }
        Ok(())
    };
    // The counters of the old CFQ scheduler, and where those are missing or empty the throttling layer's.
    fill("blkio.sectors_recursive", &mut stat.sectors_recursive)?;
    fill("blkio.io_service_bytes_recursive", &mut stat.io_service_bytes_recursive)?;
    fill("blkio.io_serviced_recursive", &mut stat.io_serviced_recursive)?;
    fill("blkio.io_queued_recursive", &mut stat.io_queued_recursive)?;
    fill("blkio.io_service_time_recursive", &mut stat.io_service_time_recursive)?;
    fill("blkio.io_wait_time_recursive", &mut stat.io_wait_time_recursive)?;
    fill("blkio.io_merged_recursive", &mut stat.io_merged_recursive)?;
    fill("blkio.time_recursive", &mut stat.io_time_recursive)?;
    if stat == BlkioStat::default() {
        fill("blkio.throttle.io_serviced", &mut stat.io_serviced_recursive)?;
        fill("blkio.throttle.io_service_bytes", &mut stat.io_service_bytes_recursive)?;
    }
    Ok(found.then_some(stat))
}

/// Lines "8:0 Read 4096", "8:0 4096", and a "Total" that is left out.
fn parse_blkio(
    dir: &Path,
    file: &str,
    text: &str,
    names: &HashMap<(u64, u64), String>,
) -> Result<Vec<BlkioEntry>> {
    let mut entries = Vec::new();
    for line in text.lines() {
        let fields: Vec<&str> = line.split([' ', ':']).filter(|f| !f.is_empty()).collect();
        let (major, minor, op, value) = match fields[..] {
            ["Total", _] => continue,
            [major, minor, value] => (major, minor, "", value),
            [major, minor, op, value] => (major, minor, op, value),
            _ => return Err(malformed(dir, file, line)),
        };
        let parse = |text: &str| text.parse::<u64>().map_err(|_| malformed(dir, file, line));
        let (major, minor, value) = (parse(major)?, parse(minor)?, parse(value)?);
        let device = names.get(&(major, minor)).cloned().unwrap_or_default();
        entries.push(BlkioEntry { op: op.to_owned(), device, major, minor, value });
    }
    Ok(entries)
}

#[cfg(test)]
#[path = "v1_tests.rs"]
mod tests;
