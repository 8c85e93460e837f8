//! References of a text: of OCIArtifact objects and `ArtifactSet`s, of Kustomizations, and below the paths of a caller.

use std::collections::{BTreeMap, HashSet};

use super::error::{PinError, Problem};
use super::found::{Found, parse};
use super::kustomize;
use super::path::{Step, ValuePath};
use super::slot::{Slot, one_line};
use super::tree::{Id, Kind, Tree};
use crate::api::GROUP;

/// Maximum nesting of lists of objects.
const MAX_LISTS: usize = 4;

/// Values that are searched for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Paths of values, in every document.
    pub paths: &'a [ValuePath],
    /// True if the file has the name of a Kustomization, whose document may then have no `kind`.
    pub is_kustomization: bool,
}

/// Returns the references of a text in their order.
pub fn find(text: &str, scope: Scope<'_>) -> Result<Vec<Found>, PinError> {
    let tree = Tree::parse(text)?;
    let mut finder = Finder { text, tree: &tree, found: BTreeMap::new(), aliases: Vec::new() };
    for document in &tree.documents {
        for object in objects(&tree, *document)? {
            finder.object(object, scope.is_kustomization)?;
        }
        for path in scope.paths {
            if let Some((Step::Key(key), above)) = path.steps.split_last().filter(|(last, _)| is_part(last)) {
                let parents = below(&tree, *document, above)?;
                parents
                    .iter()
                    .filter(|parent| tree.get(**parent, key).is_some())
                    .try_for_each(|parent| check_tag(&tree, *parent))?;
            }
            for value in below(&tree, *document, &path.steps)? {
                check_tag(&tree, value)?;
                finder.value(value)?;
            }
        }
    }
    // An alias is edited through its anchor, if that is a reference in a place of its own.
    let lost = finder.aliases.iter().find(|(_, target)| !finder.found.contains_key(target));
    if let Some((line, _)) = lost {
        return Err(PinError::new(*line, Problem::Alias));
    }
    Ok(finder.found.into_values().collect())
}

/// Keys of a reference in two parts, as Helm's charts have it.
const PARTS: [&str; 2] = ["repository", "tag"];

fn is_part(step: &Step) -> bool {
    matches!(step, Step::Key(key) if PARTS.contains(&key.as_str()))
}

/// Fails for a mapping that has a reference in two parts: a digest beside one of them would not be used.
fn check_tag(tree: &Tree, mapping: Id) -> Result<(), PinError> {
    match tree.node(mapping) {
        Some(node) if PARTS.iter().all(|part| tree.get(mapping, part).is_some()) => {
            Err(PinError::new(node.line, Problem::SeparateTag))
        }
        Some(_) | None => Ok(()),
    }
}

/// Returns true if a document has a value at this path.
pub fn has(text: &str, path: &ValuePath) -> bool {
    let is_there = |tree: &Tree, document: Id| below(tree, document, &path.steps).is_ok_and(|found| !found.is_empty());
    Tree::parse(text).is_ok_and(|tree| tree.documents.iter().any(|document| is_there(&tree, *document)))
}

/// Returns the objects of a document: itself, or the items of a list.
fn objects(tree: &Tree, document: Id) -> Result<Vec<Id>, PinError> {
    let mut found = vec![document];
    for _ in 0..MAX_LISTS {
        let (lists, mut others): (Vec<Id>, Vec<Id>) = found.into_iter().partition(|id| is_list(tree, *id));
        lists.iter().try_for_each(|list| tree.check_keys(*list))?;
        let items = lists.iter().filter_map(|id| tree.get(*id, "items")).flat_map(|items| tree.items(items));
        others.extend(items.map(|item| tree.target(*item)));
        found = distinct(others);
    }
    Ok(found)
}

fn is_list(tree: &Tree, id: Id) -> bool {
    let kind = tree.get(id, "kind").and_then(|kind| tree.text(kind));
    kind.is_some_and(|kind| kind.ends_with("List")) && tree.get(id, "items").is_some()
}

