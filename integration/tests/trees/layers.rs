//! Layers that appliers get wrong, and layers made by chance.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use tar::EntryType;

/// A layer in the making; all its times are in 2020.
pub struct Layer {
    tar: tar::Builder<Vec<u8>>,
    mtime: u64,
}

impl Layer {
    pub fn new() -> Self {
        Layer { tar: tar::Builder::new(Vec::new()), mtime: 1_580_000_000 }
    }

    /// Any entry: the name goes in as it is.
    #[allow(clippy::too_many_arguments)]
    pub fn entry(
        mut self,
        kind: EntryType,
        name: &str,
        mode: u32,
        owner: (u64, u64),
        link: &str,
        device: (u32, u32),
        body: &[u8],
        pax: &[(&str, &[u8])],
    ) -> Self {
        let mut records: Vec<(&str, &[u8])> = pax.to_vec();
        if name.len() > 100 {
            records.push(("path", name.as_bytes()));
        }
        if link.len() > 100 {
            records.push(("linkpath", link.as_bytes()));
        }
        if !records.is_empty() {
            self.tar.append_pax_extensions(records).unwrap();
        }
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(self.mtime);
        header.set_size(body.len() as u64);
        let fields = header.as_ustar_mut().unwrap();
        let cut = |text: &str| text.as_bytes()[..text.len().min(100)].to_vec();
        fields.name[..name.len().min(100)].copy_from_slice(&cut(name));
        fields.linkname[..link.len().min(100)].copy_from_slice(&cut(link));
        fields.set_device_major(device.0);
        fields.set_device_minor(device.1);
        header.set_cksum();
        self.tar.append(&header, body).unwrap();
        self.mtime += 7;
        self
    }

    pub fn file(self, name: &str, mode: u32, body: &str) -> Self {
        self.entry(EntryType::Regular, name, mode, (0, 0), "", (0, 0), body.as_bytes(), &[])
    }

    pub fn dir(self, name: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, name, mode, (0, 0), "", (0, 0), &[], &[])
    }

    pub fn symlink(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Symlink, name, 0o777, (0, 0), to, (0, 0), &[], &[])
    }

    pub fn link(self, name: &str, to: &str) -> Self {
        self.entry(EntryType::Link, name, 0o644, (0, 0), to, (0, 0), &[], &[])
    }

    pub fn done(self) -> Vec<u8> {
        self.tar.into_inner().unwrap()
    }
}

/// cap_net_bind_service, effective, revision 2.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// What appliers have got wrong, by name.
pub fn known() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    let base = || {
        Layer::new()
            .dir("etc/", 0o755)
            .file("etc/a", 0o644, "a")
            .dir("var/", 0o750)
            .dir("var/lib/", 0o2755)
            .file("var/lib/x", 0o600, "x")
            .symlink("link", "var/lib")
            .symlink("up", "../../etc")
            .done()
    };
    let deep = format!("{}f", "directory-with-a-long-name/".repeat(30));
    vec![
        (
            "parents that the layer leaves out",
            vec![base(), Layer::new().file("var/lib/y/z", 0o644, "z").done()],
        ),
        (
            "names that lead out",
            vec![
                base(),
                Layer::new()
                    .file("../../etc/b", 0o644, "b")
                    .file("/etc/c", 0o644, "c")
                    .file("./var/./lib//d", 0o644, "d")
                    .file("etc/../var/e", 0o644, "e")
                    .done(),
            ],
        ),
        (
            "names that go through links",
            vec![
                base(),
                Layer::new()
                    .file("link/f", 0o644, "f")
                    .file("up/g", 0o644, "g")
                    .dir("link/sub", 0o700)
                    .done(),
            ],
        ),
        (
            "links of every kind",
            vec![
                base(),
                Layer::new()
                    .link("etc/hard", "etc/a")
                    .link("linklink", "link")
                    .symlink("abs", "/etc/a")
                    .symlink("dangling", "/nowhere/at/all")
                    .symlink("etc/loop", "loop")
                    .done(),
            ],
        ),
        (
            "whiteouts and opaque directories",
            vec![
                base(),
                Layer::new()
                    .file("etc/.wh.a", 0, "")
                    .file("var/.wh..wh..opq", 0, "")
                    .file("var/new", 0o644, "n")
                    .done(),
                Layer::new().file(".wh.link", 0, "").dir("etc/a", 0o711).file("etc/a/b", 0o644, "").done(),
            ],
        ),
        (
            "kinds that replace each other",
            vec![
                base(),
                Layer::new()
                    .file("var", 0o644, "now a file")
                    .dir("link", 0o755)
                    .file("link/in", 0o644, "")
                    .done(),
                Layer::new().dir("var", 0o1777).symlink("etc", "var").done(),
            ],
        ),
        (
            "modes, owners, capabilities and attributes",
            vec![
                Layer::new()
                    .entry(
                        EntryType::Regular,
                        "capable",
                        0o755,
                        (0, 0),
                        "",
                        (0, 0),
                        b"x",
                        &[("SCHILY.xattr.security.capability", CAPABILITY)],
                    )
                    .entry(EntryType::Regular, "setuid", 0o6755, (12, 34), "", (0, 0), b"y", &[])
                    .entry(
                        EntryType::Regular,
                        "marked",
                        0o640,
                        (65534, 65534),
                        "",
                        (0, 0),
                        b"z",
                        &[("SCHILY.xattr.user.one", b"1"), ("SCHILY.xattr.user.two", b"")],
                    )
                    .entry(EntryType::Directory, "sticky/", 0o3777, (1, 2), "", (0, 0), b"", &[])
                    .entry(EntryType::Symlink, "owned", 0o777, (5, 6), "marked", (0, 0), b"", &[])
                    .entry(
                        EntryType::Regular,
                        "late",
                        0o644,
                        (0, 0),
                        "",
                        (0, 0),
                        b"",
                        &[("mtime", b"1590000000.123456789"), ("atime", b"1580000001.5")],
                    )
                    .done(),
            ],
        ),
        (
            "devices and fifos",
            vec![
                Layer::new()
                    .entry(EntryType::Char, "null", 0o666, (0, 0), "", (1, 3), b"", &[])
                    .entry(EntryType::Block, "disk", 0o660, (0, 6), "", (8, 1), b"", &[])
                    .entry(EntryType::Char, "minor", 0o600, (0, 0), "", (10, 70_000), b"", &[])
                    .entry(EntryType::Fifo, "fifo", 0o622, (3, 4), "", (0, 0), b"", &[])
                    .done(),
            ],
        ),
        (
            "long names",
            vec![
                Layer::new()
                    .file(&deep, 0o644, "deep")
                    .symlink("to-deep", &deep)
                    .link("hard-deep", &deep)
                    .file(&"n".repeat(255), 0o644, "")
                    .done(),
            ],
        ),
        ("a hard link to nothing", vec![Layer::new().link("a", "nowhere").done()]),
        ("a hard link to what is outside", vec![Layer::new().link("a", "../../../../etc/hostname").done()]),
        ("nothing at all", vec![Layer::new().done(), base()]),
    ]
}

