//! `kubectl ociartifact`: the commands about the objects of a cluster, as kubectl finds them and by name.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::{Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::files::tree;
use supercargo_e2e::object::{LIMIT, artifact_digest, text};
use supercargo_e2e::run::{Invocation, Output};
use supercargo_e2e::wait;

use crate::support::artifact::Artifact;
use crate::support::case::{Case, short, spec, spec_with, tests};
use crate::support::command::{command, refused};
use crate::support::policy::{Signatory, apply_policy, entry, key_in, policy_name, verify};

tests!(
    kubectl_finds_the_plugin_and_shows_who_uses_an_output,
    why_names_reason_remedy_candidate_events_and_the_next_attempt,
    a_reconcile_waits_for_the_result_and_ends_with_its_class,
    suspended_objects_run_no_pass_until_they_are_resumed,
    a_moved_tag_differs_from_the_published_digest,
    the_published_digest_is_verified_from_this_machine,
    a_missing_right_is_named,
    a_cluster_that_cannot_be_used_is_named,
    a_namespace_without_objects_is_noted_as_by_kubectl,
);

/// Returns `supercargo ociartifact` with the rights of the administrator.
fn plugin(case: &Case, arguments: &[&str]) -> Invocation {
    let all = [&["ociartifact"], arguments].concat();
    command(case, &all).env("KUBECONFIG", case.lab.control_plane.kubeconfig.to_string_lossy())
}

/// Runs a command in the namespace of the test.
async fn run(case: &Case, arguments: &[&str]) -> Result<Output> {
    plugin(case, &[arguments, &["--namespace", &case.space.namespace]].concat()).output().await
}

async fn answer(case: &Case, arguments: &[&str]) -> Result<String> {
    let output = run(case, arguments).await?;
    ensure!(output.exit.success(), "{arguments:?} ended with {}: {}", output.exit, output.stderr);
    Ok(output.stdout)
}

/// Returns the result of a command as JSON, which is one line.
async fn parsed(case: &Case, arguments: &[&str]) -> Result<Value> {
    let text = answer(case, &[arguments, &["--format", "json"]].concat()).await?;
    ensure!(text.lines().count() == 1, "{text}");
    Ok(serde_json::from_str(&text)?)
}

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// Pushes a new content under a tag, and returns its digest.
async fn push(case: &mut Case, image: &str, content: &str) -> Result<String> {
    let source = case.source(&tree(&[("file", content)]))?;
    case.lab.publisher.oras(&source, &[image, "."]).await
}

