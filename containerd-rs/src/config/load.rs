//! Reading the root file and its imports: breadth first, each file once, later files over earlier ones.

use std::collections::{HashSet, VecDeque};
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::{Config, Error, Problem, Trouble, VERSION, migrate, schema};

/// The biggest file that is read.
const MAX_FILE: u64 = 8 << 20;
/// How many files `imports` may pull in.
const MAX_FILES: usize = 1000;

/// What was read.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) config: Config,
    /// The merged table in version 4, for printing.
    pub(crate) table: Table,
    pub(crate) problems: Vec<Problem>,
    /// The files in the order in which they were merged, with the version that each declared.
    pub(crate) files: Vec<(PathBuf, i64)>,
}

/// Values from the command line; each replaces what the files say.
#[derive(Debug, Default, Clone)]
pub(crate) struct Flags {
    pub(crate) root: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) address: Option<String>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<String>,
}

/// Load `path` over the defaults, then its imports, then `flags`. With `must_exist` false a missing root file gives
/// the defaults.
pub(crate) fn load(path: &Path, must_exist: bool, flags: &Flags) -> Result<Loaded, Error> {
    let mut merged = schema::defaults();
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut seen = HashSet::new();
    let mut pending = VecDeque::from([clean(path)]);
    if !must_exist && !path.exists() {
        pending.clear();
        // The default imports still count, as if an empty file had named them.
        pending.extend(imports(path, &merged));
    }
    while let Some(file) = pending.pop_front() {
        if !seen.insert(file.clone()) || files.len() >= MAX_FILES {
            continue;
        }
        let (mut table, mut unknown) = read(&file)?;
        problems.append(&mut unknown);
        let version = table.get("version").and_then(Value::as_integer).unwrap_or(0);
        if version > VERSION {
            return Err(Error::Version { path: file, found: version });
        }
        migrate::to_current(&mut table, version);
        let named = if table.contains_key("imports") || files.is_empty() {
            imports(&file, &table)
        } else {
            Vec::new()
        };
        merge(&mut merged, table, &mut Vec::new());
        pending.extend(named);
        files.push((file, version));
    }
    apply(&mut merged, flags);
    merged.insert("version".into(), Value::Integer(VERSION));
    let config = decode(path, &merged)?;
    Ok(Loaded { config, table: merged, problems, files })
}

fn apply(merged: &mut Table, flags: &Flags) {
    let mut set = |path: &[&str], value: &Option<String>| {
        if let Some(value) = value {
            migrate::put(merged, path, Value::String(value.clone()));
        }
    };
    set(&["root"], &flags.root);
    set(&["state"], &flags.state);
    set(&["plugins", schema::GRPC, "address"], &flags.address);
    set(&["plugins", schema::TTRPC, "address"], &flags.address.as_ref().map(|a| format!("{a}.ttrpc")));
    set(&["debug", "level"], &flags.log_level);
    set(&["debug", "format"], &flags.log_format);
}

fn decode(path: &Path, merged: &Table) -> Result<Config, Error> {
    // One section at a time, so that a wrong type is reported with the key that holds it.
    let whole: Result<Config, _> = merged.clone().try_into();
    let config = whole.map_err(|e: toml::de::Error| {
        let culprit = merged.iter().find(|(key, value)| {
            let mut probe = schema::defaults();
            probe.insert((*key).clone(), (*value).clone());
            probe.try_into::<Config>().is_err()
        });
        let key = culprit.map(|(key, _)| key.clone()).unwrap_or_default();
        Error::Value { path: path.to_path_buf(), key, message: e.message().to_owned() }
    })?;
    for (list, uris) in [("disabled", &config.disabled_plugins), ("required", &config.required_plugins)] {
        if let Some(uri) = uris.iter().find(|u| !u.contains('.')) {
            return Err(Error::PluginUri { list, uri: uri.clone() });
        }
    }
    Ok(config)
}

/// Parse one file; every key that the schema does not know becomes a problem with its line.
fn read(path: &Path) -> Result<(Table, Vec<Problem>), Error> {
    let fail = |source| Error::Read { path: path.to_path_buf(), source };
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_FILE {
        return Err(fail(std::io::Error::new(std::io::ErrorKind::FileTooLarge, "larger than 8 MiB")));
    }
    let text = std::fs::read_to_string(path).map_err(fail)?;
    let syntax = |e: toml::de::Error| {
        let offset = e.span().map_or(0, |s| s.start);
        let (line, column) = position(&text, offset);
        Error::Syntax { path: path.to_path_buf(), line, column, message: e.message().to_owned() }
    };
    let table: Table = toml::from_str(&text).map_err(syntax)?;
    let spanned = DeTable::parse(&text).map_err(syntax)?;
    let mut problems = Vec::new();
    let version = table.get("version").and_then(Value::as_integer).unwrap_or(0);
    find_unknown(path, &text, spanned.get_ref(), version, &mut Vec::new(), &mut problems);
    Ok((table, problems))
}

