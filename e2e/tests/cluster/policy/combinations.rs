//! Combinations of policies and objects, as a table against the API server.

use std::fmt::Write as _;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use supercargo_e2e::object::Space;
use supercargo_e2e::operator::{Operator, Settings};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec_with, tests};
use crate::support::policy::{Signatory, applied, apply_policy, entry, layers_read, policy_name, space, verified};

tests!(each_policy_that_matches_an_artifact_must_be_satisfied,);

/// Namespace of an object.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// A namespace without a label.
    Plain,
    /// A namespace with `tier: prod`.
    Prod,
    /// A namespace in the scope of the policies for `**`.
    Every,
    /// A namespace without a label, of an operator with `--no-policy deny`.
    Deny,
}
use Place::{Deny, Every, Plain, Prod};

struct Row<'a> {
    label: &'static str,
    /// Policies named a, b, c. Without images they match the row's own repository; they never match the repository of
    /// another row.
    policies: Vec<Value>,
    place: Place,
    /// `spec.verify` of the object.
    own: Vec<Value>,
    signed: Vec<&'a Signatory>,
    /// Reason of the condition Ready; its status is True for `Succeeded` only.
    reason: &'static str,
    /// Status of the condition Verified; empty without the condition.
    verified: &'static str,
    /// The policies that status lists.
    applied: &'static str,
}

/// Returns a policy, or a part of one, with another field.
fn with(mut policy: Value, key: &str, value: Value) -> Value {
    policy[key] = value;
    policy
}

fn warn(policy: Value) -> Value {
    with(policy, "enforcement", json!("Warn"))
}

fn about(policy: Value, images: &[&str]) -> Value {
    with(policy, "images", json!(images))
}

fn in_prod(policy: Value) -> Value {
    with(policy, "namespaceSelector", json!({"matchLabels": {"tier": "prod"}}))
}

fn not_in_prod(policy: Value) -> Value {
    let expression = json!({"key": "tier", "operator": "NotIn", "values": ["prod"]});
    with(policy, "namespaceSelector", json!({"matchExpressions": [expression]}))
}

fn by(who: &[&Signatory]) -> Value {
    let keys: Vec<Value> = who.iter().map(|one| one.key()).collect();
    json!({"verify": [entry("release", &keys)]})
}

fn denied() -> Value {
    json!({"action": "Deny"})
}

fn allowed() -> Value {
    json!({"action": "Allow"})
}

type Outcome = (&'static str, &'static str, &'static str);

fn row<'a>(
    label: &'static str,
    policies: Vec<Value>,
    place: Place,
    own: Vec<Value>,
    signed: &[&'a Signatory],
    (reason, verified, applied): Outcome,
) -> Row<'a> {
    Row { label, policies, place, own, signed: signed.to_vec(), reason, verified, applied }
}

/// Returns rows with requirements of one policy, of several, and of the object beside them.
fn requirements<'a>(a: &'a Signatory, b: &'a Signatory) -> Vec<Row<'a>> {
    let own = |who| vec![entry("release", &[Signatory::key(who)])];
    let two = json!({"verify": [entry("first", &[a.key()]), entry("second", &[b.key()])]});
    vec![
        row("nobody asks", vec![], Plain, vec![], &[], ("Succeeded", "", "")),
        row("one, signed", vec![by(&[a])], Plain, vec![], &[a], ("Succeeded", "True", "a")),
        row("one, not signed", vec![by(&[a])], Plain, vec![], &[], ("SignatureMissing", "False", "a")),
        row("one, signed by another", vec![by(&[a])], Plain, vec![], &[b], ("IdentityMismatch", "False", "a")),
        row("either key", vec![by(&[a, b])], Plain, vec![], &[b], ("Succeeded", "True", "a")),
        row("two entries, one met", vec![two.clone()], Plain, vec![], &[a], ("IdentityMismatch", "False", "a")),
        row("two entries, both met", vec![two], Plain, vec![], &[a, b], ("Succeeded", "True", "a")),
        row("two policies, both met", vec![by(&[a]), by(&[b])], Plain, vec![], &[a, b], ("Succeeded", "True", "ab")),
        row(
            "two policies, one met",
            vec![by(&[a]), by(&[b])],
            Plain,
            vec![],
            &[b],
            ("IdentityMismatch", "False", "ab"),
        ),
        row("a tie: twice the same", vec![by(&[a]), by(&[a])], Plain, vec![], &[a], ("Succeeded", "True", "ab")),
        row("the object asks for more", vec![by(&[a])], Plain, own(b), &[a], ("IdentityMismatch", "False", "a")),
        row("the object asks for another", vec![by(&[a])], Plain, own(b), &[b], ("IdentityMismatch", "False", "a")),
        row("the object asks for both", vec![by(&[a])], Plain, own(b), &[a, b], ("Succeeded", "True", "a")),
        row("names that are the same", vec![by(&[a])], Plain, own(a), &[a], ("Succeeded", "True", "a")),
        row("only the object asks", vec![], Plain, own(a), &[], ("SignatureMissing", "False", "")),
    ]
}

