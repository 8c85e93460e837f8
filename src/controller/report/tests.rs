//! Transitions of an object's status, and their Events.

use serde_json::json;

use super::artifact::ANNOTATIONS;
use super::text::MAX_FAILURE;
use super::verification::MAX_VERIFICATION;
use super::*;
use crate::controller::event;
use crate::oci::{Digest, Reference};
use crate::output::location::Location;
use crate::plan::Revision;
use crate::registry::Access;
use crate::request::{ObjectId, OutputKind, Referred};
use crate::testing::FakeRegistry;
use crate::trust::{Judgement, Signer, Verified};

mod wording;

const EARLY: i64 = 1_000;
const LATE: i64 = 2_000;

const NO_REQUESTS: HandledRequests = HandledRequests { requested_at: None, flux_requested_at: None, force_at: None };

fn at(status: &OCIArtifactStatus, generation: i64, second: i64) -> Report<'_> {
    Report {
        status,
        generation,
        requires_signature: false,
        requests: &NO_REQUESTS,
        now: Timestamp::from_second(second).unwrap(),
    }
}

fn request() -> Request {
    let object = ObjectId { namespace: "n".to_owned(), name: "o".to_owned(), uid: "u".to_owned() };
    let spec = serde_json::from_value(json!({"image": "r.example/app:1"})).unwrap();
    Request::parse(object, &spec, &Referred::default()).unwrap()
}

async fn outcome(text: &str, fresh: bool) -> Outcome {
    let registry = FakeRegistry::default();
    let digest = registry.push_files("1", &[("a", text)]);
    let reference: Reference = "r.example/app:1".parse().unwrap();
    let pinned = crate::registry::resolve(
        &registry,
        &Access::default(),
        &reference,
        None,
        &crate::permits::Permits::default().seat("team"),
    )
    .await
    .unwrap();
    let mut manifest = crate::registry::manifest(
        &registry,
        &Access::default(),
        &pinned,
        None,
        crate::oci::manifest::MAX_MANIFEST_BYTES,
    )
    .await
    .unwrap();
    for n in 0..1000 {
        manifest.annotations.insert(format!("{ANNOTATIONS}{n}"), "\u{1b}\u{1f600}".repeat(10_000));
    }
    let published = Published {
        output: "files".to_owned(),
        location: Location::new(OutputKind::Volume, "default".to_owned()),
        revision: Revision { digest, fingerprint: request().fingerprint },
        files: 1,
        bytes: 3,
        skipped: 0,
        list_digest: None,
    };
    let manifest = fresh.then_some(manifest);
    Outcome {
        pinned,
        published: vec![published],
        manifest,
        basis: None,
        skipped: Vec::new(),
        repaired: Vec::new(),
        top: None,
    }
}

fn conditions(status: &OCIArtifactStatus) -> Vec<(&str, &str, &str)> {
    status.conditions.iter().map(|c| (c.type_.as_str(), c.status.as_str(), c.reason.as_str())).collect()
}

fn event_of(before: &OCIArtifactStatus, after: &OCIArtifactStatus) -> Option<(String, String)> {
    event::of_change(before, after).map(|news| (news.reason, news.note))
}

