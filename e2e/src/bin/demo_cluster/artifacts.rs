//! Artifacts that the demo pushes.

use std::path::PathBuf;

use anyhow::Result;
use supercargo_e2e::files::{self, Entry, tree};
use supercargo_e2e::run::Run;

/// Writes a directory of schemas; the second edition requires one more field.
pub(crate) fn schemas(run: &Run, edition: u32) -> Result<PathBuf> {
    let fields = if edition == 1 { r#""name", "port""# } else { r#""name", "port", "protocol""# };
    let service = format!("{{\n  \"title\": \"Service, edition {edition}\",\n  \"required\": [{fields}]\n}}\n");
    let mut content = tree(&[
        ("service/v1.json", &service),
        ("database/v1.json", "{\n  \"title\": \"Database\",\n  \"required\": [\"engine\"]\n}\n"),
    ]);
    content.insert("service/latest.json".to_owned(), Entry::Link("v1.json".to_owned()));
    let directory = run.directory().join(format!("demo-schemas-{edition}"));
    files::write(&directory, &content)?;
    Ok(directory)
}

/// Writes alerting rules below `rules/`, and a file beside it that is not published.
pub(crate) fn rules(run: &Run) -> Result<PathBuf> {
    let rule = |name: &str, expression: &str| {
        format!("groups:\n  - name: {name}\n    rules:\n      - alert: {name}\n        expr: {expression}\n")
    };
    let content = tree(&[
        ("README.md", "Not below rules/, so not published.\n"),
        ("rules/cpu.yaml", &rule("CpuBusy", "cpu > 0.9")),
        ("rules/team/disk.yaml", &rule("DiskFull", "disk > 0.8")),
    ]);
    let directory = run.directory().join("demo-rules");
    files::write(&directory, &content)?;
    Ok(directory)
}
