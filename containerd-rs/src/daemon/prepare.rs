//! Before any plugin is loaded: check what was configured, make the directories, take the daemon's own settings.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};

use crate::config::{Config, schema};

/// A pause between retries has no place here: each step is done once and either holds or stops the start.
pub(super) struct Prepared {
    pub(super) root: PathBuf,
    pub(super) state: PathBuf,
    /// Where short-lived mounts go; whatever an earlier run left there is gone.
    pub(super) tmp_mounts: PathBuf,
}

/// Check and prepare. Messages are those that containerd's users know.
pub(super) fn prepare(config: &Config) -> anyhow::Result<Prepared> {
    check(config)?;
    let (root, state) = (PathBuf::from(&config.root), PathBuf::from(&config.state));
    make_dir(&root, 0o700)?;
    make_dir(&state, 0o711)?;
    if !config.temp.is_empty() {
        make_dir(Path::new(&config.temp), 0o700)?;
    }
    let tmp_mounts = root.join("tmpmounts");
    make_dir(&tmp_mounts, 0o700)?;
    clean_temp_mounts(&tmp_mounts);
    sys::mount::set_temp_location(&tmp_mounts).context("take the place for temporary mounts")?;
    set_oom_score(config.oom_score);
    join_cgroup(&config.cgroup.path)?;
    Ok(Prepared { root, state, tmp_mounts })
}

fn check(config: &Config) -> anyhow::Result<()> {
    ensure!(!config.root.is_empty(), "root must be specified");
    ensure!(!config.state.is_empty(), "state must be specified");
    let same = |a: &str, b: &str| a.trim_end_matches('/') == b.trim_end_matches('/');
    ensure!(!same(&config.root, &config.state), "root and state must be different paths");
    for (name, path) in [("root", &config.root), ("state", &config.state)] {
        ensure!(Path::new(path).is_absolute(), "{name} must be an absolute path, not {path:?}");
    }
    let address =
        config.plugins.get(schema::GRPC).and_then(|t| t.get("address")).and_then(toml::Value::as_str);
    ensure!(address.is_some_and(|a| !a.is_empty()), "grpc address cannot be empty");
    Ok(())
}

fn make_dir(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))
        .with_context(|| format!("create the parent of {}", path.display()))?;
    let repaired = sys::fs::ensure_dir(path, mode).with_context(|| format!("create {}", path.display()))?;
    if repaired {
        tracing::warn!(path = %path.display(), mode = format!("{mode:o}"), "directory was too open, mode repaired");
    }
    Ok(())
}

/// What is mounted there belongs to a run that is over. A mount that will not go is reported and does not stop the start.
fn clean_temp_mounts(dir: &Path) {
    if let Err(error) = sys::mount::clean_temp_mounts(dir) {
        tracing::warn!(dir = %dir.display(), error = base::chain(&error), "failed to clean up temporary mounts");
    }
}

fn set_oom_score(score: i32) {
    if score == 0 {
        return;
    }
    tracing::debug!(score, "changing OOM score");
    if let Err(error) = sys::process::set_oom_score_adj(None, score) {
        tracing::error!(score, error = base::chain(&error), "failed to change OOM score");
    }
}

fn join_cgroup(path: &str) -> anyhow::Result<()> {
    if path.is_empty() {
        return Ok(());
    }
    check_group(sys::cgroup::Mode::detect(), path)?;
    let group = sys::cgroup::Cgroup::at(path).with_context(|| format!("find cgroup {path}"))?;
    group.create().with_context(|| format!("create cgroup {path}"))?;
    group.add_process(std::process::id()).with_context(|| format!("join cgroup {path}"))
}

/// Version 2 takes absolute paths only; under version 1 a path is one below each controller, with or without the slash.
fn check_group(mode: sys::cgroup::Mode, path: &str) -> anyhow::Result<()> {
    if mode == sys::cgroup::Mode::Unified && !path.starts_with('/') {
        bail!("cgroup path {path:?} must be absolute");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::{Flags, load};

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.toml");
        std::fs::write(&path, text).unwrap();
        load(&path, true, &Flags::default()).unwrap().config
    }

    fn refused(change: impl FnOnce(&mut Config)) -> String {
        let mut config = config("version = 4\nroot = '/tmp/a'\nstate = '/tmp/b'\n");
        change(&mut config);
        check(&config).unwrap_err().to_string()
    }

    #[test]
    fn bad_settings_are_refused_in_containerd_s_words() {
        assert_eq!(refused(|c| c.root.clear()), "root must be specified");
        assert_eq!(refused(|c| c.state.clear()), "state must be specified");
        assert_eq!(refused(|c| c.state = c.root.clone()), "root and state must be different paths");
        assert_eq!(refused(|c| c.state = format!("{}/", c.root)), "root and state must be different paths");
        assert_eq!(refused(|c| c.root = "rel".into()), "root must be an absolute path, not \"rel\"");
        let no_address = |c: &mut Config| {
            c.plugins
                .get_mut(schema::GRPC)
                .unwrap()
                .insert("address".into(), toml::Value::String(String::new()));
        };
        assert_eq!(refused(no_address), "grpc address cannot be empty");
    }

    #[test]
    fn a_relative_cgroup_is_one_below_each_controller_of_version_1_only() {
        use sys::cgroup::Mode::{Hybrid, Legacy, Unified};
        for (mode, path, fine) in [
            (Unified, "/pods", true),
            (Unified, "pods", false),
            (Legacy, "pods", true),
            (Hybrid, "pods/one", true),
            (Hybrid, "/pods", true),
        ] {
            assert_eq!(check_group(mode, path).is_ok(), fine, "{mode:?} {path}");
        }
    }

    #[test]
    fn directories_get_safe_modes_and_open_ones_are_repaired() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (root, state) = (dir.path().join("deep/root"), dir.path().join("state"));
        std::fs::create_dir_all(&root).unwrap();
        std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o777)).unwrap();
        let text = format!("version = 4\nroot = '{}'\nstate = '{}'\n", root.display(), state.display());
        let prepared = prepare(&config(&text)).unwrap();
        let mode = |p: &Path| std::fs::metadata(p).unwrap().permissions().mode() & 0o7777;
        assert_eq!(
            (mode(&prepared.root), mode(&prepared.state), mode(&prepared.tmp_mounts)),
            (0o700, 0o711, 0o700)
        );
    }
}
