//! Policies that cannot be applied: every object in their scope is refused, and no other.

use anyhow::{Context, Result, bail, ensure};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use supercargo_e2e::chart;
use supercargo_e2e::object::{Space, condition};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, spec, spec_with, tests};
use crate::support::policy::{Signatory, apply_policy, at_once, entry, key_in, policies, policy_name, verify};

tests!(
    a_stored_policy_that_does_not_parse_refuses_only_what_it_may_match,
    an_invalid_or_expired_trusted_root_is_reported_and_accepts_nothing,
    an_invalid_policy_is_refused_with_the_remedy,
);

/// Returns the key under which the API server stores the policy.
fn key(name: &str) -> String {
    format!("/registry/supercargo.dev/ociartifactpolicies/{name}")
}

async fn a_stored_policy_that_does_not_parse_refuses_only_what_it_may_match(case: &mut Case) -> Result<()> {
    let acme = Signatory::new()?;
    let registry = &case.lab.registry;
    let app = Artifact::push_text(case, registry, "app:1", "app").await?;
    acme.sign(case, &app).await?;
    let beside = Artifact::push_text(case, registry, "beside:1", "beside").await?;
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    case.start_operator().await?;
    let images = [app.repository()];
    let images: Vec<&str> = images.iter().map(String::as_str).collect();
    let fine = verify(&images, &[acme.key()]);
    apply_policy(case, "broken", &fine).await?;
    case.space.apply("app", &spec(&app.image())).await?;
    case.space.ready("app").await?;

    // Written into etcd past every admission rule, as a newer version of the CRD might have left it.
    let control_plane = &case.lab.control_plane;
    let (name, namespace) = (policy_name(case, "broken"), json!(case.space.namespace));
    let harm: [(&str, &str, Value); 5] = [
        ("an action of another version", "action", json!("Quarantine")),
        ("an entry that is none", "verify", json!(["release"])),
        ("bounds that are none", "limits", json!({"layerBytes": "many"})),
        ("nobody who may have signed", "verify", json!([])),
        ("an enforcement of another version", "enforcement", json!("Sometimes")),
    ];
    for (label, field, value) in harm {
        let mut stored = control_plane.stored(&key(&name)).await?;
        stored["spec"][field] = value;
        control_plane.store(&key(&name), &stored).await?;
        let object = at_once(label, case.space.refused("app", "PolicyDenied")).await?;
        let ready = condition(&object, "Ready").context("no condition")?;
        ensure!(ready.message.contains(&name), "{label}: {}", ready.message);
        ensure!(case.current("app").exists(), "{label}: what is served stays");
        lets_another_in(case, &beside, label).await?;
        policies(&case.space.client).delete(&name, &kube::api::DeleteParams::default()).await?;
        apply_policy(case, "broken", &fine).await?;
        at_once(label, case.space.ready("app")).await?;
    }

    // Defects that admission cannot detect.
    let mut pattern = verify(&["ghcr.io/[a"], &[acme.key()]);
    pattern["namespaceSelector"] = json!({"matchLabels": {"kubernetes.io/metadata.name": namespace}});
    let secret = policy_name(case, "key");
    let rows = [
        ("a key that is none", verify(&images, &[json!({"inline": "no key"})]), true),
        ("a key that is not there", verify(&images, &[key_in(&secret)]), true),
        ("a pattern that is none speaks about everything", pattern, false),
    ];
    for (label, policy, spares_others) in rows {
        apply_policy(case, "broken", &policy).await?;
        let object = at_once(label, case.space.refused("app", "PolicyDenied")).await?;
        let ready = condition(&object, "Ready").context("no condition")?;
        ensure!(ready.message.contains("cannot be applied"), "{label}: {}", ready.message);
        ensure!(condition(&object, "Stalled").is_none(), "{label}: it may be there soon");
        if spares_others {
            lets_another_in(case, &beside, label).await?;
        }
    }
    // The key is created, and no reconcile is requested.
    apply_policy(case, "broken", &verify(&images, &[key_in(&secret)])).await?;
    case.space.refused("app", "PolicyDenied").await?;
    operators.secret(&secret, "Opaque", &[("cosign.pub", &acme.public_pem)]).await?;
    case.space.ready("app").await?;
    Ok(())
}

