//! vendir's selection of files as ours.
//!
//! Both have globs, with two differences that would change the tree without a word. vendir's patterns match files
//! alone, ours match a directory with everything in it: `config/*` is the files of `config` there, and its directories
//! too here. And vendir's `legalPaths` are kept even if `excludePaths` match them. Each case is translated exactly, or
//! it is a problem.

use super::fields::Fields;
use super::set::relative;
use super::spec::Files;
use crate::pattern::{MAX_PATTERN, Patterns};

/// Files that vendir keeps where `legalPaths` is absent, as patterns of ours, which have no empty alternatives.
const LEGAL: [&str; 2] = [
    "{LICENSE,LICENCE,License,Licence,COPYRIGHT,Copyright,NOTICE,Notice}",
    "{LICENSE,LICENCE,License,Licence,COPYRIGHT,Copyright,NOTICE,Notice}.{md,txt,rst}",
];

/// Maximum number of patterns in a list, as for the fields of ours.
const MAX_PATTERNS: usize = 32;
/// Maximum number of texts that the braces of a pattern stand for.
const MAX_ALTERNATIVES: usize = 64;

/// A pattern below the new root.
#[derive(Debug, PartialEq, Eq)]
enum Rebased {
    Pattern(String),
    /// The pattern matches nothing below the new root.
    Outside,
    /// The pattern has no equivalent below the new root.
    Unclear,
}

/// Takes the fields that select files of a source whose content is in the directory `base` of the artifact.
pub(super) fn files(fields: &mut Fields<'_>, base: Option<&str>) -> Files {
    let has_includes = fields.has("includePaths");
    let root = fields.text("newRootPath").filter(|root| !matches!(root.as_str(), "" | "."));
    let root = root.and_then(|root| relative(&root, &fields.path("newRootPath"), fields.problems()));
    let include = patterns(fields, "includePaths", root.as_deref());
    let exclude = patterns(fields, "excludePaths", root.as_deref());
    let legal = if fields.has("legalPaths") {
        patterns(fields, "legalPaths", root.as_deref())
    } else if root.is_some() {
        // The files are at the root, which the new root leaves out.
        fields.ignore("legalPaths");
        Vec::new()
    } else {
        LEGAL.map(str::to_owned).to_vec()
    };
    let selected = Selected { include, exclude, legal };
    if has_includes && selected.include.is_empty() && selected.legal.is_empty() {
        fields.problem("includePaths", "no pattern selects a file below newRootPath");
    }
    let sub_path = [base, root.as_deref()].into_iter().flatten().collect::<Vec<_>>().join("/");
    let (include, exclude) = selected.resolve(fields);
    Files { sub_path: Some(sub_path), include, exclude }
}

/// Takes a list of patterns, each cleaned and below the new root.
fn patterns(fields: &mut Fields<'_>, name: &str, root: Option<&str>) -> Vec<String> {
    let mut found = Vec::new();
    let texts = fields.texts(name).unwrap_or_default();
    if texts.len() > MAX_PATTERNS {
        fields.problem(name, format!("has {} patterns; expected at most {MAX_PATTERNS}", texts.len()));
        return found;
    }
    for (number, text) in texts.into_iter().enumerate() {
        let path = format!("{name}[{number}]");
        match cleaned(&text) {
            Err(problem) => fields.problem(&path, format!("\"{text}\" {problem}")),
            Ok(patterns) => {
                for pattern in patterns {
                    match rebased(&pattern, root) {
                        Rebased::Pattern(pattern) => found.push(pattern),
                        Rebased::Outside => {}
                        Rebased::Unclear => fields.problem(
                            &path,
                            format!("\"{text}\" has no equivalent below newRootPath; write it from that directory"),
                        ),
                    }
                }
            }
        }
    }
    found
}

/// Returns the patterns of ours for one of vendir's, or what has no counterpart.
fn cleaned(text: &str) -> Result<Vec<String>, &'static str> {
    if text.contains('\\') || text.contains("[!") {
        return Err("has a backslash or [!, which vendir reads in another way");
    }
    let parts: Vec<&str> = text.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    if parts.contains(&"..") || parts.is_empty() {
        return Err("matches no file in vendir");
    }
    if text.ends_with('/') {
        return Err("matches no file in vendir; write DIRECTORY/**/* for the files of a directory");
    }
    if parts.iter().any(|part| part.contains("**") && *part != "**") {
        return Err("has ** beside other characters; expected ** alone between two /");
    }
    let patterns =
        without_empty_alternatives(&parts.join("/")).ok_or("has braces that are nested, open or over a /")?;
    let is_short = patterns.iter().all(|pattern| pattern.len() <= MAX_PATTERN);
    if !is_short || Patterns::paths(&patterns).is_err() {
        return Err("is no valid pattern");
    }
    Ok(patterns)
}

