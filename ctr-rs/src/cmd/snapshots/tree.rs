//! `snapshots tree`.

use std::collections::{BTreeMap, BTreeSet};

use protos::api::snapshots::Info;

use super::Target;
use crate::error::Result;
use crate::io::output;

/// Prints each snapshot below its parent.
pub async fn run(target: &Target) -> Result<()> {
    output::write(&render(&target.all().await?))
}

fn render(all: &[Info]) -> String {
    let mut children: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let names: BTreeSet<&str> = all.iter().map(|info| info.name.as_str()).collect();
    for info in all {
        // one whose parent is not listed is a root
        let parent = if names.contains(info.parent.as_str()) { info.parent.as_str() } else { "" };
        children.entry(parent).or_default().push(&info.name);
    }
    let mut text = String::new();
    // not by recursion: chains are as long as images have layers
    let mut open: Vec<(&str, usize)> = roots(&children, "", 0);
    while let Some((name, depth)) = open.pop() {
        let branch = if depth == 0 { "  " } else { "\\_" };
        text.push_str(&format!("{}{branch}{name}\n", "  ".repeat(depth)));
        open.extend(roots(&children, name, depth + 1));
    }
    text
}

fn roots<'a>(children: &BTreeMap<&str, Vec<&'a str>>, of: &str, depth: usize) -> Vec<(&'a str, usize)> {
    let list = children.get(of).map(Vec::as_slice).unwrap_or_default();
    list.iter().rev().filter(|name| !name.is_empty()).map(|name| (*name, depth)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn children_stand_below_their_parents() {
        let info =
            |name: &str, parent: &str| Info { name: name.into(), parent: parent.into(), ..Info::default() };
        let all = [info("c", "b"), info("a", ""), info("b", "a"), info("d", "a"), info("lost", "gone")];
        assert_eq!(render(&all), "  a\n  \\_b\n    \\_c\n  \\_d\n  lost\n");
    }
}
