//! Documents to write, with their fields in the order of the documentation.

use serde::{Serialize, Serializer};

/// Value in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Node {
    Text(String),
    Flag(bool),
    List(Vec<Node>),
    Map(Map),
}

/// Fields in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Map(Vec<(String, Node)>);

impl Map {
    /// Adds a field, unless it is empty or false: then it has its default.
    pub(super) fn with(mut self, name: &str, node: impl Into<Node>) -> Self {
        let node = node.into();
        if !node.is_default() {
            self.0.push((name.to_owned(), node));
        }
        self
    }

    /// Returns the same fields behind another one.
    pub(super) fn after(self, name: &str, node: impl Into<Node>) -> Self {
        let first = Self::default().with(name, node);
        Self(first.0.into_iter().chain(self.0).collect())
    }
}

impl Node {
    fn is_default(&self) -> bool {
        match self {
            Self::Text(text) => text.is_empty(),
            Self::Flag(flag) => !flag,
            Self::List(items) => items.is_empty(),
            Self::Map(fields) => fields.0.is_empty(),
        }
    }
}

impl From<&str> for Node {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Node {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<Option<String>> for Node {
    fn from(text: Option<String>) -> Self {
        Self::Text(text.unwrap_or_default())
    }
}

impl From<bool> for Node {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Node {
    fn from(items: Vec<T>) -> Self {
        Self::List(items.into_iter().map(Into::into).collect())
    }
}

impl From<Map> for Node {
    fn from(fields: Map) -> Self {
        Self::Map(fields)
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => serializer.serialize_str(text),
            Self::Flag(flag) => serializer.serialize_bool(*flag),
            Self::List(items) => serializer.collect_seq(items),
            Self::Map(fields) => serializer.collect_map(fields.0.iter().map(|(name, node)| (name, node))),
        }
    }
}
