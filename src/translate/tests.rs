//! The examples of the tools' own pages, and what has no counterpart.

use serde_json::{Value, json};

use super::*;

/// Returns the translated documents.
fn translated(tool: Tool, text: &str) -> Vec<Value> {
    let translation = tool.translate(text).unwrap_or_else(|problems| panic!("{problems:?}\n{text}"));
    documents(&translation.yaml("a comment").unwrap()).unwrap()
}

/// Returns the single entry of the translated set.
fn entry(tool: Tool, text: &str) -> Value {
    let documents = translated(tool, text);
    assert_eq!(documents.len(), 1, "{documents:?}");
    assert_eq!(
        (&documents[0]["kind"], &documents[0]["apiVersion"]),
        (&json!("ArtifactSet"), &json!("supercargo.dev/v1alpha1"))
    );
    let entries = documents[0]["artifacts"].as_array().unwrap();
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// Asserts that a translation has exactly these paths as problems, each with a noun in its text.
fn refused(tool: Tool, text: &str, want: &[(&str, &str)]) {
    let problems = tool.translate(text).expect_err(text);
    let paths: Vec<&str> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, want.iter().map(|(path, _)| *path).collect::<Vec<_>>(), "{problems:?}");
    for (problem, (_, noun)) in problems.iter().zip(want) {
        assert!(problem.problem.contains(noun), "{problem} has no {noun}");
    }
}

fn vendir(content: &str) -> String {
    format!(
        "apiVersion: vendir.k14s.io/v1alpha1\nkind: Config\ndirectories:\n- path: vendor\n  contents:\n  - path: rules\n    {}\n",
        content.replace('\n', "\n    ")
    )
}

/// The file of vendir's issue 446.
const SCHEMAS: &str = "
apiVersion: vendir.k14s.io/v1alpha1
kind: Config
directories:
  - path: vendor/k8s-schemas
    contents:
      - path: .
        ociArtifact:
          image: ghcr.io/home-operations/k8s-schemas
          tag: latest
          mediaTypes:
            - application/vnd.cncf.flux.content.v1.tar+gzip
          cosign:
            certificateOidcIssuer: https://token.actions.githubusercontent.com
";

#[test]
fn vendirs_issue() {
    let want = json!({
        "directory": "vendor/k8s-schemas",
        "image": "ghcr.io/home-operations/k8s-schemas:latest",
        "layers": {"mediaTypes": ["application/vnd.cncf.flux.content.v1.tar+gzip"], "mode": "Extract"},
        "verify": [{"name": "signature", "cosign": {"keyless": [
            {"issuer": "https://token.actions.githubusercontent.com", "subjectRegExp": ".*"},
        ]}}],
    });
    assert_eq!(entry(Tool::Vendir, SCHEMAS), want);
    let translation = Tool::Vendir.translate(SCHEMAS).unwrap();
    let [warning] = translation.warnings() else { panic!("{:?}", translation.warnings()) };
    assert_eq!(warning.path, "directories[0].contents[0].ociArtifact.cosign.certificateOidcIssuer");
    assert!(warning.problem.contains("subjectRegExp"), "{warning}");
    let text = translation.yaml("a comment").unwrap();
    assert!(text.starts_with("# a comment\napiVersion: ") && text.lines().count() < 20, "{text}");
}