/// Publishes a new object of another repository.
async fn lets_another_in(case: &Case, artifact: &Artifact, label: &str) -> Result<()> {
    let name = format!("beside-{}", label.replace(' ', "-"));
    case.space.apply(&name, &spec(&artifact.image())).await?;
    case.space.ready(&name).await.with_context(|| label.to_owned())?;
    Ok(())
}

/// Returns the trusted root of the public good instance, with every part ended long ago.
fn ended() -> Result<String> {
    let path = chart::workspace().join("e2e/fixtures/signatures/trusted_root.public.json");
    let mut root: Value = serde_json::from_str(&fs_err::read_to_string(path)?)?;
    let mut count = 0;
    for kind in ["certificateAuthorities", "tlogs", "ctlogs", "timestampAuthorities"] {
        for one in root.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten() {
            let pointer = if kind.ends_with("logs") { "/publicKey/validFor" } else { "/validFor" };
            let window = one.pointer_mut(pointer).context("no validFor")?;
            *window = json!({"start": "2020-01-01T00:00:00Z", "end": "2024-01-01T00:00:00Z"});
            count += 1;
        }
    }
    ensure!(count > 4, "{count} of them");
    Ok(root.to_string())
}

async fn an_invalid_or_expired_trusted_root_is_reported_and_accepts_nothing(case: &mut Case) -> Result<()> {
    let app = Artifact::push_text(case, &case.lab.registry, "app:1", "app").await?;
    let operators = Space { namespace: chart::NAMESPACE.to_owned(), client: case.space.client.clone() };
    case.start_operator().await?;
    let root = policy_name(case, "root");
    let keyless = json!([{"issuer": "https://issuer.example", "subject": "dev@example.test"}]);
    let cosign = json!({"keyless": keyless, "trustedRootRef": {"name": root}});
    let requirement = json!([{"name": "release", "cosign": cosign}]);
    let good = fs_err::read_to_string(chart::workspace().join("e2e/fixtures/signatures/trusted_root.public.json"))?;
    let rows = [
        ("malformed", "{", "TrustRootInvalid"),
        ("empty", "", "TrustRootInvalid"),
        ("no object", "[]", "TrustRootInvalid"),
        ("nothing in it", "{}", "TrustRootInvalid"),
        ("a certificate that is none", &good.replacen("MII", "MIX", 1), "TrustRootInvalid"),
        ("ended", &ended()?, "TrustRootInvalid"),
        ("good", &good, "SignatureMissing"),
    ];
    case.space.config_map(&root, &[("trusted_root.json", "{")]).await?;
    case.space.apply("app", &spec_with(&app.image(), &json!({"verify": requirement}))).await?;
    for (label, text, reason) in rows {
        case.space.config_map(&root, &[("trusted_root.json", text)]).await?;
        let of_this = |object: &kube::api::DynamicObject| {
            let ready = condition(object, "Ready");
            let is_other =
                label != "ended" || ready.as_ref().is_some_and(|ready| ready.message.contains("currently valid"));
            is_other && ready.is_some_and(|ready| ready.reason == reason)
        };
        let object = case.space.wait("app", &format!("say {reason} of a root: {label}"), of_this).await?;
        let said = condition(&object, "Ready").context("no condition")?.message;
        ensure!(said.contains("trusted root") == (reason == "TrustRootInvalid"), "{label}: {said}");
        ensure!(!case.object_directory("app").exists(), "{label}: it is published");
    }
    case.space.config_map(&root, &[("other.json", &good)]).await?;
    case.space.refused("app", "SecretNotFound").await?;

    // The same in a policy.
    case.space.patch("app", &json!({"spec": {"verify": []}})).await?;
    case.space.ready("app").await?;
    operators.config_map(&root, &[("trusted_root.json", "{")]).await?;
    apply_policy(case, "rooted", &json!({"images": [app.repository()], "verify": requirement})).await?;
    let object = at_once("a policy with such a root", case.space.refused("app", "PolicyDenied")).await?;
    let said = condition(&object, "Ready").context("no condition")?.message;
    ensure!(said.contains("trusted root"), "{said}");
    operators.config_map(&root, &[("trusted_root.json", &good)]).await?;
    case.space.refused("app", "SignatureMissing").await?;
    Ok(())
}

