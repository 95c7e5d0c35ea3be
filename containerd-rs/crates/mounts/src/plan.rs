//! Which mounts the manager has to make, decided from their types alone.

use base::Mount;

use crate::transform::Kind;

/// What happens to one mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step {
    /// In the order in which they are applied.
    pub(crate) transforms: Vec<Kind>,
    /// The type without the prefixes of the transforms.
    pub(crate) fstype: String,
}

/// What happens to a list of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) steps: Vec<Step>,
    /// Mounts before this one are the manager's, this one and those after it the caller's.
    pub(crate) first_system: usize,
}

/// None when nothing here needs the manager.
pub(crate) fn plan(
    mounts: &[Mount],
    temporary: bool,
    allow: &[String],
    has_handler: impl Fn(&str) -> bool,
) -> Option<Plan> {
    let mut first = None;
    let mut steps = Vec::with_capacity(mounts.len());
    for (index, mount) in mounts.iter().enumerate() {
        let step = step(&mount.fstype);
        let is_left = |kind: &Kind| {
            let any = format!("{}/*", kind.prefix());
            allow.iter().any(|a| *a == any || *a == mount.fstype)
        };
        // What is filled in from earlier mounts needs those made, not to be made itself.
        if step.transforms.iter().any(|kind| !is_left(kind)) {
            first = Some(index);
        }
        if temporary || has_handler(&step.fstype) && !allow.contains(&step.fstype) {
            first = Some(index + 1);
        }
        steps.push(step);
    }
    first.map(|first_system| Plan { steps, first_system })
}

fn step(fstype: &str) -> Step {
    let mut transforms = Vec::new();
    let mut rest = fstype;
    while let Some((prefix, after)) = rest.split_once('/') {
        let Some(kind) = Kind::of(prefix) else {
            tracing::warn!(fstype, "unknown transform of a mount");
            break;
        };
        transforms.push(kind);
        rest = after;
    }
    Step { transforms, fstype: rest.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(types: &[&str], temporary: bool, allow: &[&str]) -> Option<usize> {
        let mounts: Vec<Mount> = types.iter().map(|t| Mount::new(*t, "/s", Vec::new())).collect();
        let allow: Vec<String> = allow.iter().map(|a| (*a).to_owned()).collect();
        plan(&mounts, temporary, &allow, |t| t == "loop" || t == "erofs").map(|p| p.first_system)
    }

    #[test]
    fn who_mounts_what() {
        assert_eq!(first(&["bind"], false, &[]), None);
        assert_eq!(first(&[], false, &[]), None);
        assert_eq!(first(&["overlay", "bind"], false, &[]), None);
        assert_eq!(first(&["erofs"], false, &[]), Some(1));
        assert_eq!(first(&["erofs", "erofs", "format/mkdir/overlay"], false, &[]), Some(2));
        assert_eq!(first(&["mkfs/ext4", "format/mkdir/bind"], false, &[]), Some(1));
        assert_eq!(first(&["mkfs/ext4"], false, &[]), Some(0));
        assert_eq!(first(&["erofs", "bind"], false, &["erofs"]), None);
        assert_eq!(first(&["erofs", "format/overlay"], false, &["erofs", "format/*"]), None);
        assert_eq!(first(&["erofs", "format/overlay"], false, &["erofs", "format/overlay"]), None);
        // The caller takes erofs, but what is filled in needs it mounted.
        assert_eq!(first(&["erofs", "format/overlay"], false, &["erofs"]), Some(1));
        assert_eq!(first(&["bind", "bind"], true, &[]), Some(2));
        assert_eq!(first(&["unknown/erofs"], false, &[]), None);
    }

    #[test]
    fn prefixes_are_taken_off_in_order() {
        let step = step("format/mkdir/overlay");
        assert_eq!((step.transforms, step.fstype.as_str()), (vec![Kind::Format, Kind::Mkdir], "overlay"));
        assert_eq!(super::step("other/ext4").fstype, "other/ext4");
    }
}