async fn kubectl_finds_the_plugin_and_shows_who_uses_an_output(case: &mut Case) -> Result<()> {
    let signatory = Signatory::new()?;
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    signatory.sign(case, &artifact).await?;
    let policy = policy_name(case, "acme");
    apply_policy(case, "acme", &verify(&[&artifact.repository()], &[signatory.key()])).await?;
    case.start_operator().await?;
    let outputs = json!([{"name": "files", "volume": {}}, {"name": "map", "configMap": {"name": "rules"}}]);
    case.space.apply("app", &spec_with(&artifact.image(), &json!({"outputs": outputs}))).await?;
    case.space.ready("app").await?;
    deploy(case).await?;

    let bin = case.directory.join("bin");
    fs_err::create_dir_all(&bin)?;
    symlink(&case.lab.operator_binary, bin.join("kubectl-ociartifact"))?;
    let kubectl = case.lab.run.command(&case.lab.tools.kubectl).env("PATH", bin.to_string_lossy());
    let kubectl = kubectl.env("KUBECONFIG", case.lab.control_plane.kubeconfig.to_string_lossy());
    let found = kubectl.args(["ociartifact", "tree", "app", "-n", &case.space.namespace]).stdout().await?;
    let object = format!("OCIArtifact {}/app: Ready=True (Succeeded), Verified=True", case.space.namespace);
    ensure!(found.starts_with(&object), "{found}");
    for line in [
        format!("├─ OCIArtifactPolicy {policy}: Enforce, generation 1"),
        format!("├─ Signature {policy}/release: key sha256:"),
        format!("├─ Output files: Volume default:{}/app/current, 1 file", case.space.namespace),
        "│  └─ Deployment web (2 pods): volume files, subPath ".to_owned(),
        "└─ Output map: ConfigMap rules, 1 file".to_owned(),
        "   ├─ Deployment web (2 pods): env RULE".to_owned(),
        "   └─ Pod alone: volume rules".to_owned(),
    ] {
        ensure!(found.lines().any(|found| found.starts_with(&line)), "no line {line:?} in:\n{found}");
    }

    // kubectl's completion, as a shell requests it.
    symlink(&case.lab.operator_binary, bin.join("kubectl_complete-ociartifact"))?;
    let kubectl = case.lab.run.command(&case.lab.tools.kubectl).env("PATH", bin.to_string_lossy());
    let kubectl = kubectl.env("KUBECONFIG", case.lab.control_plane.kubeconfig.to_string_lossy());
    let words = ["__complete", "ociartifact", "why", "-n", &case.space.namespace, "a"];
    let offered = kubectl.args(words).stdout().await?;
    assert_eq!(offered.lines().next(), Some("app"), "{offered}");

    let tree = parsed(case, &["tree"]).await?;
    assert_eq!(at(&tree, "/objects/0/outputs/1/consumers/0/pods"), 2, "{tree}");
    assert_eq!(at(&tree, "/objects/0/outputs/1/consumers/1/uses/0"), &json!({"via": "volume", "name": "rules"}));
    assert_eq!(at(&tree, "/objects/0/outputs/0/digest"), &json!(artifact.digest), "{tree}");
    assert_eq!(at(&tree, "/objects/0/signatures/0/name"), &json!(format!("{policy}/release")), "{tree}");
    assert_eq!(tree.get("warnings"), None, "{tree}");
    let everywhere = plugin(case, &["tree", "-A", "--format", "json"]).stdout().await?;
    ensure!(everywhere.contains(&format!("\"namespace\":\"{}\"", case.space.namespace)), "{everywhere}");
    Ok(())
}

/// Creates a Deployment with two pods and a pod that use the outputs of `app`. No node runs them.
async fn deploy(case: &Case) -> Result<()> {
    let container = |more: Value| {
        let mut container = json!({"name": "c", "image": "registry.example/app:1"});
        container.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([container])
    };
    let path = format!("{}/app", case.space.namespace);
    let template = json!({
        "containers": container(json!({
            "volumeMounts": [{"name": "files", "mountPath": "/f", "subPath": path}],
            "env": [{"name": "RULE", "valueFrom": {"configMapKeyRef": {"name": "rules", "key": "k", "optional": true}}}],
        })),
        "volumes": [{"name": "files", "persistentVolumeClaim": {"claimName": "supercargo"}}],
    });
    let labels = json!({"app": "web"});
    let deployment: Deployment = serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {
            "replicas": 2, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template},
        },
    }))?;
    let alone: Pod = serde_json::from_value(json!({
        "metadata": {"name": "alone"},
        "spec": {"containers": container(json!({})), "volumes": [{"name": "rules", "configMap": {"name": "rules"}}]},
    }))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(case.space.client.clone(), &case.space.namespace);
    let pods: Api<Pod> = Api::namespaced(case.space.client.clone(), &case.space.namespace);
    wait::until(LIMIT, "the namespace to have its ServiceAccount", async || Ok(accounts.get_opt("default").await?))
        .await?;
    let deployments: Api<Deployment> = Api::namespaced(case.space.client.clone(), &case.space.namespace);
    deployments.create(&PostParams::default(), &deployment).await?;
    pods.create(&PostParams::default(), &alone).await?;
    wait::until(LIMIT, "the Deployment to have two pods", async || {
        let found = pods.list(&ListParams::default().labels("app=web")).await?.items.len();
        Ok((found == 2).then_some(()))
    })
    .await
}

