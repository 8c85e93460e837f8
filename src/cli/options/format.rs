//! Format of a result on standard output.

/// Format of a result on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Reference with its digest, in the form for `spec.image`.
    Text,
    /// One JSON object with stable names.
    Json,
}
