//! The mounts of an overlay snapshot.

use base::labels::snapshot as label;
use base::{Labels, Mount};

use super::Overlay;
use crate::backend::Chain;
use crate::info::Kind;

impl Overlay {
    /// Without parents there is nothing to lay over: a bind mount. A view of one layer is that
    /// layer, bound read-only. All else is an overlay, the nearest parent on top.
    pub(super) fn mounts_of(&self, chain: &Chain, labels: &Labels) -> Vec<Mount> {
        let mut options = self.mapping(labels);
        let path = |id: u64| self.upper(id).display().to_string();
        let bind = |id: u64, flag: &str, mut options: Vec<String>| {
            options.extend([flag.to_owned(), "rbind".to_owned()]);
            vec![Mount::new("bind", path(id), options)]
        };
        match (chain.kind, chain.parents.as_slice()) {
            (Kind::View, []) => return bind(chain.id, "ro", options),
            (_, []) => return bind(chain.id, "rw", options),
            (Kind::View, [only]) => return bind(*only, "ro", options),
            (Kind::Active, _) => {
                let work = self.backend.directory(chain.id).join("work");
                options.push(format!("workdir={}", work.display()));
                options.push(format!("upperdir={}", path(chain.id)));
            }
            _ => {}
        }
        let lower: Vec<String> = chain.parents.iter().map(|id| path(*id)).collect();
        options.push(format!("lowerdir={}", lower.join(":")));
        options.extend(self.options.iter().cloned());
        vec![Mount::new("overlay", "overlay", options)]
    }

    fn mapping(&self, labels: &Labels) -> Vec<String> {
        if !self.remap_ids {
            return Vec::new();
        }
        [("uidmap", label::UID_MAPPING), ("gidmap", label::GID_MAPPING)]
            .into_iter()
            .filter_map(|(option, key)| labels.get(key).map(|value| format!("{option}={value}")))
            .collect()
    }
}
