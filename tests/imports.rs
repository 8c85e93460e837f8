//! Imports go one way: a module may import from lower tiers, and in a chain from modules to its left. Files of one
//! module import each other without a circle. The table of tiers is in `docs/architecture.md`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test over our own files"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[path = "imports/circles.rs"]
mod circles;

use circles::Graph;

/// Beginning of the table in `docs/architecture.md`.
const TABLE: &str = "Imports go one way:\n\n```\n";
/// Ranks of the crate's roots and of code for tests, which the table does not list.
const OTHER_RANKS: [(&str, u32); 3] = [("testing", 401), ("lib", 502), ("supercargo", 502)];
/// The tier of the decisions.
const DECISIONS: u32 = 2;

/// The only modules that may send requests to the cluster.
const MAY_USE_KUBE: [&str; 6] = [
    "api",
    "output::api_object",
    "output::manifest",
    "controller",
    "cli::command::controller",
    "cli::command::ociartifact",
];
/// Modules that carry errors and objects of the API server and send no request.
const MAY_NAME_KUBE: [&str; 5] = ["output", "output::error", "output::outputs", "output::rehearsal", "output::switch"];

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

/// Table of `docs/architecture.md`: the rank of each module (longest prefix wins), and the pure modules. A module may
/// use lower ranks, and its own module tree.
struct Tiers {
    ranks: BTreeMap<String, u32>,
    pure: Vec<String>,
}

impl Tiers {
    /// Reads the table. A line that starts with a digit begins a tier, a line that starts with a space continues it.
    /// `a ← b` means that `b` may use `a`.
    fn read() -> Self {
        let page = std::fs::read_to_string(root().join("docs/architecture.md")).unwrap();
        let table = page.split_once(TABLE).unwrap().1.split("```").next().unwrap();
        let mut ranks: BTreeMap<_, _> = OTHER_RANKS.map(|(name, rank)| (name.to_owned(), rank)).into();
        let (mut pure, mut tier) = (Vec::new(), None);
        for line in table.lines() {
            let mut words = line.split_whitespace().peekable();
            if !line.starts_with(' ') {
                tier = words.next().unwrap().parse::<u32>().ok();
                words.next_if(|_| tier.is_some());
            }
            let mut rank = 100 * tier.unwrap_or_default();
            while let Some(word) = words.next() {
                for module in expanded(word) {
                    let twice = tier.is_some() && ranks.insert(module.clone(), rank).is_some();
                    assert!(!twice, "{module} is in the table twice");
                    if tier.is_none_or(|tier| tier == DECISIONS) {
                        pure.push(module);
                    }
                }
                rank = if words.next_if_eq(&"←").is_some() { rank + 1 } else { 100 * tier.unwrap_or_default() };
            }
        }
        Self { ranks, pure }
    }

    fn rank(&self, module: &str) -> (&str, u32) {
        let found = self.ranks.iter().filter(|(name, _)| is_in(module, name)).max_by_key(|(name, _)| name.len());
        let (name, rank) = found.unwrap_or_else(|| panic!("{module} is not in the table of docs/architecture.md"));
        (name, *rank)
    }
}

/// Expands `a::{b,c}`.
fn expanded(word: &str) -> Vec<String> {
    let Some((start, list)) = word.split_once('{') else { return vec![word.to_owned()] };
    list.trim_end_matches('}').split(',').map(|name| format!("{start}{name}")).collect()
}

