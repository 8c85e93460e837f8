//! Files of `policy test`: policies, cases, and the verdicts that are expected.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::api::Reason;
use crate::cli::files;
use crate::cli::files::input::Subdirectories;
use crate::cli::files::objects::{self, API_VERSION, Input};
use crate::cli::files::record::Written;
use crate::cli::options::policy::OPERATOR_NAMESPACE;
use crate::cli::output::complaint::Complaint;
use crate::request::Otherwise;
use crate::yaml;

/// Kind of the files.
const KIND: &str = "PolicyTest";
/// Maximum number of cases in a file.
const MAX_CASES: usize = 1000;
/// Maximum number of paths in a list.
const MAX_PATHS: usize = 100;
/// Maximum length of a case's name, in bytes.
const MAX_NAME: usize = 200;

/// A file, and the policies that it names.
#[derive(Debug)]
pub(super) struct Test {
    /// Path as the user wrote it.
    pub(super) shown: PathBuf,
    /// Policies, and the objects that they name.
    pub(super) input: Input,
    pub(super) operator: Operator,
    pub(super) cases: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    api_version: String,
    kind: String,
    policies: Vec<PathBuf>,
    #[serde(default)]
    operator: Operator,
    #[serde(default)]
    signatures: Vec<PathBuf>,
    cases: Vec<Case>,
}

/// The operator in the cluster.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Operator {
    /// Namespace of the Secrets and ConfigMaps that policies name.
    pub(super) namespace: String,
    /// Value of `--no-policy`.
    pub(super) no_policy: NoPolicy,
}

impl Default for Operator {
    fn default() -> Self {
        Self { namespace: OPERATOR_NAMESPACE.to_owned(), no_policy: NoPolicy::Allow }
    }
}

/// Rule for images that no policy matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "camelCase")]
pub(super) enum NoPolicy {
    /// The images are allowed.
    Allow,
    /// The images are refused.
    Deny,
}

impl From<NoPolicy> for Otherwise {
    fn from(rule: NoPolicy) -> Self {
        match rule {
            NoPolicy::Allow => Self::Allow,
            NoPolicy::Deny => Self::Deny,
        }
    }
}

/// An image, and the expected verdict.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    pub(super) image: String,
    /// Namespace of the object.
    pub(super) namespace: Option<String>,
    /// Labels of the namespace, in place of those in the policies' files.
    pub(super) labels: Option<BTreeMap<String, String>>,
    /// `spec.verify` of the object.
    pub(super) verify: Option<Value>,
    /// Bundles, or one directory with an OCI image layout; those of the file if absent.
    signatures: Option<Vec<PathBuf>>,
    /// Time of the verification, for the trusted root.
    #[serde(default, deserialize_with = "time")]
    pub(super) at: Option<Timestamp>,
    expect: Verdict,
    reason: Option<String>,
    policy: Option<String>,
    signer: Option<String>,
    matches: Option<BTreeSet<String>>,
}

/// Parses a time; the error has its form in place of the parser's own words.
fn time<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Timestamp>, D::Error> {
    let text = String::deserialize(field)?;
    let invalid = |_| format!("at: {text:?} is not a time; expected RFC 3339, such as 2026-01-31T12:00:00Z");
    text.parse().map(Some).map_err(invalid).map_err(D::Error::custom)
}

/// The part of a case that is compared. Absent values are not.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Expected<'a> {
    pub(super) verdict: Verdict,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<&'a str>,
    /// Policy that denies or warns; for an allowed image, a policy that matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) policy: Option<&'a str>,
    /// Subject of the signer, or fingerprint of its key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) signer: Option<&'a str>,
    /// Names of all policies that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) matches: Option<&'a BTreeSet<String>>,
}

/// Verdict about an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(super) enum Verdict {
    /// The operator publishes the image.
    Allowed,
    /// The operator publishes the image, and reports the violation of a policy that only warns.
    Warned,
    /// The operator refuses the image.
    Denied,
}

impl Verdict {
    /// Returns the text in files and results.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "Allowed",
            Self::Warned => "Warned",
            Self::Denied => "Denied",
        }
    }
}

impl Case {
    /// Returns the paths of the signatures.
    pub(super) fn signatures(&self) -> &[PathBuf] {
        self.signatures.as_deref().unwrap_or_default()
    }

