//! `hosts.toml`: which hosts stand in for a registry, in which order, with which settings.

use std::path::{Path, PathBuf};

use http::{HeaderMap, HeaderName, HeaderValue};
use toml::{Table, Value};

use super::{Capabilities, HostConfig, Scheme, duration};

/// Why a `hosts.toml` cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HostsFileError {
    /// Not TOML.
    #[error("not valid TOML")]
    Syntax(#[source] Box<toml::de::Error>),
    /// A key has the wrong type or an impossible value.
    #[error("{table}{key}: {problem}")]
    Key {
        /// `host."URL"`. with the dot, or nothing for a top-level key.
        table: String,
        /// The key.
        key: String,
        /// What is wrong with its value.
        problem: String,
    },
}

/// The keys that a host table and the top level share.
const HOST_KEYS: [&str; 7] =
    ["capabilities", "ca", "client", "skip_verify", "header", "override_path", "dial_timeout"];

/// Parses the text of a `hosts.toml`. Relative certificate paths are taken from `base_dir`.
///
/// The hosts come in the order of the file. The last entry is the `server`; its `host` is empty when
/// the file names none, which means the registry itself. Unknown keys are logged and ignored.
pub fn parse_hosts_file(base_dir: &Path, text: &str) -> Result<Vec<HostConfig>, HostsFileError> {
    let root: Table = toml::from_str(text).map_err(|e| HostsFileError::Syntax(Box::new(e)))?;
    let mut hosts = Vec::new();
    if let Some(value) = root.get("host") {
        let tables = value.as_table().ok_or_else(|| bad("", "host", "must hold tables"))?;
        for (url, value) in tables {
            let name = format!("host.{url:?}.");
            let table = value.as_table().ok_or_else(|| bad("", &name, "must be a table"))?;
            warn_unknown(base_dir, &name, table, &[]);
            hosts.push(Section { base_dir, name, table }.host(url)?);
        }
    }
    warn_unknown(base_dir, "", &root, &["server", "host"]);
    let top = Section { base_dir, name: String::new(), table: &root };
    let server = top.string("server")?.unwrap_or_default();
    hosts.push(top.host(&server)?);
    Ok(hosts)
}

fn bad(table: &str, key: &str, problem: impl Into<String>) -> HostsFileError {
    HostsFileError::Key { table: table.to_owned(), key: key.to_owned(), problem: problem.into() }
}

fn warn_unknown(dir: &Path, name: &str, table: &Table, more: &[&str]) {
    for key in table.keys() {
        if !HOST_KEYS.contains(&key.as_str()) && !more.contains(&key.as_str()) {
            tracing::warn!(dir = %dir.display(), key = format!("{name}{key}"), "unknown key in hosts.toml ignored");
        }
    }
}

/// One table of the file.
struct Section<'a> {
    base_dir: &'a Path,
    name: String,
    table: &'a Table,
}

