//! Results in JSON have the names that docs/reference/json.md lists, and no others.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use supercargo_e2e::chart;

use super::commands;
use super::table::{self, Cell};
use super::world::World;
use crate::support::case::{Case, tests};

tests!(results_in_json_have_the_names_of_the_page,);

/// Further lines, with other results than those of the table, and their exit codes.
const FURTHER: [(&str, &str, i32); 11] = [
    ("pull", "{image} --plain-http", 0),
    ("push", "{source} {place}:signed --plain-http --sign-key {key}.key", 0),
    ("package", "{source} --ref {image}", 0),
    ("sync", "-f {set}", 0),
    ("sync", "-f {object-signed} --root {new}", 0),
    ("sync", "-f {object-absent} --root {new} --dry-run", 5),
    ("diff", "{source} {evil} --content", 1),
    ("diff", "{image} {source} --plain-http", 0),
    ("diff -f", "{set} --lock {lock}", 1),
    ("policy test", "{policy-test-failed}", 1),
    ("policy record", "{image} --plain-http -o {new}", 0),
];

/// Names of a command's result: true if a result may lack one.
type Names = BTreeMap<String, bool>;

async fn results_in_json_have_the_names_of_the_page(case: &mut Case) -> Result<()> {
    let page = page()?;
    let all = commands(case).await?;
    let mut wrong = Vec::new();
    let world = World::new(case).await?;
    for command in &all {
        let has_format = world.has_format(command).await?;
        if has_format != page.contains_key(command) {
            wrong.push(format!("{command}: --format {has_format}, on the page {}", !has_format));
        }
    }
    let rows = table::rows();
    let lines = rows.iter().filter_map(|row| match row.good {
        Cell::Ends(line) => Some((row.command, line, 0)),
        Cell::Reports(_) | Cell::Never(_) => None,
    });
    for (command, line, code) in lines.chain(FURTHER) {
        let Some(names) = page.get(command) else { continue };
        let output = world.run(&format!("{command} {line} --format json")).await?;
        ensure!(output.exit.code == Some(code), "{command} {line}: {} {}", output.exit, output.stderr);
        let is_line = output.stdout.ends_with('\n') && output.stdout.lines().count() == 1;
        ensure!(is_line, "{command}: {:?}", output.stdout);
        let result: Value = serde_json::from_str(&output.stdout).with_context(|| format!("{command}: not JSON"))?;
        ensure!(result.is_object(), "{command}: {result}");
        let mut found = BTreeSet::new();
        collect(&result, "", &mut found);
        wrong.extend(found.iter().filter(|name| !names.contains_key(*name)).map(|name| format!("{command}: {name}")));
        // Names below a list are absent if the list is empty, and those below an object with the object.
        let is_open =
            |name: &str| name.contains("[]") || name.rsplit_once('.').is_some_and(|(above, _)| !found.contains(above));
        let required = names.iter().filter(|(name, is_optional)| !**is_optional && !is_open(name));
        let lacking = required.filter(|(name, _)| !found.contains(*name));
        wrong.extend(lacking.map(|(name, _)| format!("{command} {line}: lacks {name}")));
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Collects the names of an object, with those of objects in it: `a`, `a.b`, `list[].c`.
fn collect(value: &Value, before: &str, names: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (name, value) in object {
                let name = if before.is_empty() { name.clone() } else { format!("{before}.{name}") };
                // Annotations have keys of the publisher, and referrers are trees of the same names.
                if !["annotations", "referrers"].iter().any(|open| name.ends_with(open)) || !value.is_object() {
                    collect(value, &name, names);
                }
                names.insert(name);
            }
        }
        Value::Array(items) => {
            let name = format!("{before}[]");
            for item in items {
                collect(item, &name, names);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Reads the page: sections with the names of commands, and a row for each name.
fn page() -> Result<BTreeMap<String, Names>> {
    let text = fs_err::read_to_string(chart::workspace().join("docs/reference/json.md"))?;
    let (mut page, mut current) = (BTreeMap::<String, Names>::new(), Vec::new());
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("## ") {
            current = title.split('`').skip(1).step_by(2).map(str::to_owned).collect();
            for command in &current {
                page.entry(command.clone()).or_default();
            }
        } else if let Some(row) = line.strip_prefix("| `") {
            let (name, rest) = row.split_once('`').context("a row without a name")?;
            for command in &current {
                let names = page.entry(command.clone()).or_default();
                names.insert(name.to_owned(), rest.contains("optional"));
            }
        }
    }
    Ok(page)
}
