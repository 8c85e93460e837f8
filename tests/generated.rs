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
    let table = file("docs/operations/troubleshooting.md");
    for reason in Reason::ALL {
        let row = format!("| `{reason}` |");
        assert!(table.contains(&row), "docs/operations/troubleshooting.md has no row that starts with {row}");
        assert!(reason.meaning().ends_with('.') && reason.remedy().ends_with('.'), "{reason}: whole sentences");
    }
}

/// The table of attacks names tests in its last column: functions, or files.
#[test]
fn every_test_that_the_table_of_attacks_names_exists() {
    let page = file("docs/security.md");
    let (_, table) = page.split_once("## Attacks and their tests").unwrap();
    let mut sources = String::new();
    for directory in ["src", "e2e"] {
        read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join(directory), &mut sources);
    }
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 40, "{} rows", rows.len());
    for row in rows {
        let tests = row.rsplit('|').nth(1).unwrap();
        let names: Vec<_> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "no test: {row}");
        for name in names {
            let exists =
                if name.contains('/') { file(name).contains("fn ") } else { sources.contains(&format!("fn {name}(")) };
            assert!(exists, "docs/security.md names {name}, which is no test");
        }
    }
}

fn read_all(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_all(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&std::fs::read_to_string(&path).unwrap());
        }
    }
}

#[test]
fn every_metric_has_a_row_in_the_documentation() {
    let mut sources = String::new();
    read_all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    let page = file("docs/operations/monitoring.md");
    let names =
        sources.split("(all, ").skip(1).filter_map(|call| call.trim_start().strip_prefix('"')?.split('"').next());
    let names: Vec<_> = names.collect();
    assert!(names.len() > 10, "{names:?}");
    for name in names {
        let is_there = ["", "_total"].iter().any(|end| page.contains(&format!("| `supercargo_{name}{end}` |")));
        assert!(is_there, "docs/operations/monitoring.md has no row that starts with | `supercargo_{name}");
    }
}

/// The table of the chart's README, against its values.
#[test]
fn every_value_of_the_chart_has_a_row_and_every_row_a_value() {
    let page = file("charts/supercargo/README.md");
    let cells = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let rows: Vec<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    let values: serde_json::Value = serde_saphyr::from_str(&file("charts/supercargo/values.yaml")).unwrap();
    let mut paths = Vec::new();
    leaves(&values, "", &mut paths);
    assert!(paths.len() > 50, "{paths:?}");
    // A row may stand for all values below it, and `.name` for a value beside the first of its row.
    let is_of = |row: &str, path: &str| {
        path == row || path.starts_with(&format!("{row}.")) || (row.starts_with('.') && path.ends_with(row))
    };
    for path in &paths {
        assert!(rows.iter().any(|row| is_of(row, path)), "the chart's README has no row for {path}");
    }
    for row in rows {
        assert!(paths.iter().any(|path| is_of(row, path)), "the chart has no value {row}");
    }
}

fn leaves(value: &serde_json::Value, path: &str, found: &mut Vec<String>) {
    match value.as_object().filter(|fields| !fields.is_empty()) {
        Some(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                leaves(field, &path, found);
            }
        }
        None => found.push(path.to_owned()),
    }
}
