//! The table.

/// Rows of measured values.
#[derive(Default)]
pub struct Table(Vec<[String; 5]>);

impl Table {
    /// A value of ours beside the peer's, with the aim for their ratio when there is one.
    pub fn compare(&mut self, what: &str, ours: f64, peer: f64, unit: &str, aim: &str) {
        let number = |v: f64| if v >= 100.0 { format!("{v:.0} {unit}") } else { format!("{v:.2} {unit}") };
        self.0.push([
            what.to_owned(),
            number(ours),
            number(peer),
            format!("{:.2}", ours / peer),
            aim.to_owned(),
        ]);
    }

    /// A value without a peer.
    pub fn alone(&mut self, what: &str, value: f64, unit: &str, aim: &str) {
        self.0.push([what.to_owned(), format!("{value:.2} {unit}"), "-".into(), "-".into(), aim.to_owned()]);
    }

    /// As Markdown.
    pub fn markdown(&self) -> String {
        let mut out = String::from(
            "| what (median) | ours | Debian's containerd | ratio | aim |\n| --- | --- | --- | --- | --- |\n",
        );
        for row in &self.0 {
            out.push_str(&format!("| {} |\n", row.join(" | ")));
        }
        out
    }
}