async fn why_names_reason_remedy_candidate_events_and_the_next_attempt(case: &mut Case) -> Result<()> {
    let signatory = Signatory::new()?;
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    case.start_operator().await?;
    let verify = json!({"verify": [entry("release", &[signatory.key()])]});
    case.space.apply("app", &spec_with(&format!("{}:1", artifact.repository()), &verify)).await?;
    case.space.refused("app", "SignatureMissing").await?;
    let has_event = async || {
        let events = case.space.events("app").await?;
        Ok(events.iter().any(|(_, reason, _)| reason == "SignatureMissing").then_some(()))
    };
    wait::until(LIMIT, "an Event", has_event).await?;

    let why = parsed(case, &["why", "app"]).await?;
    assert_eq!(at(&why, "/conditions/0/type"), "Ready", "{why}");
    assert_eq!(at(&why, "/conditions/0/reason"), "SignatureMissing", "{why}");
    let (message, remedy) = (at(&why, "/conditions/0/message").to_string(), at(&why, "/remedy").to_string());
    ensure!(remedy.contains("Sign the digest") && !message.contains("Sign the digest"), "{why}");
    assert_eq!(at(&why, "/refused/digest"), &json!(artifact.digest), "{why}");
    assert_eq!(at(&why, "/next/action"), "retry", "{why}");
    assert_eq!(why.get("published"), None, "{why}");
    ensure!(at(&why, "/events").to_string().contains("SignatureMissing"), "{why}");

    let shown = answer(case, &["why", "app"]).await?;
    for (label, noun) in [
        ("Object:", "/app"),
        ("Ready:", "False, SignatureMissing, for "),
        ("Remedy:", "Sign the digest"),
        ("Published:", "nothing"),
        ("Refused:", short(&artifact.digest)),
        ("Next:", "kubectl ociartifact reconcile"),
        ("Event:", "s ago, Warning SignatureMissing"),
    ] {
        let is_there = shown.lines().any(|line| line.starts_with(label) && line.contains(noun));
        ensure!(is_there, "no {noun} at {label} in:\n{shown}");
    }
    refused(&run(case, &["why", "missing"]).await?, 5, "ObjectNotFound")
}

async fn a_reconcile_waits_for_the_result_and_ends_with_its_class(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let first = push(case, &image, "one").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &first).await?;

    let second = push(case, &image, "two").await?;
    let told = parsed(case, &["reconcile", "app", "--wait"]).await?;
    assert_eq!(at(&told, "/objects/0/ready"), true, "{told}");
    assert_eq!(at(&told, "/objects/0/digest"), &json!(second), "{told}");
    assert_eq!(at(&told, "/objects/0/previous"), &json!(first), "{told}");
    let object = case.space.get("app").await?;
    assert_eq!(text(&object, "/status/lastHandledReconcileAt"), at(&told, "/objects/0/requestedAt").as_str());

    case.space.apply("wrong", &spec(&case.reference("app:missing"))).await?;
    case.space.refused("wrong", "ReferenceNotFound").await?;
    let output = run(case, &["reconcile", "--all", "--wait"]).await?;
    assert_eq!(output.exit.code, Some(5), "{output:?}");
    ensure!(output.stdout.contains(&format!("app: Ready with {}", short(&second))), "{output:?}");
    ensure!(output.stdout.contains("wrong: not Ready, ReferenceNotFound"), "{output:?}");
    ensure!(output.stderr.starts_with("error: ReferenceNotFound: ") && output.stderr.contains("/wrong"), "{output:?}");

    // Without --wait only the request is made; with --force all layers are fetched again.
    let layers = || -> Result<usize> {
        let requests = case.lab.registry.requests(&case.repository("app"))?;
        Ok(requests.iter().filter(|request| request.method == "GET" && request.path.contains("/blobs/")).count())
    };
    let before = layers()?;
    let told = answer(case, &["reconcile", "app"]).await?;
    ensure!(told.ends_with("app: requested\n"), "{told}");
    answer(case, &["reconcile", "app", "--wait"]).await?;
    assert_eq!(layers()?, before, "nothing is fetched again");
    answer(case, &["reconcile", "app", "--wait", "--force"]).await?;
    ensure!(layers()? > before, "--force fetches the layer");

    case.take_operator()?.stop().await?;
    let output = run(case, &["reconcile", "app", "--wait", "--timeout", "2s"]).await?;
    assert_eq!(output.exit.code, Some(3), "{output:?}");
    ensure!(output.stderr.starts_with("error: Timeout: ") && output.stderr.contains("--timeout"), "{output:?}");
    Ok(())
}

