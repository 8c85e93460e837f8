//! Source files of the tests that no module names: they would not be compiled, and their tests would never run.
//!
//! A test function that no `tests!` list names is an error of the compiler, see `cluster/main.rs`.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test over our own files")]

use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn each_source_file_is_a_module() {
    for binary in ["cluster", "faults", "ssrf"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(binary);
        check(&folder, &folder.join("main.rs"));
    }
}

/// Checks that `parent` declares each file of the folder as a module.
fn check(folder: &Path, parent: &Path) {
    let declared = fs::read_to_string(parent).unwrap_or_else(|error| panic!("{}: {error}", parent.display()));
    for entry in fs::read_dir(folder).unwrap() {
        let path: PathBuf = entry.unwrap().path();
        if path.is_dir() {
            check(&path, &path.with_extension("rs"));
        } else if path != parent {
            let module = format!("mod {};", path.file_stem().unwrap().to_string_lossy());
            let is_declared = declared.lines().any(|line| line.trim_start_matches("pub(crate) ") == module);
            assert!(is_declared, "{} has no `{module}` for {}", parent.display(), path.display());
        }
    }
}
