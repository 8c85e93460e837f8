//! Result of `supercargo sync`: a table or one JSON object, warnings, and the exit code.

use serde::Serialize;

use super::outcome::{Change, Done, Refused, SignedBy};
use super::prune::Pruned;
use crate::api::Reason;
use crate::cli::artifacts::Selected;
use crate::cli::options::format::Format;
use crate::cli::output::complaint::Complaint;
use crate::cli::output::exit::Exit;
use crate::cli::output::notes;
use crate::cli::output::table::table;
use crate::failure::printable;
use crate::oci::Digest;

/// Output of `--format json`. The names are stable; fields without a value are left out.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Artifacts by namespace and name, and after them what was pruned.
    artifacts: Vec<Row>,
    /// True if nothing was written.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    dry_run: bool,
    #[serde(skip)]
    warnings: Vec<String>,
}

/// An artifact.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    namespace: String,
    /// Name of the object; the directory for an entry of an `ArtifactSet`.
    name: String,
    /// Directory for the content, in place of outputs.
    #[serde(skip_serializing_if = "Option::is_none")]
    directory: Option<String>,
    /// Absent for a suspended object, and for what was pruned.
    #[serde(skip_serializing_if = "Option::is_none")]
    ready: Option<bool>,
    reason: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<String>,
    /// Digest of the manifest or index; of a failure, the digest that was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
    /// Digest of the manifest that was selected from the index; absent if the index was not read in this run.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform_digest: Option<Digest>,
    /// Digest that consumers read before, if it is another one.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<Digest>,
    /// Number of files in the largest output.
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<u64>,
    /// Absent for a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<Change>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    signers: Vec<SignedBy>,
    #[serde(skip)]
    failure: Option<Reason>,
}

