//! Objects and the operator while the API server fails: conditions do not change, and soon after the recovery
//! everything works.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{DynamicObject, ListParams, Patch, PatchParams};
use kube::runtime::watcher;
use serde_json::{Value, json};
use supercargo_e2e::api_proxy::{ApiProxy, Treatment};
use supercargo_e2e::chart;
use supercargo_e2e::http;
use supercargo_e2e::object::{LIMIT, Space, is_ready};
use supercargo_e2e::registry::{Options, Registry};
use supercargo_e2e::wait;

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::metrics::counter;
use crate::support::policy::{Signatory, apply_policy, at_once, delete_policy, entry, key_in, policy_name, verify};

tests!(
    no_condition_of_a_healthy_object_changes_while_the_api_server_fails,
    a_new_object_is_ready_soon_after_the_api_server_is_back,
    a_key_that_many_objects_need_is_read_once_for_all_of_them_and_no_file_is,
    sigterm_ends_an_operator_that_waits_for_its_first_list,
    policies_that_are_never_listed_make_the_operator_unready_and_cost_one_look,
    a_panic_is_the_state_of_its_object,
    labels_of_a_namespace_are_watched,
);

/// Longest time from the recovery of the API server to a new object that is Ready.
const SOON: Duration = Duration::from_secs(5);

/// Returns a number from the environment, for the long form of a proof.
fn number(name: &str, short: usize) -> usize {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(short)
}

/// Starts an operator that reaches the API server through a proxy.
pub(crate) async fn start_behind_proxy(case: &mut Case, environment: &[(&str, &str)]) -> Result<ApiProxy> {
    let (proxy, settings) = behind_proxy(case, environment).await?;
    case.start_operator_as(&settings).await?;
    Ok(proxy)
}

