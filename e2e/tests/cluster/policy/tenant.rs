//! A tenant with rights on objects, Secrets and ConfigMaps of one namespace only, who tries to publish an artifact
//! without the signatures that a policy requires.

use anyhow::{Context, Result, bail, ensure};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::object::{Space, artifact_digest, resource};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::policy::{
    Signatory, apply_policy, at_once, entry, key_in, layers_read, policies, policy_name, space, verify,
};

tests!(a_tenant_without_rights_on_policies_cannot_get_an_unverified_artifact_published,);

/// Artifacts in the registry.
struct Goods {
    /// Signed by the signer that the policy names.
    signed: Artifact,
    /// Without a signature.
    unsigned: Artifact,
    /// Signed by the tenant.
    own: Artifact,
    /// An unsigned index of a signed and an unsigned manifest.
    index: Artifact,
    /// The unsigned manifest of that index.
    child: Artifact,
}

async fn a_tenant_without_rights_on_policies_cannot_get_an_unverified_artifact_published(
    case: &mut Case,
) -> Result<()> {
    let (acme, tenant) = (Signatory::new()?, Signatory::new()?);
    let goods = goods(case, &acme, &tenant).await?;
    let home = space(case, "tenant", &json!({"tier": "prod"})).await?;
    // The policy matches by a label, which the tenant would have to remove, and its key is out of the tenant's reach.
    let secret = policy_name(case, "release");
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    operators.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    let name = json!({"matchLabels": {"kubernetes.io/metadata.name": home.namespace, "tier": "prod"}});
    let mut policy = verify(&["**"], &[key_in(&secret)]);
    policy["namespaceSelector"] = name;
    apply_policy(case, "release", &policy).await?;
    let mut settings = case.settings()?;
    settings.namespaces = vec![home.namespace.clone()];
    case.start_operator_as(&settings).await?;

    let client = move_in(case, &home).await?;
    let theirs = Space { client: client.clone(), ..home.clone() };
    theirs.apply("good", &spec(&goods.signed.image())).await?;
    theirs.ready("good").await.context("what is signed is published: the rest is about something")?;
    what_the_api_server_refuses(case, &client, &theirs, &secret).await?;
    let objects = what_it_lets_pass(case, &theirs, &goods, &tenant).await?;
    for (name, reason) in &objects {
        theirs.refused(name, reason).await?;
        ensure!(!case.volume.join(&home.namespace).join(name).exists(), "{name} has files");
    }
    // A change to an unverified artifact leaves the published content in place.
    theirs.patch("good", &json!({"spec": {"image": goods.own.image(), "verify": own_requirement(&tenant)}})).await?;
    let object = at_once("the change is refused", theirs.refused("good", "IdentityMismatch")).await?;
    assert_eq!(artifact_digest(&object), Some(goods.signed.digest.as_str()));
    for (artifact, text) in
        [(&goods.unsigned, "unsigned"), (&goods.own, "own"), (&goods.index, "child"), (&goods.child, "child")]
    {
        assert_eq!(layers_read(&case.lab.registry, artifact, text)?, 0, "{text} was fetched");
    }
    let maps = theirs.config_maps().list(&ListParams::default()).await?;
    let names: Vec<_> = maps.items.iter().filter_map(|map| map.metadata.name.as_deref()).collect();
    assert_eq!(names, ["kube-root-ca.crt", "root"], "nothing is in a ConfigMap");
    Ok(())
}

async fn goods(case: &Case, acme: &Signatory, tenant: &Signatory) -> Result<Goods> {
    let registry = &case.lab.registry;
    let signed = Artifact::push_text(case, registry, "app:1", "signed").await?;
    acme.sign(case, &signed).await?;
    let unsigned = Artifact::push_text(case, registry, "app:2", "unsigned").await?;
    case.lab.publisher.tag(&unsigned.image(), "2.0.0").await?;
    let own = Artifact::push_text(case, registry, "app:3", "own").await?;
    tenant.sign(case, &own).await?;
    let child = Artifact::push_text(case, registry, "app:4", "child").await?;
    let index = Artifact::index(case, registry, "app:5", &[("linux/amd64", &signed), ("linux/arm64", &child)]).await?;
    Ok(Goods { signed, unsigned, own, index, child })
}

/// Creates a ServiceAccount in the namespace with the built-in role `edit`, which the chart extends.
async fn move_in(case: &Case, home: &Space) -> Result<Client> {
    let kubectl =
        |arguments: &[&str]| case.lab.kubectl().args(arguments).args(["--namespace", &home.namespace]).stdout();
    kubectl(&["create", "serviceaccount", "tenant"]).await?;
    let account = format!("--serviceaccount={}:tenant", home.namespace);
    kubectl(&["create", "rolebinding", "tenant", "--clusterrole=edit", &account]).await?;
    let lab = &case.lab;
    let access = chart::service_account(&lab.run, &lab.tools, &lab.control_plane, &home.namespace, "tenant").await?;
    access.client().await
}

fn own_requirement(tenant: &Signatory) -> Value {
    json!([entry("mine", &[tenant.key()])])
}

/// Checks that RBAC, and nothing else, forbids the request.
fn forbidden<T>(what: &str, answer: kube::Result<T>) -> Result<()> {
    match answer {
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(()),
        Err(error) => bail!("{what}: {error}"),
        Ok(_) => bail!("{what} is allowed"),
    }
}

