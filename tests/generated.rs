//! Generated files, and lists of items in the code, must match the code.

#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "a test over our own files")]

use std::path::Path;

use supercargo::api::{Reason, crd};

fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_crd_files_are_what_the_code_says() {
    for (name, want) in crd::all().unwrap() {
        for directory in ["crds", "charts/supercargo/files/crds"] {
            let path = format!("{directory}/{name}.yaml");
            assert_eq!(file(&path), want, "{path} is old: run `cargo crds`");
        }
    }
}

#[test]
fn every_reason_has_a_row_in_the_documentation() {
    let table = file("docs/operations.md");
    for reason in Reason::ALL {
        let row = format!("| `{reason}` |");
        assert!(table.contains(&row), "docs/operations.md has no row that starts with {row}");
        assert!(reason.meaning().ends_with('.') && reason.remedy().ends_with('.'), "{reason}: whole sentences");
    }
}
