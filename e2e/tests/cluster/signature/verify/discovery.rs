//! Registries that hide signatures, and registries that fail during the search for signatures; the verdicts must
//! differ.

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use supercargo_e2e::hostile::ask::{Ask, Item};
use supercargo_e2e::hostile::reply::Reply;
use supercargo_e2e::object::{artifact_digest, condition, text};
use supercargo_e2e::registry::{Product, Registry};

use super::detour::{Detour, Trouble};
use super::operator::Served;
use super::rows::MISSING;
use super::setup::{Pushed, blobs};
use super::{Action, Divergence, Format, Row, Setup, Signature, Signers, Who, by};
use crate::signature::signing::registry;
use crate::support::case::{Case, tests};
use crate::support::verdict::Verdict;

tests!(
    signatures_that_are_hidden_are_not_there,
    a_registry_that_fails_meanwhile_is_not_one_without_signatures,
    an_object_waits_for_a_registry_that_fails_meanwhile,
);

/// Rows judged at a time; cosign retries some requests for several seconds.
const AT_A_TIME: usize = 20;
const ONE: &[Action] = &[Action::Sign(Who::Right)];
const TWO: &[Action] = &[Action::Sign(Who::Stranger), Action::Sign(Who::Second)];
const BOTH: &[Action] = &[Action::Sign(Who::Right), Action::SignLegacy(Who::Right)];
const LEGACY: &[Action] = &[Action::SignLegacy(Who::Right)];

const HIDDEN: Verdict<Signature> = Verdict::Refused(MISSING, "found none");
const BY_LEGACY: Verdict<Signature> = by(Who::Right, Format::Legacy);

const fn unavailable(words: &'static str) -> Verdict<Signature> {
    Verdict::Refused("RegistryUnavailable", words)
}

/// A row for one kind of registry, and the trouble there.
type Troubled = (Product, Row, Trouble);