#[test]
fn vendirs_sources_in_registries() {
    let rows = [
        (
            "image: {url: 'ghcr.io/acme/rules:1.4.0', secretRef: {name: login}}\nincludePaths: ['**/*.yaml']\nlegalPaths: []",
            json!({
                "image": "ghcr.io/acme/rules:1.4.0", "registry": {"pullSecrets": [{"name": "login"}]},
                "layers": {"mode": "Extract"}, "files": {"include": ["**/*.yaml"]},
            }),
        ),
        (
            "image: {url: username/app1-config, dangerousSkipTLSVerify: true}\nlazy: false",
            json!({
                "image": "docker.io/username/app1-config", "registry": {"insecureSkipVerify": true},
                "layers": {"mode": "Extract"},
            }),
        ),
        (
            "image: {url: r.example/a/b, tagSelection: {semver: {constraints: '>0.4.0 !0.5.0 || ==2.0.0'}}}",
            json!({
                "image": "r.example/a/b", "layers": {"mode": "Extract"},
                "semver": {"range": ">0.4.0 !=0.5.0 || =2.0.0", "filter": r"^v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}$"},
            }),
        ),
        (
            "image: {url: r.example/a/b, tagSelection: {semver: {prereleases: {identifiers: [rc, beta]}}}}",
            json!({
                "image": "r.example/a/b", "layers": {"mode": "Extract"},
                "semver": {
                    "range": "*", "prereleases": true,
                    "filter": r"^v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}(-([0-9A-Za-z-]+\.)*(rc|beta)(\.[0-9A-Za-z-]+)*)?$",
                },
            }),
        ),
        (
            "helmChart: {name: redis, version: '1.2.1+b', repository: {url: 'oci://r.example/charts/'}}\nnewRootPath: ./templates",
            json!({"image": "r.example/charts/redis:1.2.1_b", "files": {"subPath": "redis/templates"}}),
        ),
        (
            "helmChart: {name: redis, version: 1.2.x, helmVersion: '3', repository: {url: 'oci://r.example', secretRef: {name: s}}}",
            json!({
                "image": "r.example/redis", "semver": {"range": "1.2.x"}, "files": {"subPath": "redis"},
                "registry": {"pullSecrets": [{"name": "s"}]},
            }),
        ),
    ];
    for (content, mut want) in rows {
        want["directory"] = "vendor/rules".into();
        assert_eq!(entry(Tool::Vendir, &vendir(content)), want, "{content}");
    }
}

#[test]
fn what_vendir_has_alone_is_named() {
    let at = "directories[0].contents[0]";
    let all = vendir("git: {url: 'https://example.com'}\npermissions: 448\nlazy: true\nignorePaths: [a]\nlegal: 1");
    refused(
        Tool::Vendir,
        &all,
        &[
            (&format!("{at}.permissions"), "modes"),
            (&format!("{at}.ignorePaths"), "whole"),
            (&format!("{at}.lazy"), "sync --locked"),
            (&format!("{at}.git"), "\"git\" sources"),
            (&format!("{at}.legal"), "unknown"),
        ],
    );
    for source in ["hg", "http", "githubRelease", "manual", "directory", "inline", "imgpkgBundle"] {
        let problems = Tool::Vendir.translate(&vendir(&format!("{source}: {{}}"))).unwrap_err();
        assert_eq!(problems[0].path, format!("{at}.{source}"), "{problems:?}");
    }
    let rows = [
        ("image: {url: 'r.example/a', responseHeaderTimeout: 5}", "image.responseHeaderTimeout", "timeout"),
        ("image: {url: 'r.example/a:1', tagSelection: {semver: {}}}", "image.tagSelection.semver", "tag"),
        (
            "image: {url: 'r.example/a', tagSelection: {semver: {constraints: 'a b'}}}",
            "image.tagSelection.semver",
            "\"a\"",
        ),
        ("image: {url: 'https://r.example/a'}", "image.url", "https://"),
        ("ociArtifact: {image: r.example/a, tag: 1.10}", "ociArtifact.tag", "quotes"),
        ("ociArtifact: {image: r.example/a, cosign: {key: k}}", "ociArtifact.cosign.certificateOidcIssuer", "missing"),
        ("ociArtifact: {image: r.example/a, mediaTypes: ['*']}", "ociArtifact.mediaTypes", "*"),
        (
            "helmChart: {name: a, version: '1', repository: {url: 'https://r.example'}}",
            "helmChart.repository",
            "oci://",
        ),
        ("helmChart: {name: a}", "helmChart.repository", "oci://"),
        ("lazy: false", "path", "source"),
        ("image: {url: r.example/a}\nhelmChart: {name: a}", "path", "several"),
    ];
    for (content, path, noun) in rows {
        let problems = Tool::Vendir.translate(&vendir(content)).unwrap_err();
        assert_eq!(problems[0].path, format!("{at}.{path}"), "{content}: {problems:?}");
        assert!(problems[0].problem.contains(noun), "{content}: {problems:?}");
    }
    refused(Tool::Vendir, "apiVersion: v1\nkind: Secret\nmetadata: {name: login}", &[("kind", "Secret")]);
}

