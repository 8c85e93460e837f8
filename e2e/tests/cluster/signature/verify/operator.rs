//! Each row through the operator, after a good revision: a refused revision does not change the served content.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use kube::api::DynamicObject;
use serde_json::{Value, json};
use supercargo_e2e::files::Tree;
use supercargo_e2e::object::{LIMIT, artifact_digest, condition, current_condition, text};
use supercargo_e2e::registry::Product;
use supercargo_e2e::wait;

use super::command_line::all_signers;
use super::rows::ROWS;
use super::setup::{PLATFORM, Pushed, REPOSITORY, blobs};
use super::{Action, Format, Row, Setup, Signers, What, Who, by};
use crate::signature::signing::registry;
use crate::support::case::{Case, spec_with, tests};
use crate::support::verdict::Verdict;

tests!(
    what_is_refused_changes_nothing_and_is_let_in_once_it_is_signed,
    an_unsigned_artifact_is_published_once_it_is_signed,
    every_requirement_has_to_be_met_and_another_key_is_another_requirement,
);

/// Objects that serve a first revision, which is signed as every row requires.
pub(super) struct Served {
    pub(super) first: Pushed,
    /// Published files of each object.
    pub(super) files: BTreeMap<String, Tree>,
    verification: BTreeMap<String, Value>,
}

impl Served {
    /// Creates an object for each row under its name, which is also the tag, and waits for all of them. `host` is the
    /// host of the registry in the objects' images.
    pub(super) async fn publish(setup: &Setup<'_>, rows: &[(&str, &Row)], host: &str) -> Result<Self> {
        let Setup { case, registry, .. } = setup;
        let first = setup.push(What::Manifest, "first").await?;
        for action in [Action::Sign(Who::Right), Action::SignLegacy(Who::Right), Action::Attest(Who::Right)] {
            setup.act(&mut first.clone(), action).await?;
        }
        let tags: Vec<&str> = rows.iter().map(|(name, _)| *name).collect();
        case.lab.publisher.tags(&format!("{}:first", first.artifact.repository()), &tags).await?;
        for (name, row) in rows {
            let image = format!("{}:{name}", first.artifact.repository()).replace(&registry.address, host);
            case.space.create_artifact(name, &setup.spec(row, &image)?).await?;
        }
        let mut served = Self { first, files: BTreeMap::new(), verification: BTreeMap::new() };
        for (name, row) in rows {
            let object = case.space.ready_with(name, &served.first.artifact.digest).await?;
            let as_first = Row { want: by(Who::Right, row.only.unwrap_or(Format::Bundle)), ..**row };
            setup.is_signed(&as_first, &served.first, &object).await.with_context(|| row.label)?;
            served.files.insert((*name).to_owned(), case.published(name)?);
            served.verification.insert((*name).to_owned(), verification(&object));
        }
        Ok(served)
    }
}

fn verification(object: &DynamicObject) -> Value {
    object.data.pointer("/status/verification").cloned().unwrap_or_default()
}

impl Setup<'_> {
    /// Returns the requirements of a row as the spec of an object.
    fn spec(&self, row: &Row, image: &str) -> Result<Value> {
        let keys = row.asked.iter().map(|who| Ok(json!({"inline": self.signers.key(*who)?.public_pem})));
        let keys: Vec<Value> = keys.collect::<Result<_>>()?;
        let mut cosign = json!({"keys": keys, "transparencyLog": "Ignored"});
        if let Some(format) = row.only {
            cosign["formats"] = json!([format.as_str()]);
        }
        if let Some(kind) = row.predicate {
            cosign["predicateTypes"] = json!([kind]);
        }
        let mut more = json!({"verify": [{"name": "release", "cosign": cosign}]});
        if row.what != What::Manifest {
            more["platform"] = json!(PLATFORM);
        }
        Ok(spec_with(image, &more))
    }

    /// Checks that an object reports its content as signed, by the expected signer, and no obstacle.
    async fn is_signed(&self, row: &Row, pushed: &Pushed, object: &DynamicObject) -> Result<()> {
        let verified = current_condition(object, "Verified").context("no condition Verified")?;
        ensure!((verified.status.as_str(), verified.reason.as_str()) == ("True", "Succeeded"), "{verified:?}");
        ensure!(verified.message.contains("release: signed by the key sha256:"), "{verified:?}");
        ensure!(object.data.pointer("/status/candidate").is_none(), "a candidate is left: {}", object.data["status"]);
        for kind in ["Stalled", "Reconciling"] {
            ensure!(condition(object, kind).is_none(), "it is {kind}");
        }
        ensure!(verification(object)[0]["name"] == "release", "{}", verification(object));
        self.has_facts(row, pushed, &verification(object)).await
    }
}