/// Troubles that hide a signature: the search finds none.
const HIDING: &[Troubled] = &[
    (Product::Referrers, Row::new("an empty list", ONE, HIDDEN), |ask, _| {
        list(ask).then(|| index("200 OK", br#"{"schemaVersion":2,"manifests":[]}"#))
    }),
    (Product::Referrers, Row::new("null in place of a list", ONE, HIDDEN), |ask, _| {
        list(ask).then(|| index("200 OK", br#"{"schemaVersion":2,"manifests":null}"#))
    }),
    (Product::Referrers, Row::new("no list", ONE, HIDDEN), |ask, _| list(ask).then(|| says("404 Not Found"))),
    (Product::Referrers, Row::new("a page for people", ONE, HIDDEN), |ask, _| {
        list(ask).then(|| Reply::of("200 OK", &[("Content-Type", "text/html")], b"<html>"))
    }),
    (Product::Referrers, Row::new("no list, and a legacy signature", BOTH, BY_LEGACY), |ask, _| {
        list(ask).then(|| says("404 Not Found"))
    }),
    (Product::Distribution, Row::new("no tag", ONE, HIDDEN), |ask, digest| {
        tag(ask, digest, "").then(|| says("404 Not Found"))
    }),
];

/// Troubles that make the search for signatures fail.
const FAILING: &[Troubled] = &[
    (Product::Referrers, Row::new("the list fails", ONE, unavailable("500")), |ask, _| list(ask).then(says_500)),
    (Product::Referrers, Row::new("the list fails, nothing is signed", &[], unavailable("500")), |ask, _| {
        list(ask).then(says_500)
    }),
    (Product::Referrers, Row::new("the list fails, and a legacy signature", BOTH, BY_LEGACY), |ask, _| {
        list(ask).then(says_500)
    }),
    (Product::Referrers, Row::new("the list breaks off", ONE, unavailable("reset")), |ask, _| {
        let head = [("Content-Type", "application/vnd.oci.image.index.v1+json"), ("Content-Length", "900")];
        list(ask).then(|| Reply::head("200 OK", &head, &[]).send(br#"{"schemaVersion":2,"#).reset())
    }),
    (Product::Referrers, Row::new("the list is no JSON", ONE, unavailable("not valid JSON")), |ask, _| {
        list(ask).then(|| index("200 OK", br#"{"schemaVersion":2,"#))
    }),
    (
        Product::Referrers,
        Row::new("the list wants a login", ONE, Verdict::Refused("Unauthorized", "requires credentials")),
        |ask, _| {
            let challenge = [("WWW-Authenticate", r#"Basic realm="e2e""#)];
            list(ask).then(|| Reply::of("401 Unauthorized", &challenge, b""))
        },
    ),
    (
        Product::Referrers,
        Row::new("the list is not for everybody", ONE, Verdict::Refused("Forbidden", "does not allow")),
        |ask, _| list(ask).then(|| says("403 Forbidden")),
    ),
    (
        Product::Referrers,
        Row::new("the list is asked for too often", ONE, Verdict::Refused("RateLimited", "429")),
        |ask, _| list(ask).then(|| Reply::of("429 Too Many Requests", &[("Retry-After", "1")], b"")),
    ),
    (Product::Referrers, Row::new("what is listed fails", ONE, unavailable("500")), |ask, digest| {
        manifest(ask, digest).then(says_500)
    }),
    (Product::Referrers, Row::new("the bundle fails", ONE, unavailable("500")), |ask, _| blob(ask).then(says_500)),
    (
        Product::Referrers,
        Row::new("the bundle is another one", ONE, Verdict::Refused("DigestMismatch", "blob")),
        |ask, _| blob(ask).then(|| Reply::of("200 OK", &[], b"{}")),
    ),
    (Product::PagedReferrers, Row::new("the second page fails", TWO, unavailable("500")), |ask, _| {
        (list(ask) && ask.target.contains("from=")).then(says_500)
    }),
    (Product::Distribution, Row::new("the tag fails", ONE, unavailable("500")), |ask, digest| {
        tag(ask, digest, "").then(says_500)
    }),
    (Product::Distribution, Row::new("the legacy tag fails", &[], unavailable("500")), |ask, digest| {
        tag(ask, digest, ".sig").then(says_500)
    }),
    (Product::Distribution, Row::new("the legacy signature fails", LEGACY, unavailable("500")), |ask, _| {
        blob(ask).then(says_500)
    }),
    (
        Product::Distribution,
        Row::new("the legacy tag fails, and a bundle", ONE, by(Who::Right, Format::Bundle)),
        |ask, digest| tag(ask, digest, ".sig").then(says_500),
    ),
    (
        Product::Referrers,
        Row::new("the list is a circle", ONE, unavailable("redirects more than")).differs(Divergence::Redirects),
        |ask, _| list(ask).then(|| Reply::of("307 Temporary Redirect", &[("Location", &ask.target)], b"")),
    ),
];

async fn signatures_that_are_hidden_are_not_there(case: &mut Case) -> Result<()> {
    troubled(case, HIDING).await
}

async fn a_registry_that_fails_meanwhile_is_not_one_without_signatures(case: &mut Case) -> Result<()> {
    troubled(case, FAILING).await
}

async fn an_object_waits_for_a_registry_that_fails_meanwhile(case: &mut Case) -> Result<()> {
    let registry = registry(case, Product::Referrers).await?;
    let signers = Signers::new(case, &[Who::Right, Who::Stranger]).await?;
    case.start_operator().await?;
    let setup = Setup { case, registry: &registry, signers: &signers };
    let detour = Detour::open(&registry).await?;
    let row = Row::new("an object", ONE, by(Who::Right, Format::Bundle));
    let served = Served::publish(&setup, &[("app", &row)], &detour.address()).await?;

    let next = setup.prepare(&row, "app").await?;
    let digest = &next.artifact.digest;
    detour.set(|ask, _| list(ask).then(says_500), digest);
    case.space.request_pass("app").await?;
    let object = case.space.refused("app", "RegistryUnavailable").await?;
    ensure!(condition(&object, "Reconciling").is_some() && condition(&object, "Stalled").is_none(), "it does not wait");
    ensure!(artifact_digest(&object) == Some(&served.first.artifact.digest), "something else is served");
    ensure!(text(&object, "/status/candidate/digest") == Some(digest), "there is no candidate");
    ensure!(
        condition(&object, "Verified").is_some_and(|verified| verified.status == "True"),
        "what is served is signed"
    );
    ensure!(case.published("app")? == served.files["app"], "the files are others");
    ensure!(!blobs(&registry)?.contains(&next.layer()), "its layer was asked for");

    // No reconcile is requested: the operator tries again by itself.
    detour.clear();
    case.space.ready_with("app", digest).await?;
    Ok(())
}

/// Plays each row behind a detour of its own, and compares the verdicts with the expected ones.
async fn troubled(case: &Case, rows: &[Troubled]) -> Result<()> {
    let signers = Signers::new(case, &[Who::Right, Who::Second, Who::Stranger]).await?;
    let mut wrong = Vec::new();
    for product in [Product::Distribution, Product::Referrers, Product::PagedReferrers] {
        let rows: Vec<_> = rows.iter().enumerate().filter(|(_, (of, ..))| *of == product).collect();
        if rows.is_empty() {
            continue;
        }
        let registry = registry(case, product).await?;
        let setup = Setup { case, registry: &registry, signers: &signers };
        let mut prepared = Vec::new();
        for (number, (_, row, trouble)) in rows {
            let pushed = setup.prepare(row, &format!("row-{number}")).await.context(row.label)?;
            prepared.push((row, pushed, *trouble));
        }
        let setup = &setup;
        let said = stream::iter(&prepared).map(|(row, pushed, trouble)| in_trouble(setup, row, pushed, *trouble));
        let said: Vec<Vec<String>> = said.buffer_unordered(AT_A_TIME).try_collect().await?;
        wrong.extend(said.into_iter().flatten());
        no_layer_of_what_is_refused(&registry, &prepared)?;
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

fn no_layer_of_what_is_refused(registry: &Registry, prepared: &[(&Row, Pushed, Trouble)]) -> Result<()> {
    let blobs = blobs(registry)?;
    for (row, pushed, _) in prepared.iter().filter(|(row, ..)| !row.is_accepted()) {
        ensure!(!blobs.contains(&pushed.layer()), "{}: the layer was asked for", row.label);
    }
    Ok(())
}

async fn in_trouble(setup: &Setup<'_>, row: &Row, pushed: &Pushed, trouble: Trouble) -> Result<Vec<String>> {
    let mut wrong = Vec::new();
    let detour = Detour::open(setup.registry).await?;
    detour.set(trouble, &pushed.artifact.digest);
    let image = pushed.artifact.image().replace(&setup.registry.address, &detour.address());
    if let Err(error) = setup.check_commands(row, pushed, &image).await {
        wrong.push(format!("{}: {error:#}", row.label));
    }
    if row.differs == Some(Divergence::Redirects) {
        never_ends(setup, &image, &detour).await?;
        return Ok(wrong);
    }
    let (accepts, said) = setup.cosign_accepts(row, &image).await?;
    if accepts != row.is_accepted() {
        wrong.push(format!("{}: cosign accepts it: {accepts}: {said}", row.label));
    }
    Ok(wrong)
}

/// Checks that cosign follows the redirects until its timeout.
async fn never_ends(setup: &Setup<'_>, image: &str, detour: &Detour) -> Result<()> {
    let before = detour.asked();
    let args = [setup.signers.key(Who::Right)?.verify_args(), vec!["--timeout=2s".to_owned()]].concat();
    let verdict = setup.signers.cosign.verify(image, &args).await?;
    let asked = detour.asked() - before;
    ensure!(!verdict.accepted && asked > 50, "{:?}: {asked} requests: {}", Divergence::Redirects, verdict.text);
    Ok(())
}

/// Returns true for a request for the referrers of a digest.
fn list(ask: &Ask) -> bool {
    ask.target.contains("/referrers/")
}

/// Returns true for a request for a manifest other than the artifact's.
fn manifest(ask: &Ask, digest: &str) -> bool {
    matches!(ask.item(), Item::Manifest(asked) if asked != digest)
}

fn blob(ask: &Ask) -> bool {
    matches!(ask.item(), Item::Blob(_))
}

/// Returns true for a request for the tag derived from a digest, with this suffix.
fn tag(ask: &Ask, digest: &str, end: &str) -> bool {
    matches!(ask.item(), Item::Tag(tag) if tag == format!("{}{end}", digest.replace(':', "-")))
}

fn says(status: &str) -> Reply {
    Reply::of(status, &[], b"")
}

fn says_500() -> Reply {
    says("500 Internal Server Error")
}

fn index(status: &str, body: &[u8]) -> Reply {
    Reply::of(status, &[("Content-Type", "application/vnd.oci.image.index.v1+json")], body)
}
