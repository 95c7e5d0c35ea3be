//! Showing progress: bars on a terminal, a line per change of state elsewhere.

use std::collections::HashMap;
use std::io::IsTerminal;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use protos::api::Any;
use protos::api::types_transfer as wire;

use crate::error::Result;
use crate::io::output;

const BAR: &str = "{prefix:<30} {msg:<12} {bar:32} {binary_bytes:>11}/{binary_total_bytes}";
const STATE: &str = "{prefix:<30} {msg}";

/// Where progress goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Display {
    /// Standard output.
    Stdout,
    /// Standard error: standard output is for data.
    Stderr,
}

/// What has been shown so far.
#[derive(Debug)]
pub struct Progress {
    display: Display,
    bars: Option<MultiProgress>,
    items: HashMap<String, Item>,
}

#[derive(Debug)]
struct Item {
    event: String,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new(display: Display) -> Self {
        let target = match display {
            Display::Stdout if std::io::stdout().is_terminal() => Some(ProgressDrawTarget::stdout()),
            Display::Stderr if std::io::stderr().is_terminal() => Some(ProgressDrawTarget::stderr()),
            _ => None,
        };
        let bars = target.map(MultiProgress::with_draw_target);
        Progress { display, bars, items: HashMap::new() }
    }

    /// Shows one message of the daemon; those of other types are left out.
    pub fn show(&mut self, message: &Any) -> Result<()> {
        match message.unpack::<wire::Progress>() {
            Ok(progress) => self.update(&progress),
            Err(_) => Ok(()),
        }
    }

    /// Leaves what was shown as it is.
    pub fn finish(&self) {
        for bar in self.items.values().filter_map(|item| item.bar.as_ref()) {
            bar.abandon();
        }
    }

    fn update(&mut self, progress: &wire::Progress) -> Result<()> {
        if progress.name.is_empty() {
            return self.line(&progress.event);
        }
        let before = self.items.get(&progress.name).map(|item| item.event.as_str());
        if self.bars.is_none() {
            if before != Some(progress.event.as_str()) {
                self.items.insert(progress.name.clone(), Item { event: progress.event.clone(), bar: None });
                return self.line(&format!("{}: {}", short_name(&progress.name), progress.event));
            }
            return Ok(());
        }
        self.bar(progress);
        Ok(())
    }

    fn bar(&mut self, progress: &wire::Progress) {
        let Some(bars) = &self.bars else { return };
        let item = self.items.entry(progress.name.clone()).or_insert_with(|| {
            let bar = bars.add(ProgressBar::no_length());
            let indent = if progress.parents.is_empty() { "" } else { "  " };
            bar.set_prefix(format!("{indent}{}", short_name(&progress.name)));
            Item { event: String::new(), bar: Some(bar) }
        });
        item.event.clone_from(&progress.event);
        let Some(bar) = &item.bar else { return };
        let total = u64::try_from(progress.total).unwrap_or(0);
        let moving = matches!(progress.event.as_str(), "downloading" | "uploading" | "extracting");
        let template = if moving && total > 0 { BAR } else { STATE };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_length(total);
        bar.set_position(u64::try_from(progress.progress).unwrap_or(0));
        bar.set_message(progress.event.clone());
    }

    fn line(&self, text: &str) -> Result<()> {
        if let Some(bars) = &self.bars {
            // a bar that cannot be drawn fails no transfer
            let _drawn = bars.println(text);
            return Ok(());
        }
        match self.display {
            Display::Stdout => output::line(text),
            Display::Stderr => {
                output::note(text);
                Ok(())
            }
        }
    }
}

/// `layer-sha256:abcdef..` as `layer (abcdef012345)`.
fn short_name(name: &str) -> String {
    match name.split_once("-sha256:") {
        Some((kind, hex)) if hex.len() == 64 => format!("{kind} ({})", &hex[..12]),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn digests_are_shortened() {
        assert_eq!(short_name(&format!("layer-sha256:{}", "ab".repeat(32))), "layer (abababababab)");
        assert_eq!(short_name("docker.io/library/x:latest"), "docker.io/library/x:latest");
    }
}
