//! Cgroup statistics as containerd's `Metrics` messages.

use base::Error;
use protos::shim::any::pack;
use protos::shim::{Any, cgroups_v1 as one, cgroups_v2 as two};
use sys::cgroup::{Stats, v1, v2};

/// The statistics, wrapped.
///
/// # Errors
/// They cannot be encoded.
pub(crate) fn metrics(stats: &Stats) -> Result<Any, Error> {
    match stats {
        Stats::V1(stats) => pack(&version_1(stats)),
        Stats::V2(stats) => pack(&version_2(stats)),
    }
    .map_err(|e| Error::internal("encode metrics").with_source(e))
}

/// Makes a message and copies fields that have the same name on both sides.
macro_rules! copied {
    ($type:path, $from:expr; $($field:ident)*) => {{
        let mut message = <$type>::new();
        $(message.$field = $from.$field.clone();)*
        message
    }};
}

fn version_1(stats: &v1::Metrics) -> one::Metrics {
    let mut all = one::Metrics::new();
    all.hugetlb =
        stats.hugetlb.iter().map(|h| copied!(one::HugetlbStat, h; usage max failcnt pagesize)).collect();
    all.pids = stats.pids.as_ref().map(|p| copied!(one::PidsStat, p; current limit)).into();
    all.cpu = Some(cpu_1(&stats.cpu)).into();
    all.memory = stats.memory.as_ref().map(memory_1).into();
    all.blkio = stats.blkio.as_ref().map(blkio).into();
    all.rdma = stats
        .rdma
        .as_ref()
        .map(|r| {
            let entry = |e: &v1::RdmaEntry| copied!(one::RdmaEntry, e; device hca_handles hca_objects);
            let mut rdma = one::RdmaStat::new();
            rdma.current = r.current.iter().map(entry).collect();
            rdma.limit = r.limit.iter().map(entry).collect();
            rdma
        })
        .into();
    all.memory_oom_control = stats
        .memory_oom_control
        .as_ref()
        .map(|m| copied!(one::MemoryOomControl, m; oom_kill_disable under_oom oom_kill))
        .into();
    all
}

fn cpu_1(stats: &v1::CpuStat) -> one::CPUStat {
    let mut usage = one::CPUUsage::new();
    usage.total = stats.usage_total;
    usage.kernel = stats.usage_kernel;
    usage.user = stats.usage_user;
    usage.per_cpu = stats.usage_per_cpu.clone();
    let mut throttling = one::Throttle::new();
    throttling.periods = stats.throttling_periods;
    throttling.throttled_periods = stats.throttled_periods;
    throttling.throttled_time = stats.throttled_time;
    let mut cpu = one::CPUStat::new();
    cpu.usage = Some(usage).into();
    cpu.throttling = Some(throttling).into();
    cpu
}

fn memory_1(stats: &v1::MemoryStat) -> one::MemoryStat {
    let entry = |e: &v1::MemoryEntry| Some(copied!(one::MemoryEntry, e; limit usage max failcnt)).into();
    let mut memory = copied!(one::MemoryStat, stats;
        cache rss rss_huge mapped_file dirty writeback pg_pg_in pg_pg_out pg_fault pg_maj_fault inactive_anon
        active_anon inactive_file active_file unevictable hierarchical_memory_limit hierarchical_swap_limit total_cache
        total_rss total_rss_huge total_mapped_file total_dirty total_writeback total_pg_pg_in total_pg_pg_out
        total_pg_fault total_pg_maj_fault total_inactive_anon total_active_anon total_inactive_file total_active_file
        total_unevictable);
    memory.usage = entry(&stats.usage);
    memory.swap = entry(&stats.swap);
    memory.kernel = entry(&stats.kernel);
    memory.kernel_tcp = entry(&stats.kernel_tcp);
    memory
}

fn blkio(stats: &v1::BlkioStat) -> one::BlkIOStat {
    let entries = |all: &[v1::BlkioEntry]| {
        all.iter().map(|e| copied!(one::BlkIOEntry, e; op device major minor value)).collect()
    };
    let mut blkio = one::BlkIOStat::new();
    blkio.io_service_bytes_recursive = entries(&stats.io_service_bytes_recursive);
    blkio.io_serviced_recursive = entries(&stats.io_serviced_recursive);
    blkio.io_queued_recursive = entries(&stats.io_queued_recursive);
    blkio.io_service_time_recursive = entries(&stats.io_service_time_recursive);
    blkio.io_wait_time_recursive = entries(&stats.io_wait_time_recursive);
    blkio.io_merged_recursive = entries(&stats.io_merged_recursive);
    blkio.io_time_recursive = entries(&stats.io_time_recursive);
    blkio.sectors_recursive = entries(&stats.sectors_recursive);
    blkio
}

