//! Attributes of this process and facts about others.

mod attributes;
mod stat;

pub use attributes::{
    adjust_oom_score, close_inherited, core_sched_create, drop_caps, no_new_privs, oom_score_adj,
    set_close_on_exec_above, set_oom_score_adj, set_pdeathsig, set_subreaper, thp_disable,
};
pub use stat::{ProcStat, boot_id, is_same_process, pid_start_time, proc_stat};