/// True for a module and what is below it.
fn is_in(module: &str, name: &str) -> bool {
    module.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns each file's module and its code without tests and comments.
fn modules() -> BTreeMap<String, String> {
    let root = root().join("src");
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
    let (tiers, mut wrong, mut seen) = (Tiers::read(), Vec::new(), 0);
    assert_eq!(tiers.rank("output::volume").1, 307, "the table is read to its end");
    for (module, code) in modules() {
        let (owner, own) = tiers.rank(&module);
        for mention in mentions(&code) {
            let (used, other) = tiers.rank(mention.trim_end_matches(':'));
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

/// Files that define types for the files below them, and use those files too. Not yet split.
const KNOWN_PARENTS: [(&str, &str); 6] = [
    ("blob::store", "Store and its error are used by in_use and shrink"),
    ("controller", "Settings and watches are in one file"),
    ("controller::report", "Report is beside the functions that fill each part"),
    ("registry::http::push", "checks of stored blobs are used by upload and by mount()"),
    ("request", "Request and its error are beside parse(), which calls each part"),
    ("unpack", "UnpackError and Stop are beside Unpacker"),
];
/// Uses that close a circle between files today: the file, the used file, and the reason.
const KNOWN_CIRCLES: [(&str, &str, &str); 4] = [
    ("controller::context", "controller::scans", "the context holds the scans, which read its other parts"),
    ("request::referred", "request::policy", "policies are among the referred objects"),
    (
        "output::api_object::content",
        "output::error",
        "an error carries the refused write, whose kind is made of content",
    ),
    ("registry::http::push::location", "registry::http::call", "a call is sent to the URL that another call returned"),
];

#[test]
fn files_of_one_module_import_each_other_without_a_circle() {
    let modules = modules();
    let graph = Graph::new(&modules);
    let mut edges = graph.edges();
    assert!(edges.values().map(BTreeSet::len).sum::<usize>() > 200, "the test reads imports");
    for (parent, reason) in KNOWN_PARENTS {
        let children = edges.iter_mut().filter(|(file, _)| **file != parent && is_in(file, parent));
        let cut = children.filter_map(|(_, used)| used.take(parent)).count();
        assert!(cut > 0, "no file below {parent} uses it ({reason}): remove it from KNOWN_PARENTS");
    }
    for (file, used, reason) in KNOWN_CIRCLES {
        let is_cut = edges.get_mut(file).is_some_and(|all| all.remove(used));
        assert!(is_cut, "{file} does not use {used} ({reason}): remove the row from KNOWN_CIRCLES");
    }
    if let Some(circle) = circles::shortest(&edges) {
        panic!("files use each other in a circle: {}", circle.join(" → "));
    }
}

/// Maximum lines of a file without its tests, and of a function.
const MOST_LINES: (usize, usize) = (300, 60);

#[test]
fn files_and_functions_stay_short() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    let mut files = Vec::new();
    for directory in ["src", "demo/src", "e2e/src"] {
        sources(&root().join(directory), &mut files);
    }
    let is_of_tests =
        |path: &PathBuf| path.ends_with("tests.rs") || path.components().any(|part| part.as_os_str() == "tests");
    for path in files.iter().filter(|path| !is_of_tests(path)) {
        let text = std::fs::read_to_string(path).unwrap();
        let lines: Vec<&str> = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines().collect();
        if lines.len() > MOST_LINES.0 {
            wrong.push(format!("{}: {} lines", path.display(), lines.len()));
        }
        for (number, line) in lines.iter().enumerate().filter(|(_, line)| opens_function(line)) {
            // The formatter closes a function at the column of its first word.
            let end = format!("{}}}", &line[..line.len() - line.trim_start().len()]);
            let length = lines[number..].iter().position(|line| **line == end).unwrap_or_default() + 1;
            seen += 1;
            if length > MOST_LINES.1 {
                wrong.push(format!("{}:{}: a function of {length} lines", path.display(), number + 1));
            }
        }
    }
    assert!(seen > 1500, "the test finds functions: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// True for the first line of a function that does not end on it.
fn opens_function(line: &str) -> bool {
    let words = line.split_whitespace();
    let mut words = words
        .skip_while(|word| word.starts_with("pub") || ["const", "async", "in"].contains(word) || word.ends_with(')'));
    words.next() == Some("fn") && !line.ends_with('}') && !line.ends_with(';')
}

#[test]
fn a_circle_is_found_through_facades_and_paths() {
    let rows: [(&str, &str, &str, bool); 5] = [
        ("pub use b::{B, b};", "use super::c::C;", "use crate::a::{self, B};", true),
        ("pub(super) use b::B as Other;", "fn f() { super::c::f() }", "use super::{Other as _, c};", true),
        ("pub use b::B;", "use super::c::{\n    C,\n    D,\n};", "use crate::b::B;", false),
        ("pub struct A;\npub use b::B;", "use super::A;", "fn f() -> super::B { crate::a::b::f() }", false),
        ("pub struct A(B);\npub use b::B;", "use super::A;", "", true),
    ];
    for (a, b, c, want) in rows {
        let modules = [("a", a), ("a::b", b), ("a::c", c), ("b", "")];
        let modules = modules.map(|(module, code)| (module.to_owned(), code.to_owned())).into();
        let graph = Graph::new(&modules);
        let circle = circles::shortest(&graph.edges());
        assert_eq!(circle.is_some(), want, "{a} | {b} | {c}: {circle:?}");
    }
}

#[test]
fn only_the_edges_use_kube() {
    let may = |module: &str, list: &[&str]| list.iter().any(|name| is_in(module, name));
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
fn one_module_uses_each_library_of_sigstore() {
    let modules = modules();
    for (library, owner) in KNOWN_TO_ONE {
        let is_used = modules.iter().any(|(module, code)| is_in(module, owner) && code.contains(library));
        assert!(is_used, "{owner} does not name {library}");
    }
    for (module, code) in modules {
        let own = KNOWN_TO_ONE.iter().filter(|(_, owner)| is_in(&module, owner));
        let rest = own.fold(code, |code, (library, _)| code.replace(library, ""));
        assert!(!rest.contains("sigstore_"), "{module} names a library of Sigstore that belongs to another module");
    }
}

#[test]
fn pure_modules_do_no_io_and_read_no_clock() {
    let (tiers, modules) = (Tiers::read(), modules());
    for pure in &tiers.pure {
        let inside: Vec<_> = modules.iter().filter(|(module, _)| is_in(module, pure)).collect();
        assert!(!inside.is_empty(), "docs/architecture.md lists {pure}, which does not exist");
        for (module, code) in inside {
            for banned in ["async ", "std::fs", "fs_err", "Instant::now", "Timestamp::now", "tokio", "reqwest"] {
                assert!(!code.contains(banned), "{module} has {banned}");
            }
        }
    }
    assert!(tiers.pure.len() > 15, "{:?}", tiers.pure);
}
/// Modules that another version of the API must not change.
const KNOW_NO_VERSION: [&str; 4] = ["unpack", "blob", "storage", "trust"];
/// Items of the API that name no version of it.
const UNVERSIONED: [&str; 2] = ["api::vocabulary", "api::Reason"];

#[test]
fn effects_on_files_import_no_version_of_the_api() {
    let mut seen = 0;
    for (module, code) in modules() {
        let top = module.split("::").next().unwrap();
        for mention in mentions(&code).iter().filter(|mention| mention.starts_with("api")) {
            let is_unversioned = UNVERSIONED.iter().any(|item| mention.starts_with(item));
            seen += usize::from(is_unversioned);
            assert!(is_unversioned || !KNOW_NO_VERSION.contains(&top), "{module} uses crate::{mention}");
        }
    }
    assert!(seen > 10, "the test reads imports");
}
