//! What is to be done with one container: a pure function of its labels and its task.

use base::Labels;

use super::policy::Policy;
use super::{COUNT_LABEL, EXPLICITLY_STOPPED_LABEL, POLICY_LABEL, STATUS_LABEL};
use crate::model::Status;

/// What is seen of a container's task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// There is none.
    Nothing,
    /// It is in that state; the exit status counts when stopped.
    Task(Status, u32),
    /// Its shim does not answer: no one may do anything to it.
    Silence,
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Leave,
    /// Start it (again); the number goes into the count label.
    Start(i64),
    Stop,
}

pub(super) fn decide(labels: &Labels, seen: Seen) -> Decision {
    let label = |name: &str| labels.get(name).map_or("", String::as_str);
    match (label(STATUS_LABEL), seen) {
        (_, Seen::Silence | Seen::Task(Status::Unknown, _)) => Decision::Leave,
        ("running", Seen::Task(Status::Running | Status::Paused | Status::Pausing, _)) => Decision::Leave,
        ("running", seen) => {
            let exit_status = if let Seen::Task(_, status) = seen { status } else { 0 };
            let count = label(COUNT_LABEL);
            if wanted(label(POLICY_LABEL), exit_status, count, label(EXPLICITLY_STOPPED_LABEL)) {
                Decision::Start(count.parse::<i64>().unwrap_or(0).saturating_add(1))
            } else {
                Decision::Leave
            }
        }
        ("stopped", Seen::Nothing | Seen::Task(Status::Stopped, _)) => Decision::Leave,
        ("stopped", Seen::Task(..)) => Decision::Stop,
        _ => Decision::Leave,
    }
}

fn wanted(policy: &str, exit_status: u32, count: &str, explicitly_stopped: &str) -> bool {
    match Policy::parse(policy) {
        Ok(Policy::No) => false,
        Ok(Policy::Always) => true,
        Ok(Policy::OnFailure(most)) => match count.parse::<i64>() {
            Err(error) if !count.is_empty() => {
                tracing::error!(count, %error, "policy reconcile");
                false
            }
            count => exit_status != 0 && (most == 0 || count.unwrap_or(0) < most),
        },
        Ok(Policy::UnlessStopped) => {
            // The words that Go's ParseBool takes for true.
            !matches!(explicitly_stopped, "1" | "t" | "T" | "true" | "TRUE" | "True")
        }
        Err(error) => {
            tracing::error!(%error, "policy reconcile");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_policy_in_each_state() {
        use Decision::{Leave, Start, Stop};
        use Seen::{Nothing, Silence, Task};
        let stopped = |status| Task(Status::Stopped, status);
        let running = Task(Status::Running, 0);
        for (status, policy, count, user_stopped, seen, want) in [
            ("running", "", "", "", Nothing, Start(1)),
            ("running", "always", "4", "", stopped(0), Start(5)),
            ("running", "always", "", "", running, Leave),
            ("running", "always", "", "", Task(Status::Paused, 0), Leave),
            ("running", "always", "", "", Task(Status::Pausing, 0), Leave),
            ("running", "always", "", "", Task(Status::Created, 0), Start(1)),
            ("running", "always", "", "", Silence, Leave),
            ("running", "no", "", "", stopped(1), Leave),
            ("running", "on-failure", "", "", stopped(0), Leave),
            ("running", "on-failure", "", "", Nothing, Leave),
            ("running", "on-failure", "9", "", stopped(1), Start(10)),
            ("running", "on-failure:2", "1", "", stopped(1), Start(2)),
            ("running", "on-failure:2", "2", "", stopped(1), Leave),
            ("running", "on-failure:2", "x", "", stopped(1), Leave),
            ("running", "unless-stopped", "", "", stopped(0), Start(1)),
            ("running", "unless-stopped", "", "true", stopped(0), Leave),
            ("running", "unless-stopped", "", "no", stopped(0), Start(1)),
            ("running", "always:3", "", "", stopped(0), Leave),
            ("stopped", "", "", "", running, Stop),
            ("stopped", "", "", "", Task(Status::Paused, 0), Stop),
            ("stopped", "", "", "", stopped(0), Leave),
            ("stopped", "", "", "", Nothing, Leave),
            ("stopped", "", "", "", Silence, Leave),
            ("odd", "", "", "", running, Leave),
            ("", "always", "", "", Nothing, Leave),
        ] {
            let labels = Labels::from(
                [
                    (STATUS_LABEL, status),
                    (POLICY_LABEL, policy),
                    (COUNT_LABEL, count),
                    (EXPLICITLY_STOPPED_LABEL, user_stopped),
                ]
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
            );
            assert_eq!(decide(&labels, seen), want, "{status} {policy} {count} {user_stopped} {seen:?}");
        }
    }
}