fn find_unknown(
    file: &Path,
    text: &str,
    table: &DeTable<'_>,
    version: i64,
    at: &mut Vec<String>,
    problems: &mut Vec<Problem>,
) {
    for (key, value) in table {
        at.push(key.get_ref().to_string());
        let changed =
            || !matches!(value.get_ref(), DeValue::Boolean(false)) && !is_default(value.get_ref(), at);
        if schema::is_inert(at) && changed() {
            let (file, line, key) = (file.to_path_buf(), line_of(text, key), at.join("."));
            problems.push(Problem { file, line, key, kind: Trouble::Inert });
        }
        match schema::lookup(at, version) {
            schema::Known::Yes => {
                if let DeValue::Table(inner) = value.get_ref() {
                    find_unknown(file, text, inner, version, at, problems);
                }
            }
            schema::Known::Anything => {}
            schema::Known::No { nearest } => problems.push(Problem {
                file: file.to_path_buf(),
                line: line_of(text, key),
                key: at.join("."),
                kind: Trouble::Unknown { nearest },
            }),
        }
        at.pop();
    }
}

/// Is it what the defaults say, or an empty table?
fn is_default(value: &DeValue<'_>, at: &[String]) -> bool {
    let defaults = toml::Value::Table(schema::defaults());
    let default = at.iter().try_fold(&defaults, |table, key| table.get(key));
    match value {
        DeValue::Table(table) => table.is_empty(),
        DeValue::Integer(number) => {
            default.and_then(Value::as_integer).is_some_and(|d| d.to_string() == number.as_str())
        }
        DeValue::String(text) => default.and_then(Value::as_str).unwrap_or_default() == text.as_ref(),
        _ => false,
    }
}

fn line_of<T>(text: &str, item: &Spanned<T>) -> usize {
    position(text, item.span().start).0
}

/// Line and column, both from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, str::len) + 1;
    (line, column)
}

/// The files that `table`, read from `parent`, imports: absolute, or relative to the parent's directory; `*` and `?` make
/// it a pattern. Sorted within one pattern.
fn imports(parent: &Path, table: &Table) -> Vec<PathBuf> {
    let dir = parent.parent().unwrap_or(Path::new("/"));
    let list = table.get("imports").and_then(Value::as_array);
    let mut out = Vec::new();
    for pattern in list.into_iter().flatten().filter_map(Value::as_str) {
        out.extend(glob(&clean(&dir.join(pattern))));
    }
    out
}

/// `path` without `.` and `..`, by name only, so that one file has one spelling.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::CurDir => {}
            std::path::Component::ParentDir => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

fn glob(pattern: &Path) -> Vec<PathBuf> {
    let mut found = vec![PathBuf::from("/")];
    for part in pattern.components().skip(1) {
        let part = part.as_os_str().to_string_lossy().into_owned();
        let mut next = Vec::new();
        for base in found {
            if !part.contains(['*', '?']) {
                next.push(base.join(&part));
                continue;
            }
            let entries = std::fs::read_dir(&base).into_iter().flatten().flatten();
            let mut names: Vec<String> =
                entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
            names.sort();
            names.retain(|n| matches(part.as_bytes(), n.as_bytes()));
            next.extend(names.into_iter().map(|n| base.join(n)));
        }
        found = next;
    }
    let is_pattern = pattern.to_string_lossy().contains(['*', '?']);
    found.retain(|p| !is_pattern || p.is_file());
    found
}

/// Shell-style match of one path component: `*` and `?`.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern.first(), name.first()) {
        (None, None) => true,
        (Some(b'*'), _) => matches(&pattern[1..], name) || (!name.is_empty() && matches(pattern, &name[1..])),
        (Some(b'?'), Some(_)) => matches(&pattern[1..], &name[1..]),
        (Some(p), Some(n)) if p == n => matches(&pattern[1..], &name[1..]),
        _ => false,
    }
}

/// containerd's merge: empty scalars do not replace, lists are joined without duplicates, tables merge by key, and the
/// entries of `stream_processors`, `proxy_plugins` and `timeouts` are replaced whole.
pub(super) fn merge(to: &mut Table, from: Table, at: &mut Vec<String>) {
    for (key, value) in from {
        at.push(key.clone());
        let whole =
            at.len() == 2 && ["stream_processors", "proxy_plugins", "timeouts"].contains(&at[0].as_str());
        match (to.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !whole => merge(old, new, at),
            (Some(Value::Array(old)), Value::Array(new)) if !inside_plugin(at) => {
                let fresh: Vec<Value> = new.into_iter().filter(|v| !old.contains(v)).collect();
                old.extend(fresh);
            }
            // An empty scalar at the top level means "not set", as in Go's merge of structs; in a plugin's table
            // the operator wrote it on purpose.
            (Some(_), value) if is_empty(&value) && !inside_plugin(at) => {}
            (_, value) => {
                to.insert(key, value);
            }
        }
        at.pop();
    }
}

fn inside_plugin(at: &[String]) -> bool {
    at.len() > 2 && at[0] == "plugins"
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::String(s) => s.is_empty(),
        Value::Integer(i) => *i == 0,
        Value::Boolean(b) => !b,
        Value::Array(a) => a.is_empty(),
        _ => false,
    }
}