#[test]
fn directories_do_not_overlap_and_stay_below_the_file() {
    let two = |one: &str, two: &str| {
        format!(
            "- {{type: oci, source: 'r.example/a:1', output_path: '{one}'}}\n- {{type: oci, source: 'r.example/b:1', output_path: '{two}'}}"
        )
    };
    refused(Tool::Kapitan, &two("a/b", "./a//b/"), &[("[1].output_path", "a/b")]);
    refused(Tool::Kapitan, &two("a/b", "a"), &[("[1].output_path", "overlap")]);
    refused(Tool::Kapitan, &two("/a", "b"), &[("[0].output_path", "absolute")]);
    refused(Tool::Kapitan, &two("a/../..", "."), &[("[0].output_path", ".."), ("[1].output_path", "current")]);
    let documents = translated(Tool::Kapitan, &two("a/b", "a/bc"));
    assert_eq!(documents[0]["artifacts"].as_array().unwrap().len(), 2);
}

#[test]
fn kapitans_pages() {
    let inventory = |dependency: &str| {
        format!(
            "parameters:\n  kapitan:\n    vars:\n      target: my-service\n    dependencies:\n    {dependency}\n    compile:\n    - input_type: kadet\n"
        )
    };
    let rows = [
        (
            inventory(
                "- type: oci\n      source: ghcr.io/kapicorp/generators:1.2.0\n      output_path: components/generators\n      subpath: generators/kubectl",
            ),
            json!({"image": "ghcr.io/kapicorp/generators:1.2.0", "files": {"subPath": "generators/kubectl"}}),
        ),
        (
            inventory(
                "- type: oci\n      source: ghcr.io/kapicorp/generators:1.2.0\n      output_path: components/generators\n      insecure: false\n      tls_verify: true",
            ),
            json!({"image": "ghcr.io/kapicorp/generators:1.2.0"}),
        ),
        (
            format!(
                "    - type: oci\n      source: ghcr.io/kapicorp/generators@sha256:{}\n      output_path: components/generators\n",
                "a".repeat(64)
            ),
            json!({"image": format!("ghcr.io/kapicorp/generators@sha256:{}", "a".repeat(64))}),
        ),
        (
            inventory(
                "- {type: oci, source: 'r.example/g:1', output_path: ./components/generators/, media_type: application/vnd.oci.image.layer.v1.tar+gzip, insecure: true, tls_verify: false, force_fetch: true}",
            ),
            json!({
                "image": "r.example/g:1", "layers": {"mediaTypes": ["application/vnd.oci.image.layer.v1.tar+gzip"]},
                "registry": {"plainHTTP": true},
            }),
        ),
        (
            inventory("- {type: oci, source: 'r.example/g:1', output_path: components/generators, tls_verify: false}"),
            json!({"image": "r.example/g:1", "registry": {"insecureSkipVerify": true}}),
        ),
    ];
    for (text, mut want) in rows {
        want["directory"] = "components/generators".into();
        assert_eq!(entry(Tool::Kapitan, &text), want, "{text}");
    }
    // A dependency of several targets is fetched once.
    let twice = "- &g {type: oci, source: 'r.example/g:1', output_path: g}\n- *g";
    assert_eq!(entry(Tool::Kapitan, twice)["directory"], "g");
}

#[test]
fn what_kapitan_has_alone_is_named() {
    let text = "
- {type: git, source: 'https://example.com/a.git', output_path: a}
- {type: oci, source: 'oci://r.example/a:1', output_path: b}
- {type: oci, source: 'r.example/a:1', output_path: '${target}/c'}
- {type: oci, source: 'r.example/a:1', output_path: d, tls_verify: /etc/ssl/certs/my-ca.crt}
- {type: oci, source: 'r.example/a:1', output_path: e, subpath: ../e, media_type: tar}
- {type: oci, source: 'r.example/a:1', output_path: f, chart_name: f}
";
    refused(
        Tool::Kapitan,
        text,
        &[
            ("[0].type", "git"),
            ("[1].source", "scheme"),
            ("[2].output_path", "${target}"),
            ("[3].tls_verify", "/etc/ssl/certs/my-ca.crt"),
            ("[4].subpath", ".."),
            ("[4].media_type", "tar"),
            ("[5].chart_name", "unknown"),
        ],
    );
    refused(Tool::Kapitan, "parameters: {}", &[("parameters.kapitan.dependencies", "missing")]);
}

fn flux(spec: &str) -> String {
    format!(
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata:\n  name: podinfo\n  namespace: default\nspec:\n  {}\n",
        spec.replace('\n', "\n  ")
    )
}

