//! Nodes of a YAML text with their byte ranges.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StructureStyle};

use super::error::{PinError, Problem};

/// Maximum number of nested merges (`<<`) that are followed for one key.
const MAX_MERGES: usize = 8;

/// Plain scalars that are a null.
const NULLS: [&str; 5] = ["", "~", "null", "Null", "NULL"];

/// Number of a node.
pub(super) type Id = usize;

#[derive(Debug)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// Bytes of a scalar, with its quotes, or of an alias; of a collection only its first token.
    pub(super) span: Range<usize>,
    /// Line of the first byte, counted from 1.
    pub(super) line: usize,
    pub(super) is_tagged: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Scalar { value: String, style: ScalarStyle },
    Sequence(Vec<Id>),
    Mapping { pairs: Vec<(Id, Id)>, is_flow: bool },
    Alias(Id),
}

/// Documents of a text. Nodes are numbered, so that nothing here recurses over a foreign text.
#[derive(Debug, Default)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    pub(super) documents: Vec<Id>,
}

impl Tree {
    pub(super) fn parse(text: &str) -> Result<Self, PinError> {
        let (mut tree, mut open) = (Self::default(), Vec::<(Id, Vec<Id>)>::new());
        let mut anchors = HashMap::new();
        let mut options = Options::default();
        options.set_emit_comments(false);
        for next in Parser::new_from_str_with_options(text, options) {
            let (event, span) = next.map_err(|error| PinError::new(error.marker().line(), Problem::Syntax))?;
            if matches!(event, Event::SequenceEnd | Event::MappingEnd) {
                if let Some((id, children)) = open.pop() {
                    tree.close(id, &children);
                }
                continue;
            }
            let Some(kind) = kind(&event, &anchors) else { continue };
            let is_open = matches!(kind, Kind::Sequence(_) | Kind::Mapping { .. });
            let id = tree.add(kind, &event, span)?;
            if let Some(anchor) = event.anchor_id().filter(|anchor| *anchor != 0) {
                anchors.insert(anchor, id);
            }
            match open.last_mut() {
                Some((_, siblings)) => siblings.push(id),
                None => tree.documents.push(id),
            }
            if is_open {
                open.push((id, Vec::new()));
            }
        }
        Ok(tree)
    }

    fn add(&mut self, kind: Kind, event: &Event<'_>, span: Span) -> Result<Id, PinError> {
        let line = span.start.line();
        let range = span.byte_range().ok_or(PinError { line, problem: Problem::Syntax })?;
        self.nodes.push(Node { kind, span: range, line, is_tagged: event.tag().is_some() });
        Ok(self.nodes.len().saturating_sub(1))
    }

    fn close(&mut self, id: Id, children: &[Id]) {
        match self.nodes.get_mut(id).map(|node| &mut node.kind) {
            Some(Kind::Sequence(items)) => *items = children.to_vec(),
            Some(Kind::Mapping { pairs, .. }) => {
                *pairs = children.as_chunks().0.iter().map(|[key, value]| (*key, *value)).collect();
            }
            Some(Kind::Scalar { .. } | Kind::Alias(_)) | None => {}
        }
    }

    pub(super) fn node(&self, id: Id) -> Option<&Node> {
        self.nodes.get(id)
    }

    /// Returns the anchored node of an alias, and every other node itself.
    pub(super) fn target(&self, id: Id) -> Id {
        match self.node(id).map(|node| &node.kind) {
            Some(Kind::Alias(target)) => *target,
            Some(Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Mapping { .. }) | None => id,
        }
    }

    /// Returns the text of a scalar, also through an alias.
    pub(super) fn text(&self, id: Id) -> Option<&str> {
        match &self.node(self.target(id))?.kind {
            Kind::Scalar { value, .. } => Some(value),
            Kind::Sequence(_) | Kind::Mapping { .. } | Kind::Alias(_) => None,
        }
    }

    pub(super) fn items(&self, id: Id) -> &[Id] {
        match self.node(self.target(id)).map(|node| &node.kind) {
            Some(Kind::Sequence(items)) => items,
            Some(Kind::Scalar { .. } | Kind::Mapping { .. } | Kind::Alias(_)) | None => &[],
        }
    }

