use std::path::Path;
use std::time::Duration;

use super::load::{Flags, Loaded, load};
use super::{Error, parse_duration, print, schema};

fn write(dir: &Path, name: &str, text: &str) -> std::path::PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn load_text(text: &str) -> Result<Loaded, Error> {
    let dir = tempfile::tempdir().unwrap();
    load(&write(dir.path(), "config.toml", text), true, &Flags::default())
}

fn plugin_value(loaded: &Loaded, plugin: &str, key: &str) -> toml::Value {
    loaded.config.plugins[plugin][key].clone()
}

#[test]
fn a_missing_default_file_gives_the_defaults_and_a_missing_named_one_an_error() {
    let loaded = load(Path::new("/nonexistent/config.toml"), false, &Flags::default()).unwrap();
    assert_eq!(loaded.config.root, "/var/lib/containerd");
    assert_eq!(loaded.config.state, "/run/containerd");
    let error = load(Path::new("/nonexistent/config.toml"), true, &Flags::default()).unwrap_err();
    assert_eq!(error.to_string(), "cannot read /nonexistent/config.toml");
}

#[test]
fn a_syntax_error_names_file_line_and_column() {
    let error = load_text("version = 3\nroot = \"/a\nstate = 1\n").unwrap_err().to_string();
    assert!(error.contains("config.toml:2:"), "{error}");
}

#[test]
fn an_unknown_key_is_a_problem_with_line_and_nearest_key() {
    let loaded = load_text(
        "version = 4\nroot = '/a'\n\n[plugins.'io.containerd.snapshotter.v1.overlayfs']\nsync_remov = true\n",
    )
    .unwrap();
    let problem = &loaded.problems[0];
    assert_eq!(problem.line, 5);
    assert!(problem.to_string().ends_with("unknown key `plugins.io.containerd.snapshotter.v1.overlayfs.sync_remov` is ignored; did you mean `sync_remove`?"));
}

#[test]
fn known_keys_of_every_version_make_no_problem() {
    for text in [
        "version = 2\n[grpc]\naddress = '/x.sock'\nuid = 3\n[debug]\naddress = '/d.sock'\nlevel = 'debug'\n",
        "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'p'\n",
        "version = 3\n[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['/b']\n",
        "version = 2\n[plugins.'io.containerd.runtime.v1.linux']\nshim_debug = true\n",
        "[plugins.cri]\nx = 1\n",
    ] {
        assert_eq!(load_text(text).unwrap().problems, [], "{text}");
    }
}

#[test]
fn listeners_of_older_versions_become_plugins() {
    let text = "version = 2\n[grpc]\naddress = '/x.sock'\ngid = 7\nmax_recv_message_size = 5\n[metrics]\naddress = '127.0.0.1:1'\n[debug]\naddress = '/d.sock'\n";
    let loaded = load_text(text).unwrap();
    assert_eq!(plugin_value(&loaded, schema::GRPC, "address").as_str(), Some("/x.sock"));
    assert_eq!(plugin_value(&loaded, schema::GRPC, "max_recv_message_size").as_integer(), Some(5));
    assert_eq!(plugin_value(&loaded, schema::TTRPC, "address").as_str(), Some("/x.sock.ttrpc"));
    assert_eq!(plugin_value(&loaded, schema::TTRPC, "gid").as_integer(), Some(7));
    assert_eq!(plugin_value(&loaded, schema::METRICS, "address").as_str(), Some("127.0.0.1:1"));
    assert_eq!(plugin_value(&loaded, schema::DEBUG, "address").as_str(), Some("/d.sock"));
}

#[test]
fn an_address_of_empty_text_in_version_4_stays_empty() {
    let text = "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = ''\n";
    assert_eq!(plugin_value(&load_text(text).unwrap(), schema::GRPC, "address").as_str(), Some(""));
}