#[tokio::test]
async fn a_steady_state_writes_nothing_and_a_success_is_one_event() {
    let new = OCIArtifactStatus { observed_generation: -1, ..OCIArtifactStatus::default() };
    let first = at(&new, 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    assert_eq!(conditions(&first), [("Ready", "True", "Succeeded")]);
    assert_eq!(first.observed_generation, 1);
    assert_eq!(first.conditions[0].observed_generation, Some(1));
    let (reason, note) = event_of(&new, &first).unwrap();
    assert!(reason == "Published" && note.contains(&first.artifact.as_ref().unwrap().short_digest), "{reason}: {note}");

    let again = at(&first, 1, LATE).succeeded(&request(), &outcome("one", false).await);
    assert_eq!(again, first, "only time has passed");

    let moved = at(&first, 1, LATE).succeeded(&request(), &outcome("two", true).await);
    let (reason, note) = event_of(&first, &moved).unwrap();
    let short = |status: &OCIArtifactStatus| status.artifact.as_ref().unwrap().short_digest.clone();
    assert_eq!(reason, "Published");
    assert!(note.contains(&short(&first)) && note.contains(&format!("{} (tag 1)", short(&moved))), "{note}");
    assert_eq!(moved.conditions[0].last_transition_time, first.conditions[0].last_transition_time, "Ready stayed True");
}

#[tokio::test]
async fn a_failure_keeps_the_served_revision_and_reports_the_refused_one() {
    let served = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    let digest = Digest::of(b"new");
    let stalled = Failure::new(Class::Stalled, Reason::UnsafeArchive, "entry \"../x\"").of(&digest);
    let failed = at(&served, 2, LATE).failed(None, &stalled, None);
    assert_eq!(conditions(&failed), [("Ready", "False", "UnsafeArchive"), ("Stalled", "True", "UnsafeArchive")]);
    assert_eq!((&failed.artifact, &failed.outputs), (&served.artifact, &served.outputs));
    assert_eq!(failed.candidate.as_ref().unwrap().digest, digest.to_string());
    assert_eq!(failed.observed_generation, 2);
    assert!(event_of(&served, &failed).unwrap().1.contains("not published: entry"));
    for text in [&failed.conditions[0].message, &event_of(&served, &failed).unwrap().1] {
        assert!(text.contains("entry \"../x\". ") && text.ends_with(Reason::UnsafeArchive.remedy()), "{text}");
    }
    assert_eq!(at(&failed, 2, LATE + 9).failed(None, &stalled, None), failed, "the same failure is not written again");
    assert_eq!(event_of(&failed, &failed), None);

    let retry = Failure::new(Class::Retry, Reason::RegistryUnavailable, "down");
    let waiting = at(&failed, 2, LATE).failed(None, &retry, None);
    assert_eq!(
        conditions(&waiting),
        [("Ready", "False", "RegistryUnavailable"), ("Reconciling", "True", "RegistryUnavailable"),]
    );
    assert!(waiting.candidate.is_none());

    let back = at(&waiting, 2, LATE).succeeded(&request(), &outcome("one", false).await);
    assert_eq!(conditions(&back), [("Ready", "True", "Succeeded")]);
    assert_eq!(event_of(&waiting, &back).unwrap().0, "Recovered");
}

/// Creates a request that requires a signature.
fn signed_request(key: &str) -> Request {
    let verify = json!([{"name": "release", "cosign": {"keys": [{"inline": key}], "transparencyLog": "Ignored"}}]);
    let spec = serde_json::from_value(json!({"image": "r.example/app:1", "verify": verify})).unwrap();
    Request::parse(request().object, &spec, &Referred::default()).unwrap()
}

#[tokio::test]
async fn a_refused_or_unjudged_artifact_is_verified_again_under_the_earlier_requirement() {
    let key = || rcgen::KeyPair::generate().unwrap().public_key_pem();
    let (right, other) = (signed_request(&key()), signed_request(&key()));
    let judged = Outcome { basis: Some(Basis::Judged(Judgement::default())), ..outcome("one", true).await };
    let served = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&right, &judged);
    let trust = |status: &OCIArtifactStatus| status.fingerprints.as_ref().unwrap().trust.clone();
    assert_eq!(trust(&served), right.requirement.fingerprint());
    let digest: Digest = served.artifact.as_ref().unwrap().digest.parse().unwrap();
    let failure = |class, reason| Failure::new(class, reason, "x");
    let mismatch = failure(Class::Stalled, Reason::IdentityMismatch);
    let down = failure(Class::Retry, Reason::RegistryUnavailable);
    let secret = failure(Class::Wait, Reason::SecretNotFound);
    // Request, failure, status of `Verified`, and true if the artifact must be judged again.
    let rows = [
        ("refused", Some(&other), mismatch.clone().of(&digest), "False", true),
        ("not judged", Some(&other), down.clone(), "Unknown", true),
        ("unknown requirement", None, secret, "Unknown", true),
        ("another digest is refused", Some(&right), mismatch.of(&Digest::of(b"new")), "True", false),
        ("unchanged requirement", Some(&right), down, "True", false),
    ];
    for (label, request, failure, verified, again) in rows {
        let before = Report { requires_signature: true, ..at(&served, 1, LATE) };
        let failed = before.failed(request, &failure, None);
        assert_eq!(conditions(&failed).last().unwrap().1, verified, "{label}");
        assert_eq!(trust(&failed).is_none(), again, "{label}");
        assert!(failed.artifact.is_some(), "{label}");
    }
    let free = at(&served, 1, LATE).failed(Some(&request()), &failure(Class::Stalled, Reason::PolicyDenied), None);
    assert_eq!((conditions(&free).len(), trust(&free)), (2, None), "no signature is required, so Verified is absent");
    let kept = at(&free, 1, LATE).succeeded(&request(), &outcome("one", false).await);
    assert_eq!(conditions(&kept), [("Ready", "True", "Succeeded")]);
}

