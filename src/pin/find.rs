//! References of a text: of OCIArtifact objects and `ArtifactSet`s, of Kustomizations, and below the paths of a caller.

use std::collections::{BTreeMap, HashSet};

use granit_parser::ScalarStyle;

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
        for object in objects(&tree, *document) {
            finder.object(object, scope.is_kustomization)?;
        }
        for path in scope.paths {
            for value in below(&tree, *document, &path.steps) {
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

/// Returns true if a document has a value at this path.
pub fn has(text: &str, path: &ValuePath) -> bool {
    let any = |tree: Tree| tree.documents.iter().any(|document| !below(&tree, *document, &path.steps).is_empty());
    Tree::parse(text).is_ok_and(any)
}

/// Returns the objects of a document: itself, or the items of a list.
fn objects(tree: &Tree, document: Id) -> Vec<Id> {
    let mut found = vec![document];
    for _ in 0..MAX_LISTS {
        let (lists, mut others): (Vec<Id>, Vec<Id>) = found.into_iter().partition(|id| is_list(tree, *id));
        let items = lists.iter().filter_map(|id| tree.get(*id, "items")).flat_map(|items| tree.items(items));
        others.extend(items.map(|item| tree.target(*item)));
        found = distinct(others);
    }
    found
}

fn is_list(tree: &Tree, id: Id) -> bool {
    let kind = tree.get(id, "kind").and_then(|kind| tree.text(kind));
    kind.is_some_and(|kind| kind.ends_with("List")) && tree.get(id, "items").is_some()
}

/// Returns the values at the end of a path.
fn below(tree: &Tree, document: Id, steps: &[Step]) -> Vec<Id> {
    let mut found = vec![document];
    for step in steps {
        let next: Vec<Id> = match step {
            Step::Key(key) => found.iter().filter_map(|id| tree.get(*id, key)).collect(),
            Step::Items => found.iter().flat_map(|id| tree.items(*id)).copied().collect(),
        };
        // Aliases lead to one node again and again: without this the work could double with each step.
        found = distinct(next);
    }
    found
}

fn distinct(mut ids: Vec<Id>) -> Vec<Id> {
    let mut seen = HashSet::new();
    ids.retain(|id| seen.insert(*id));
    ids
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
        let named = |key: &str| tree.get(id, key).and_then(|value| tree.text(value));
        let group = named("apiVersion").and_then(|version| version.split('/').next());
        match (group, named("kind")) {
            (None | Some(GROUP), Some("OCIArtifact")) => {
                tree.get(id, "spec").map_or(Ok(()), |spec| self.artifact(spec))
            }
            (None | Some(GROUP), Some("ArtifactSet")) => {
                let entries = tree.get(id, "artifacts").map_or(&[][..], |entries| tree.items(entries));
                entries.iter().try_for_each(|entry| self.artifact(tree.target(*entry)))
            }
            (Some(kustomize::GROUP), _) => self.kustomization(id),
            (None, None | Some("Kustomization")) if is_kustomization => self.kustomization(id),
            _ => Ok(()),
        }
    }

    fn kustomization(&mut self, id: Id) -> Result<(), PinError> {
        self.found.extend(kustomize::find(self.text, self.tree, id)?);
        Ok(())
    }

    /// Adds the image of a spec, or of an entry.
    fn artifact(&mut self, spec: Id) -> Result<(), PinError> {
        // A range of versions chooses the tag, and excludes a digest.
        match self.tree.get(spec, "image") {
            Some(image) if self.tree.get(spec, "semver").is_none() => self.value(image),
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
            Kind::Scalar { value, style: ScalarStyle::Plain } if ["", "~", "null"].contains(&value.as_str()) => {
                return Ok(());
            }
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
