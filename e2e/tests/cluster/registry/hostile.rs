//! Registries that misbehave in every way that we could think of, all at once, against one operator.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use kube::api::{DynamicObject, ListParams};
use serde_json::json;
use supercargo_e2e::files::tree;
use supercargo_e2e::hostile::artifact::FILE;
use supercargo_e2e::hostile::behaviours::{self, Behaviour, Elsewhere, Expected, Login, Pace};
use supercargo_e2e::hostile::memory::Watch;
use supercargo_e2e::hostile::site::{Phase, Site};
use supercargo_e2e::hostile::tls::Authority;
use supercargo_e2e::lab::note;
use supercargo_e2e::object::{artifact_digest, condition, current_condition};
use supercargo_e2e::operator::Settings;
use supercargo_e2e::wait;

use crate::support::case::{Case, tests};
use crate::support::neighbour::{Neighbour, neighbourhood};
use crate::support::secret::{apply_secret, docker_config};

tests!(each_misbehaviour_has_its_reason_and_does_not_affect_other_objects,);

/// Largest growth of the operator's private memory while all behaviours are at work at once.
const MEMORY: u64 = 64 << 20;
/// Longest time until every object reports its expected outcome.
const SETTLED: Duration = Duration::from_secs(150);
/// Shortest time under the misbehaving registries: enough for a hot loop or a growth of memory to show.
const AT_LEAST: Duration = Duration::from_secs(20);
/// Bound for requests to one registry in a run, two lists of tags in 200 pages among them: more would be a hot loop.
const NO_HOT_LOOP: usize = 450;
/// Hosts to which behaviours redirect without TLS; all of them are closed.
const NO_TLS: &str = "127.0.0.2,169.254.169.254,10.0.0.1,0.0.0.0,[::ffff:a9fe:a9fe],[fe80::1],token,nobody.invalid";
/// Concurrent requests to the API server.
const AT_A_TIME: usize = 16;

async fn each_misbehaviour_has_its_reason_and_does_not_affect_other_objects(case: &mut Case) -> Result<()> {
    let sites = sites(case, behaviours::all()?, "info,supercargo=debug").await?;
    let neighbour = Neighbour::move_in(case).await?;
    let memory = Watch::start(case.operator()?.pid())?;
    let (started, done) = (Instant::now(), AtomicBool::new(false));
    let run = async {
        let run = run_phases(case, &sites, &memory).await;
        done.store(true, Ordering::Relaxed);
        run
    };
    let (run, looks) = tokio::join!(run, neighbour.lives_on(case, &done));
    let (before, looks, rise) = (run?, looks?, memory.rise());
    note(&format!(
        "{} misbehaving registries in {:.0} s: private memory rose by {} KiB from {} KiB, {} KiB of it while all behaved; \
         meanwhile a neighbour had {} looks, the longest {} ms",
        sites.len(),
        started.elapsed().as_secs_f64(),
        rise / 1024,
        memory.before / 1024,
        before / 1024,
        looks.len(),
        looks.iter().max().map_or(0, Duration::as_millis),
    ));
    ensure!(rise < MEMORY, "private memory rose by {} KiB", rise / 1024);
    check_operator_not_restarted(case)
}

/// Runs all sites through three phases: registries that can behave serve good content first, the content stays while
/// they misbehave, and the next revision follows once they are repaired. Returns the growth of memory in the first
/// phase.
async fn run_phases(case: &Case, sites: &[Site], memory: &Watch) -> Result<u64> {
    let can_behave: Vec<_> = sites.iter().filter(|site| site.can_behave()).collect();
    set_phase(sites, Phase::Before);
    at_a_time(sites, |site| create(case, site)).await?;
    wait_for_outcomes(case, &can_behave, |site| vec![format!("Ready {}", site.earlier.digest())])
        .await
        .context("before")?;
    let before_all_this = memory.rise();

    let asked: Vec<_> = sites.iter().map(|site| site.registry.seen.asks().len()).collect();
    set_phase(sites, Phase::Misbehaving);
    let started = Instant::now();
    at_a_time(&can_behave, |site| request_pass(case, site)).await?;
    let all: Vec<_> = sites.iter().collect();
    wait_for_outcomes(case, &all, as_expected).await?;
    // No event to wait for: in this time, forbidden requests and changes would happen.
    let _ = tokio::time::timeout(AT_LEAST.saturating_sub(started.elapsed()), std::future::pending::<()>()).await;
    wait_for_outcomes(case, &all, as_expected).await.context("later")?;
    for (site, before) in sites.iter().zip(asked) {
        check_pace(site, before, started.elapsed())?;
    }
    check_requests_elsewhere(sites)?;
    check_published(case, sites).await?;

    set_phase(sites, Phase::Repaired);
    // A registry that returned a pause of an hour is not requested again.
    let asked = can_behave.into_iter().filter(|site| site.behaviour.pace != Pace::Once);
    let (misreported, mut repaired): (Vec<_>, Vec<_>) = asked.partition(|site| site.misreports());
    at_a_time(&repaired, |site| request_pass(case, site)).await?;
    // No pass is requested for these objects: the answer was wrong and not the artifact, so the operator polls them
    // again by itself.
    repaired.extend(misreported);
    wait_for_outcomes(case, &repaired, |site| vec![format!("Ready {}", site.good.digest())]).await.context("after")?;
    Ok(before_all_this)
}