/// Returns the values at the end of a path.
fn below(tree: &Tree, document: Id, steps: &[Step]) -> Result<Vec<Id>, PinError> {
    let mut found = vec![document];
    for step in steps {
        let mut next = Vec::new();
        for id in &found {
            match step {
                Step::Key(key) => {
                    let value = tree.get(*id, key);
                    value.map_or(Ok(()), |_| tree.check_key(*id, key))?;
                    next.extend(value);
                }
                Step::Items => next.extend(tree.items(*id)),
            }
        }
        // Aliases lead to one node again and again: without this the work could double with each step.
        found = distinct(next);
    }
    Ok(found)
}

fn distinct(mut ids: Vec<Id>) -> Vec<Id> {
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
}

/// Kinds of objects with references.
#[derive(Clone, Copy)]
enum Kinds {
    Artifact,
    Set,
    Kustomization,
}

struct Finder<'a> {
    text: &'a str,
    tree: &'a Tree,
    /// References by their first byte.
    found: BTreeMap<usize, Found>,
    /// Lines of aliases, with the first byte of the anchored value.
    aliases: Vec<(usize, usize)>,
}

impl Finder<'_> {
    fn object(&mut self, id: Id, is_kustomization: bool) -> Result<(), PinError> {
        let tree = self.tree;
        let named = |key: &str| tree.set(id, key).and_then(|value| tree.text(value));
        let group = named("apiVersion").and_then(|version| version.split('/').next());
        let kind = match (group, named("kind")) {
            (None | Some(GROUP), Some("OCIArtifact")) => Kinds::Artifact,
            (None | Some(GROUP), Some("ArtifactSet")) => Kinds::Set,
            (Some(kustomize::GROUP), _) => Kinds::Kustomization,
            (None, None | Some("Kustomization")) if is_kustomization => Kinds::Kustomization,
            _ => return Ok(()),
        };
        tree.check_keys(id)?;
        match kind {
            Kinds::Artifact => tree.get(id, "spec").map_or(Ok(()), |spec| self.artifact(spec)),
            Kinds::Set => {
                let entries = tree.get(id, "artifacts").map_or(&[][..], |entries| tree.items(entries));
                entries.iter().try_for_each(|entry| self.artifact(tree.target(*entry)))
            }
            Kinds::Kustomization => self.kustomization(id),
        }
    }

    fn kustomization(&mut self, id: Id) -> Result<(), PinError> {
        self.found.extend(kustomize::find(self.text, self.tree, id)?);
        Ok(())
    }

    /// Adds the image of a spec, or of an entry.
    fn artifact(&mut self, spec: Id) -> Result<(), PinError> {
        self.tree.check_keys(spec)?;
        // A range of versions chooses the tag, and excludes a digest.
        match self.tree.get(spec, "image") {
            Some(image) if self.tree.set(spec, "semver").is_none() => self.value(image),
            Some(_) | None => Ok(()),
        }
    }

    /// Adds the reference that a value is.
    fn value(&mut self, id: Id) -> Result<(), PinError> {
        let Some(node) = self.tree.node(id) else { return Ok(()) };
        match &node.kind {
            Kind::Alias(target) => {
                let start = self.tree.node(*target).map_or(usize::MAX, |target| target.span.start);
                self.aliases.push((node.line, start));
                return Ok(());
            }
            Kind::Scalar { .. } if self.tree.is_null(id) => return Ok(()),
            Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping { .. } => {}
        }
        let (value, inner) = one_line(self.text, node)?;
        let reference = parse(node.line, value)?;
        let at = inner.start.saturating_add(value.find('@').unwrap_or(value.len()));
        let digest = at..inner.end;
        let slot = Slot { write: digest.clone(), before: "@".to_owned(), after: String::new(), erase: Some(digest) };
        self.found.insert(node.span.start, Found { line: node.line, reference, slot });
        Ok(())
    }
}
