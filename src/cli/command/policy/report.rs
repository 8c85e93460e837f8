//! Result of `policy test`: a table for people, one JSON object for programs.

use std::collections::BTreeSet;

use serde::Serialize;

use super::file::{Case, Expected, Test};
use super::outcome::{Outcome, listed};
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::count;
use crate::cli::output::table::table;

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    cases: Vec<Row<'a>>,
    /// Number of cases with the expected verdict.
    passed: usize,
    /// Number of the other cases.
    failed: usize,
    /// Policies that no case matches, and cases that no policy matches.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// A case.
#[derive(Debug, Serialize)]
struct Row<'a> {
    file: String,
    name: &'a str,
    passed: bool,
    expected: Expected<'a>,
    got: Outcome,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    differences: Vec<String>,
}

impl<'a> Report<'a> {
    /// Compares the outcomes of each file's cases with the expected ones.
    pub(super) fn new(judged: Vec<(&'a Test, Vec<(&'a Case, Outcome)>)>) -> Self {
        let (mut cases, mut warnings) = (Vec::new(), Vec::new());
        for (test, outcomes) in judged {
            warnings.extend(uncovered(test, &outcomes));
            cases.extend(outcomes.into_iter().map(|(case, outcome)| Row::new(test, case, outcome)));
        }
        let passed = cases.iter().filter(|case| case.passed).count();
        Self { passed, failed: cases.len() - passed, cases, warnings }
    }

    /// Returns true if every case has the expected verdict.
    pub(super) fn is_passed(&self) -> bool {
        self.failed == 0
    }

    /// Returns true if every policy is matched by a case, and every case tests a policy or its own requirement.
    pub(super) fn is_covered(&self) -> bool {
        self.warnings.is_empty()
    }

    /// Returns a line for each difference and each warning, for standard error.
    pub(super) fn details(&self) -> Vec<String> {
        let warnings = self.warnings.iter().map(|warning| format!("warning: {warning}"));
        let failed = self.cases.iter().filter(|case| !case.passed).map(Row::detail);
        failed.chain(warnings).collect()
    }

    /// Returns the result for standard output.
    pub(super) fn shown(&self, format: Format) -> Result<String, Complaint> {
        format.show(|| self.text(), self)
    }

    fn text(&self) -> String {
        let files: BTreeSet<&str> = self.cases.iter().map(|case| case.file.as_str()).collect();
        let rows: Vec<_> = self.cases.iter().map(|case| case.cells(files.len() > 1)).collect();
        let Self { passed, failed, .. } = self;
        let table = table(["RESULT", "CASE", "EXPECTED", "GOT", "POLICY"], &rows);
        format!("{table}{}: {passed} passed, {failed} failed\n", count(self.cases.len(), "case"))
    }
}

impl<'a> Row<'a> {
    fn new(test: &Test, case: &'a Case, got: Outcome) -> Self {
        let (file, expected) = (test.shown.display().to_string(), case.expected());
        let differences = got.differences(expected);
        Self { file, name: &case.name, passed: differences.is_empty(), expected, got, differences }
    }

    fn cells(&self, has_files: bool) -> [String; 5] {
        let name = if has_files { format!("{}: {}", self.file, self.name) } else { self.name.to_owned() };
        let expected = cell(self.expected.verdict.as_str(), self.expected.reason.as_slice());
        let reasons: Vec<&str> = self.got.findings.iter().map(|finding| finding.reason).collect();
        let got = cell(self.got.verdict.as_str(), &reasons);
        let result = if self.passed { "pass" } else { "FAIL" };
        [result.to_owned(), name, expected, got, listed(&self.got.policies(None))]
    }

    fn detail(&self) -> String {
        let Self { file, name, differences, got, .. } = self;
        let messages = got.findings.iter().map(|finding| &finding.message);
        let all: Vec<&String> = differences.iter().chain(messages).collect();
        format!("{file}: case {name:?}: {}", all.into_iter().map(String::as_str).collect::<Vec<_>>().join("; "))
    }
}

fn cell(verdict: &str, reasons: &[&str]) -> String {
    if reasons.is_empty() { verdict.to_owned() } else { format!("{verdict} {}", reasons.join(", ")) }
}

/// Returns the parts of a file that test nothing: policies that no case matches, and cases whose verdict depends on
/// nothing but the default for images that no policy matches.
fn uncovered(test: &Test, outcomes: &[(&Case, Outcome)]) -> Vec<String> {
    let file = test.shown.display();
    let matched: BTreeSet<&str> = outcomes.iter().flat_map(|(_, got)| &got.matches).map(String::as_str).collect();
    let unmatched = test.input.policy_names().filter(|name| !matched.contains(name));
    let policies = unmatched.map(|name| format!("{file}: no case matches OCIArtifactPolicy {name}"));
    let is_idle = |(case, got): &&(&Case, Outcome)| {
        got.matches.is_empty() && got.findings.is_empty() && case.verify.is_none() && case.expected().matches.is_none()
    };
    let idle = outcomes.iter().filter(is_idle).map(|(case, _)| {
        format!("{file}: case {:?} tests nothing: no policy matches; if this is expected, set matches: []", case.name)
    });
    policies.chain(idle).collect()
}