async fn suspended_objects_run_no_pass_until_they_are_resumed(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let first = push(case, &image, "one").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &first).await?;

    let told = parsed(case, &["suspend", "app"]).await?;
    let namespace = case.space.namespace.clone();
    let row = |suspended: bool, changed: bool| {
        let object = json!({"namespace": namespace, "name": "app", "suspended": suspended, "changed": changed});
        json!({"objects": [object]})
    };
    assert_eq!(told, row(true, true));
    assert_eq!(parsed(case, &["suspend", "--all"]).await?, row(true, false));
    case.space.wait("app", "be suspended", |object| ready_reason(object) == Some("Suspended")).await?;
    let why = parsed(case, &["why", "app"]).await?;
    assert_eq!(at(&why, "/next/action"), "none", "{why}");
    let output = run(case, &["reconcile", "app"]).await?;
    refused(&output, 2, "InvalidSpec")?;
    ensure!(output.stderr.contains("spec.suspend"), "{output:?}");
    assert_eq!(answer(case, &["reconcile", "--all", "--wait"]).await?, "");

    let second = push(case, &image, "two").await?;
    let told = answer(case, &["resume", "app"]).await?;
    assert_eq!(told, format!("{namespace}/app: resumed\n"));
    case.space.ready_with("app", &second).await?;
    Ok(())
}

fn ready_reason(object: &kube::api::DynamicObject) -> Option<&str> {
    text(object, "/status/conditions/0/reason")
}

async fn a_moved_tag_differs_from_the_published_digest(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    let first = push(case, &image, "one").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &first).await?;
    let same = parsed(case, &["diff", "app"]).await?;
    assert_eq!(at(&same, "/equal"), true, "{same}");
    assert_eq!(at(&same, "/now/reference"), &json!(format!("{image}@{first}")), "{same}");

    let second = push(case, &image, "two").await?;
    let output = run(case, &["diff", "app", "--format", "json"]).await?;
    assert_eq!(output.exit.code, Some(1), "{output:?}");
    let different: Value = serde_json::from_str(&output.stdout)?;
    assert_eq!(at(&different, "/published/digest"), &json!(first), "{different}");
    assert_eq!(at(&different, "/now/digest"), &json!(second), "{different}");
    let output = run(case, &["diff", "app"]).await?;
    ensure!(output.stdout.contains("app: different\n") && output.stderr.is_empty(), "{output:?}");

    // Of the revision that the operator refused, no request is needed.
    let registry = case.registry("gone", &supercargo_e2e::registry::Options::default()).await?;
    let told = parsed(case, &["diff", "app", "--from-status"]).await?;
    assert_eq!((at(&told, "/equal"), told.get("now")), (&json!(true), None), "{told}");
    let missing = spec(&registry.reference("nothing:1"));
    case.space.apply("app", &missing).await?;
    refused(&run(case, &["diff", "app"]).await?, 5, "ReferenceNotFound")
}