/// Returns rows with Allow, Deny and Warn, alone and together, and with an operator that refuses objects without a
/// policy.
fn actions<'a>(a: &'a Signatory, b: &'a Signatory) -> Vec<Row<'a>> {
    let own = |who| vec![entry("release", &[Signatory::key(who)])];
    let bounded = with(allowed(), "limits", json!({"layerBytes": 1}));
    vec![
        row("denied", vec![denied()], Plain, vec![], &[a], ("PolicyDenied", "", "a")),
        row("denied and allowed", vec![allowed(), denied()], Plain, vec![], &[], ("PolicyDenied", "", "ab")),
        row("denied and signed", vec![by(&[a]), denied()], Plain, vec![], &[a], ("PolicyDenied", "False", "ab")),
        row("a denial that warns", vec![warn(denied())], Plain, vec![], &[], ("Succeeded", "", "a")),
        row("allowed and asked", vec![allowed(), by(&[a])], Plain, vec![], &[], ("SignatureMissing", "False", "ab")),
        row("warned, not signed", vec![warn(by(&[a]))], Plain, vec![], &[], ("Succeeded", "False", "a")),
        row("warned, signed", vec![warn(by(&[a]))], Plain, vec![], &[a], ("Succeeded", "True", "a")),
        row(
            "warned by one and asked by another",
            vec![warn(by(&[a])), by(&[b])],
            Plain,
            vec![],
            &[b],
            ("Succeeded", "False", "ab"),
        ),
        row("allowed within bounds", vec![bounded], Plain, vec![], &[], ("LimitExceeded", "", "a")),
        row("none, refused", vec![], Deny, vec![], &[], ("PolicyDenied", "", "")),
        row("none, refused also if signed", vec![], Deny, own(a), &[a], ("PolicyDenied", "False", "")),
        row("allowed where none is refused", vec![allowed()], Deny, vec![], &[], ("Succeeded", "", "a")),
        row("asked where none is refused", vec![by(&[a])], Deny, vec![], &[a], ("Succeeded", "True", "a")),
        row("warned where none is refused", vec![warn(denied())], Deny, vec![], &[], ("Succeeded", "", "a")),
    ]
}

/// Returns rows about the repositories and namespaces that a policy matches.
fn scopes<'a>(a: &'a Signatory, b: &'a Signatory) -> Vec<Row<'a>> {
    let unsigned = ("SignatureMissing", "False", "a");
    let asked = |images: &[&str]| vec![about(by(&[a]), images)];
    let every = json!({"matchLabels": {"kubernetes.io/metadata.name": "EVERY"}});
    let every = |policy| with(about(policy, &["**"]), "namespaceSelector", every.clone());
    vec![
        row("of prod, and not in it", vec![in_prod(by(&[a]))], Plain, vec![], &[], ("Succeeded", "", "")),
        row("of prod, and in it", vec![in_prod(by(&[a]))], Prod, vec![], &[], unsigned),
        row("of others, and in prod", vec![not_in_prod(by(&[a]))], Prod, vec![], &[], ("Succeeded", "", "")),
        row("of others, and one of them", vec![not_in_prod(by(&[a]))], Plain, vec![], &[], unsigned),
        row("of prod, where none is refused", vec![in_prod(allowed())], Deny, vec![], &[], ("PolicyDenied", "", "")),
        row(
            "one of prod and one of others",
            vec![in_prod(by(&[a])), not_in_prod(by(&[b]))],
            Prod,
            vec![],
            &[a],
            ("Succeeded", "True", "a"),
        ),
        row("every repository", vec![every(by(&[a]))], Every, vec![], &[], unsigned),
        row("its directory", asked(&["TEST/*NAME"]), Plain, vec![], &[], unsigned),
        row("any directory above", asked(&["HOST/**/NAME"]), Plain, vec![], &[], unsigned),
        row("one of several", asked(&["other.example/**", "OWN", "quay.io/a/b"]), Plain, vec![], &[], unsigned),
        row("a directory too many", asked(&["HOST/?*NAME"]), Plain, vec![], &[], ("Succeeded", "", "")),
        row("what is below it", asked(&["OWN/**"]), Plain, vec![], &[], ("Succeeded", "", "")),
        row("a beginning", asked(&["TEST/combination"]), Plain, vec![], &[], ("Succeeded", "", "")),
        row("another host", asked(&["ghcr.io/**", "*.example/**"]), Plain, vec![], &[], ("Succeeded", "", "")),
    ]
}