    /// Returns the part that is compared.
    pub(super) fn expected(&self) -> Expected<'_> {
        Expected {
            verdict: self.expect,
            reason: self.reason.as_deref(),
            policy: self.policy.as_deref(),
            signer: self.signer.as_deref(),
            matches: self.matches.as_ref(),
        }
    }
}

/// Reads a file, and the policies that it names.
pub(super) fn read(path: &Path) -> Result<Test, Complaint> {
    let shown = path.display();
    let invalid = |problem: String| {
        let complaint = Complaint::new(Reason::FileInvalid, format!("{shown}: {problem}"));
        complaint.with_remedy("Correct the file; docs/guides/policy-tests.md lists its fields.".to_owned())
    };
    let text = String::from_utf8(files::read("FILE", path)?).map_err(|_| invalid("not UTF-8 text".to_owned()))?;
    let document: Document = serde_saphyr::from_str(&text).map_err(|error| invalid(yaml::problem(&error)))?;
    check(&document).map_err(invalid)?;
    let Document { policies, operator, signatures, cases, .. } = document;
    let base = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let policies: Vec<PathBuf> = policies.iter().map(|path| base.join(path)).collect();
    let input = Input::read(&policies, Subdirectories::Read, &Written::default(), &operator.namespace)
        .map_err(|error| objects::explain(&error, &format!("{shown}: policies"), &policies))?;
    if !input.has_policies() {
        return Err(invalid("policies: no OCIArtifactPolicy in these files".to_owned()));
    }
    let placed = |case: Case| {
        let own = case.signatures.as_ref().unwrap_or(&signatures).iter();
        Case { signatures: Some(own.map(|path| base.join(path)).collect()), ..case }
    };
    let cases = cases.into_iter().map(placed).collect();
    Ok(Test { shown: path.to_owned(), input, operator, cases })
}

fn check(document: &Document) -> Result<(), String> {
    let Document { api_version, kind, policies, signatures, cases, .. } = document;
    if (api_version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
        return Err(format!("{kind} of {api_version}: expected {KIND} of {API_VERSION}"));
    }
    if cases.is_empty() || cases.len() > MAX_CASES {
        return Err(format!("cases: {} cases; expected 1 to {MAX_CASES}", cases.len()));
    }
    check_number("policies", policies)?;
    check_number("signatures", signatures)?;
    let mut names = BTreeSet::new();
    for case in cases {
        let name = &case.name;
        if name.trim().is_empty() || name.len() > MAX_NAME {
            return Err(format!("case {name:?}: expected a name of 1 to {MAX_NAME} bytes"));
        }
        if !names.insert(name) {
            return Err(format!("case {name:?} is defined twice"));
        }
        check_case(case).map_err(|problem| format!("case {name:?}: {problem}"))?;
    }
    Ok(())
}

fn check_number(field: &str, paths: &[PathBuf]) -> Result<(), String> {
    if paths.len() > MAX_PATHS {
        return Err(format!("{field}: {} paths; expected at most {MAX_PATHS}", paths.len()));
    }
    Ok(())
}

fn check_case(case: &Case) -> Result<(), String> {
    let Case { namespace, labels, .. } = case;
    let expected = case.expected();
    check_number("signatures", case.signatures())?;
    if labels.is_some() && namespace.is_none() {
        return Err("labels: they are those of a namespace; expected a namespace beside them".to_owned());
    }
    let is_possible = |text: &str| Reason::parse(text).is_some_and(Reason::is_of_trust);
    match (expected.verdict, expected.reason, expected.signer) {
        (Verdict::Allowed, Some(reason), _) => Err(format!("reason: {reason} beside expect: Allowed; expected none")),
        (Verdict::Denied, _, Some(signer)) => Err(format!("signer: {signer} beside expect: Denied; expected none")),
        (Verdict::Warned | Verdict::Denied, Some(reason), _) if !is_possible(reason) => {
            let known: Vec<_> =
                Reason::ALL.iter().copied().filter(|one| one.is_of_trust()).map(Reason::as_str).collect();
            Err(format!("reason: {reason}; expected one of {}", known.join(", ")))
        }
        (Verdict::Allowed | Verdict::Warned | Verdict::Denied, _, _) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::fields::assert_described;

    #[test]
    fn the_reference_describes_every_field() {
        assert_described::<Document>(KIND, "");
        assert_described::<Operator>(KIND, "operator.");
        assert_described::<Case>(KIND, "cases[].");
    }
}
