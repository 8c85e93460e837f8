//! Imports go one way: a module may import from lower tiers, and in the chain of effects from
//! modules to its left. The table here lists the allowed imports; any other import fails the test.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test over our own files")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Module (longest prefix wins) → its rank. A module uses lower ranks, or its own module tree.
const RANKS: [(&str, u32); 35] = [
    // 0 values
    ("backoff", 0),
    ("counts", 0),
    ("oci", 0),
    ("pattern", 0),
    ("failpoint", 0),
    ("permits", 1),
    // 1 contract
    ("api", 10),
    ("metrics", 11),
    // 2 decisions: no async, no I/O, no clock
    ("registry::auth::credentials", 20),
    ("registry::net::address", 20),
    ("registry::net::egress", 20),
    ("registry::net::host_pattern", 20),
    ("registry::net::tls", 20),
    ("unpack::path", 20),
    ("trust::identity", 20),
    ("trust::sigstore", 20),
    ("trust::requirement", 20),
    // 3 effects, a chain
    ("registry", 30),
    ("request", 31),
    ("plan", 32),
    ("storage", 33),
    ("trust", 34),
    ("blob", 35),
    ("unpack", 36),
    ("output", 37),
    // 4 composition
    ("failure", 40),
    ("pass", 41),
    ("testing", 41),
    ("controller", 42),
    // 5 process
    ("server", 50),
    ("telemetry", 50),
    ("cli", 51),
    ("lib", 52),
    ("main", 52),
    ("supercargo", 52),
];

/// The only modules that may send requests to the cluster.
const MAY_USE_KUBE: [&str; 5] = ["api", "output::api_object", "output::manifest", "controller", "cli"];
/// Modules that carry errors and objects of the API server and send no request.
const MAY_NAME_KUBE: [&str; 3] = ["output", "output::rehearsal", "output::switch"];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn rank(module: &str) -> (&'static str, u32) {
    RANKS
        .iter()
        .filter(|(name, _)| module == *name || module.starts_with(&format!("{name}::")))
        .max_by_key(|(name, _)| name.len())
        .copied()
        .unwrap_or_else(|| panic!("{module} has no rank: add it to RANKS in tests/imports.rs"))
}

/// Returns each file's module and its code without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&root, &mut files);
    assert!(files.len() > 30, "the sources are where this test looks for them");
    files
        .into_iter()
        .filter(|path| !path.ends_with("tests.rs") && !path.components().any(|part| part.as_os_str() == "tests"))
        .map(|path| {
            let module = path.strip_prefix(&root).unwrap().with_extension("").to_str().unwrap().replace('/', "::");
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
            let lines: Vec<&str> = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
            (module, lines.join("\n"))
        })
        .collect()
}

/// Returns every `crate::a::b` in the code, with one level of braces expanded.
fn mentions(code: &str) -> Vec<String> {
    let word = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        let path: String = rest.chars().take_while(|c| word(*c)).collect();
        if let Some(inner) = rest.strip_prefix(path.as_str()).and_then(|rest| rest.strip_prefix('{')) {
            for item in inner.split('}').next().unwrap().split(',') {
                found.push(format!("{path}{}", item.trim()));
            }
        } else {
            found.push(path);
        }
    }
    found
}

#[test]
fn imports_go_one_way() {
    let mut wrong = Vec::new();
    let mut seen = 0;
    for (module, code) in modules() {
        let (owner, own) = rank(&module);
        for mention in mentions(&code) {
            let (used, other) = rank(mention.trim_end_matches(':'));
            seen += 1;
            let same_tree = owner.split("::").next() == used.split("::").next();
            if other >= own && !same_tree {
                wrong.push(format!("{module} (rank {own}) uses crate::{mention} (rank {other})"));
            }
        }
    }
    assert!(seen > 100, "the test reads imports");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_edges_speak_to_the_cluster() {
    let may = |module: &str, list: &[&str]| {
        list.iter().any(|name| module == *name || module.starts_with(&format!("{name}::")))
    };
    for (module, code) in modules() {
        let named = code.contains("kube::") || code.contains("k8s_openapi::");
        let allowed = may(&module, &MAY_USE_KUBE) || MAY_NAME_KUBE.contains(&module.as_str());
        assert!(!named || allowed, "{module} names kube or k8s_openapi");
    }
}

/// Libraries that change with every release, with the one module (and its submodules) that may use each of them.
const KNOWN_TO_ONE: [(&str, &str); 3] = [
    ("sigstore_verify", "trust::sigstore"),
    ("sigstore_merkle", "trust::sigstore::log"),
    ("sigstore_tuf", "trust::tuf"),
];

#[test]
fn a_library_of_sigstore_is_known_to_one_module() {
    let modules = modules();
    for (library, owner) in KNOWN_TO_ONE {
        let is_in = |module: &str| module == owner || module.starts_with(&format!("{owner}::"));
        let is_used = modules.iter().any(|(module, code)| is_in(module) && code.contains(library));
        assert!(is_used, "{owner} does not name {library}");
    }
    for (module, code) in modules {
        let is_inside = |owner: &str| module == owner || module.starts_with(&format!("{owner}::"));
        let own = KNOWN_TO_ONE.iter().filter(|(_, owner)| is_inside(owner));
        let rest = own.fold(code, |code, (library, _)| code.replace(library, ""));
        assert!(!rest.contains("sigstore_"), "{module} names a library of Sigstore that another module is to know");
    }
}

#[test]
fn decisions_do_no_io_and_read_no_clock() {
    let decisions = [
        "registry::net::address",
        "registry::auth::credentials",
        "registry::net::egress",
        "registry::net::host_pattern",
        "registry::net::tls",
        "unpack::path",
        "request",
        "request::referred",
        "plan",
    ];
    for module in decisions {
        let modules = modules();
        let code = &modules[module];
        for banned in ["async ", "std::fs", "fs_err", "Instant::now", "Timestamp::now", "tokio", "reqwest"] {
            assert!(!code.contains(banned), "{module} has {banned}");
        }
    }
}
