//! Conditions and Events as users read them, in `tests/snapshots/conditions.snap`. See `tests/wording.rs`.

use std::fmt::Write;

use super::*;
use crate::api::vocabulary::SignatureFormat;
use crate::controller::event::News;
use crate::registry::RegistryError;
use crate::request::Referred;
use crate::trust::TrustError;

#[tokio::test]
async fn wording_of_conditions_and_events() {
    let new = OCIArtifactStatus::default();
    let one = at(&new, 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    let digest: Digest = one.artifact.as_ref().unwrap().digest.parse().unwrap();
    let mut table = String::new();
    show(&mut table, "first success", &new, &one);
    show(&mut table, "moved tag", &one, &at(&one, 1, LATE).succeeded(&request(), &outcome("two", true).await));
    show(&mut table, "signed", &one, &at(&one, 1, LATE).succeeded(&request(), &signed(&digest).await));
    show(&mut table, "long pass", &one, &at(&one, 1, LATE).progressing("fetching and publishing r.example/app:1"));
    show(&mut table, "suspended", &one, &at(&one, 1, LATE).suspended(None));
    show(&mut table, "suspended before the first success", &new, &at(&new, 1, LATE).suspended(None));

    let failures = failures(&digest);
    for (label, failure) in &failures {
        let requires = Report { requires_signature: true, ..at(&one, 2, LATE) };
        show(&mut table, label, &one, &requires.failed(None, failure, None));
    }
    let (_, down) = &failures[0];
    let waiting = at(&one, 2, LATE).failed(None, down, None);
    show(&mut table, "recovered", &waiting, &at(&waiting, 2, LATE).succeeded(&request(), &outcome("one", false).await));
    let (_, refusal) = &failures[2];
    let withdrawn = at(&one, 1, LATE).withdrawn(Some(&request()), refusal, refusal);
    show(&mut table, "withdrawn", &one, &withdrawn);

    table += "Events without a condition\n";
    let layers = ["application/vnd.dev.cosign.artifact.sig.v1+json".to_owned()];
    for news in [
        event::damaged("another writer changed output \"files\" in Volume default: \"a.yaml\" has different content"),
        event::repaired(&digest.to_string()),
        event::layers_skipped(&layers),
        event::single_directory("app"),
        event::volume_not_mountable("files", "default"),
        event::unreadable("spec.interval: invalid type: integer `5`, expected a string"),
    ] {
        show_event(&mut table, &news);
    }
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/snapshots"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!("conditions", table));
}

/// Returns failures with the errors that lead to them, as modules below report them.
fn failures(digest: &Digest) -> Vec<(&'static str, Failure)> {
    let (host, repository) = ("r.example".to_owned(), "r.example/app".to_owned());
    let (entry, name) = ("release".to_owned(), digest.short());
    let requires = RegistryError::Unauthorized { host: host.clone(), repository, has_credentials: false };
    let problem = "signed by a@example.com (issuer https://i.example)".to_owned();
    vec![
        (
            "registry down",
            RegistryError::Unavailable { host, problem: "it returned 502 Bad Gateway".to_owned() }.into(),
        ),
        ("no credentials", requires.into()),
        ("other signer", Failure::from(TrustError::Signer { entry, digest: name, problem }).of(digest)),
        (
            "missing key",
            Referred { namespace: "team-a".to_owned(), ..Referred::default() }.missing("Secret", "cosign").into(),
        ),
    ]
}

/// Returns the outcome of a pass that verified a signature, and a policy that only warns.
async fn signed(digest: &Digest) -> Outcome {
    let signer = Signer::Identity { issuer: "https://i.example".to_owned(), subject: "a@example.com".to_owned() };
    let verified = Verified {
        entry: "release".to_owned(),
        format: SignatureFormat::Bundle,
        signer,
        log_index: None,
        time: None,
        digest: digest.clone(),
    };
    let judgement = Judgement { verified: vec![verified], ..Judgement::default() };
    Outcome { basis: Some(Basis::Judged(judgement)), ..outcome("one", false).await }
}

/// Writes the conditions of a status, and the Event of the change to it.
fn show(table: &mut String, label: &str, before: &OCIArtifactStatus, after: &OCIArtifactStatus) {
    let _ = writeln!(table, "{label}");
    for condition in &after.conditions {
        let (kind, status, reason) = (&condition.type_, &condition.status, &condition.reason);
        let _ = writeln!(table, "  {kind}={status} {reason}: {}", condition.message);
    }
    if let Some(news) = event::of_change(before, after) {
        show_event(table, &news);
    }
}

fn show_event(table: &mut String, News { kind, reason, note }: &News) {
    let _ = writeln!(table, "  Event {kind} {reason}: {note}");
}