async fn what_the_api_server_refuses(case: &Case, client: &Client, theirs: &Space, secret: &str) -> Result<()> {
    let (all, name) = (policies(client), policy_name(case, "release"));
    let policy: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifactPolicy", "metadata": {"name": policy_name(case, "mine")},
        "spec": {"images": ["**"], "action": "Allow"},
    }))?;
    let (params, options) = (PatchParams::default(), DeleteParams::default());
    let allow = Patch::Merge(json!({"spec": {"action": "Allow", "verify": []}}));
    forbidden("create a policy", all.create(&PostParams::default(), &policy).await)?;
    forbidden("change a policy", all.patch(&name, &params, &allow).await)?;
    let stored = policies(&case.space.client).get(&name).await?;
    forbidden("replace a policy", all.replace(&name, &PostParams::default(), &stored).await)?;
    forbidden("delete a policy", all.delete(&name, &options).await)?;
    forbidden("delete all policies", all.delete_collection(&options, &ListParams::default()).await)?;

    let namespaces: Api<Namespace> = Api::all(client.clone());
    let unlabel = Patch::Merge(json!({"metadata": {"labels": {"tier": null}}}));
    forbidden("relabel the namespace", namespaces.patch(&theirs.namespace, &params, &unlabel).await)?;

    let forged = json!({"status": {"artifact": {"digest": "forged"}}});
    let objects = theirs.artifacts();
    forbidden("write status", objects.patch_status("good", &params, &Patch::Merge(&forged)).await)?;
    let written = theirs.patch("good", &forged).await?;
    ensure!(artifact_digest(&written) != Some("forged"), "status can be written with the spec");

    let secrets: Api<Secret> = Api::namespaced(client.clone(), chart::NAMESPACE);
    let key = Patch::Merge(json!({"stringData": {"cosign.pub": "mine"}}));
    forbidden("change the policy's key", secrets.patch(secret, &params, &key).await)?;
    forbidden("delete the policy's key", secrets.delete(secret, &options).await)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), chart::NAMESPACE);
    let root = serde_json::from_value(json!({"metadata": {"name": policy_name(case, "root")}}))?;
    forbidden("make a trusted root for policies", maps.create(&PostParams::default(), &root).await)?;
    let elsewhere: Api<DynamicObject> = Api::namespaced_with(client.clone(), &case.space.namespace, &resource());
    forbidden("use another namespace", elsewhere.list(&ListParams::default()).await)?;
    Ok(())
}

/// Creates objects that the API server accepts; returns each with the reason that the operator must report.
async fn what_it_lets_pass(
    case: &Case,
    theirs: &Space,
    goods: &Goods,
    tenant: &Signatory,
) -> Result<Vec<(&'static str, &'static str)>> {
    let root =
        serde_json::to_string(&json!({"mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1"}))?;
    theirs.config_map("root", &[("trusted_root.json", &root)]).await?;
    theirs.secret("mine", "Opaque", &[("cosign.pub", &tenant.public_pem)]).await?;
    let digest = |artifact: &Artifact| artifact.image();
    let tag = |tag: &str| format!("{}:{tag}", goods.unsigned.repository());
    let host = &case.lab.registry.address;
    let port = host.split_once(':').map(|(_, port)| port.to_owned()).context("a registry without a port")?;
    let elsewhere = |name: &str| tag("2").replace(host, &format!("{name}:{port}"));
    let none = json!([]);
    let own = own_requirement(tenant);
    let mut of_secret = entry("mine", &[key_in("mine")]);
    of_secret["cosign"]["trustedRootRef"] = json!({"name": "root"});
    let (missing, mismatch) = ("SignatureMissing", "IdentityMismatch");
    let rows: Vec<(&str, String, &Value, Value, &str)> = vec![
        ("nothing-asked", tag("2"), &none, json!({}), missing),
        ("own-key", tag("3"), &own, json!({}), mismatch),
        ("own-key-of-unsigned", tag("2"), &own, json!({}), missing),
        ("by-digest", digest(&goods.unsigned), &none, json!({}), missing),
        ("own-by-digest", digest(&goods.own), &own, json!({}), mismatch),
        ("tag-of-another", digest(&goods.unsigned).replace('@', ":1@"), &none, json!({}), missing),
        ("with-a-scheme", format!("oci://{}", tag("2")), &none, json!({}), missing),
        ("by-name", elsewhere("localhost"), &none, json!({}), missing),
        ("by-name-in-capitals", elsewhere("LOCALHOST"), &none, json!({}), missing),
        ("port-with-zeros", tag("2").replace(&format!(":{port}"), &format!(":0{port}")), &none, json!({}), missing),
        ("index", digest(&goods.index), &none, json!({"platform": "linux/amd64"}), missing),
        ("signed-tag-of-index", tag("5"), &none, json!({"platform": "linux/arm64"}), missing),
        ("child", digest(&goods.child), &none, json!({}), missing),
        ("range", goods.unsigned.repository(), &none, json!({"semver": {"range": "2"}}), missing),
        (
            "in-a-config-map",
            tag("2"),
            &none,
            json!({"outputs": [{"name": "map", "configMap": {"name": "map"}}]}),
            missing,
        ),
        ("nowhere", tag("2"), &none, json!({"outputs": []}), missing),
    ];
    let mut objects = Vec::new();
    for (name, image, verify, more, reason) in rows {
        let mut spec = spec_with(&image, &more);
        spec["verify"] = verify.clone();
        theirs.apply(name, &spec).await.with_context(|| name.to_owned())?;
        objects.push((name, reason));
    }
    let spec = spec_with(&tag("3"), &json!({"verify": [of_secret]}));
    theirs.apply("own-key-and-root", &spec).await?;
    objects.push(("own-key-and-root", mismatch));
    Ok(objects)
}