impl Section<'_> {
    fn bad(&self, key: &str, problem: impl Into<String>) -> HostsFileError {
        bad(&self.name, key, problem)
    }

    fn string(&self, key: &str) -> Result<Option<String>, HostsFileError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(s)) => Ok(Some(s.clone())),
            Some(_) => Err(self.bad(key, "must be a string")),
        }
    }

    fn boolean(&self, key: &str) -> Result<Option<bool>, HostsFileError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Boolean(b)) => Ok(Some(*b)),
            Some(_) => Err(self.bad(key, "must be true or false")),
        }
    }

    fn host(&self, url: &str) -> Result<HostConfig, HostsFileError> {
        let override_path = self.boolean("override_path")?.unwrap_or(false);
        let mut host = HostConfig::new(Scheme::Https, "");
        if !url.is_empty() {
            let (scheme, authority, path) = self.endpoint(url)?;
            host.scheme = scheme;
            host.host = authority;
            host.path = api_root(&path, override_path);
        }
        host.capabilities = self.capabilities()?;
        host.ca = self.ca()?;
        host.client = self.client()?;
        host.skip_verify = self.boolean("skip_verify")?;
        host.headers = self.headers()?;
        host.dial_timeout = match self.string("dial_timeout")? {
            Some(text) if !text.is_empty() => Some(
                duration::parse(&text)
                    .ok_or_else(|| self.bad("dial_timeout", format!("{text:?} is not a duration")))?,
            ),
            _ => None,
        };
        Ok(host)
    }

    /// Scheme, authority and path of a server URL; https when it has no scheme.
    fn endpoint(&self, url: &str) -> Result<(Scheme, String, String), HostsFileError> {
        let problem = |what: &str| self.bad("server", format!("{url:?} {what}"));
        let (scheme, rest) = match url.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) => return Err(problem("is neither http nor https")),
            None => (Scheme::Https, url),
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.contains('@') {
            return Err(problem("must not hold credentials"));
        }
        if authority.is_empty() || authority.parse::<http::uri::Authority>().is_err() {
            return Err(problem("has no valid host"));
        }
        if path.contains(['?', '#']) {
            return Err(problem("must not hold a query"));
        }
        Ok((scheme, authority.to_owned(), path.to_owned()))
    }

    fn capabilities(&self) -> Result<Capabilities, HostsFileError> {
        let key = "capabilities";
        let Some(value) = self.table.get(key) else { return Ok(Capabilities::ALL) };
        let list = value.as_array().ok_or_else(|| self.bad(key, "must be a list of strings"))?;
        if list.is_empty() {
            return Ok(Capabilities::ALL);
        }
        let mut all = Capabilities::NONE;
        for item in list {
            let name = item.as_str().ok_or_else(|| self.bad(key, "must be a list of strings"))?;
            all = all.with(match name.to_ascii_lowercase().as_str() {
                "pull" => Capabilities::PULL,
                "resolve" => Capabilities::RESOLVE,
                "push" => Capabilities::PUSH,
                "referrers" => Capabilities::REFERRERS,
                _ => return Err(self.bad(key, format!("unknown capability {name:?}"))),
            });
        }
        Ok(all)
    }

    fn path(&self, text: &str) -> PathBuf {
        self.base_dir.join(text)
    }

    fn ca(&self) -> Result<Vec<PathBuf>, HostsFileError> {
        match self.table.get("ca") {
            None => Ok(Vec::new()),
            Some(Value::String(s)) => Ok(vec![self.path(s)]),
            Some(Value::Array(list)) => list
                .iter()
                .map(|v| v.as_str().map(|s| self.path(s)))
                .collect::<Option<Vec<_>>>()
                .ok_or_else(|| self.bad("ca", "must be a string or a list of strings")),
            Some(_) => Err(self.bad("ca", "must be a string or a list of strings")),
        }
    }

    fn client(&self) -> Result<Vec<(PathBuf, Option<PathBuf>)>, HostsFileError> {
        let wrong =
            || self.bad("client", "must be a string, a list of strings or a list of [cert, key] pairs");
        match self.table.get("client") {
            None => Ok(Vec::new()),
            Some(Value::String(s)) => Ok(vec![(self.path(s), None)]),
            Some(Value::Array(list)) => list
                .iter()
                .map(|item| match item {
                    Value::String(s) => Ok((self.path(s), None)),
                    Value::Array(pair) => match pair.as_slice() {
                        [Value::String(cert), Value::String(key)] if key.is_empty() => {
                            Ok((self.path(cert), None))
                        }
                        [Value::String(cert), Value::String(key)] => {
                            Ok((self.path(cert), Some(self.path(key))))
                        }
                        _ => Err(wrong()),
                    },
                    _ => Err(wrong()),
                })
                .collect(),
            Some(_) => Err(wrong()),
        }
    }

    fn headers(&self) -> Result<HeaderMap, HostsFileError> {
        let mut headers = HeaderMap::new();
        let Some(value) = self.table.get("header") else { return Ok(headers) };
        let table = value.as_table().ok_or_else(|| self.bad("header", "must be a table"))?;
        for (key, value) in table {
            let wrong = |what: &str| self.bad("header", format!("{key:?} {what}"));
            let name = HeaderName::from_bytes(key.as_bytes()).map_err(|_| wrong("is not a header name"))?;
            let values = match value {
                Value::String(s) => vec![s.as_str()],
                Value::Array(list) => list
                    .iter()
                    .map(Value::as_str)
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| wrong("must be a string or a list of strings"))?,
                _ => return Err(wrong("must be a string or a list of strings")),
            };
            for value in values {
                let mut value = HeaderValue::from_str(value).map_err(|_| wrong("has an impossible value"))?;
                // Whatever is sent here may be a secret; it stays out of every Debug output.
                value.set_sensitive(true);
                headers.append(name.clone(), value);
            }
        }
        Ok(headers)
    }
}

