//! Columns padded with blanks, as Go's tabwriter makes them for `ctr`.

use crate::error::Result;
use crate::io::output;

/// Rows of text under a header.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    padding: usize,
}

impl Table {
    /// A table whose columns are as wide as their widest cell and one blank.
    pub fn new<const N: usize>(header: [&str; N]) -> Self {
        Table { rows: vec![header.map(Into::into).into()], padding: 1 }
    }

    /// A table with four blanks between columns.
    pub fn wide<const N: usize>(header: [&str; N]) -> Self {
        Table { padding: 4, ..Table::new(header) }
    }

    /// Adds a row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.rows.push(cells.into());
    }

    /// The table as text. The last column is padded too, as every cell there ends in a tab.
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            let widest = cells.map(|c| c.chars().count()).max().unwrap_or(0);
            widest + self.padding
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&widths) {
                text.push_str(cell);
                text.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
            }
            text.push('\n');
        }
        text
    }

    /// Prints it.
    pub fn print(&self) -> Result<()> {
        output::write(&self.render())
    }
}

/// A size in binary units with one decimal: `1.5 MiB`.
pub fn bytes(size: i64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if size.unsigned_abs() < 1024 {
        return format!("{size}.0 B");
    }
    let mut value = size as f64;
    let mut unit = "B";
    for next in UNITS {
        if value.abs() < 1024.0 {
            break;
        }
        value /= 1024.0;
        unit = next;
    }
    format!("{value:.1} {unit}")
}

/// Labels as `a=1,b=2`, or `-` when there are none.
pub fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    if labels.is_empty() {
        return "-".into();
    }
    let pairs: Vec<String> = labels.iter().map(|(k, v)| format!("{k}={v}")).collect();
    pairs.join(",")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn columns_are_padded() {
        let mut table = Table::new(["TASK", "PID"]);
        table.row(["counter".into(), "12".into()]);
        assert_eq!(table.render(), "TASK    PID \ncounter 12  \n");
        let mut table = Table::wide(["TASK", "PID"]);
        table.row(["counter".into(), "12".into()]);
        assert_eq!(table.render(), "TASK       PID    \ncounter    12     \n");
    }

    #[test]
    fn sizes_are_binary() {
        for (size, text) in [
            (0, "0.0 B"),
            (1023, "1023.0 B"),
            (1024, "1.0 KiB"),
            (1_572_864, "1.5 MiB"),
            (5 << 40, "5.0 TiB"),
        ] {
            assert_eq!(bytes(size), text);
        }
    }

    #[test]
    fn labels_are_sorted_pairs() {
        assert_eq!(labels(&[("b".into(), "2".into()), ("a".into(), "1".into())].into()), "a=1,b=2");
        assert_eq!(labels(&[].into()), "-");
    }
}