async fn what_is_refused_changes_nothing_and_is_let_in_once_it_is_signed(case: &mut Case) -> Result<()> {
    let registry = registry(case, Product::Distribution).await?;
    let signers = Signers::new(case, &all_signers(ROWS)).await?;
    case.start_operator().await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let names: Vec<String> = (0..ROWS.len()).map(|number| format!("row-{number}")).collect();
    let rows: Vec<(&str, &Row)> = names.iter().map(String::as_str).zip(ROWS).collect();
    let served = Served::publish(&setup, &rows, &registry.address).await?;

    let mut next = Vec::new();
    for (name, row) in &rows {
        next.push(setup.prepare(row, name).await.with_context(|| row.label)?);
        case.space.request_pass(name).await?;
    }
    for ((name, row), next) in rows.iter().zip(&next) {
        says(&setup, (name, row), next, &served).await.with_context(|| row.label)?;
    }
    let layers = |accepted| {
        let rows = rows.iter().zip(&next).filter(move |((_, row), _)| row.is_accepted() == accepted);
        rows.map(|(_, next)| next.layer()).collect::<BTreeSet<_>>()
    };
    let (fetched, refused) = (layers(true), layers(false));
    wait::until_true(LIMIT, "the layers in the access log", || Ok(fetched.is_subset(&blobs(&registry)?))).await?;
    let leaked: Vec<_> = refused.intersection(&blobs(&registry)?).cloned().collect();
    ensure!(leaked.is_empty(), "layers of what was refused were asked for: {leaked:?}");

    let refused: Vec<_> = rows.iter().zip(&next).filter(|((_, row), _)| !row.is_accepted()).collect();
    for ((name, row), next) in &refused {
        sign(&setup, row, next).await?;
        case.space.request_pass(name).await?;
    }
    for ((name, row), next) in refused {
        let object = case.space.ready_with(name, &next.artifact.digest).await?;
        ensure!(object.metadata.generation == Some(1), "{}: the spec was changed", row.label);
        let signed = Row { want: by(Who::Right, row.only.unwrap_or(Format::Bundle)), ..**row };
        let next = Pushed { signed: next.artifact.clone(), ..next.clone() };
        setup.is_signed(&signed, &next, &object).await.with_context(|| format!("{}, signed", row.label))?;
        holds(case, name, &next).with_context(|| format!("{}, signed", row.label))?;
    }
    Ok(())
}

/// Signs a refused artifact as its row requires.
async fn sign(setup: &Setup<'_>, row: &Row, pushed: &Pushed) -> Result<()> {
    let mut pushed = Pushed { signed: pushed.artifact.clone(), ..pushed.clone() };
    let action = match (row.predicate, row.only) {
        (Some(_), _) => Action::Attest(Who::Right),
        (None, Some(Format::Legacy)) => Action::SignLegacy(Who::Right),
        (None, Some(Format::Bundle) | None) => Action::Sign(Who::Right),
    };
    setup.act(&mut pushed, action).await
}

/// Checks that an object reports the verdict of its row after its tag was moved.
async fn says(setup: &Setup<'_>, (name, row): (&str, &Row), next: &Pushed, served: &Served) -> Result<()> {
    let space = &setup.case.space;
    let Verdict::Refused(reason, words) = row.want else {
        let object = space.ready_with(name, &next.artifact.digest).await?;
        setup.is_signed(row, next, &object).await?;
        return holds(setup.case, name, next);
    };
    let object = space.refused(name, reason).await?;
    let ready = current_condition(&object, "Ready").context("no condition Ready")?;
    ensure!(ready.message.contains(words), "no {words:?} in {ready:?}");
    // A signature is often made after the tag, so a missing one is waited for; a wrong signature does not become right.
    let (is, is_not) =
        if reason == "SignatureMissing" { ("Reconciling", "Stalled") } else { ("Stalled", "Reconciling") };
    let obstacle = current_condition(&object, is).with_context(|| format!("it is not {is}"))?;
    ensure!((obstacle.status.as_str(), obstacle.reason.as_str()) == ("True", reason), "{obstacle:?}");
    ensure!(condition(&object, is_not).is_none(), "it is {is_not}");
    let candidate = ["digest", "reason", "message"].map(|field| text(&object, &format!("/status/candidate/{field}")));
    let [digest, its_reason, message] = candidate;
    ensure!(
        [digest, its_reason] == [Some(next.artifact.digest.as_str()), Some(reason)],
        "the candidate is {candidate:?}"
    );
    // In the condition the remedy follows the message.
    let is_same = message.is_some_and(|message| ready.message.starts_with(&format!("{message}. ")));
    ensure!(is_same, "{ready:?} and the candidate {candidate:?}");
    // Nothing about the served content has changed.
    ensure!(artifact_digest(&object) == Some(&served.first.artifact.digest), "something else is served");
    ensure!(
        verification(&object) == served.verification[name],
        "something else is verified: {}",
        verification(&object)
    );
    let verified = current_condition(&object, "Verified").context("no condition Verified")?;
    ensure!((verified.status.as_str(), verified.reason.as_str()) == ("True", "Succeeded"), "{verified:?}");
    ensure!(setup.case.published(name)? == served.files[name], "the files are others");
    Ok(())
}