async fn an_invalid_policy_is_refused_with_the_remedy(case: &mut Case) -> Result<()> {
    let acme = Signatory::new()?;
    let about = |images: &[&str]| json!({"images": images, "action": "Allow"});
    let mut keyless = entry("release", &[acme.key()]);
    keyless["cosign"]["keyless"] = json!([{"issuer": "https://i.example", "subject": "a@example.test"}]);
    let nobody = json!({"images": ["ghcr.io/a/b"], "verify": [{"name": "release", "cosign": {}}]});
    let twice = json!({"images": ["ghcr.io/a/b"], "verify": [entry("release", &[acme.key()]), entry("release", &[acme.key()])]});
    let patterns = "as patterns for host/repository";
    let nothing = "spec.images can match no repository";
    let rows = [
        ("no images", json!({"images": [], "action": "Allow"}), "spec.images"),
        ("a scheme", about(&["https://ghcr.io/acme/app"]), patterns),
        ("another one", about(&["oci://ghcr.io/acme/app"]), patterns),
        ("a tag", about(&["ghcr.io/acme/app:1"]), patterns),
        ("a digest", about(&["ghcr.io/acme/app@sha256:0"]), patterns),
        ("no repository", about(&["ghcr.io"]), patterns),
        ("a star, which stops at the first slash", about(&["*"]), patterns),
        ("one good and one not", about(&["ghcr.io/**", "ghcr.io"]), patterns),
        ("a short name", about(&["acme/app"]), nothing),
        ("a star too many", about(&["ghcr.io/acme**"]), nothing),
        ("a dot too many", about(&["ghcr.io./acme/**"]), nothing),
        ("another script", about(&["m\u{fc}nchen.example/**"]), nothing),
        ("nobody", json!({"images": ["ghcr.io/a/b"]}), "action: Verify"),
        (
            "a denial with signatures",
            json!({"images": ["ghcr.io/a/b"], "action": "Deny", "verify": [entry("release", &[acme.key()])]}),
            "Allow and Deny",
        ),
        ("no authority", nobody, "at least one authority"),
        (
            "an identity without a log",
            json!({"images": ["ghcr.io/a/b"], "verify": [keyless]}),
            "transparencyLog: Ignored",
        ),
        ("a name twice", twice, "duplicate entries"),
        ("another action", json!({"images": ["ghcr.io/a/b"], "action": "Audit"}), "supported values"),
    ];
    for (label, spec, sentence) in rows {
        match apply_policy(case, "refused", &spec).await {
            Ok(_) => bail!("{label}: {spec} was accepted"),
            Err(error) => ensure!(format!("{error:#}").contains(sentence), "{label}: {error:#}"),
        }
    }
    let images = [
        "ghcr.io/acme/**",
        "localhost:5000/*",
        "localhost/*",
        "[::1]:5000/**",
        "**",
        "**/app",
        "*.example/a/b",
        "ghcr.io/acme/",
        "{ghcr.io,quay.io}/a/**",
    ];
    let mut fine = verify(&images, &[acme.key(), key_in("key")]);
    fine["namespaceSelector"] = json!({"matchLabels": {"nobody": policy_name(case, "has-it")}});
    let accepted = apply_policy(case, "accepted", &fine).await?;
    assert_eq!(accepted.data.pointer("/spec/action"), Some(&json!("Verify")));
    assert_eq!(accepted.data.pointer("/spec/enforcement"), Some(&json!("Enforce")));
    let warn = Patch::Merge(json!({"spec": {"enforcement": "Warn"}}));
    let name = policy_name(case, "accepted");
    policies(&case.space.client).patch(&name, &PatchParams::default(), &warn).await?;
    let table = case.lab.kubectl().args(["get", "ociartpol", &name]).stdout().await?;
    for wanted in ["ACTION", "ENFORCEMENT", "IMAGES", "Verify", "Warn", "ghcr.io/acme/**"] {
        ensure!(table.contains(wanted), "no {wanted} in {table}");
    }
    Ok(())
}