async fn each_policy_that_matches_an_artifact_must_be_satisfied(case: &mut Case) -> Result<()> {
    let (a, b) = (Signatory::new()?, Signatory::new()?);
    let rows: Vec<Row<'_>> = [requirements(&a, &b), actions(&a, &b), scopes(&a, &b)].into_iter().flatten().collect();
    let spaces = [
        (Plain, case.space.clone()),
        (Prod, space(case, "prod", &json!({"tier": "prod"})).await?),
        (Every, space(case, "every", &json!({})).await?),
        (Deny, space(case, "deny", &json!({})).await?),
    ];
    let space_of = |place: Place| spaces.iter().find(|(of, _)| *of == place).map(|(_, space)| space);
    let mut artifacts = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let space = space_of(row.place).context("no namespace")?;
        artifacts.push(set_up(case, number, row, space).await?);
    }
    let allow = settings(case, &spaces[..3], "allow")?;
    let deny = settings(case, &spaces[3..], "deny")?;
    let _others = Operator::start(&case.lab.run, &deny).await?;
    case.start_operator_as(&allow).await?;
    let mut wrong = String::new();
    for (number, (row, artifact)) in rows.iter().zip(&artifacts).enumerate() {
        let space = space_of(row.place).context("no namespace")?;
        let volumes = if row.place == Deny { &deny.volumes } else { &allow.volumes };
        let current = volumes[0].1.join(&space.namespace).join(object(number)).join("current");
        let found = outcome(case, number, row, artifact, space).await;
        let found = found.map(|found| (found, current.exists()));
        let wanted = (row.verified.to_owned(), row.applied.to_owned(), true);
        match found {
            Ok((found, is_published)) if found == wanted && is_published == (row.reason == "Succeeded") => {}
            found => writeln!(wrong, "{}: not {} and {wanted:?}, but {found:?}", row.label, row.reason)?,
        }
    }
    if !wrong.is_empty() {
        bail!("of {} combinations:\n{wrong}", rows.len());
    }
    Ok(())
}

fn object(number: usize) -> String {
    format!("combination-{number}")
}

/// Pushes and signs the artifact of a row, and creates its policies and its object.
async fn set_up(case: &Case, number: usize, row: &Row<'_>, space: &Space) -> Result<Artifact> {
    let (registry, name) = (&case.lab.registry, object(number));
    let artifact = Artifact::push_text(case, registry, &format!("{name}:1"), &name).await?;
    for signatory in &row.signed {
        signatory.sign(case, &artifact).await?;
    }
    let test = registry.reference(&case.space.namespace);
    for (policy, letter) in row.policies.iter().zip('a'..) {
        let images = policy.get("images").cloned().unwrap_or_else(|| json!(["OWN"]));
        let images: Vec<String> = images
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(|image| {
                image
                    .replace("NAME", &name)
                    .replace("OWN", &artifact.repository())
                    .replace("TEST", &test)
                    .replace("HOST", &registry.address)
            })
            .collect();
        let mut policy = with(policy.clone(), "images", json!(images));
        if let Some(name) = policy.pointer_mut("/namespaceSelector/matchLabels/kubernetes.io~1metadata.name") {
            *name = json!(space.namespace);
        }
        apply_policy(case, &format!("{number}-{letter}"), &policy).await.with_context(|| row.label)?;
    }
    let image = format!("{}:1", artifact.repository());
    space.apply(&name, &spec_with(&image, &json!({"verify": row.own}))).await.with_context(|| row.label)?;
    Ok(artifact)
}

/// Returns the status of Verified, the letters of the policies in status, and whether the layer was read if and only if
/// the object is published.
async fn outcome(
    case: &Case,
    number: usize,
    row: &Row<'_>,
    artifact: &Artifact,
    space: &Space,
) -> Result<(String, String, bool)> {
    let name = object(number);
    let object = match row.reason {
        "Succeeded" => space.ready(&name).await?,
        reason => space.refused(&name, reason).await?,
    };
    let prefix = policy_name(case, &format!("{number}-"));
    let letters = applied(&object).iter().map(|name| name.strip_prefix(&prefix).unwrap_or(name).to_owned()).collect();
    let was_read = layers_read(&case.lab.registry, artifact, &name)? > 0;
    let verified = verified(&object).map(|verified| verified.status).unwrap_or_default();
    Ok((verified, letters, was_read == (row.reason == "Succeeded")))
}

/// Returns settings of an operator for these namespaces, with this value of `--no-policy`.
fn settings(case: &Case, spaces: &[(Place, Space)], rule: &str) -> Result<Settings> {
    let (volume, work_directory) = (case.directory.join(rule), case.directory.join(format!("{rule}-work")));
    fs_err::create_dir_all(&volume)?;
    fs_err::create_dir_all(&work_directory)?;
    let settings = case.settings()?;
    Ok(Settings {
        volumes: vec![("default".to_owned(), volume)],
        work_directory,
        namespaces: spaces.iter().map(|(_, space)| space.namespace.clone()).collect(),
        log: format!("{}-{rule}", settings.log),
        extra: vec!["--no-policy".to_owned(), rule.to_owned()],
        ..settings
    })
}
