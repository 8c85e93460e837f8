//! State of an output, and the differences from what was published.

use std::fmt;

use super::location::Location;
use super::published::Published;
use crate::metrics::Found;
use crate::unpack::shortened;

/// Maximum number of differences reported for one output.
pub(super) const MAX_DIFFERENCES: usize = 5;

/// State of one output, as far as it is visible without reading files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probed {
    /// Content of the output.
    pub held: Held,
    /// Version of the API object, `<uid>/<resourceVersion>`: a change means that another writer was active. `None` if
    /// there is no object, and for files.
    pub version: Option<String>,
}

impl From<Held> for Probed {
    fn from(held: Held) -> Self {
        Self { held, version: None }
    }
}

/// Content of an output.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// No content, or not a whole revision.
    Nothing,
    /// A whole revision.
    Whole(Published),
    /// A revision with files whose times or inodes changed: only reading them shows whether it is whole.
    Doubtful(Published),
    /// A revision by its name that cannot be verified here: it is published again.
    Unknown(Published),
    /// A revision that was changed after it was published.
    Damaged(Damage, Published),
}

impl Held {
    pub(super) fn found(&self) -> Found {
        match self {
            Self::Nothing | Self::Unknown(_) => Found::Nothing,
            Self::Whole(_) => Found::Whole,
            Self::Doubtful(_) => Found::Doubtful,
            Self::Damaged(..) => Found::Damaged,
        }
    }
}

/// Extent of a scan that reads files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Files whose times or inodes changed.
    Doubtful,
    /// All files.
    Everything,
}

/// Content of one output that differs from what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the output.
    pub output: String,
    /// Place of the output.
    pub location: Location,
    /// The first differences.
    pub differences: Vec<Difference>,
    /// True if only keys were added: removing them restores the content.
    pub is_additive: bool,
}

/// One path or key that differs from what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    path: String,
    what: What,
}

/// Way in which a path or key differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Added,
    Removed,
    Kind,
    Mode,
    Size,
    Target,
    Content,
    /// The list itself, which has no path.
    List,
    /// Set by another field manager of the API server.
    SetBy(String),
}

impl Difference {
    pub(super) fn new(path: &[u8], what: What) -> Self {
        let path = shortened(&String::from_utf8_lossy(path));
        Self { path: if path.is_empty() { ".".to_owned() } else { path }, what }
    }

    pub(super) fn list() -> Self {
        Self { path: String::new(), what: What::List }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match &self.what {
            What::Added => "was added",
            What::Removed => "was removed",
            What::Kind => "was replaced by another kind of entry",
            What::Mode => "has a different mode",
            What::Size => "has a different size",
            What::Target => "has a different link target",
            What::Content => "has different content",
            What::List => return f.write_str("the list of published files was changed"),
            What::SetBy(manager) => return write!(f, "{:?} was set by {manager}", self.path),
        };
        write!(f, "{:?} {what}", self.path)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location { kind, name } = &self.location;
        write!(f, "another writer changed output {:?} in {kind} {name}: ", self.output)?;
        for (number, difference) in self.differences.iter().enumerate() {
            write!(f, "{}{difference}", if number == 0 { "" } else { ", " })?;
        }
        if self.differences.len() >= MAX_DIFFERENCES {
            f.write_str(", and perhaps more")?;
        }
        Ok(())
    }
}