async fn behind_proxy(
    case: &Case,
    environment: &[(&str, &str)],
) -> Result<(ApiProxy, supercargo_e2e::operator::Settings)> {
    let proxy = ApiProxy::open(&case.lab.control_plane).await?;
    let mut settings = case.settings()?;
    settings.kubeconfig = proxy.kubeconfig(&settings.kubeconfig, &case.directory)?;
    settings.environment.extend(environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    Ok((proxy, settings))
}

/// Creates `count` objects and waits until all are Ready.
async fn make(case: &Case, count: usize, spec: impl Fn(usize) -> Value) -> Result<()> {
    let names = (0..count).map(|number| (format!("app-{number}"), spec(number)));
    let make = |(name, spec): (String, Value)| async move { case.space.apply(&name, &spec).await.map(drop) };
    stream::iter(names).map(make).buffer_unordered(16).try_collect::<()>().await?;
    let limit = Duration::from_secs(60 + count as u64);
    wait::until(limit, "all objects to be Ready", async || {
        let all = case.space.artifacts().list(&ListParams::default()).await?;
        Ok((all.items.iter().filter(|object| is_ready(object)).count() == count).then_some(()))
    })
    .await
}

/// Creates a Secret with a key in the operator's namespace, and a policy that requires a signature with this key.
async fn policy_by_secret(case: &Case, app: &Artifact, signatory: &Signatory) -> Result<()> {
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    let secret = policy_name(case, "key");
    operators.secret(&secret, "Opaque", &[("cosign.pub", &signatory.public_pem)]).await?;
    apply_policy(case, "by-secret", &verify(&[&app.repository()], &[key_in(&secret)])).await?;
    Ok(())
}

/// Returns the fields of status that must not change.
fn conditions(object: &DynamicObject) -> Value {
    let status = |field: &str| object.data.pointer(&format!("/status/{field}")).cloned().unwrap_or_default();
    json!([status("conditions"), status("artifact"), status("verification"), status("fingerprints"), status("outputs")])
}

/// Returns the requests that judge or fetch: all but those that resolve a tag.
fn judged_or_fetched(registry: &Registry) -> Result<Vec<String>> {
    let requests = registry.all_requests()?.into_iter().filter(|request| request.method != "HEAD");
    let is_it = |path: &String| ["/manifests/", "/blobs/", "/referrers/"].iter().any(|part| path.contains(part));
    Ok(requests.map(|request| request.path).filter(is_it).collect())
}

async fn no_condition_of_a_healthy_object_changes_while_the_api_server_fails(case: &mut Case) -> Result<()> {
    let count = number("SUPERCARGO_API_FAULTS_OBJECTS", 20);
    let seconds = number("SUPERCARGO_API_FAULTS_SECONDS", 20);
    let registry = case.registry("faults", &Options::default()).await?;
    let signatory = Signatory::new()?;
    let app = Artifact::push_text(case, &registry, "app:1", "app").await?;
    signatory.sign(case, &app).await?;
    case.space.secret("key", "Opaque", &[("cosign.pub", &signatory.public_pem)]).await?;
    policy_by_secret(case, &app, &signatory).await?;
    let proxy = start_behind_proxy(case, &[]).await?;
    let spec = |number: usize| {
        let output = match number % 2 {
            0 => json!({"name": "files", "volume": {"name": "default"}}),
            _ => json!({"name": "files", "configMap": {"name": format!("map-{number}")}}),
        };
        let own = json!([entry("own", &[key_in("key")])]);
        // Several passes for each object, and several reads of its outputs.
        let by_tag = format!("{}:1", app.repository());
        spec_with(&by_tag, &json!({"interval": "10s", "outputs": [output], "verify": own}))
    };
    make(case, count, spec).await?;
    // An object's Event is written after the status that makes it Ready.
    let are_complete = async || Ok((event_count(case).await? == count).then_some(()));
    wait::until(LIMIT, "an Event of each object", are_complete).await?;
    let list = async || case.space.artifacts().list(&ListParams::default()).await;
    let name = |object: &DynamicObject| object.metadata.name.clone().unwrap_or_default();
    let before: BTreeMap<_, _> = list().await?.items.iter().map(|one| (name(one), conditions(one))).collect();
    let (events, asked) = (event_count(case).await?, judged_or_fetched(&registry)?.len());
    let passes = registry.all_requests()?.len();

    proxy.set(Treatment::Random(35));
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let mut changes = watcher(case.space.artifacts(), watcher::Config::default()).boxed();
    while let Ok(event) = tokio::time::timeout_at(end.into(), changes.next()).await {
        let (watcher::Event::Apply(object) | watcher::Event::InitApply(object)) = event.context("no watch")?? else {
            continue;
        };
        let (was, is) = (&before[&name(&object)], conditions(&object));
        ensure!(*was == is, "{} was\n{was}\nand is\n{is}", name(&object));
    }
    proxy.set(Treatment::Good);
    for object in list().await?.items {
        ensure!(before[&name(&object)] == conditions(&object), "{} is another at the end", name(&object));
    }
    let metrics = case.operator()?.metrics().await?;
    ensure!(counter(&metrics, "supercargo_watch_errors_total") > 0, "no fault met a watch");
    ensure!(registry.all_requests()?.len() > passes, "no pass was made");
    ensure!(event_count(case).await? == events, "an Event was written");
    let asked_again = judged_or_fetched(&registry)?.split_off(asked);
    ensure!(asked_again.is_empty(), "judged or fetched again: {asked_again:?}");
    // New objects still become Ready.
    case.space.apply("new", &spec(0)).await?;
    case.space.ready("new").await?;
    delete_policy(case, "by-secret").await
}

async fn event_count(case: &Case) -> Result<usize> {
    let events: Api<k8s_openapi::api::events::v1::Event> =
        Api::namespaced(case.space.client.clone(), &case.space.namespace);
    Ok(events.list(&ListParams::default()).await?.items.len())
}

async fn a_new_object_is_ready_soon_after_the_api_server_is_back(case: &mut Case) -> Result<()> {
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    let proxy = start_behind_proxy(case, &[]).await?;
    case.space.apply("first", &spec(&app.image())).await?;
    case.space.ready("first").await?;
    // Long enough for the pauses of the watches to grow.
    for down in [4, 12] {
        proxy.set(Treatment::Down);
        wait::holds(Duration::from_secs(down), async || Ok(())).await?;
        let name = format!("after-{down}");
        case.space.apply(&name, &spec(&app.image())).await?;
        proxy.set(Treatment::Good);
        tokio::time::timeout(SOON, case.space.ready(&name)).await.with_context(|| format!("{name}: not soon"))??;
    }
    // An API server that has forgotten the resourceVersion from which each watch resumes.
    proxy.set(Treatment::Refused("/apis/supercargo.dev/v1alpha1/namespaces", 410));
    wait::holds(Duration::from_secs(4), async || Ok(())).await?;
    case.space.apply("after-410", &spec(&app.image())).await?;
    proxy.set(Treatment::Good);
    tokio::time::timeout(SOON, case.space.ready("after-410")).await.context("410: not soon")??;
    let log = fs_err::read_to_string(case.operator()?.log())?;
    let causes: Vec<&str> = log.lines().filter(|line| line.contains("the watch failed")).collect();
    let objects = causes.iter().filter(|line| line.contains("\"OCIArtifacts in ")).count();
    ensure!((1..=3).contains(&objects), "{objects} lines for three outages");
    let is_named = |line: &&&str| line.to_ascii_lowercase().contains("connection") || line.contains("410");
    ensure!(causes.iter().filter(is_named).count() > 0, "no line names the cause: {causes:?}");
    Ok(())
}

async fn a_key_that_many_objects_need_is_read_once_for_all_of_them_and_no_file_is(case: &mut Case) -> Result<()> {
    let count = number("SUPERCARGO_KEY_OBJECTS", 40);
    let signatory = Signatory::new()?;
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    signatory.sign(case, &app).await?;
    policy_by_secret(case, &app, &signatory).await?;
    let proxy = start_behind_proxy(case, &[]).await?;
    make(case, count, |_| spec(&app.image())).await?;
    let reads = || proxy.asked("GET /api/v1/");
    let looks = async || Ok::<_, anyhow::Error>(counter(&case.operator()?.metrics().await?, "supercargo_scans_total"));
    // Scans caused by the last switches.
    wait::until_lasting(Duration::from_secs(60), Duration::from_secs(3), "the objects to rest", async || {
        let before = looks().await?;
        wait::holds(Duration::from_secs(1), async || Ok(())).await?;
        Ok(before == looks().await?)
    })
    .await?;
    let (reads_before, looks_before, watched) = (reads(), looks().await?, Duration::from_secs(32));
    wait::holds(watched, async || Ok(())).await?;
    let read = reads() - reads_before;
    ensure!((1..=8).contains(&read), "{read} reads in {watched:?} for {count} objects");
    ensure!(looks().await? == looks_before, "files were looked at");
    // A changed key in the policy's Secret is noticed all the same.
    let other = Signatory::new()?;
    policy_by_secret(case, &app, &other).await?;
    // Ten thousand objects are judged again, in any order.
    let limit = LIMIT + Duration::from_millis(50) * u32::try_from(count)?;
    for name in ["app-0".to_owned(), format!("app-{}", count - 1)] {
        wait::until(limit, &format!("{name} to be refused"), async || {
            let object = case.space.get(&name).await?;
            Ok(conditions(&object).to_string().contains("IdentityMismatch").then_some(()))
        })
        .await?;
    }
    delete_policy(case, "by-secret").await
}

async fn sigterm_ends_an_operator_that_waits_for_its_first_list(case: &mut Case) -> Result<()> {
    const OBJECTS: &str = "/apis/supercargo.dev/v1alpha1/";
    for treatment in [Treatment::Refused(OBJECTS, 500), Treatment::Silent, Treatment::Down] {
        let (proxy, settings) = behind_proxy(case, &[]).await?;
        if !matches!(treatment, Treatment::Refused(..)) {
            proxy.set(treatment.clone());
        }
        let operator = supercargo_e2e::operator::Operator::spawn(&case.lab.run, &settings).await?;
        if matches!(treatment, Treatment::Refused(..)) {
            proxy.set(treatment.clone());
        }
        wait::until(Duration::from_secs(30), "the operator to be alive", async || {
            Ok((http::get(&operator.address, "/healthz").await?.status == 200).then_some(()))
        })
        .await?;
        if matches!(treatment, Treatment::Refused(..)) {
            wait::until_true(Duration::from_secs(30), "a list to be refused", || {
                Ok(proxy.asked(&format!("GET {OBJECTS}")) > 0)
            })
            .await?;
        }
        let asked = Instant::now();
        let exit = operator.stop().await.with_context(|| format!("{treatment:?}"))?;
        ensure!(exit.success(), "{treatment:?}: {exit:?}");
        ensure!(asked.elapsed() < Duration::from_secs(10), "{treatment:?}: after {:?}", asked.elapsed());
    }
    Ok(())
}

async fn policies_that_are_never_listed_make_the_operator_unready_and_cost_one_look(case: &mut Case) -> Result<()> {
    let (proxy, settings) = behind_proxy(case, &[]).await?;
    proxy.set(Treatment::Refused("/apis/supercargo.dev/v1alpha1/ociartifactpolicies", 403));
    case.space.apply("app", &spec(&case.reference("app:1"))).await?;
    let operator = supercargo_e2e::operator::Operator::spawn(&case.lab.run, &settings).await?;
    wait::until(Duration::from_secs(30), "the reason to be named", async || {
        let answer = http::get(&operator.address, "/readyz").await?;
        let is_named = answer.body.contains("OCIArtifactPolicies") && answer.body.contains("403");
        Ok((answer.status == 503 && is_named).then_some(()))
    })
    .await?;
    let looks =
        || Ok::<_, anyhow::Error>(fs_err::read_to_string(operator.log())?.matches("reconcile finished").count());
    wait::until_true(Duration::from_secs(20), "one look", || Ok(looks()? > 0)).await?;
    let before = looks()?;
    wait::holds(Duration::from_secs(7), async || Ok(())).await?;
    ensure!(looks()? == before, "{} looks more", looks()? - before);
    let object = case.space.get("app").await?;
    ensure!(object.data.pointer("/status/conditions").is_none(), "it has a condition");
    proxy.set(Treatment::Good);
    case.space.refused("app", "ReferenceNotFound").await?;
    operator.stop().await?;
    Ok(())
}

async fn a_panic_is_the_state_of_its_object(case: &mut Case) -> Result<()> {
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    let mut settings = case.settings()?;
    settings.environment.push(("SUPERCARGO_PANIC".to_owned(), "poison".to_owned()));
    case.start_operator_as(&settings).await?;
    case.space.apply("poison", &spec(&app.image())).await?;
    case.space.refused("poison", "Internal").await?;
    case.space.apply("other", &spec(&app.image())).await?;
    case.space.ready("other").await?;
    case.operator()?.service.check_running()
}

async fn labels_of_a_namespace_are_watched(case: &mut Case) -> Result<()> {
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    case.start_operator().await?;
    let label = policy_name(case, "tier");
    let selector = json!({"matchLabels": {&label: "closed"}});
    let deny = json!({"images": [app.repository()], "action": "Deny", "namespaceSelector": selector});
    apply_policy(case, "closed", &deny).await?;
    case.space.apply("app", &spec(&app.image())).await?;
    case.space.ready("app").await?;
    let namespaces: Api<Namespace> = Api::all(case.space.client.clone());
    for (value, is_denied) in [("closed", true), ("open", false), ("closed", true)] {
        let patch = Patch::Merge(json!({"metadata": {"labels": {&label: value}}}));
        namespaces.patch(&case.space.namespace, &PatchParams::default(), &patch).await?;
        let seen = async {
            if is_denied { case.space.refused("app", "PolicyDenied").await } else { case.space.ready("app").await }
        };
        at_once(&format!("the namespace is {value}"), seen).await?;
    }
    delete_policy(case, "closed").await
}