/// Replaces `a{,b}` by `a` and `ab`: our patterns have no empty alternatives. Returns `None` for other braces than
/// `{a,b}`.
fn without_empty_alternatives(text: &str) -> Option<Vec<String>> {
    let Some((before, rest)) = text.split_once('{') else {
        return (!text.contains('}')).then(|| vec![text.to_owned()]);
    };
    let (inside, after) = rest.split_once('}')?;
    if before.contains('}') || inside.contains(['{', '/']) {
        return None;
    }
    let (empty, others): (Vec<&str>, Vec<&str>) = inside.split(',').partition(|part| part.is_empty());
    let kept = (!others.is_empty()).then(|| format!("{{{}}}", others.join(",")));
    let middles = kept.into_iter().chain(empty.first().map(|_| String::new()));
    let rests = without_empty_alternatives(after)?;
    let all: Vec<String> =
        middles.flat_map(|middle| rests.iter().map(move |rest| format!("{before}{middle}{rest}"))).collect();
    (all.len() <= MAX_ALTERNATIVES).then_some(all)
}

fn rebased(pattern: &str, root: Option<&str>) -> Rebased {
    let Some(root) = root else { return Rebased::Pattern(pattern.to_owned()) };
    let mut parts = pattern.split('/');
    for directory in root.split('/') {
        match parts.next() {
            Some("**") => {
                // At any depth, so below the new root too, if one part decides.
                let rest: Vec<&str> = parts.filter(|part| *part != "**").collect();
                return match rest.as_slice() {
                    [] => Rebased::Pattern("**".to_owned()),
                    [name] => Rebased::Pattern(format!("**/{name}")),
                    [_, ..] => Rebased::Unclear,
                };
            }
            Some(part) if matches(part, directory) => {}
            Some(_) | None => return Rebased::Outside,
        }
    }
    let rest = parts.collect::<Vec<_>>().join("/");
    if rest.is_empty() { Rebased::Outside } else { Rebased::Pattern(rest) }
}

/// Returns true if a part of a pattern matches a name.
fn matches(part: &str, name: &str) -> bool {
    part == name || Patterns::paths(&[part.to_owned()]).is_ok_and(|pattern| pattern.matches(name))
}

fn has_wildcard(part: &str) -> bool {
    part.contains(['*', '?', '[', '{'])
}

/// Patterns of a source, cleaned.
struct Selected {
    include: Vec<String>,
    exclude: Vec<String>,
    legal: Vec<String>,
}

impl Selected {
    /// Returns the patterns to include and to exclude.
    fn resolve(self, fields: &Fields<'_>) -> (Vec<String>, Vec<String>) {
        let Self { mut include, mut exclude, legal } = self;
        for pattern in exclude.iter().filter(|pattern| selects_directories(pattern)) {
            fields.problem(
                "excludePaths",
                format!("\"{pattern}\" would exclude directories too; write a pattern with an extension or **/*"),
            );
        }
        keep_legal(&legal, &exclude, fields);
        let all = ["**", "**/*"];
        if include.iter().any(|pattern| all.contains(&pattern.as_str())) {
            include.clear();
        }
        if !include.is_empty() {
            for pattern in include.iter().filter(|pattern| selects_directories(pattern)) {
                if let Some(other) = include.iter().find(|other| reaches_below(pattern, other)) {
                    let problem = format!(
                        "\"{pattern}\" selects files alone in vendir, which has no equivalent beside \"{other}\"; write \
                         a pattern with an extension or **/*"
                    );
                    fields.problem("includePaths", problem);
                }
                exclude.push(format!("{pattern}/**"));
            }
            include.extend(legal.into_iter().filter(|pattern| !selects_directories(pattern)));
        }
        (include, exclude)
    }
}

/// Adds a problem if a pattern to exclude matches a file that vendir keeps as a legal one.
fn keep_legal(legal: &[String], exclude: &[String], fields: &Fields<'_>) {
    if exclude.is_empty() {
        return;
    }
    let Ok(excluded) = Patterns::paths(exclude) else { return };
    for pattern in legal {
        // A pattern that stands for other names, or too many, may stand for an excluded one.
        let names = alternatives(pattern).unwrap_or_else(|| vec![pattern.clone()]);
        let kept = names.iter().find(|name| has_wildcard(name) || excluded.covers(name));
        if let Some(name) = kept {
            let problem = format!("excludes {name} too, which legalPaths keeps; set legalPaths: [] if it may go");
            fields.problem("excludePaths", problem);
            return;
        }
    }
}