/// M9: `Verified=True` stayed after a change of the requirement. M8: so did a verdict with a fingerprint of 12 digits.
#[tokio::test]
async fn a_suspended_object_is_verified_only_by_what_is_required_now() {
    let key = || rcgen::KeyPair::generate().unwrap().public_key_pem();
    let (right, other) = (signed_request(&key()), signed_request(&key()));
    let judged = Outcome { basis: Some(Basis::Judged(Judgement::default())), ..outcome("one", true).await };
    let served = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&right, &judged);
    let mut short = served.clone();
    if let Some(trust) = short.fingerprints.as_mut().and_then(|made| made.trust.as_mut()) {
        trust.truncate(12);
    }
    let (found, free) = (Basis::Judged(Judgement::default()), request());
    let trust = |status: &OCIArtifactStatus| status.fingerprints.as_ref().unwrap().trust.clone();
    let fingerprint = |request: &Request| request.requirement.fingerprint();
    // Status before, requirement, verdict, status of `Verified`, and fingerprint of the requirement behind it.
    let rows = [
        ("the same", &served, &right, None, Some("True"), fingerprint(&right)),
        ("another", &served, &other, None, Some("Unknown"), None),
        ("another, which is satisfied", &served, &other, Some(&found), Some("True"), fingerprint(&other)),
        ("nothing", &served, &free, None, None, None),
        ("the same, by the fingerprint of an earlier version", &short, &right, None, Some("Unknown"), None),
    ];
    for (label, status, request, basis, verified, by) in rows {
        let suspended = at(status, 2, LATE).suspended(Some(Judged { request, basis }));
        let verdict = suspended.conditions.iter().find(|one| one.type_ == "Verified").map(|one| one.status.as_str());
        assert_eq!((verdict, trust(&suspended)), (verified, by), "{label}");
        assert_eq!(conditions(&suspended).first(), Some(&("Ready", "True", "Suspended")), "{label}");
        let again = at(&suspended, 2, LATE + 9).suspended(Some(Judged { request, basis }));
        assert_eq!(again, suspended, "{label}: it is not written again");
    }
    let (digest, fingerprint) = (served.artifact.as_ref().unwrap().digest.parse().unwrap(), right.fingerprint.clone());
    let revision = Revision { digest, fingerprint };
    let observed = |status: &OCIArtifactStatus| crate::plan::Observed {
        recorded: Some(revision.clone()),
        outputs: vec![Some(revision.clone())],
        trust: trust(status),
        ..crate::plan::Observed::default()
    };
    let plan = |status| crate::plan::decide(&right, &judged.pinned, &observed(status));
    assert_eq!((plan(&served), plan(&short)), (crate::plan::Plan::Keep, crate::plan::Plan::Reapprove));
}

#[tokio::test]
async fn a_withdrawal_is_one_event_that_names_the_digest() {
    let served = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    let digest: Digest = served.artifact.as_ref().unwrap().digest.parse().unwrap();
    let denied = Failure::new(Class::Stalled, Reason::PolicyDenied, "OCIArtifactPolicy p denies it");
    let refusal = denied.clone().of(&digest);
    let gone = at(&served, 1, LATE).withdrawn(Some(&request()), &denied, &refusal);
    assert_eq!(conditions(&gone), [("Ready", "False", "PolicyDenied"), ("Stalled", "True", "PolicyDenied")]);
    assert!(gone.artifact.is_none() && gone.outputs.is_empty() && gone.fingerprints.is_none());
    let candidate = gone.candidate.as_ref().unwrap();
    assert_eq!((candidate.digest.as_str(), candidate.reason.as_str()), (&*digest.to_string(), "PolicyDenied"));
    let (reason, note) = event_of(&served, &gone).unwrap();
    let remedy = Reason::PolicyDenied.remedy();
    let wanted = format!("{} withdrawn, PolicyDenied: OCIArtifactPolicy p denies it. {remedy}", digest.short());
    assert_eq!((reason.as_str(), note), ("Withdrawn", wanted));
    assert!(gone.conditions[0].message.contains("withdrawn"), "{:?}", gone.conditions[0]);
    // The next pass is denied before it resolves a digest.
    assert_eq!(at(&gone, 1, LATE + 9).failed(Some(&request()), &denied, None), gone, "it is not written again");

    let back = at(&gone, 1, LATE).succeeded(&request(), &outcome("one", true).await);
    assert!(back.candidate.is_none());
    assert_eq!(event_of(&gone, &back).unwrap().0, "Published");
}