fn version_2(stats: &v2::Metrics) -> two::Metrics {
    let mut all = two::Metrics::new();
    all.pids = Some(copied!(two::PidsStat, stats.pids; current limit)).into();
    let mut cpu = copied!(two::CPUStat, stats.cpu;
        usage_usec user_usec system_usec nr_periods nr_throttled throttled_usec nr_bursts burst_usec);
    cpu.psi = stats.cpu.psi.as_ref().map(psi).into();
    all.cpu = Some(cpu).into();
    all.memory = Some(memory_2(&stats.memory)).into();
    let entry = |e: &v2::RdmaEntry| copied!(two::RdmaEntry, e; device hca_handles hca_objects);
    let mut rdma = two::RdmaStat::new();
    rdma.current = stats.rdma.current.iter().map(entry).collect();
    rdma.limit = stats.rdma.limit.iter().map(entry).collect();
    all.rdma = Some(rdma).into();
    let mut io = two::IOStat::new();
    io.usage = stats
        .io
        .usage
        .iter()
        .map(|e| copied!(two::IOEntry, e; major minor rbytes wbytes rios wios))
        .collect();
    io.psi = stats.io.psi.as_ref().map(psi).into();
    all.io = Some(io).into();
    all.hugetlb =
        stats.hugetlb.iter().map(|h| copied!(two::HugeTlbStat, h; current max pagesize failcnt)).collect();
    all.memory_events = stats
        .memory_events
        .as_ref()
        .map(|m| copied!(two::MemoryEvents, m; low high max oom oom_kill oom_group_kill))
        .into();
    all
}

fn memory_2(stats: &v2::MemoryStat) -> two::MemoryStat {
    let mut memory = copied!(two::MemoryStat, stats;
        anon file kernel_stack slab sock shmem file_mapped file_dirty file_writeback anon_thp inactive_anon
        active_anon inactive_file active_file unevictable slab_reclaimable slab_unreclaimable pgfault pgmajfault
        workingset_refault workingset_activate workingset_nodereclaim pgrefill pgscan pgsteal pgactivate pgdeactivate
        pglazyfree pglazyfreed thp_fault_alloc thp_collapse_alloc usage usage_limit swap_usage swap_limit max_usage
        swap_max_usage workingset_refault_anon workingset_refault_file workingset_activate_anon
        workingset_activate_file);
    memory.psi = stats.psi.as_ref().map(psi).into();
    memory
}

fn psi(stats: &v2::PsiStats) -> two::PSIStats {
    let data = |d: &Option<v2::PsiData>| {
        d.as_ref().map(|d| copied!(two::PSIData, d; avg10 avg60 avg300 total)).into()
    };
    let mut psi = two::PSIStats::new();
    psi.some = data(&stats.some);
    psi.full = data(&stats.full);
    psi
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use protos::shim::any::unpack;

    #[test]
    fn both_versions_under_their_names() {
        let mut stats =
            v1::Metrics { pids: Some(v1::PidsStat { current: 3, limit: 9 }), ..Default::default() };
        stats.memory = Some(v1::MemoryStat {
            usage: v1::MemoryEntry { usage: 5, ..Default::default() },
            rss: 4,
            ..Default::default()
        });
        let any = metrics(&Stats::V1(stats)).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v1.Metrics");
        let back: one::Metrics = unpack(&any).unwrap();
        assert_eq!((back.pids.limit, back.memory.usage.usage, back.memory.rss), (9, 5, 4));
        let mut stats = v2::Metrics::default();
        stats.cpu.psi =
            Some(v2::PsiStats { some: Some(v2::PsiData { avg10: 1.5, ..Default::default() }), full: None });
        stats.memory.usage_limit = u64::MAX;
        let any = metrics(&Stats::V2(stats)).unwrap();
        assert_eq!(any.type_url, "io.containerd.cgroups.v2.Metrics");
        let back: two::Metrics = unpack(&any).unwrap();
        assert_eq!((back.cpu.psi.some.avg10, back.memory.usage_limit), (1.5, u64::MAX));
        assert!(back.cpu.psi.full.is_none());
    }
}
