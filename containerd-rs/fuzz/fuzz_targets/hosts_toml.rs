//! `hosts.toml` files.
#![no_main]

use std::path::Path;

use image::registry::{is_localhost, parse_hosts_file};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(hosts) = parse_hosts_file(Path::new("/etc/containerd/certs.d/fuzz.test"), text) {
        for host in hosts {
            let _local = is_localhost(&format!("{host:?}"));
        }
    }
    let _local = is_localhost(text);
});