#[test]
fn events_that_no_condition_has_can_be_filtered() {
    let rows = [
        (event::damaged("files: \"a\" is missing"), "Warning", "Damaged"),
        (event::repaired("sha256:0"), "Normal", "Repaired"),
        (event::layers_skipped(&["x".to_owned()]), "Normal", "LayersSkipped"),
        (event::single_directory("app"), "Warning", "SingleDirectory"),
        (event::volume_not_mountable("files", "default"), "Warning", "VolumeNotMountable"),
    ];
    for (news, kind, reason) in rows {
        assert_eq!((news.kind, news.reason.as_str()), (kind, reason), "{}", news.note);
        assert!(Reason::parse(reason).is_none(), "{reason} is the reason of a condition");
    }
}

#[tokio::test]
async fn suspending_and_progress_publish_no_event() {
    let new = OCIArtifactStatus::default();
    let idle = at(&new, 1, EARLY).suspended(None);
    assert_eq!(conditions(&idle), [("Ready", "False", "Suspended"), ("Stalled", "True", "Suspended")]);
    let served = at(&new, 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    let suspended = at(&served, 2, LATE).suspended(None);
    assert_eq!(conditions(&suspended), [("Ready", "True", "Suspended")]);
    let handled = OCIArtifactStatus { last_handled_reconcile_at: Some("1".to_owned()), ..served.clone() };
    let requests = HandledRequests { requested_at: Some("2".to_owned()), ..NO_REQUESTS };
    let report = Report { requests: &requests, ..at(&handled, 2, LATE) };
    assert_eq!(report.suspended(None).last_handled_reconcile_at.as_deref(), Some("1"), "no pass was run");
    let busy = at(&new, 1, EARLY).progressing("fetching x");
    assert_eq!(conditions(&busy), [("Ready", "False", "Progressing"), ("Reconciling", "True", "Progressing")]);
    for (before, after) in [(&new, &idle), (&served, &suspended), (&new, &busy)] {
        assert_eq!(event_of(before, after), None);
    }
    let done = at(&busy, 1, LATE).succeeded(&request(), &outcome("one", true).await);
    assert_eq!(event_of(&busy, &done).unwrap().0, "Published");
}

#[tokio::test]
async fn status_stays_small_and_printable_whatever_the_artifact_contains() {
    let status = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&request(), &outcome("one", true).await);
    let text = serde_json::to_string(&status).unwrap();
    assert!(text.len() < 16 * 1024, "{} bytes", text.len());
    assert!(!status.artifact.unwrap().annotations.values().any(|value| value.contains('\u{1b}')));
}

#[tokio::test]
async fn signatures_that_are_in_no_list_are_counted() {
    use crate::api::vocabulary::SignatureFormat;
    let (listed, signer) = (MAX_VERIFICATION, "x".repeat(100));
    for (number, want) in [(listed, None), (listed + 3, Some("3 more"))] {
        let verified = (0..number).map(|number| Verified {
            entry: format!("policy-{number}"),
            format: SignatureFormat::Bundle,
            signer: Signer::Identity { issuer: "https://i.example".to_owned(), subject: signer.clone() },
            log_index: None,
            time: None,
            digest: Digest::of(b"bundle"),
        });
        let judgement = Judgement { verified: verified.collect(), ..Judgement::default() };
        let outcome = Outcome { basis: Some(Basis::Judged(judgement)), ..outcome("one", true).await };
        let status = at(&OCIArtifactStatus::default(), 1, EARLY).succeeded(&request(), &outcome);
        assert_eq!(status.verification.len(), listed);
        let verified = status.conditions.iter().find(|condition| condition.type_ == "Verified").unwrap();
        assert!(verified.message.len() <= MAX_SIGNERS, "{}", verified.message.len());
        assert_eq!(verified.message.contains("status.verification"), want.is_some(), "{}", verified.message);
        assert!(verified.message.contains(want.unwrap_or_default()), "{}", verified.message);
    }
}

#[test]
fn the_remedy_is_never_cut() {
    for reason in Reason::ALL {
        for message in ["x".repeat(5_000), "\u{1f600}".repeat(1_000), "short".to_owned(), "a sentence.".to_owned()] {
            let digest = Digest::of(b"x");
            let failure = Failure::new(Class::Stalled, *reason, &message).of(&digest);
            let status = at(&OCIArtifactStatus::default(), 1, EARLY).failed(None, &failure, None);
            let ready = &status.conditions[0].message;
            assert!(ready.ends_with(reason.remedy()) && !ready.contains(".."), "{ready}");
            assert!(ready.len() <= MAX_FAILURE, "{} bytes", ready.len());
            if let Some((_, note)) = event_of(&OCIArtifactStatus::default(), &status) {
                assert!(note.len() <= 1024 && note.ends_with(reason.remedy()), "{} bytes", note.len());
            }
        }
    }
}
