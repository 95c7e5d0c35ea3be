//! The configuration as text, in the layout that containerd prints: two spaces a level, single quotes, scalars before
//! tables, plugin tables sorted by their URI.

use std::fmt::Write;

use toml::{Table, Value};

/// `table` as TOML. Reading the text back gives `table` again.
pub(crate) fn to_text(table: &Table) -> String {
    let mut out = String::new();
    scalars(&mut out, table, 0);
    tables(&mut out, table, &mut Vec::new(), 0);
    out
}

fn scalars(out: &mut String, table: &Table, depth: usize) {
    for (key, value) in table {
        if !value.is_table() {
            let _ = writeln!(out, "{}{} = {}", "  ".repeat(depth), quoted_key(key), scalar(value));
        }
    }
}

fn tables(out: &mut String, table: &Table, at: &mut Vec<String>, depth: usize) {
    let mut inner: Vec<(&String, &Table)> =
        table.iter().filter_map(|(k, v)| Some((k, v.as_table()?))).collect();
    if at.first().is_some_and(|top| top == "plugins") {
        inner.sort_by_key(|(k, _)| (*k).clone());
    }
    for (key, table) in inner {
        if !out.is_empty() && !out.ends_with("\n\n") {
            out.push('\n');
        }
        at.push(quoted_key(key));
        let _ = writeln!(out, "{}[{}]", "  ".repeat(depth), at.join("."));
        scalars(out, table, depth + 1);
        // A table that holds only tables is followed by them without an empty line.
        let header_only = table.values().all(Value::is_table) && !table.is_empty();
        if header_only {
            let mut first = String::new();
            tables(&mut first, table, at, depth + 1);
            out.push_str(&first);
        } else {
            tables(out, table, at, depth + 1);
        }
        at.pop();
    }
}

fn quoted_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { string(key) }
}

fn string(text: &str) -> String {
    if text.contains('\'') || text.chars().any(char::is_control) {
        return Value::String(text.to_owned()).to_string();
    }
    format!("'{text}'")
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => string(text),
        Value::Array(items) => format!("[{}]", items.iter().map(scalar).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
