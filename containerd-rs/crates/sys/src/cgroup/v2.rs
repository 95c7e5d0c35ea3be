//! Statistics of version 2 groups: the fields of `io.containerd.cgroups.v2.Metrics`.

use std::collections::HashMap;
use std::path::Path;

use super::text::{HUGE_PAGES, huge_page_sizes, rdma, read as read_file, single, table};
pub use super::text::{RdmaEntry, RdmaStat};
use crate::error::Result;

/// All statistics. What the kernel does not offer is zero, empty or `None`; no limit is `u64::MAX`.
#[allow(missing_docs)] // the names are the message's own
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics {
    pub pids: PidsStat,
    pub cpu: CpuStat,
    pub memory: MemoryStat,
    pub rdma: RdmaStat,
    pub io: IoStat,
    pub hugetlb: Vec<HugetlbStat>,
    pub memory_events: Option<MemoryEvents>,
}

/// Number of processes.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PidsStat {
    pub current: u64,
    pub limit: u64,
}

/// CPU time in microseconds.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStat {
    pub usage_usec: u64,
    pub user_usec: u64,
    pub system_usec: u64,
    pub nr_periods: u64,
    pub nr_throttled: u64,
    pub throttled_usec: u64,
    pub nr_bursts: u64,
    pub burst_usec: u64,
    pub psi: Option<PsiStats>,
}

/// Pressure: how long tasks waited for something.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PsiStats {
    pub some: Option<PsiData>,
    pub full: Option<PsiData>,
}

/// Shares in percent over 10, 60 and 300 seconds, and the total in microseconds.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PsiData {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

/// Block devices.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IoStat {
    pub usage: Vec<IoEntry>,
    pub psi: Option<PsiStats>,
}

/// One block device.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct IoEntry {
    pub major: u64,
    pub minor: u64,
    pub rbytes: u64,
    pub wbytes: u64,
    pub rios: u64,
    pub wios: u64,
}

/// Use of one size of huge pages, in bytes.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HugetlbStat {
    pub current: u64,
    pub max: u64,
    /// As in "2MB".
    pub pagesize: String,
    pub failcnt: u64,
}

/// How often memory ran short.
#[allow(missing_docs)]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    pub low: u64,
    pub high: u64,
    pub max: u64,
    pub oom: u64,
    pub oom_kill: u64,
    pub oom_group_kill: u64,
}

macro_rules! memory_stat {
    ($($field:ident,)*) => {
        /// `memory.stat` (fields and keys have the same names), and use and limits in bytes.
        #[allow(missing_docs)]
        #[derive(Clone, Debug, Default, PartialEq)]
        pub struct MemoryStat {
            $(pub $field: u64,)*
            pub usage: u64,
            pub usage_limit: u64,
            pub max_usage: u64,
            pub swap_usage: u64,
            pub swap_limit: u64,
            pub swap_max_usage: u64,
            pub psi: Option<PsiStats>,
        }

        impl MemoryStat {
            fn of(values: &HashMap<String, u64>) -> MemoryStat {
                let get = |key: &str| values.get(key).copied().unwrap_or(0);
                MemoryStat { $($field: get(stringify!($field)),)* ..MemoryStat::default() }
            }
        }
    };
}

memory_stat! {
    anon, file, kernel_stack, slab, sock, shmem, file_mapped, file_dirty, file_writeback, anon_thp,
    inactive_anon, active_anon, inactive_file, active_file, unevictable, slab_reclaimable, slab_unreclaimable,
    pgfault, pgmajfault, workingset_refault, workingset_activate, workingset_nodereclaim,
    pgrefill, pgscan, pgsteal, pgactivate, pgdeactivate, pglazyfree, pglazyfreed, thp_fault_alloc, thp_collapse_alloc,
    workingset_refault_anon, workingset_refault_file, workingset_activate_anon, workingset_activate_file,
}