fn set_phase(sites: &[Site], phase: Phase) {
    for site in sites {
        site.set_phase(phase);
    }
}

pub(crate) async fn at_a_time<'a, S: 'a, F: Future<Output = Result<()>>>(
    sites: impl IntoIterator<Item = &'a S>,
    work: impl Fn(&'a S) -> F,
) -> Result<()> {
    stream::iter(sites).map(work).buffer_unordered(AT_A_TIME).try_collect().await
}

/// Opens a site for each behaviour and starts an operator that trusts the sites' certificate authority.
pub(crate) async fn sites(case: &mut Case, behaviours: Vec<Behaviour>, log: &str) -> Result<Vec<Site>> {
    let (sites, mut settings) = open_sites(case, behaviours).await?;
    log.clone_into(&mut settings.log_filter);
    case.start_operator_as(&settings).await?;
    Ok(sites)
}

/// Opens a site for each behaviour; answers the settings of an operator that trusts their authority, too.
pub(crate) async fn open_sites(case: &Case, behaviours: Vec<Behaviour>) -> Result<(Vec<Site>, Settings)> {
    let authority = Authority::create(&case.directory)?;
    let mut sites = Vec::new();
    for behaviour in behaviours {
        sites.push(Site::open(behaviour, &authority).await?);
    }
    let mut settings = case.settings()?;
    // Rules for plain HTTP are checked before the rules for addresses, which are under test here.
    settings.extra.extend(["--plain-http-host".to_owned(), NO_TLS.to_owned()]);
    settings.environment.push(("SSL_CERT_FILE".to_owned(), authority.file.display().to_string()));
    settings.namespaces.push(neighbourhood(case));
    Ok((sites, settings))
}

pub(crate) async fn create(case: &Case, site: &Site) -> Result<()> {
    create_as(case, site, &site.behaviour.name, if site.misreports() { "10s" } else { "1h" }).await
}

/// Creates an object of a site under another name than the site's.
pub(crate) async fn create_as(case: &Case, site: &Site, object: &str, interval: &str) -> Result<()> {
    let name = &site.behaviour.name;
    let (host, known) = (&site.place.address, &site.place.login);
    match site.behaviour.login {
        Login::None => {}
        Login::Password => case.space.pull_secret(name, host, &known.user, &known.password.text).await?,
        Login::IdentityToken => {
            let auths = json!({host: {"identitytoken": known.password.text}});
            apply_secret(&case.space, name, docker_config(&json!({"auths": auths}))).await?;
        }
    }
    case.space.create_artifact(object, &site.spec(interval)).await.with_context(|| object.to_owned())?;
    Ok(())
}

async fn request_pass(case: &Case, site: &Site) -> Result<()> {
    case.space.request_pass(&site.behaviour.name).await.map(drop)
}

/// Returns the acceptable outcomes of a site's object while the site misbehaves.
pub(crate) fn as_expected(site: &Site) -> Vec<String> {
    let Behaviour { expected, or, .. } = &site.behaviour;
    let said = |expected: &Expected| match expected {
        Expected::Ready => format!("Ready {}", site.place.artifact.digest()),
        Expected::Refused(reason, kind) => format!("{reason} {kind}"),
    };
    std::iter::once(expected).chain(or).map(said).collect()
}

/// Waits until every object reports an expected outcome; the error names every object that does not.
pub(crate) async fn wait_for_outcomes(
    case: &Case,
    sites: &[&Site],
    expected: impl Fn(&Site) -> Vec<String>,
) -> Result<()> {
    let mut wrong = String::new();
    let waited = wait::until_with_pace(SETTLED, Duration::from_millis(250), "every reason", async || {
        let listed = case.space.artifacts().list(&ListParams::default()).await?;
        let objects: BTreeMap<_, _> =
            listed.items.iter().map(|object| (object.metadata.name.as_deref().unwrap_or_default(), object)).collect();
        wrong.clear();
        for site in sites {
            let name = site.behaviour.name.as_str();
            let (said, message) = objects.get(name).and_then(|object| verdict(object)).unwrap_or_default();
            let expected = expected(site);
            if !expected.contains(&said) {
                let _ = writeln!(wrong, "  {name}: {said}, not {}: {message}", expected.join(" or "));
            }
        }
        Ok(wrong.is_empty().then_some(()))
    })
    .await;
    match waited {
        Ok(()) => Ok(()),
        Err(error) => bail!("{error:#}\n{wrong}"),
    }
}

/// Returns an object's outcome for its current generation, and the message.
fn verdict(object: &DynamicObject) -> Option<(String, String)> {
    let ready = current_condition(object, "Ready")?;
    if ready.status == "True" {
        return Some((format!("Ready {}", artifact_digest(object)?), ready.message));
    }
    let kinds: Vec<_> =
        ["Stalled", "Reconciling"].into_iter().filter(|kind| condition(object, kind).is_some()).collect();
    (ready.reason != "Progressing").then(|| (format!("{} {}", ready.reason, kinds.join(" and ")), ready.message))
}

async fn check_published(case: &Case, sites: &[Site]) -> Result<()> {
    let maps = case.space.config_maps().list(&ListParams::default()).await?;
    let maps: BTreeMap<_, _> =
        maps.items.iter().map(|map| (map.metadata.name.as_deref().unwrap_or_default(), map)).collect();
    for site in sites {
        let name = site.behaviour.name.as_str();
        let artifact = match (site.behaviour.expected, site.can_behave()) {
            (Expected::Ready, _) => Some(&site.good),
            (Expected::Refused(..), true) => Some(&site.earlier),
            (Expected::Refused(..), false) => None,
        };
        let map = maps.get(name).and_then(|map| map.data.as_ref());
        let Some(artifact) = artifact else {
            let current = fs_err::symlink_metadata(case.current(name));
            ensure!(current.is_err(), "{name} published something on the volume");
            ensure!(map.is_none(), "{name} published a ConfigMap: {map:?}");
            continue;
        };
        let text = artifact.content.as_str();
        ensure!(case.published(name)? == tree(&[(FILE, text)]), "{name} published something else on the volume");
        let wanted = BTreeMap::from([(FILE.to_owned(), text.to_owned())]);
        ensure!(map == Some(&wanted), "{name} published something else as a ConfigMap: {map:?}");
    }
    Ok(())
}

/// Checks that no other host was contacted without permission, and that no other host received a header that identifies
/// the operator.
fn check_requests_elsewhere(sites: &[Site]) -> Result<()> {
    for site in sites {
        let name = &site.behaviour.name;
        let elsewhere = site.connections_elsewhere();
        match site.behaviour.elsewhere {
            Elsewhere::Reached => ensure!(elsewhere > 0, "{name} does not lead elsewhere"),
            Elsewhere::Unheard => {
                ensure!(elsewhere == 0, "{name} led elsewhere {elsewhere} times: {:?}", site.asked_elsewhere());
            }
        }
        if let Some((ask, header)) = site.asked_elsewhere().iter().find_map(|ask| Some((ask.clone(), ask.tells()?))) {
            bail!("{name} made the operator tell its {header} elsewhere: {}", ask.head);
        }
        if let Some(ask) = site.registry.seen.asks().iter().find(|ask| ask.target.contains("..")) {
            bail!("{name} made the operator ask for {}", ask.target);
        }
    }
    Ok(())
}

/// Checks that the requests since the misbehaviour began stay within the site's pace, and that there is no hot loop.
fn check_pace(site: &Site, before: usize, time: Duration) -> Result<()> {
    let asks = site.registry.seen.asks().len() - before;
    let most = match site.behaviour.pace {
        Pace::Retries => NO_HOT_LOOP,
        Pace::Limited => 6 * (usize::try_from(time.as_secs() / 60)? + 1),
        Pace::Once => 1,
    };
    let name = &site.behaviour.name;
    ensure!(asks <= most, "{name} was asked {asks} times in {time:?}, more than {most}");
    ensure!(site.registry.seen.connections() <= NO_HOT_LOOP as u64, "{name}: {:?}", site.registry.seen);
    Ok(())
}

pub(crate) fn check_operator_not_restarted(case: &Case) -> Result<()> {
    let operator = case.operator()?;
    operator.service.check_running()?;
    let log = fs_err::read_to_string(operator.log())?;
    ensure!(log.matches("\"started\"").count() == 1, "the operator was started again");
    ensure!(!log.contains("panicked"), "something panicked, see {}", operator.log().display());
    Ok(())
}