#[test]
fn fluxs_pages() {
    let digest = format!("sha256:{}", "b".repeat(64));
    let podinfo = "oci://ghcr.io/stefanprodan/manifests/podinfo";
    let rows = [
        (
            format!("interval: 5m0s\nurl: {podinfo}\nref:\n  tag: latest"),
            json!({"image": "ghcr.io/stefanprodan/manifests/podinfo:latest", "interval": "5m0s", "layers": {"mode": "Extract"}}),
        ),
        (
            format!("interval: 5m0s\nurl: {podinfo}\nref:\n  semver: '>= 6.1.x-0'\n  semverFilter: .*-rc.*"),
            json!({
                "image": "ghcr.io/stefanprodan/manifests/podinfo", "interval": "5m0s", "layers": {"mode": "Extract"},
                "semver": {"range": ">= 6.1.x-0", "filter": ".*-rc.*"},
            }),
        ),
        (
            format!("url: {podinfo}\nref: {{tag: '1', semver: 1.x, digest: '{digest}'}}\nsuspend: true\ntimeout: 90s"),
            json!({
                "image": format!("ghcr.io/stefanprodan/manifests/podinfo:1@{digest}"), "timeout": "90s", "suspend": true,
                "layers": {"mode": "Extract"},
            }),
        ),
        (
            format!("url: {podinfo}\nref: {{tag: '1', semver: 1.x}}\nprovider: generic\nserviceAccountName: puller"),
            json!({
                "image": "ghcr.io/stefanprodan/manifests/podinfo", "layers": {"mode": "Extract"},
                "semver": {"range": "1.x", "filter": "^[^_]+$"}, "registry": {"serviceAccountName": "puller"},
            }),
        ),
        (
            "url: oci://r.example/charts/a\nref: {semver: 1.x}\nlayerSelector:\n  mediaType: application/vnd.cncf.helm.chart.content.v1.tar+gzip\n  operation: copy".to_owned(),
            json!({
                "image": "r.example/charts/a", "semver": {"range": "1.x"},
                "layers": {"mediaTypes": ["application/vnd.cncf.helm.chart.content.v1.tar+gzip"], "mode": "File"},
            }),
        ),
        (
            "url: oci://r.example/a\ninsecure: true\nsecretRef: {name: login}\nignore: |\n  # exclude all\n  /*\n  # include deploy dir\n  !/deploy\n  # exclude file extensions from deploy dir\n  /deploy/**/*.md\n  /deploy/**/*.txt".to_owned(),
            json!({
                "image": "r.example/a", "registry": {"pullSecrets": [{"name": "login"}], "plainHTTP": true},
                "layers": {"mode": "Extract"},
                "files": {"include": ["deploy"], "exclude": ["deploy/**/*.md", "deploy/**/*.txt"]},
            }),
        ),
    ];
    for (spec, want) in rows {
        let want = json!({
            "apiVersion": "supercargo.dev/v1alpha1", "kind": "OCIArtifact",
            "metadata": {"name": "podinfo", "namespace": "default"}, "spec": want,
        });
        for text in [flux(&spec), flux(&spec).replace("io/v1", "io/v1beta2")] {
            assert_eq!(translated(Tool::Flux, &text), std::slice::from_ref(&want), "{spec}");
        }
    }
}

#[test]
fn fluxs_verification() {
    let cosign = |verify: &str, more: &str| {
        let text = flux(&format!("url: oci://r.example/a\nverify:\n  {}", verify.replace('\n', "\n  "))) + more;
        translated(Tool::Flux, &text)[0]["spec"]["verify"][0]["cosign"].clone()
    };
    let identity = "provider: cosign\nmatchOIDCIdentity:\n- issuer: ^https://token.actions.githubusercontent.com$\n  subject: ^https://github.com/stefanprodan/podinfo.*$";
    let keyless = json!([{
        "issuer": "https://token.actions.githubusercontent.com",
        "subjectRegExp": "https://github.com/stefanprodan/podinfo.*",
    }]);
    assert_eq!(cosign(identity, ""), json!({"keyless": keyless}));
    let root = json!({"kind": "Secret", "name": "sigstore-trusted-root"});
    let private = format!("{identity}\ntrustedRootSecretRef:\n  name: sigstore-trusted-root");
    assert_eq!(cosign(&private, ""), json!({"keyless": keyless, "trustedRootRef": root}));
    let keys = "provider: cosign\nsecretRef:\n  name: cosign-public-keys";
    let one = json!([{"secretRef": {"name": "cosign-public-keys"}}]);
    assert_eq!(cosign(keys, ""), json!({"keys": one, "transparencyLog": "Ignored"}));
    let secret = "---\napiVersion: v1\nkind: Secret\nmetadata: {name: cosign-public-keys, namespace: default}\ndata: {key1.pub: YQ==, key2.pub: YQ==, other: YQ==}\n";
    let two = ["key1.pub", "key2.pub"].map(|key| json!({"secretRef": {"name": "cosign-public-keys", "key": key}}));
    assert_eq!(cosign(keys, secret), json!({"keys": two, "transparencyLog": "Ignored"}));
}

