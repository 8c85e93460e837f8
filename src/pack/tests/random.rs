//! Random trees go through packaging and unpacking unchanged.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use super::*;

/// Generator of numbers; each seed gives one sequence (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % most
    }

    fn one_of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        let at = self.below(all.len());
        &all[at]
    }

    fn name(&mut self) -> String {
        const PARTS: [&str; 14] =
            ["a", "b", "Z", "0", "-", "_", ".", " ", "ä", "日", "🦀", "x.yaml", "long-long-long-long-", "q"];
        let parts = match self.below(12) {
            0 => 40,
            1 => 12,
            _ => 3,
        };
        let name: String = (0..=self.below(parts)).map(|_| *self.one_of(&PARTS)).collect();
        let end = (0..=name.len().min(250)).rev().find(|end| name.is_char_boundary(*end)).unwrap();
        name[..end].to_owned()
    }

    fn content(&mut self) -> Vec<u8> {
        let size = *self.one_of(&[0, 1, 7, 100, 511, 512, 513, 4096, 70_000, 600_000]);
        let size = if size > 4096 && self.below(8) > 0 { 20 } else { size };
        let step = 1 + self.below(5);
        (0..size)
            .map(|at| if step == 1 { self.below(256).to_le_bytes()[0] } else { (at / step).to_le_bytes()[0] })
            .collect()
    }
}

/// Writes a tree, and returns the entries that must come out.
fn write_random(root: &Path, random: &mut Random) -> BTreeMap<EntryPath, Node> {
    let mut nodes: BTreeMap<EntryPath, Node> = BTreeMap::new();
    let mut folded = HashSet::new();
    let mut directories = vec![String::new()];
    for _ in 0..=random.below(40) {
        let above = random.one_of(&directories).clone();
        let name = random.name();
        let full = if above.is_empty() { name.clone() } else { format!("{above}/{name}") };
        let Ok(entry) = EntryPath::parse(full.as_bytes()) else { continue };
        if matches!(name.as_str(), "." | "..") || full.len() > 3000 || !folded.insert(entry.folded().into_owned()) {
            continue;
        }
        let place = root.join(&full);
        let node = match random.below(10) {
            0..3 => {
                fs_err::create_dir(&place).unwrap();
                directories.push(full);
                Node::Directory
            }
            3 => {
                let up = "../".repeat(random.below(entry.depth()));
                let target = format!("{up}{}", random.one_of(&["nowhere", "a", "./x.yaml", "b/../a"]));
                if symlink(&target, &place).is_err() {
                    continue;
                }
                Node::Link { target }
            }
            4 if nodes.values().any(|node| matches!(node, Node::File { .. })) => {
                let files: Vec<_> = nodes.iter().filter(|(_, node)| matches!(node, Node::File { .. })).collect();
                let (of, node) = random.one_of(&files);
                fs_err::hard_link(root.join(of.as_str()), &place).unwrap();
                (*node).clone()
            }
            _ => {
                let content = random.content();
                fs_err::write(&place, &content).unwrap();
                let mode = *random.one_of(&[0o644, 0o755, 0o600, 0o444, 0o711, 0o4755, 0o664]);
                fs_err::set_permissions(&place, PermissionsExt::from_mode(mode)).unwrap();
                Node::File { size: content.len() as u64, executable: mode & 0o111 != 0, digest: Digest::of(&content) }
            }
        };
        nodes.insert(entry, node);
    }
    nodes
}

/// Returns false for a link that leads outside by way of another link, which is refused.
fn stays_inside(root: &Path, nodes: &BTreeMap<EntryPath, Node>) -> bool {
    let dir = crate::storage::open_any_dir(root).unwrap();
    nodes.iter().all(|(path, node)| match node {
        Node::Link { target } => crate::unpack::check_link(&dir, path, target).is_ok(),
        Node::File { .. } | Node::Directory => true,
    })
}

fn go_through(seeds: std::ops::Range<u64>) {
    let mut limits = Limits::default();
    limits.ratio = limits.ratio.set(u64::MAX);
    let mut whole = 0;
    for seed in seeds {
        let mut random = Random::new(seed);
        let source = tempfile::tempdir().unwrap();
        let nodes = write_random(source.path(), &mut random);
        let title = random.one_of(&[".", "gen", "a/b"]).to_owned();
        let options = Options {
            title: Some(title.to_owned()),
            compression: *random.one_of(&[Compression::Gzip, Compression::Zstd, Compression::None]),
            keep_modes: random.below(2) == 0,
            ..Options::default()
        };
        if !nodes.values().any(|node| *node != Node::Directory) || !stays_inside(source.path(), &nodes) {
            assert!(packaged(source.path(), &options).is_err(), "seed {seed}");
            continue;
        }
        let (_dir, layout, manifest) = package_into(source.path(), &options);
        let staged = unpack(&layout, &manifest, &limits).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        let prefix = path(title);
        let found: BTreeMap<_, _> = staged
            .nodes()
            .iter()
            .filter_map(|(path, node)| Some((path.strip_prefix(&prefix).filter(|path| !path.is_root())?, node.clone())))
            .collect();
        assert_eq!(found, nodes, "seed {seed}");
        whole += 1;
    }
    assert!(whole > 0);
}

#[test]
fn random_trees_come_out_as_they_went_in() {
    go_through(0..40);
}

#[test]
#[ignore = "the long form, about a minute"]
fn a_thousand_random_trees_come_out_as_they_went_in() {
    go_through(1000..2000);
}
