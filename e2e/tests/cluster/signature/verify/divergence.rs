//! Differences from the verdicts of cosign 3.1.3, and the reasons for them.

use anyhow::{Result, ensure};
use supercargo_e2e::chart;

use crate::support::case::{Case, tests};

tests!(every_divergence_is_documented_and_no_other,);

/// One section of docs/signatures-cosign.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Divergence {
    Attestation,
    Pages,
    Redirects,
    Hidden,
    Formats,
    Size,
    Patterns,
    Certificates,
    Windows,
}

impl Divergence {
    const ALL: [Self; 9] = [
        Self::Attestation,
        Self::Pages,
        Self::Redirects,
        Self::Hidden,
        Self::Formats,
        Self::Size,
        Self::Patterns,
        Self::Certificates,
        Self::Windows,
    ];

    fn heading(self) -> &'static str {
        match self {
            Self::Attestation => "An attestation is taken for a signature",
            Self::Pages => "Only the first page of referrers is read",
            Self::Redirects => "A redirect in a circle is followed without end",
            Self::Hidden => "A bad bundle hides a good legacy signature",
            Self::Formats => "Formats cannot be chosen",
            Self::Size => "Long bundles are read",
            Self::Patterns => "A pattern need not match the whole subject",
            Self::Windows => "A log may have ended before",
            Self::Certificates => "A certificate transparency log is required unless a flag opts out",
        }
    }
}

async fn every_divergence_is_documented_and_no_other(_: &mut Case) -> Result<()> {
    let page = fs_err::read_to_string(chart::workspace().join("docs/signatures-cosign.md"))?;
    let headings: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    ensure!(headings == Divergence::ALL.map(Divergence::heading), "docs/signatures-cosign.md has {headings:?}");
    Ok(())
}