impl Report {
    /// Creates the report of the processed artifacts and of what was pruned.
    pub(super) fn new(
        artifacts: Vec<(Selected<'_>, Result<Done, Refused>)>,
        pruned: Vec<Pruned>,
        dry_run: bool,
    ) -> Self {
        let mut report = Self { artifacts: Vec::new(), dry_run, warnings: Vec::new() };
        for (((namespace, name), object), result) in artifacts {
            let directory = object.directory.as_ref().map(|directory| directory.display().to_string());
            report.add(namespace, name, directory, result);
        }
        for (id, result) in pruned {
            let done = result.map(|places| Done { places, ..Done::without_digest(Change::Pruned) });
            report.add(&id.namespace, &id.name, None, done.map_err(Refused::from));
        }
        report
    }

    fn add(&mut self, namespace: &str, name: &str, directory: Option<String>, result: Result<Done, Refused>) {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let row = match result {
            Ok(done) => {
                self.warnings.extend(done.warnings.iter().map(|warning| format!("{namespace}/{name}: {warning}")));
                let is_done = !matches!(done.change, Change::Suspended | Change::Pruned);
                let reason = if done.change == Change::Suspended { Reason::Suspended } else { Reason::Succeeded };
                let text = done.change.text(self.dry_run);
                let places = done.places.join(", ");
                let message = if places.is_empty() { text.to_owned() } else { format!("{text}: {places}") };
                Row {
                    namespace,
                    name,
                    directory,
                    ready: is_done.then_some(true),
                    reason: reason.as_str(),
                    message,
                    remedy: None,
                    tag: done.tag,
                    digest: done.digest,
                    platform_digest: done.platform_digest,
                    previous: done.previous,
                    files: done.files,
                    change: Some(done.change),
                    signers: done.signers,
                    failure: None,
                }
            }
            Err(Refused { reason, message, remedy, digest }) => Row {
                namespace,
                name,
                directory,
                ready: Some(false),
                reason: reason.as_str(),
                message,
                remedy: Some(remedy),
                tag: None,
                digest,
                platform_digest: None,
                previous: None,
                files: None,
                change: None,
                signers: Vec::new(),
                failure: Some(reason),
            },
        };
        self.artifacts.push(row);
    }

    /// Returns the text for standard output.
    pub(super) fn text(&self, format: Format) -> Result<String, Complaint> {
        let header = ["NAMESPACE", "NAME", "READY", "REASON", "TAG", "DIGEST", "FILES", "MESSAGE"];
        format.show(|| table(header, &self.artifacts.iter().map(Row::cells).collect::<Vec<_>>()), self)
    }

    /// Writes the warnings, and one error for all failures, to standard error.
    pub(super) fn warn(&self) {
        for warning in &self.warnings {
            notes::warn(format_args!("warning: {}", printable(warning)));
        }
        if let Some(complaint) = self.complaint() {
            notes::warn(complaint);
        }
    }

    fn failed(&self) -> impl Iterator<Item = (&Row, Reason)> {
        self.artifacts.iter().filter_map(|row| Some((row, row.failure?)))
    }

    /// Returns the error for all failures, with the reason of the first one.
    fn complaint(&self) -> Option<Complaint> {
        let (row, reason) = self.failed().next()?;
        let (failed, all) = (self.failed().count(), self.artifacts.len());
        let (verb, first) = if failed == 1 { ("is", "") } else { ("are", "the first: ") };
        let problem = format!(
            "{failed} of {all} artifacts {verb} not ready; {first}{}/{}: {}",
            row.namespace, row.name, row.message
        );
        Some(Complaint::about_object(reason, &problem, row.remedy.clone().unwrap_or_default()))
    }

    /// Returns the outcome: that of the failures if they are of one class, another one if they are of several.
    pub(super) fn exit(&self) -> Exit {
        Exit::of_all(self.failed().map(|(_, reason)| reason))
    }
}

impl Row {
    fn cells(&self) -> [String; 8] {
        let ready = match self.ready {
            Some(true) => "True",
            Some(false) => "False",
            None => "-",
        };
        let message = match &self.remedy {
            Some(remedy) => format!("{}. {remedy}", self.message.trim_end_matches('.')),
            None => self.message.clone(),
        };
        [
            self.namespace.clone(),
            self.name.clone(),
            ready.to_owned(),
            self.reason.to_owned(),
            self.tag.clone().unwrap_or_default(),
            self.digest.as_ref().map(Digest::short).unwrap_or_default(),
            self.files.map(|files| files.to_string()).unwrap_or_default(),
            message,
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::complaint::remedy_in_files;
    use crate::failure::{Class, Failure};

    fn report(reasons: &[Option<Reason>]) -> Report {
        let mut report = Report { artifacts: Vec::new(), dry_run: false, warnings: Vec::new() };
        for (number, reason) in reasons.iter().enumerate() {
            let result = match reason {
                Some(reason) => Err(Failure::new(Class::Stalled, *reason, "the message").into()),
                None => Ok(Done::suspended()),
            };
            report.add("team", &format!("a{number}"), None, result);
        }
        report
    }

    #[test]
    fn the_exit_code_is_that_of_all_failures_or_one() {
        use Reason::{NoMatchingTag, ReferenceNotFound, SecretNotFound, SignatureMissing};
        let rows: [(&[Option<Reason>], u8); 5] = [
            (&[None, None], 0),
            (&[None, Some(ReferenceNotFound)], 5),
            (&[Some(ReferenceNotFound), None, Some(NoMatchingTag)], 5),
            (&[Some(ReferenceNotFound), Some(SignatureMissing)], 1),
            (&[Some(SecretNotFound)], 4),
        ];
        for (reasons, code) in rows {
            assert_eq!(report(reasons).exit().code(), code, "{reasons:?}");
        }
    }

    #[test]
    fn one_error_names_the_first_failure_and_its_remedy() {
        assert!(report(&[None]).complaint().is_none());
        let missing = report(&[Some(Reason::SecretNotFound)]).complaint().unwrap();
        assert_eq!(missing.reason(), Reason::SecretNotFound, "the reason of the row");
        let text =
            report(&[None, Some(Reason::ReferenceNotFound), Some(Reason::Timeout)]).complaint().unwrap().to_string();
        assert!(text.starts_with("error: ReferenceNotFound: 2 of 3 ") && text.contains("team/a1"), "{text}");
        assert!(text.ends_with(remedy_in_files(Reason::ReferenceNotFound)), "{text}");
    }

    #[test]
    fn the_names_in_json_are_stable_and_the_table_has_every_row() {
        let report = report(&[None, Some(Reason::ReferenceNotFound)]);
        let json: serde_json::Value = serde_json::from_str(&report.text(Format::Json).unwrap()).unwrap();
        let remedy = remedy_in_files(Reason::ReferenceNotFound);
        let want = serde_json::json!({"artifacts": [
            {"namespace": "team", "name": "a0", "reason": "Suspended", "message": "suspended", "change": "suspended"},
            {"namespace": "team", "name": "a1", "ready": false, "reason": "ReferenceNotFound",
                "message": "the message", "remedy": remedy},
        ]});
        assert_eq!(json, want);
        let text = report.text(Format::Text).unwrap();
        assert_eq!((text.lines().count(), text.contains(remedy)), (3, true), "{text}");
    }
}