/// Reads the statistics of the group with this directory.
pub fn read(dir: &Path) -> Result<Metrics> {
    Ok(Metrics {
        pids: PidsStat {
            current: single(dir, "pids.current", 0)?,
            limit: single(dir, "pids.max", u64::MAX)?,
        },
        cpu: read_cpu(dir)?,
        memory: read_memory(dir)?,
        rdma: rdma(dir)?.unwrap_or_default(),
        io: IoStat {
            usage: parse_io(&read_file(dir, "io.stat")?.unwrap_or_default()),
            psi: read_psi(dir, "io.pressure")?,
        },
        hugetlb: read_hugetlb(dir, &huge_page_sizes(Path::new(HUGE_PAGES)))?,
        memory_events: read_memory_events(dir)?,
    })
}

fn read_cpu(dir: &Path) -> Result<CpuStat> {
    let Some(values) = table(dir, "cpu.stat")? else { return Ok(CpuStat::default()) };
    let get = |key: &str| values.get(key).copied().unwrap_or(0);
    Ok(CpuStat {
        usage_usec: get("usage_usec"),
        user_usec: get("user_usec"),
        system_usec: get("system_usec"),
        nr_periods: get("nr_periods"),
        nr_throttled: get("nr_throttled"),
        throttled_usec: get("throttled_usec"),
        nr_bursts: get("nr_bursts"),
        burst_usec: get("burst_usec"),
        psi: read_psi(dir, "cpu.pressure")?,
    })
}

fn read_memory(dir: &Path) -> Result<MemoryStat> {
    let Some(values) = table(dir, "memory.stat")? else { return Ok(MemoryStat::default()) };
    let get = |file: &str| single(dir, file, u64::MAX);
    Ok(MemoryStat {
        usage: get("memory.current")?,
        usage_limit: get("memory.max")?,
        max_usage: get("memory.peak")?,
        swap_usage: get("memory.swap.current")?,
        swap_limit: get("memory.swap.max")?,
        swap_max_usage: get("memory.swap.peak")?,
        psi: read_psi(dir, "memory.pressure")?,
        ..MemoryStat::of(&values)
    })
}

/// Reads `memory.events`; `None` when it is not there.
pub fn read_memory_events(dir: &Path) -> Result<Option<MemoryEvents>> {
    let values = table(dir, "memory.events")?.filter(|v| !v.is_empty());
    Ok(values.map(|values| {
        let get = |key: &str| values.get(key).copied().unwrap_or(0);
        MemoryEvents {
            low: get("low"),
            high: get("high"),
            max: get("max"),
            oom: get("oom"),
            oom_kill: get("oom_kill"),
            oom_group_kill: get("oom_group_kill"),
        }
    }))
}

fn read_hugetlb(dir: &Path, sizes: &[String]) -> Result<Vec<HugetlbStat>> {
    let one = |size: &String| {
        let events = table(dir, &format!("hugetlb.{size}.events"))?.unwrap_or_default();
        Ok(HugetlbStat {
            current: single(dir, &format!("hugetlb.{size}.current"), u64::MAX)?,
            max: single(dir, &format!("hugetlb.{size}.max"), u64::MAX)?,
            pagesize: size.clone(),
            failcnt: events.get("max").copied().unwrap_or(0),
        })
    };
    sizes.iter().map(one).collect()
}

/// Lines "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0". Lines without numbers ("8:0") are left out.
fn parse_io(text: &str) -> Vec<IoEntry> {
    let line = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let (major, minor) = words.next()?.split_once(':')?;
        let mut entry =
            IoEntry { major: major.parse().ok()?, minor: minor.parse().ok()?, ..IoEntry::default() };
        let mut any = false;
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            any = true;
            let value = value.parse().unwrap_or(0);
            match key {
                "rbytes" => entry.rbytes = value,
                "wbytes" => entry.wbytes = value,
                "rios" => entry.rios = value,
                "wios" => entry.wios = value,
                _ => {}
            }
        }
        any.then_some(entry)
    };
    text.lines().filter_map(line).collect()
}

/// Lines "some avg10=0.00 avg60=0.00 avg300=0.00 total=0". `None` when pressure is not measured.
fn read_psi(dir: &Path, file: &str) -> Result<Option<PsiStats>> {
    Ok(read_file(dir, file)?.and_then(|text| parse_psi(&text)))
}

