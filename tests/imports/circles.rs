//! Imports between the files of one module: a graph, and the circles in it.

use std::collections::{BTreeMap, BTreeSet};

/// A file: the names that it imports, and its code without these declarations.
struct File {
    imports: Vec<Import>,
    code: String,
}

struct Import {
    path: Vec<String>,
    /// Name in this file.
    name: String,
    is_exported: bool,
}

/// Files by module, such as `registry::http`.
pub(crate) struct Graph(BTreeMap<String, File>);

impl Graph {
    /// Parses the code of each module.
    pub(crate) fn new(modules: &BTreeMap<String, String>) -> Self {
        Self(modules.iter().map(|(module, code)| (module.clone(), File::parse(code))).collect())
    }

    /// Returns the other files of the same top-level module that each file uses. A name counts as used in the file that
    /// defines it, whatever facades re-export it on the way.
    pub(crate) fn edges(&self) -> BTreeMap<&str, BTreeSet<String>> {
        self.0.iter().map(|(module, file)| (module.as_str(), self.used_by(module, file))).collect()
    }

    fn used_by(&self, module: &str, file: &File) -> BTreeSet<String> {
        let words: BTreeSet<&str> = file.code.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        let is_needed = |import: &&Import| !import.is_exported || words.contains(import.name.as_str());
        let imported = file.imports.iter().filter(is_needed).filter_map(|import| self.resolve(module, &import.path, 0));
        let inline = paths(&file.code);
        let named = inline.iter().filter_map(|path| {
            let import = file.imports.iter().find(|import| import.name == path[0]);
            let Some(import) = import else { return self.resolve(module, path, 0) };
            let whole: Vec<String> = import.path.iter().chain(&path[1..]).cloned().collect();
            self.resolve(module, &whole, 0)
        });
        let is_other = |used: &String| used != module && top(used) == top(module);
        imported.chain(named).filter(is_other).collect()
    }

    /// Returns the module that defines the item at a path; `None` for a module itself and for names of other crates.
    fn resolve(&self, from: &str, path: &[String], depth: usize) -> Option<String> {
        let (mut module, mut rest) = match path.first()?.as_str() {
            "crate" => (String::new(), &path[1..]),
            "self" => (from.to_owned(), &path[1..]),
            "super" => (parent(from), &path[1..]),
            first if self.0.contains_key(&child(from, first)) => (from.to_owned(), path),
            _ => return None,
        };
        while let Some((first, others)) = rest.split_first() {
            if first == "super" {
                module = parent(&module);
            } else if self.0.contains_key(&child(&module, first)) {
                module = child(&module, first);
            } else {
                break;
            }
            rest = others;
        }
        let item = rest.first()?;
        let file = self.0.get(&module)?;
        match file.imports.iter().find(|import| import.name == *item) {
            Some(import) if depth < 8 => {
                let whole: Vec<String> = import.path.iter().chain(&rest[1..]).cloned().collect();
                self.resolve(&module, &whole, depth + 1)
            }
            Some(_) | None => Some(module),
        }
    }
}

/// Returns the shortest circle, as a list of files that ends with the first one.
pub(crate) fn shortest(edges: &BTreeMap<&str, BTreeSet<String>>) -> Option<Vec<String>> {
    edges.keys().filter_map(|start| through(edges, start)).min_by_key(Vec::len)
}

/// Returns the shortest circle through a file.
fn through(edges: &BTreeMap<&str, BTreeSet<String>>, start: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut next = vec![vec![start.to_owned()]];
    while !next.is_empty() {
        let mut farther = Vec::new();
        for way in next {
            for used in edges.get(way.last()?.as_str()).into_iter().flatten() {
                let longer: Vec<String> = way.iter().chain([used]).cloned().collect();
                if used == start {
                    return Some(longer);
                }
                if seen.insert(used.clone()) {
                    farther.push(longer);
                }
            }
        }
        next = farther;
    }
    None
}

impl File {
    fn parse(code: &str) -> Self {
        let (mut imports, mut rest, mut declaration) = (Vec::new(), String::new(), String::new());
        for line in code.lines() {
            let line = without_text(line);
            if without_visibility(line.trim()).starts_with("mod ") {
                continue;
            }
            let is_start = declaration.is_empty() && without_visibility(line.trim()).starts_with("use ");
            if !is_start && declaration.is_empty() {
                rest.push_str(&line);
                rest.push('\n');
                continue;
            }
            declaration.push_str(line.trim());
            if line.contains(';') {
                let is_exported = declaration.starts_with("pub");
                let tree = without_visibility(&declaration).trim_start_matches("use ").trim_end_matches(';');
                expand(tree, &[], is_exported, &mut imports);
                declaration.clear();
            }
        }
        Self { imports, code: rest }
    }
}

fn without_visibility(line: &str) -> &str {
    let Some(rest) = line.strip_prefix("pub") else { return line };
    let rest = if rest.starts_with('(') { rest.split_once(')').map_or(rest, |(_, rest)| rest) } else { rest };
    rest.trim_start()
}

/// Returns a line without the content of its string literals.
fn without_text(line: &str) -> String {
    line.split('"').step_by(2).collect::<Vec<_>>().join("\"\"")
}

/// Expands a use tree to its leaves.
fn expand(tree: &str, prefix: &[String], is_exported: bool, imports: &mut Vec<Import>) {
    let tree = tree.trim();
    let (path, list) = tree.split_once('{').map_or((tree, None), |(path, list)| (path, list.strip_suffix('}')));
    let (path, alias) = path.split_once(" as ").map_or((path, None), |(path, alias)| (path, Some(alias.trim())));
    let segments = path.split("::").map(str::trim).filter(|segment| !segment.is_empty()).map(str::to_owned);
    let mut path: Vec<String> = prefix.iter().cloned().chain(segments).collect();
    if let Some(list) = list {
        for item in items(list) {
            expand(item, &path, is_exported, imports);
        }
        return;
    }
    if path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    if let Some(last) = path.last().filter(|last| *last != "*").cloned() {
        imports.push(Import { path, name: alias.map_or(last, str::to_owned), is_exported });
    }
}

/// Splits a list at the commas that are outside of braces.
fn items(list: &str) -> Vec<&str> {
    let (mut found, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, character) in list.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                found.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    found.push(&list[start..]);
    found.into_iter().filter(|item| !item.trim().is_empty()).collect()
}

/// Returns the paths of at least two segments in code.
fn paths(code: &str) -> Vec<Vec<String>> {
    let in_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let found = code.split(|c: char| !in_path(c)).filter(|text| text.contains("::"));
    let segments = |text: &str| text.split("::").filter(|one| !one.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    found.map(segments).filter(|path| path.len() > 1).collect()
}

fn child(module: &str, name: &str) -> String {
    if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") }
}

fn parent(module: &str) -> String {
    module.rsplit_once("::").map_or(String::new(), |(parent, _)| parent.to_owned())
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}
