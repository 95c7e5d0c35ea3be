//! The plugin graph: parts are registered with what they need, ordered so that needs come first, and loaded one by one.
//!
//! A plugin ends as `ok`, `skip` (it asked not to run here, with the reason) or `error`. A plugin whose needs are not
//! met is `error`; only one named in `required_plugins` stops the daemon.

use std::collections::BTreeMap;

use services::plugins::{PluginRecord, Status};

/// What a loaded plugin tells of itself.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) exports: BTreeMap<String, String>,
    pub(crate) capabilities: Vec<String>,
    pub(crate) platforms: Vec<base::platform::Platform>,
}

/// Why a plugin is not there.
#[derive(Debug)]
pub(crate) enum NotLoaded {
    Skip(String),
    Failed(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for NotLoaded {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

type Init<C> = Box<dyn FnOnce(&mut C) -> Result<Loaded, NotLoaded>>;

/// One plugin before it is loaded.
pub(crate) struct Registration<C> {
    pub(crate) kind: &'static str,
    pub(crate) id: String,
    /// Types that must have been tried before; at least one of each must have loaded.
    pub(crate) requires: &'static [&'static str],
    pub(crate) init: Init<C>,
}

impl<C> Registration<C> {
    pub(crate) fn new(
        kind: &'static str,
        id: impl Into<String>,
        requires: &'static [&'static str],
        init: impl FnOnce(&mut C) -> Result<Loaded, NotLoaded> + 'static,
    ) -> Self {
        Self { kind, id: id.into(), requires, init: Box::new(init) }
    }

    fn uri(&self) -> String {
        format!("{}.{}", self.kind, self.id)
    }
}

/// Why the daemon must not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("plugins need each other in a circle: {0}")]
    Circle(String),
    #[error("required plugin {uri} is not loaded: {reason}")]
    Required { uri: String, reason: String },
}

/// Load `registrations` into `context`, leaving out `disabled`; every one in `required` must end as `ok`.
pub(crate) fn load<C>(
    registrations: Vec<Registration<C>>,
    disabled: &[String],
    required: &[String],
    context: &mut C,
) -> Result<Vec<PluginRecord>, Error> {
    let (off, on): (Vec<_>, Vec<_>) = registrations.into_iter().partition(|r| disabled.contains(&r.uri()));
    for plugin in off {
        tracing::info!(id = plugin.uri(), r#type = plugin.kind, "plugin is disabled, not loading it");
    }
    let mut records: Vec<PluginRecord> = Vec::new();
    for plugin in order(on)? {
        records.push(load_one(plugin, &records, context));
    }
    for uri in required {
        let reason = match records.iter().find(|r| r.uri() == *uri).map(|r| &r.status) {
            Some(Status::Ok) => continue,
            Some(Status::Skip(reason) | Status::Error(reason)) => reason.clone(),
            None => "there is no plugin of that name, or it is disabled".to_owned(),
        };
        return Err(Error::Required { uri: uri.clone(), reason });
    }
    Ok(records)
}

fn load_one<C>(plugin: Registration<C>, before: &[PluginRecord], context: &mut C) -> PluginRecord {
    let uri = plugin.uri();
    let Registration { kind, id, requires, init } = plugin;
    let missing =
        requires.iter().find(|need| !before.iter().any(|r| r.kind == **need && r.status == Status::Ok));
    tracing::info!(id = uri, r#type = kind, "loading plugin");
    let result = match missing {
        Some(need) => Err(NotLoaded::Failed(anyhow::anyhow!("no plugin of type {need} is loaded"))),
        None => init(context),
    };
    let (status, loaded) = match result {
        Ok(loaded) => (Status::Ok, loaded),
        Err(NotLoaded::Skip(reason)) => {
            tracing::info!(id = uri, r#type = kind, reason, "skip loading plugin");
            (Status::Skip(reason), Loaded::default())
        }
        Err(NotLoaded::Failed(error)) => {
            let message = format!("{error:#}");
            tracing::warn!(id = uri, r#type = kind, error = message, "failed to load plugin");
            (Status::Error(message), Loaded::default())
        }
    };
    PluginRecord {
        kind: kind.to_owned(),
        id,
        requires: requires.iter().map(|r| (*r).to_owned()).collect(),
        platforms: loaded.platforms,
        exports: loaded.exports,
        capabilities: loaded.capabilities,
        status,
    }
}

/// Needs before those who need them, otherwise as registered.
fn order<C>(registrations: Vec<Registration<C>>) -> Result<Vec<Registration<C>>, Error> {
    let mut waiting = registrations;
    let mut ordered: Vec<Registration<C>> = Vec::new();
    while !waiting.is_empty() {
        let ready = waiting
            .iter()
            .position(|p| !p.requires.iter().any(|need| waiting.iter().any(|w| w.kind == *need)));
        match ready {
            Some(index) => ordered.push(waiting.remove(index)),
            None => {
                let names: Vec<String> = waiting.iter().map(Registration::uri).collect();
                return Err(Error::Circle(names.join(", ")));
            }
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(kind: &'static str, requires: &'static [&'static str]) -> Registration<Vec<&'static str>> {
        Registration::new(kind, "x", requires, move |seen: &mut Vec<&'static str>| {
            seen.push(kind);
            Ok(Loaded::default())
        })
    }

    #[test]
    fn needs_come_first() {
        let mut seen = Vec::new();
        let records =
            load(vec![ok("c", &["b"]), ok("b", &["a"]), ok("a", &[])], &[], &[], &mut seen).unwrap();
        assert_eq!(seen, ["a", "b", "c"]);
        assert!(records.iter().all(|r| r.status == Status::Ok));
    }

    #[test]
    fn skip_and_error_are_told_apart_and_spread_as_an_error() {
        let skip = Registration::new("a", "x", &[], |_: &mut Vec<&'static str>| {
            Err(NotLoaded::Skip("no kernel".into()))
        });
        let mut seen = Vec::new();
        let records = load(vec![skip, ok("b", &["a"])], &[], &[], &mut seen).unwrap();
        assert_eq!(records[0].status, Status::Skip("no kernel".into()));
        assert_eq!(records[1].status, Status::Error("no plugin of type a is loaded".into()));
        assert!(seen.is_empty());
    }

    #[test]
    fn disabled_plugins_are_absent_and_required_ones_must_be_there() {
        let mut seen = Vec::new();
        let records = load(vec![ok("a", &[])], &["a.x".to_owned()], &[], &mut seen).unwrap();
        assert!(records.is_empty());
        let error =
            load(vec![ok("a", &[])], &["a.x".to_owned()], &["a.x".to_owned()], &mut seen).unwrap_err();
        assert!(error.to_string().starts_with("required plugin a.x is not loaded"));
    }

    #[test]
    fn circles_are_refused() {
        let mut seen = Vec::new();
        assert!(matches!(
            load(vec![ok("a", &["b"]), ok("b", &["a"])], &[], &[], &mut seen),
            Err(Error::Circle(_))
        ));
    }
}