async fn the_published_digest_is_verified_from_this_machine(case: &mut Case) -> Result<()> {
    let (acme, other) = (Signatory::new()?, Signatory::new()?);
    let artifact = Artifact::push(case, &case.lab.registry, "app").await?;
    acme.sign(case, &artifact).await?;
    case.start_operator().await?;
    let image = format!("{}:1", artifact.repository());
    case.space.apply("app", &spec(&image)).await?;
    case.space.ready_with("app", &artifact.digest).await?;
    let output = run(case, &["verify", "app"]).await?;
    refused(&output, 2, "InvalidSpec").context("nothing is required")?;

    // The key of the object is in its namespace, that of the policy in the operator's.
    case.space.secret("acme", "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    let named = json!({"verify": [entry("own", &[key_in("acme")])]});
    case.space.apply("app", &spec_with(&image, &named)).await?;
    let secret = policy_name(case, "acme");
    let operators =
        supercargo_e2e::object::Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    operators.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    let mut policy = verify(&[&artifact.repository()], &[key_in(&secret)]);
    policy["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": case.space.namespace}});
    apply_policy(case, "acme", &policy).await?;
    let told = parsed(case, &["verify", "app"]).await?;
    assert_eq!(at(&told, "/digest"), &json!(artifact.digest), "{told}");
    let signers = at(&told, "/signatures").as_array().context("no signatures")?.len();
    assert_eq!((signers, at(&told, "/policies/0")), (2, &json!(policy_name(case, "acme"))), "{told}");

    // A policy of another signer refuses the digest, also before the operator has judged it.
    apply_policy(case, "other", &verify(&[&artifact.repository()], &[other.key()])).await?;
    let output = run(case, &["verify", "app"]).await?;
    refused(&output, 6, "IdentityMismatch")?;
    ensure!(output.stderr.contains(&policy_name(case, "other")), "{output:?}");
    apply_policy(case, "other", &json!({"images": [artifact.repository()], "action": "Deny"})).await?;
    refused(&run(case, &["verify", "app"]).await?, 6, "PolicyDenied")
}

/// Returns the kubeconfig of a ServiceAccount with these rules in the namespace of the test.
async fn account(case: &Case, name: &str, rules: &Value) -> Result<PathBuf> {
    let (client, namespace) = (&case.space.client, &case.space.namespace);
    let account: ServiceAccount = serde_json::from_value(json!({"metadata": {"name": name}}))?;
    let role: Role = serde_json::from_value(json!({"metadata": {"name": name}, "rules": rules}))?;
    let binding: RoleBinding = serde_json::from_value(json!({
        "metadata": {"name": name},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }))?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &account).await?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &role).await?;
    Api::namespaced(client.clone(), namespace).create(&PostParams::default(), &binding).await?;
    let path = case.directory.join(format!("{name}.kubeconfig"));
    let lab = &case.lab;
    chart::service_account(&lab.run, &lab.tools, &lab.control_plane, namespace, name).await?.write(&path)?;
    Ok(path)
}