/// Checks that the files of an object are those of a revision.
fn holds(case: &Case, name: &str, pushed: &Pushed) -> Result<()> {
    let files = case.published(name)?;
    let is_it = |entry: &supercargo_e2e::files::Entry| *entry == supercargo_e2e::files::Entry::text(&pushed.text);
    ensure!(files.len() == 1 && files.values().all(is_it), "published is {files:?}");
    Ok(())
}

async fn an_unsigned_artifact_is_published_once_it_is_signed(case: &mut Case) -> Result<()> {
    let registry = registry(case, Product::Referrers).await?;
    let signers = Signers::new(case, &[Who::Right]).await?;
    case.start_operator().await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let row = Row::new("nothing is signed", &[], by(Who::Right, Format::Bundle));
    let mut pushed = setup.prepare(&row, "app").await?;
    let image = format!("{}:app", pushed.artifact.repository());
    case.space.create_artifact("app", &setup.spec(&row, &image)?).await?;
    let object = case.space.refused("app", "SignatureMissing").await?;
    let verified = current_condition(&object, "Verified").context("no condition Verified")?;
    ensure!((verified.status.as_str(), verified.reason.as_str()) == ("False", "SignatureMissing"), "{verified:?}");
    ensure!(artifact_digest(&object).is_none() && verification(&object).is_null(), "{}", object.data["status"]);
    ensure!(fs_err::symlink_metadata(case.current("app")).is_err(), "something is published");
    ensure!(!blobs(&registry)?.contains(&pushed.layer()), "its layer was asked for");

    setup.act(&mut pushed, Action::Sign(Who::Right)).await?;
    let object = case.space.ready_with("app", &pushed.artifact.digest).await?;
    ensure!(object.metadata.generation == Some(1), "the spec was changed");
    setup.is_signed(&row, &pushed, &object).await?;
    holds(case, "app", &pushed)
}

async fn every_requirement_has_to_be_met_and_another_key_is_another_requirement(case: &mut Case) -> Result<()> {
    let registry = registry(case, Product::QuirkyReferrers).await?;
    let signers = Signers::new(case, &[Who::Right, Who::Second, Who::Stranger]).await?;
    case.start_operator().await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let mut pushed = setup.push(What::Manifest, "app").await?;
    setup.act(&mut pushed, Action::Sign(Who::Right)).await?;
    let secret = async |who| {
        let data = [("cosign.pub", setup.signers.key(who)?.public_pem.as_str())];
        case.space.secret("keys", "Opaque", &data).await
    };
    secret(Who::Right).await?;
    let entry = |name: &str, key: Value| json!({"name": name, "cosign": {"keys": [key], "transparencyLog": "Ignored"}});
    let verify = json!([
        entry("first", json!({"secretRef": {"name": "keys"}})),
        entry("second", json!({"inline": signers.key(Who::Second)?.public_pem})),
    ]);
    let image = registry.reference(&case.repository(&format!("{REPOSITORY}:app")));
    case.space.create_artifact("app", &spec_with(&image, &json!({"verify": verify}))).await?;
    let object = case.space.refused("app", "IdentityMismatch").await?;
    let ready = current_condition(&object, "Ready").context("no condition Ready")?;
    ensure!(ready.message.starts_with("second: "), "{ready:?}");

    setup.act(&mut pushed, Action::Sign(Who::Second)).await?;
    case.space.request_pass("app").await?;
    let object = case.space.ready("app").await?;
    let told = verification(&object);
    for (number, name, who) in [(0, "first", Who::Right), (1, "second", Who::Second)] {
        let expected = json!([name, signers.fingerprint(who)?]);
        ensure!(json!([told[number]["name"], told[number]["keyFingerprint"]]) == expected, "{told}");
    }

    // A stranger's key in the same Secret: the served content no longer meets the requirement.
    let files = case.published("app")?;
    secret(Who::Stranger).await?;
    case.space.poll("app").await?;
    let object = case.space.refused("app", "IdentityMismatch").await?;
    let verified = current_condition(&object, "Verified").context("no condition Verified")?;
    ensure!((verified.status.as_str(), verified.reason.as_str()) == ("False", "IdentityMismatch"), "{verified:?}");
    ensure!(artifact_digest(&object) == Some(&pushed.artifact.digest), "it is not served any more");
    secret(Who::Right).await?;
    case.space.poll("app").await?;
    case.space.ready("app").await?;
    ensure!(case.published("app")? == files, "the files are others");
    Ok(())
}