/// Returns each text that the braces of a pattern stand for; `None` if there are too many.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let whole = || Some(vec![pattern.to_owned()]);
    let Some((before, rest)) = pattern.split_once('{') else { return whole() };
    let Some((inside, after)) = rest.split_once('}') else { return whole() };
    let rests = alternatives(after)?;
    let parts: Vec<&str> = inside.split(',').collect();
    if parts.len().saturating_mul(rests.len()) > MAX_ALTERNATIVES {
        return None;
    }
    Some(parts.iter().flat_map(|part| rests.iter().map(move |rest| format!("{before}{part}{rest}"))).collect())
}

/// Returns true for a pattern whose last part is a wildcard without an extension: it matches directories too, with
/// other content than vendir's. A name or an extension is taken as that of a file.
fn selects_directories(pattern: &str) -> bool {
    let parts: Vec<&str> = pattern.split('/').collect();
    match parts.as_slice() {
        [] | [.., "**"] | [.., "**", "*"] => false,
        // The alternatives of braces are names, unless they have a wildcard themselves.
        [.., last] => last.contains(['*', '?', '[']) && last.find('.').is_none_or(|at| at == 0),
    }
}

/// Returns true if a pattern can match a file in a directory that the other pattern matches.
fn reaches_below(directories: &str, other: &str) -> bool {
    let mut below = other.split('/');
    for above in directories.split('/') {
        let can_match = match below.next() {
            None => false,
            Some(part) if above == "**" || part == "**" => return true,
            Some(part) => match (has_wildcard(above), has_wildcard(part)) {
                (true, true) => true,
                (true, false) => matches(above, part),
                (false, true) => matches(part, above),
                (false, false) => above == part,
            },
        };
        if !can_match {
            return false;
        }
    }
    below.next().is_some()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::fields::Problems;
    use super::*;

    /// Sub-path, patterns to include, and patterns to exclude.
    type Selected = (Option<String>, Vec<String>, Vec<String>);

    fn translated(content: Value) -> Result<Selected, Vec<String>> {
        let problems = Problems::default();
        let mut fields = Fields::of(content, "", &problems).unwrap();
        let Files { sub_path, include, exclude } = files(&mut fields, None);
        fields.end();
        let problems: Vec<String> = problems.into_all().0.iter().map(ToString::to_string).collect();
        let sub_path = sub_path.filter(|path| !path.is_empty());
        if problems.is_empty() { Ok((sub_path, include, exclude)) } else { Err(problems) }
    }

    /// Returns true if vendir keeps a file: its patterns match files alone, part by part.
    fn kept_by_vendir(content: &Value, path: &str) -> bool {
        let listed = |name: &str| -> Vec<String> {
            let items = content.get(name).and_then(Value::as_array).into_iter().flatten();
            items.flat_map(|item| without_empty_alternatives(item.as_str().unwrap()).unwrap()).collect()
        };
        let is_matched = |patterns: &[String]| Patterns::paths(patterns).unwrap().matches(path);
        let (include, exclude) = (listed("includePaths"), listed("excludePaths"));
        let legal =
            if content.get("legalPaths").is_some() { listed("legalPaths") } else { LEGAL.map(str::to_owned).to_vec() };
        ((include.is_empty() || is_matched(&include)) && !is_matched(&exclude)) || is_matched(&legal)
    }

    #[test]
    fn the_same_files_are_selected_as_by_vendir() {
        let paths = [
            "LICENSE",
            "LICENSE.md",
            "NOTICE.txt",
            "README.md",
            "config/a.yaml",
            "config/b",
            "config/sub/a.yaml",
            "config/sub/b",
            "config/sub/deep/c.yaml",
            "crds/one.yaml",
            "crds/v1/two.yaml",
            "test/a.yaml",
            "d/LICENSE",
        ];
        let rows = [
            json!({}),
            json!({"includePaths": ["**/*.yaml"]}),
            json!({"includePaths": ["config/*"]}),
            json!({"includePaths": ["*"]}),
            json!({"includePaths": ["config/**/*", "crds/**"]}),
            json!({"includePaths": ["config/*", "crds/**/*"], "legalPaths": []}),
            json!({"includePaths": ["config/*.yaml", "config/sub/*.yaml"]}),
            json!({"includePaths": ["**/*.yaml"], "excludePaths": ["test/**"]}),
            json!({"excludePaths": ["**/*.yaml"]}),
            json!({"excludePaths": ["**/*.md"], "legalPaths": []}),
            json!({"includePaths": ["**/*"], "excludePaths": ["config/sub/**/*"]}),
            json!({"includePaths": ["crds/**/*"], "legalPaths": ["README{,.md}"]}),
            json!({"includePaths": ["./{config,crds}/**/*.yaml"]}),
        ];
        for content in rows {
            let (_, include, exclude) = translated(content.clone()).unwrap();
            let [included, excluded] = [&include, &exclude].map(|texts| Patterns::paths(texts).unwrap());
            for path in paths {
                let ours = (included.is_empty() || included.covers(path)) && !excluded.covers(path);
                let cleaned = json!({
                    "includePaths": content.get("includePaths").cloned().unwrap_or(json!([])).as_array().unwrap().iter()
                        .map(|text| text.as_str().unwrap().trim_start_matches("./").to_owned()).collect::<Vec<_>>(),
                    "excludePaths": content.get("excludePaths").cloned().unwrap_or(json!([])),
                    "legalPaths": content.get("legalPaths").cloned().unwrap_or(json!(LEGAL)),
                });
                assert_eq!(ours, kept_by_vendir(&cleaned, path), "{content}: {path}: {include:?} {exclude:?}");
            }
        }
    }

    #[test]
    fn a_new_root_moves_the_patterns() {
        let rows = [
            (json!({"newRootPath": "./install/base/"}), Ok((vec![], vec![]))),
            (json!({"newRootPath": "."}), Ok((vec![], vec![]))),
            (
                json!({"newRootPath": "install/base", "includePaths": ["install/base/*.yaml", "other/**/*"]}),
                Ok((vec!["*.yaml"], vec![])),
            ),
            (
                json!({"newRootPath": "install/base", "includePaths": ["**/*.yaml"], "excludePaths": ["install/*/test/**/*"]}),
                Ok((vec!["**/*.yaml"], vec!["test/**/*"])),
            ),
            (json!({"newRootPath": "a", "excludePaths": ["**/*.md"]}), Ok((vec![], vec!["**/*.md"]))),
            (json!({"newRootPath": "a", "includePaths": ["**/b/*.yaml"]}), Err("includePaths[0]")),
            (json!({"newRootPath": "a", "includePaths": ["b/*.yaml"]}), Err("includePaths")),
            (json!({"newRootPath": "../a"}), Err("newRootPath")),
        ];
        for (content, want) in rows {
            match (translated(content.clone()), want) {
                (Ok((_, include, exclude)), Ok(want)) => {
                    assert_eq!(
                        (include, exclude),
                        (
                            want.0.iter().map(ToString::to_string).collect(),
                            want.1.iter().map(ToString::to_string).collect()
                        ),
                        "{content}"
                    );
                }
                (Err(problems), Err(want)) => assert!(problems[0].starts_with(&format!("{want}: ")), "{problems:?}"),
                (found, want) => panic!("{content}: {found:?}, wanted {want:?}"),
            }
        }
    }

    #[test]
    fn patterns_of_another_meaning_are_problems() {
        let rows = [
            (json!({"excludePaths": ["test/*"]}), "test/*"),
            (json!({"excludePaths": ["*"]}), "*"),
            (json!({"excludePaths": ["**/*.md"]}), "LICENSE.md"),
            (json!({"excludePaths": ["**"]}), "LICENSE"),
            (json!({"includePaths": ["*", "config/sub/a.yaml"]}), "config/sub/a.yaml"),
            (json!({"includePaths": ["config/"]}), "config/"),
            (json!({"includePaths": ["../a"]}), "../a"),
            (json!({"includePaths": ["a**b"]}), "a**b"),
            (json!({"includePaths": ["{a/b,c}"]}), "{a/b,c}"),
            (json!({"includePaths": ["[!a].yaml"]}), "[!a].yaml"),
            (json!({"includePaths": ["a\\*.yaml"]}), "a\\*.yaml"),
            (json!({"includePaths": "a"}), "includePaths"),
            (json!({"includePaths": vec!["a"; 33]}), "33"),
            (json!({"includePaths": ["{a,}".repeat(60)]}), "{a,}"),
            (json!({"legalPaths": ["{a,b}".repeat(50)], "excludePaths": ["c"]}), "{a,b}"),
            (json!({"legalPaths": ["*.txt"], "excludePaths": ["a.txt"]}), "*.txt"),
        ];
        for (content, noun) in rows {
            let problems = translated(content.clone()).unwrap_err();
            assert!(problems.iter().any(|problem| problem.contains(noun)), "{content}: {problems:?}");
        }
    }
}