/// The path below which the API lies: cleaned, `/v2` at its end unless overridden.
fn api_root(path: &str, override_path: bool) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let clean: String = parts.iter().flat_map(|p| ["/", p]).collect();
    match override_path || parts.last() == Some(&"v2") {
        true => clean,
        false => clean + "/v2",
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn parse(text: &str) -> Vec<HostConfig> {
        parse_hosts_file(Path::new("/etc/certs.d/x"), text).unwrap()
    }

    fn problem(text: &str) -> String {
        base::chain(&parse_hosts_file(Path::new("/d"), text).unwrap_err())
    }

    #[test]
    fn every_key() {
        let hosts = parse(
            r#"
            server = "https://registry.example.com"
            ca = "root.pem"
            [host."http://mirror.local:5000/some/../base"]
            capabilities = ["Pull", "resolve"]
            ca = ["/abs/ca.pem", "rel.pem"]
            client = [["c.cert", "c.key"], ["both.pem", ""]]
            skip_verify = true
            dial_timeout = "3s"
              [host."http://mirror.local:5000/some/../base".header]
              x-one = "1"
              x-two = ["a", "b"]
            [host."other.local"]
            override_path = true
            client = "c.pem"
            "#,
        );
        assert_eq!(hosts.len(), 3);
        let first = &hosts[0];
        assert_eq!(
            (first.scheme, first.host.as_str(), first.path.as_str()),
            (Scheme::Http, "mirror.local:5000", "/base/v2")
        );
        assert_eq!(first.capabilities, Capabilities::PULL.with(Capabilities::RESOLVE));
        assert_eq!(first.ca, [PathBuf::from("/abs/ca.pem"), "/etc/certs.d/x/rel.pem".into()]);
        assert_eq!(first.client[0], ("/etc/certs.d/x/c.cert".into(), Some("/etc/certs.d/x/c.key".into())));
        assert_eq!(first.client[1], ("/etc/certs.d/x/both.pem".into(), None));
        assert_eq!(first.skip_verify, Some(true));
        assert_eq!(first.dial_timeout, Some(std::time::Duration::from_secs(3)));
        assert_eq!(first.headers.get_all("x-two").iter().count(), 2);
        assert_eq!((hosts[1].host.as_str(), hosts[1].path.as_str()), ("other.local", ""));
        assert_eq!(hosts[1].capabilities, Capabilities::ALL);
        assert_eq!((hosts[2].host.as_str(), hosts[2].path.as_str()), ("registry.example.com", "/v2"));
        assert_eq!(hosts[2].ca, [PathBuf::from("/etc/certs.d/x/root.pem")]);
    }

    #[test]
    fn order_is_the_files() {
        let hosts = parse("[host.\"https://z\"]\n[host.\"https://a\"]\n[host.\"https://m\"]\n");
        let names: Vec<_> = hosts.iter().map(|h| h.host.as_str()).collect();
        assert_eq!(names, ["z", "a", "m", ""]);
    }

    #[test]
    fn paths() {
        for (path, override_path, want) in [
            ("", false, "/v2"),
            ("/", false, "/v2"),
            ("/v2", false, "/v2"),
            ("/v2/", false, "/v2"),
            ("/v2/proxy", false, "/v2/proxy/v2"),
            ("/v2/proxy", true, "/v2/proxy"),
            ("", true, ""),
            ("/../../x", true, "/x"),
        ] {
            assert_eq!(api_root(path, override_path), want, "{path} {override_path}");
        }
    }

    #[test]
    fn problems_name_the_key() {
        for (text, part) in [
            ("server = 3", "server: must be a string"),
            ("server = \"ftp://x\"", "neither http nor https"),
            ("server = \"https://user:secret@x\"", "credentials"),
            (
                "[host.\"https://m\"]\ncapabilities = [\"fly\"]",
                "host.\"https://m\".capabilities: unknown capability \"fly\"",
            ),
            ("dial_timeout = \"soon\"", "dial_timeout: \"soon\" is not a duration"),
            ("ca = [1]", "ca: must be"),
            ("client = [[\"a\"]]", "client: must be"),
            ("skip_verify = \"yes\"", "skip_verify: must be true or false"),
            ("[header]\n\"bad name\" = \"x\"", "is not a header name"),
            ("server = ", "not valid TOML"),
        ] {
            assert!(problem(text).contains(part), "{text}: {}", problem(text));
        }
    }
}