const NAMES: &[&str] = &["a", "b", "c", "d"];

fn path(random: &mut StdRng) -> String {
    let depth = random.random_range(1..=3);
    let parts: Vec<&str> = (0..depth).filter_map(|_| NAMES.choose(random).copied()).collect();
    parts.join("/")
}

/// Layers made by chance: small names, so that they meet. A layer does not hide what it brings: there the specification and Go containerd say
/// different things.
pub fn random(seed: u64) -> Vec<Vec<u8>> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..random.random_range(1..=4)).map(|_| random_layer(&mut random)).collect()
}

fn random_layer(random: &mut StdRng) -> Vec<u8> {
    let mut layer = Layer::new();
    let mut brought: Vec<String> = Vec::new();
    let mut hidden: Vec<String> = Vec::new();
    for _ in 0..random.random_range(1..=12) {
        let name = path(random);
        let meets = |others: &[String]| {
            others.iter().any(|o| {
                *o == name || o.starts_with(&format!("{name}/")) || name.starts_with(&format!("{o}/"))
            })
        };
        let owner = (random.random_range(0..3), random.random_range(0..3));
        let mode = *[0o644, 0o755, 0o600, 0o4755, 0o2711, 0o1777].choose(random).unwrap_or(&0o644);
        let body = name.repeat(random.random_range(0..4));
        let (above, base) = name.rsplit_once('/').map_or(("", name.as_str()), |(a, b)| (a, b));
        let slash = if above.is_empty() { "" } else { "/" };
        match random.random_range(0..12) {
            0 | 1 if !meets(&brought) => {
                layer = layer.file(&format!("{above}{slash}.wh.{base}"), 0, "");
                hidden.push(name);
                continue;
            }
            2 if !meets(&brought) => {
                layer = layer.file(&format!("{name}/.wh..wh..opq"), 0, "");
                hidden.push(name);
                continue;
            }
            _ if meets(&hidden) => continue,
            3..=5 => layer = layer.entry(EntryType::Directory, &name, mode, owner, "", (0, 0), &[], &[]),
            6 => {
                let to = ["a", "/b", "../c", "../../d/a", "."].choose(random).copied().unwrap_or("a");
                layer = layer.entry(EntryType::Symlink, &name, 0o777, owner, to, (0, 0), &[], &[]);
            }
            7 => layer = layer.entry(EntryType::Fifo, &name, mode & 0o777, owner, "", (0, 0), &[], &[]),
            8 => match brought.choose(random) {
                Some(to) => layer = layer.link(&name, &to.clone()),
                None => continue,
            },
            _ => {
                layer = layer.entry(EntryType::Regular, &name, mode, owner, "", (0, 0), body.as_bytes(), &[])
            }
        }
        brought.push(name);
    }
    layer.done()
}