#[test]
fn cri_of_version_2_is_split() {
    let text = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'p:1'\nstream_server_port = '9'\nenable_selinux = true\n[plugins.'io.containerd.grpc.v1.cri'.containerd]\nsnapshotter = 'native'\n[plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/b'\n";
    let loaded = load_text(text).unwrap();
    let images = &loaded.config.plugins[schema::CRI_IMAGES];
    assert_eq!(images["pinned_images"]["sandbox"].as_str(), Some("p:1"));
    assert_eq!(images["snapshotter"].as_str(), Some("native"));
    let runtime = &loaded.config.plugins[schema::CRI_RUNTIME];
    assert_eq!(runtime["cni"]["bin_dirs"][0].as_str(), Some("/b"));
    assert_eq!(runtime["enable_selinux"].as_bool(), Some(true));
    assert_eq!(loaded.config.plugins[schema::CRI]["stream_server_port"].as_str(), Some("9"));
}

#[test]
fn drop_ins_are_merged_in_order_and_cycles_end() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("conf.d")).unwrap();
    let root = write(
        dir.path(),
        "config.toml",
        "version = 3\nroot = '/a'\nimports = ['conf.d/*.toml']\ndisabled_plugins = ['a.b']\noom_score = 5\n[timeouts]\nx = '1s'\n",
    );
    write(
        &dir.path().join("conf.d"),
        "10-a.toml",
        "version = 3\nroot = '/b'\ndisabled_plugins = ['c.d', 'a.b']\nimports = ['../config.toml']\n",
    );
    write(&dir.path().join("conf.d"), "20-b.toml", "version = 2\noom_score = 0\n[timeouts]\nx = '2s'\n");
    let loaded = load(&root, true, &Flags::default()).unwrap();
    assert_eq!(loaded.config.root, "/b");
    assert_eq!(loaded.config.disabled_plugins, ["a.b", "c.d"]);
    assert_eq!(loaded.config.oom_score, 5);
    assert_eq!(loaded.config.timeouts["x"], "2s");
    assert_eq!(loaded.files.len(), 3);
}

#[test]
fn flags_win_and_the_address_moves_the_ttrpc_socket_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = write(dir.path(), "config.toml", "version = 2\nroot = '/a'\n[grpc]\naddress = '/x.sock'\n");
    let flags = Flags { root: Some("/f".into()), address: Some("/y.sock".into()), ..Flags::default() };
    let loaded = load(&path, true, &flags).unwrap();
    assert_eq!(loaded.config.root, "/f");
    assert_eq!(plugin_value(&loaded, schema::TTRPC, "address").as_str(), Some("/y.sock.ttrpc"));
}

#[test]
fn too_new_a_version_and_short_plugin_uris_are_refused() {
    assert!(matches!(load_text("version = 5\n"), Err(Error::Version { found: 5, .. })));
    let error = load_text("version = 2\nrequired_plugins = ['cri']\n").unwrap_err();
    assert_eq!(error.to_string(), "invalid required plugin URI \"cri\", expected io.containerd.x.vx");
}

#[test]
fn a_wrong_type_names_the_key() {
    let error = load_text("version = 4\noom_score = 'much'\n").unwrap_err().to_string();
    assert!(error.contains("key `oom_score`"), "{error}");
}

#[test]
fn the_defaults_print_and_read_back_unchanged() {
    let text = print::to_text(&schema::defaults());
    assert!(text.starts_with("version = 4\nroot = '/var/lib/containerd'\n"), "{text}");
    assert!(
        text.contains(
            "\n  [plugins.'io.containerd.differ.v1.walking']\n    max_layer_size = 1099511627776\n"
        ),
        "{text}"
    );
    assert!(
        text.contains("\n  [plugins.'io.containerd.gc.v1.scheduler']\n    pause_threshold = 0.02\n"),
        "{text}"
    );
    let dir = tempfile::tempdir().unwrap();
    let again = load(&write(dir.path(), "c.toml", &text), true, &Flags::default()).unwrap();
    assert_eq!(print::to_text(&again.table), text);
    assert_eq!(again.problems, []);
}

#[test]
fn durations_are_go_s() {
    for (text, ms) in [
        ("0s", Some(0)),
        ("0", Some(0)),
        ("1m30s", Some(90_000)),
        ("300ms", Some(300)),
        ("1.5s", Some(1500)),
        ("5", None),
        ("", None),
        ("-1s", None),
        ("x", None),
    ] {
        assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text}");
    }
}

#[test]
fn a_key_that_changes_nothing_here_is_said_to() {
    let text = "version = 4\n[debug]\nlog_trace_id = true\n";
    let problems = load_text(text).unwrap().problems;
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].to_string().ends_with(":3: key `debug.log_trace_id` has no effect in this build"));
}
