//! Labels of metrics: few values, chosen by us or by the administrator's flags.

use prometheus_client::encoding::EncodeLabelSet;

/// One request to a registry or token service.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RequestLabels<'a> {
    pub(crate) host: &'a str,
    pub(crate) operation: &'static str,
    /// HTTP status; 0 without an answer.
    pub(crate) code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OwnedRequestLabels {
    pub(super) host: String,
    pub(super) operation: &'static str,
    pub(super) code: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct HostLabels {
    pub(super) host: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct VolumeLabels {
    pub(super) volume: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct OperationLabels {
    pub(super) operation: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct CauseLabels {
    pub(super) cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct WriteLabels {
    pub(super) kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ScanLabels {
    pub(super) kind: &'static str,
    pub(super) result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ResultLabels {
    pub(super) result: &'static str,
}

/// Result of a cache lookup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lookup {
    /// The layer was cached, and its bytes match its digest.
    Hit,
    /// The layer was not cached, or has another size.
    Miss,
    /// The cached bytes do not match.
    Broken,
}

/// Extent of a scan of published files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scanned {
    /// Names, modes, sizes, targets and times.
    Names,
    /// Content of files whose times differ from the list.
    Doubtful,
    /// Content of all files.
    Everything,
}

/// Result of a scan of published files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    /// No published files.
    Nothing,
    /// No difference.
    Whole,
    /// Files must be read to decide.
    Doubtful,
    /// Files differ from the published ones.
    Damaged,
}

impl Lookup {
    pub(super) fn label(self) -> ResultLabels {
        let result = match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Broken => "broken",
        };
        ResultLabels { result }
    }
}

impl ScanLabels {
    pub(super) fn new(kind: Scanned, result: Found) -> Self {
        let kind = match kind {
            Scanned::Names => "names",
            Scanned::Doubtful => "doubtful",
            Scanned::Everything => "everything",
        };
        let result = match result {
            Found::Nothing => "nothing",
            Found::Whole => "whole",
            Found::Doubtful => "doubtful",
            Found::Damaged => "damaged",
        };
        Self { kind, result }
    }
}
