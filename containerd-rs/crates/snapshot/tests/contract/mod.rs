//! The contract of a snapshotter, as cases that every one must pass. Real mounts: runs as root.
#![allow(clippy::unwrap_used, clippy::expect_used, dead_code)]

pub mod disk;
pub mod files;
pub mod layers;
pub mod names;
pub mod records;
pub mod scene;

/// Makes a test of each case for the snapshotter that `$make` opens on a root, which `$home` provides.
#[macro_export]
macro_rules! contract {
    ($make:expr, $traits:expr) => {
        contract!($make, $traits, $crate::contract::disk::Plain::new);
    };
    ($make:expr, $traits:expr, $home:expr) => {
        contract!(@case $make, $traits, $home,
            basic => layers::basic,
            stat_active => records::stat_active,
            stat_committed => records::stat_committed,
            transitivity => records::transitivity,
            prepare_view_failing => records::prepare_view_failing,
            update => records::update,
            remove => records::remove,
            walk => records::walk,
            names_and_kinds => names::names_and_kinds,
            rebase => names::rebase,
            layer_file_update => layers::layer_file_update,
            remove_directory_in_lower_layer => layers::remove_directory_in_lower_layer,
            chown => layers::chown,
            directory_permission_on_commit => layers::directory_permission_on_commit,
            remove_intermediate => records::remove_intermediate,
            deleted_files_in_child => layers::deleted_files_in_child,
            move_file_from_lower => layers::move_file_from_lower,
            view_readonly => layers::view_readonly,
            stat_in_walk => records::stat_in_walk,
            close_twice => records::close_twice,
            root_permission => layers::root_permission,
            rename => layers::rename,
            layers_128_mount => layers::layers_128_mount,
            usage => names::usage,
            cleanup_spares_the_living => names::cleanup_spares_the_living,
            many_at_once => names::many_at_once,
        );
    };
    (@case $make:expr, $traits:expr, $home:expr, $($name:ident => $module:ident::$case:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let home = $home();
                let root = home.path().join("root");
                let work = tempfile::tempdir().unwrap();
                let snapshotter = $make(root.clone()).await;
                let scene = $crate::contract::scene::Scene::new(snapshotter, work.path(), $traits);
                $crate::contract::$module::$case(&scene).await;
                scene.leave_nothing(&[&root, work.path()]);
            }
        )*
    };
}