async fn a_missing_right_is_named(case: &mut Case) -> Result<()> {
    let image = case.reference("app:1");
    push(case, &image, "one").await?;
    case.start_operator().await?;
    case.space.apply("app", &spec(&image)).await?;
    let object = case.space.ready("app").await?;
    let rules = json!([{"apiGroups": ["supercargo.dev"], "resources": ["ociartifacts"], "verbs": ["get", "list"]}]);
    let kubeconfig = account(case, "reader", &rules).await?;
    let kubeconfig = kubeconfig.to_str().context("not UTF-8")?;
    // The namespace is that of the context.
    let as_reader =
        async |arguments: &[&str]| plugin(case, &[arguments, &["--kubeconfig", kubeconfig]].concat()).output().await;
    // A right takes effect a moment after it was granted.
    wait::until(LIMIT, "the reader to have rights", async || {
        Ok(as_reader(&["why", "app"]).await?.exit.success().then_some(()))
    })
    .await?;

    let why = as_reader(&["why", "app"]).await?;
    ensure!(why.stdout.contains("Ready:") && why.stderr.contains("cannot list events in namespace"), "{why:?}");
    let found = as_reader(&["tree", "--format", "json"]).await?;
    let found: Value = serde_json::from_str(&found.stdout)?;
    assert_eq!(at(&found, "/objects/0/outputs/0/digest").as_str(), artifact_digest(&object), "{found}");
    let warnings = at(&found, "/warnings").to_string();
    for kind in ["pods", "deployments.apps", "cronjobs.batch"] {
        ensure!(warnings.contains(&format!("cannot list {kind} in namespace")), "no {kind} in {warnings}");
    }
    for arguments in [["suspend", "app"], ["reconcile", "app"]] {
        let output = as_reader(&arguments).await?;
        refused(&output, 4, "Forbidden")?;
        ensure!(output.stderr.contains("right to patch ociartifacts.supercargo.dev in namespace"), "{output:?}");
    }
    let output = as_reader(&["verify", "app"]).await?;
    refused(&output, 4, "Forbidden")?;
    ensure!(output.stderr.contains("list ociartifactpolicies.supercargo.dev in all namespaces"), "{output:?}");
    let output = as_reader(&["tree", "-A"]).await?;
    refused(&output, 4, "Forbidden")
}

async fn a_namespace_without_objects_is_noted_as_by_kubectl(case: &mut Case) -> Result<()> {
    let want = format!("No OCIArtifacts found in {} namespace.\n", case.space.namespace);
    for command in [&["tree"] as &[&str], &["reconcile", "--all"], &["suspend", "--all"], &["resume", "--all"]] {
        let output = run(case, command).await?;
        ensure!(output.exit.success() && output.stdout.is_empty() && output.stderr == want, "{command:?}: {output:?}");
        let output = run(case, &[command, &["--format", "json"]].concat()).await?;
        assert_eq!((output.stdout.as_str(), output.stderr.as_str()), ("{\"objects\":[]}\n", ""), "{command:?}");
        let output = run(case, &[command, &["--quiet"]].concat()).await?;
        assert_eq!(output.stderr, "", "{command:?}");
    }
    Ok(())
}

async fn a_cluster_that_cannot_be_used_is_named(case: &mut Case) -> Result<()> {
    let missing = case.directory.join("missing.kubeconfig");
    let missing = missing.to_str().context("not UTF-8")?;
    refused(&run(case, &["tree", "--kubeconfig", missing]).await?, 4, "FileNotFound")?;
    refused(&run(case, &["tree", "--context", "other"]).await?, 2, "InvalidSpec")?;
    let broken = case.directory.join("broken.kubeconfig");
    fs_err::write(&broken, "clusters: 1")?;
    refused(&run(case, &["tree", "--kubeconfig", broken.to_str().context("not UTF-8")?]).await?, 4, "FileInvalid")?;
    let config = fs_err::read_to_string(&case.lab.control_plane.kubeconfig)?;
    let mut config: Value = serde_json::from_str(&config)?;
    config["users"][0]["user"]["token"] = json!("wrong");
    let stranger = case.directory.join("stranger.kubeconfig");
    fs_err::write(&stranger, config.to_string())?;
    refused(&run(case, &["tree", "--kubeconfig", stranger.to_str().context("not UTF-8")?]).await?, 4, "Unauthorized")?;
    config["clusters"][0]["cluster"]["server"] = json!(format!("https://127.0.0.1:{}", supercargo_e2e::ports::free()?));
    fs_err::write(&stranger, config.to_string())?;
    let output = run(case, &["tree", "--kubeconfig", stranger.to_str().context("not UTF-8")?]).await?;
    refused(&output, 3, "ClusterUnavailable")?;
    let usage = plugin(case, &["reconcile"]).output().await?;
    assert_eq!(usage.exit.code, Some(2), "{usage:?}");
    Ok(())
}