#[test]
fn objects_of_a_cluster_lose_what_the_cluster_sets() {
    let text = "
apiVersion: v1
kind: List
items:
- apiVersion: source.toolkit.fluxcd.io/v1
  kind: OCIRepository
  metadata:
    name: example
    namespace: a
    uid: 0
    resourceVersion: '5'
    generation: 1
    creationTimestamp: '2026-01-01T00:00:00Z'
    finalizers: [finalizers.fluxcd.io]
    labels: {team: x, kustomize.toolkit.fluxcd.io/name: apps}
    annotations: {reconcile.fluxcd.io/requestedAt: now, note: kept, kubectl.kubernetes.io/last-applied-configuration: '{}'}
  spec: {url: 'oci://r.example/a', interval: 5m0s, certSecretRef: {name: example-tls}}
  status: {observedGeneration: 1}
- apiVersion: v1
  kind: Secret
  metadata: {name: example-tls, namespace: a}
  type: kubernetes.io/tls
  stringData: {tls.crt: a, tls.key: b, ca.crt: c}
";
    let translation = Tool::Flux.translate(text).unwrap();
    let documents = documents(&translation.yaml("a comment").unwrap()).unwrap();
    let want = json!({"name": "example", "namespace": "a", "labels": {"team": "x"}, "annotations": {"note": "kept"}});
    assert_eq!(documents[0]["metadata"], want);
    let registry = json!({
        "caRef": {"kind": "Secret", "name": "example-tls"}, "clientCertificateRef": {"name": "example-tls"},
    });
    assert_eq!(documents[0]["spec"]["registry"], registry);
    assert!(translation.yaml("").unwrap().contains("Secret a/example-tls"));
}

#[test]
fn a_name_cannot_end_the_comment() {
    let text = flux("url: oci://r.example/a")
        + "---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: \"a\\nkind: b\\u2028c\"}\n";
    let yaml = Tool::Flux.translate(&text).unwrap().yaml("one\ntwo").unwrap();
    assert!(yaml.starts_with("# one two\n# Not translated: ConfigMap a kind: b c.\napiVersion: "), "{yaml}");
}

#[test]
fn what_flux_has_alone_is_named() {
    let spec = "
url: https://r.example/a
interval: 1s
provider: aws
proxySecretRef: {name: p}
certSecretRef: {name: c}
layerSelector: {operation: move}
ignore: '!a'
verify: {provider: notation, secretRef: {name: k}}
depth: 1";
    refused(
        Tool::Flux,
        &flux(spec.trim_start()),
        &[
            ("spec.url", "oci://"),
            ("spec.layerSelector.operation", "copy"),
            ("spec.interval", "1s"),
            ("spec.provider", "cloud"),
            ("spec.proxySecretRef", "--proxy"),
            ("spec.certSecretRef", "Secret c"),
            ("spec.ignore", "!a"),
            ("spec.verify.provider", "cosign"),
            ("spec.depth", "unknown"),
        ],
    );
    let rows = [
        ("verify: {provider: cosign}", "spec.verify.matchOIDCIdentity", "signer"),
        (
            "verify: {matchOIDCIdentity: [{issuer: '^https://.*$', subject: '.*'}]}",
            "spec.verify.matchOIDCIdentity[0].issuer",
            "issuers",
        ),
        (
            "verify: {matchOIDCIdentity: [{issuer: 'https://a', subject: acme/rules}]}",
            "spec.verify.matchOIDCIdentity[0].subject",
            "acme/rules",
        ),
        ("ref: {semver: 'a b'}", "spec.ref.semver", "\"a\""),
        ("ref: {commit: a}", "spec.ref.commit", "unknown"),
    ];
    for (more, path, noun) in rows {
        refused(Tool::Flux, &flux(&format!("url: oci://r.example/a\n{more}")), &[(path, noun)]);
    }
    let other =
        flux("url: oci://r.example/a") + "---\napiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\n";
    refused(Tool::Flux, &other, &[("document 2.kind", "Kustomization")]);
    refused(Tool::Flux, "a: [", &[("line 1, column 4", "YAML")]);
}