fn parse_psi(text: &str) -> Option<PsiStats> {
    let mut stats = PsiStats::default();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let slot = match words.next()? {
            "some" => &mut stats.some,
            "full" => &mut stats.full,
            _ => continue,
        };
        let mut data = PsiData::default();
        for (key, value) in words.filter_map(|w| w.split_once('=')) {
            match key {
                "avg10" => data.avg10 = value.parse().ok()?,
                "avg60" => data.avg60 = value.parse().ok()?,
                "avg300" => data.avg300 = value.parse().ok()?,
                "total" => data.total = value.parse().ok()?,
                _ => {}
            }
        }
        *slot = Some(data);
    }
    Some(stats)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn every_field_comes_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("pids.current", "3\n");
        write("pids.max", "max\n");
        write(
            "cpu.stat",
            "usage_usec 11\nuser_usec 12\nsystem_usec 13\nnice_usec 1\nnr_periods 14\nnr_throttled 15\nthrottled_usec 16\n\
             nr_bursts 17\nburst_usec 18\n",
        );
        write(
            "cpu.pressure",
            "some avg10=1.50 avg60=0.25 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n",
        );
        write(
            "memory.stat",
            "anon 1\nfile 2\nworkingset_activate_file 42\nthp_collapse_alloc 31\nsome_new_key 5\n",
        );
        write("memory.current", "1000\n");
        write("memory.max", "max\n");
        write("memory.peak", "1500\n");
        write("memory.swap.current", "5\n");
        write("memory.swap.max", "6\n");
        write("memory.swap.peak", "7\n");
        write("memory.pressure", "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\n");
        write("memory.events", "low 1\nhigh 2\nmax 3\noom 4\noom_kill 5\noom_group_kill 6\n");
        write("io.stat", "254:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:0 \n8:16 rbytes=9\n");
        write("rdma.current", "mlx4_0 hca_handle=2 hca_object=2000\n");
        write("rdma.max", "mlx4_0 hca_handle=max hca_object=max\n");
        let m = read(dir.path()).unwrap();
        assert_eq!(m.pids, PidsStat { current: 3, limit: u64::MAX });
        let cpu = &m.cpu;
        assert_eq!((cpu.usage_usec, cpu.user_usec, cpu.system_usec, cpu.nr_periods), (11, 12, 13, 14));
        assert_eq!((cpu.nr_throttled, cpu.throttled_usec, cpu.nr_bursts, cpu.burst_usec), (15, 16, 17, 18));
        let some = cpu.psi.as_ref().unwrap().some.as_ref().unwrap();
        assert_eq!((some.avg10, some.avg60, some.total), (1.5, 0.25, 99));
        let memory = &m.memory;
        assert_eq!(
            (memory.anon, memory.file, memory.workingset_activate_file, memory.thp_collapse_alloc),
            (1, 2, 42, 31)
        );
        assert_eq!((memory.usage, memory.usage_limit, memory.max_usage), (1000, u64::MAX, 1500));
        assert_eq!((memory.swap_usage, memory.swap_limit, memory.swap_max_usage), (5, 6, 7));
        assert!(memory.psi.as_ref().unwrap().full.is_none());
        let events = MemoryEvents { low: 1, high: 2, max: 3, oom: 4, oom_kill: 5, oom_group_kill: 6 };
        assert_eq!(m.memory_events, Some(events));
        let first = IoEntry { major: 254, minor: 0, rbytes: 1, wbytes: 2, rios: 3, wios: 4 };
        assert_eq!(m.io.usage, [first, IoEntry { major: 8, minor: 16, rbytes: 9, ..IoEntry::default() }]);
        assert_eq!(m.io.psi, None);
        assert_eq!(m.rdma.limit[0].hca_handles, u32::MAX);
    }

    #[test]
    fn huge_pages_and_missing_groups() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hugetlb.2MB.current"), "4\n").unwrap();
        std::fs::write(dir.path().join("hugetlb.2MB.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("hugetlb.2MB.events"), "max 8\n").unwrap();
        let stats = read_hugetlb(dir.path(), &["2MB".to_owned()]).unwrap();
        assert_eq!(
            stats,
            [HugetlbStat { current: 4, max: u64::MAX, pagesize: "2MB".to_owned(), failcnt: 8 }]
        );
        let gone = read(Path::new("/no/such/group")).unwrap();
        assert_eq!((gone.cpu, gone.memory_events, gone.pids.current), (CpuStat::default(), None, 0));
        assert!(parse_psi("some avg10=x\n").is_none());
    }
}