    pub(super) fn pairs(&self, id: Id) -> &[(Id, Id)] {
        match self.node(self.target(id)).map(|node| &node.kind) {
            Some(Kind::Mapping { pairs, .. }) => pairs,
            Some(Kind::Scalar { .. } | Kind::Sequence(_) | Kind::Alias(_)) | None => &[],
        }
    }

    pub(super) fn is_flow(&self, id: Id) -> bool {
        matches!(self.node(self.target(id)).map(|node| &node.kind), Some(Kind::Mapping { is_flow: true, .. }))
    }

    /// Returns the value of a key that the mapping itself has.
    pub(super) fn own(&self, id: Id, key: &str) -> Option<Id> {
        self.pairs(id).iter().find(|(name, _)| self.text(*name) == Some(key)).map(|(_, value)| *value)
    }

    /// Returns the value of a key of a mapping, or of a mapping that is merged into it.
    pub(super) fn get(&self, id: Id, key: &str) -> Option<Id> {
        self.get_below(id, key, 0)
    }

    /// Returns the value of a key as [`Self::get`]; `None` for a null too, which stands for an absent key.
    pub(super) fn set(&self, id: Id, key: &str) -> Option<Id> {
        self.get(id, key).filter(|value| !self.is_null(*value))
    }

    /// Returns true for a null, also through an alias.
    pub(super) fn is_null(&self, id: Id) -> bool {
        let kind = self.node(self.target(id)).map(|node| &node.kind);
        matches!(kind, Some(Kind::Scalar { value, style: ScalarStyle::Plain }) if NULLS.contains(&value.as_str()))
    }

    /// Fails if a mapping, or one that is merged into it, has a key twice.
    pub(super) fn check_keys(&self, id: Id) -> Result<(), PinError> {
        self.check(id, |_| true)
    }

    /// Fails if a mapping, or one that is merged into it, has this key twice.
    pub(super) fn check_key(&self, id: Id, key: &str) -> Result<(), PinError> {
        self.check(id, |found| found == key || found == "<<")
    }

    fn check(&self, id: Id, is_relevant: impl Fn(&str) -> bool) -> Result<(), PinError> {
        let mut next = vec![id];
        for _ in 0..=MAX_MERGES {
            let mut merged = Vec::new();
            for id in std::mem::take(&mut next) {
                let mut seen = HashSet::new();
                for (key, value) in self.pairs(id) {
                    let (Some(node), Some(text)) = (self.node(*key), self.text(*key)) else { continue };
                    if is_relevant(text) && !seen.insert(text) {
                        return Err(PinError::new(node.line, Problem::Duplicate(text.to_owned())));
                    }
                    if text == "<<" {
                        merged.push(self.target(*value));
                        merged.extend(self.items(*value).iter().map(|item| self.target(*item)));
                    }
                }
            }
            merged.sort_unstable();
            merged.dedup();
            next = merged;
        }
        Ok(())
    }

    fn get_below(&self, id: Id, key: &str, depth: usize) -> Option<Id> {
        if let Some(value) = self.own(id, key) {
            return Some(value);
        }
        let merged = self.own(id, "<<").filter(|_| depth < MAX_MERGES)?;
        let several = self.items(merged);
        let sources = if several.is_empty() { std::slice::from_ref(&merged) } else { several };
        sources.iter().find_map(|source| self.get_below(*source, key, depth.saturating_add(1)))
    }
}

/// Returns the kind of a node; `None` for an event that is no node.
fn kind(event: &Event<'_>, anchors: &HashMap<usize, Id>) -> Option<Kind> {
    if let Some((value, style)) = event.scalar() {
        return Some(Kind::Scalar { value: value.to_owned(), style });
    }
    if let Some(alias) = event.alias_id() {
        return anchors.get(&alias).map(|target| Kind::Alias(*target));
    }
    if let Event::MappingStart(style, ..) = event {
        return Some(Kind::Mapping { pairs: Vec::new(), is_flow: *style == StructureStyle::Flow });
    }
    matches!(event, Event::SequenceStart(..)).then(|| Kind::Sequence(Vec::new()))
}
