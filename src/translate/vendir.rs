//! `vendir.yml`: the sources `image`, `ociArtifact` (proposed in vendir's issue 446) and `helmChart` of an OCI
//! repository.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{Fields, Problems};
use super::globs;
use super::node::Map;
use super::set::Set;
use super::spec::{Registry, Semver, Spec, check_media_type};
use super::translation::Translation;

/// Values of `apiVersion` and `kind` in a `vendir.yml`.
const API_VERSION: &str = "vendir.k14s.io/v1alpha1";
const KIND: &str = "Config";
/// Sources of other origins than registries.
const OTHER_SOURCES: [&str; 7] = ["git", "hg", "http", "githubRelease", "manual", "directory", "inline"];
/// A version as vendir reads it, with or without `v`: three numbers without leading zeros.
const VERSION: &str = r"^v?(0|[1-9]\d*)(\.(0|[1-9]\d*)){2}";

pub(super) fn translate(documents: Vec<Value>, problems: &Problems) -> Translation {
    let (mut set, mut secrets) = (Set::default(), BTreeSet::new());
    for document in documents {
        let Some(mut config) = Fields::of(document, "", problems) else { continue };
        let kind = config.text("kind").unwrap_or_default();
        let version = config.text("apiVersion").unwrap_or_default();
        if (version.as_str(), kind.as_str()) != (API_VERSION, KIND) {
            let (path, problem) = match (version.as_str(), kind.as_str()) {
                ("", "") => ("", format!("apiVersion and kind are missing; expected {API_VERSION} and {KIND}")),
                ("", _) => ("apiVersion", format!("missing; expected {API_VERSION}")),
                (_, "") => ("kind", format!("missing; expected {KIND}")),
                _ => ("kind", format!("{kind} of {version}; expected {KIND} of {API_VERSION} alone")),
            };
            problems.add(path, problem);
            continue;
        }
        // A version of vendir.
        config.ignore("minimumRequiredVersion");
        for directory in config.objects("directories") {
            add_directory(directory, &mut set, &mut secrets, problems);
        }
        config.end();
    }
    let notes = secrets.iter().map(|name| {
        format!(
            "Put the Secret {name} into a file beside this one, of type kubernetes.io/dockerconfigjson, or of type \
             kubernetes.io/basic-auth with the annotation supercargo.dev/registry."
        )
    });
    let notes = notes.collect();
    Translation { documents: vec![set.document(problems)], notes, warnings: Vec::new() }
}

fn add_directory(mut directory: Fields<'_>, set: &mut Set, secrets: &mut BTreeSet<String>, problems: &Problems) {
    let above = directory.required("path").unwrap_or_default();
    directory.refuse("permissions", "modes of directories cannot be set");
    for mut content in directory.objects("contents") {
        let below = content.required("path").unwrap_or_default();
        let path = content.path("path");
        content.refuse("permissions", "modes of directories cannot be set");
        content.refuse("ignorePaths", "a directory is replaced as a whole, and no file in it is kept");
        if content.flag("lazy") {
            content.problem("lazy", "lazy is not supported; use sync --locked");
        }
        let spec = source(&mut content, problems);
        content.end();
        let Some(spec) = spec else { continue };
        secrets.extend(spec.registry.pull_secret.clone());
        set.add(&format!("{above}/{below}"), spec, &path, problems);
    }
    directory.end();
}

/// Takes the source of a content, and the fields that select its files.
fn source(content: &mut Fields<'_>, problems: &Problems) -> Option<Spec> {
    let is_other = OTHER_SOURCES.iter().any(|name| content.has(name)) || content.has("imgpkgBundle");
    for name in OTHER_SOURCES {
        content.refuse(name, &format!("\"{name}\" sources are not supported; expected a source in an OCI registry"));
    }
    content.refuse("imgpkgBundle", "imgpkg rewrites .imgpkg/images.yml of a bundle; use image for its files as pushed");
    let mut sources = ["image", "ociArtifact", "helmChart"].into_iter().filter(|name| content.has(name));
    let (first, second) = (sources.next(), sources.next());
    if second.is_some() {
        content.problem("path", "has several sources; expected one");
    }
    let Some(name) = first else {
        if !is_other {
            content.problem("path", "has no source; expected image, ociArtifact or helmChart");
        }
        for field in ["includePaths", "excludePaths", "legalPaths", "newRootPath"] {
            content.ignore(field);
        }
        return None;
    };
    let fields = content.fields(name)?;
    let (mut spec, chart) = match name {
        "helmChart" => helm_chart(fields, problems)?,
        "ociArtifact" => (oci_artifact(fields, problems), None),
        _ => (image(fields, problems), None),
    };
    spec.files = globs::files(content, chart.as_deref());
    Some(spec)
}

fn image(mut fields: Fields<'_>, problems: &Problems) -> Spec {
    // imgpkg extracts every layer, whatever its title is.
    let mut spec = Spec { mode: Some("Extract"), ..Spec::default() };
    let url = fields.required("url").unwrap_or_default();
    spec.set_image(with_host(&url), &fields.path("url"), problems);
    if let Some(selection) = fields.fields("tagSelection") {
        select_tag(selection, &mut spec, problems);
    }
    spec.registry = Registry {
        pull_secret: fields.name_in("secretRef"),
        insecure_skip_verify: fields.flag("dangerousSkipTLSVerify"),
        ..Registry::default()
    };
    fields.refuse("responseHeaderTimeout", "only the time of the whole pass can be limited (timeout)");
    fields.end();
    spec
}

fn oci_artifact(mut fields: Fields<'_>, problems: &Problems) -> Spec {
    // The proposal extracts the archive of each layer into the path.
    let mut spec = Spec { mode: Some("Extract"), ..Spec::default() };
    let image = fields.required("image").unwrap_or_default();
    let tag = fields.text("tag").map(|tag| format!(":{tag}")).unwrap_or_default();
    spec.set_image(with_host(&image) + &tag, &fields.path("image"), problems);
    spec.media_types = fields.texts("mediaTypes").unwrap_or_default();
    for media_type in &spec.media_types {
        check_media_type(media_type, &fields.path("mediaTypes"), problems);
    }
    if let Some(mut cosign) = fields.fields("cosign") {
        let issuer = cosign.required("certificateOidcIssuer");
        let risk = "without a subject, every identity of the issuer is accepted (subjectRegExp: .*), also that of an \
                    attacker at a public issuer; name the signer in the result";
        problems.warn(&cosign.path("certificateOidcIssuer"), risk);
        // The issuer alone decides, as in the proposal.
        let identity = Map::default().with("issuer", issuer).with("subjectRegExp", ".*");
        spec.cosign = Map::default().with("keyless", vec![identity]);
        cosign.end();
    }
    fields.end();
    spec
}

/// Returns the spec of a chart, and the directory of the artifact that has it.
fn helm_chart(mut fields: Fields<'_>, problems: &Problems) -> Option<(Spec, Option<String>)> {
    let mut spec = Spec::default();
    let name = fields.required("name").unwrap_or_default();
    // Names a program; no program is run.
    fields.ignore("helmVersion");
    let mut repository = fields.fields("repository");
    let url = repository.as_mut().and_then(|repository| repository.required("url")).unwrap_or_default();
    let Some(host) = url.strip_prefix("oci://") else {
        fields.problem("repository", "the chart is in no OCI repository; expected a url with oci://");
        return None;
    };
    let image = format!("{}/{name}", host.trim_end_matches('/'));
    // vendir requires a version for OCI repositories.
    let version = fields.required("version").unwrap_or_default();
    if is_version(&version) {
        spec.set_image(format!("{image}:{}", version.replace('+', "_")), &fields.path("name"), problems);
    } else {
        spec.set_image(image, &fields.path("name"), problems);
        let semver = Semver { range: version, prereleases: false, filter: None };
        spec.set_semver(semver, &fields.path("version"), problems);
    }
    if let Some(mut repository) = repository {
        spec.registry.pull_secret = repository.name_in("secretRef");
        repository.end();
    }
    fields.end();
    let directory = name.rsplit('/').next().map(str::to_owned);
    Some((spec, directory))
}

/// Returns true for a version that Helm takes as a tag, and false for a range.
fn is_version(text: &str) -> bool {
    let text = text.strip_prefix('v').unwrap_or(text);
    let numbers = text.split(['-', '+']).next().unwrap_or_default();
    let is_number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    numbers.split('.').count() <= 3 && numbers.split('.').all(is_number) && !text.contains([' ', ',', '|'])
}

/// Takes `tagSelection`. A filter keeps the tags that vendir does not read as versions out of the selection.
fn select_tag(mut selection: Fields<'_>, spec: &mut Spec, problems: &Problems) {
    let path = selection.path("semver");
    let Some(mut semver) = selection.fields("semver") else {
        selection.problem("semver", "missing");
        return selection.end();
    };
    let constraints = semver.text("constraints").filter(|text| !text.is_empty()).unwrap_or_else(|| "*".to_owned());
    let mut suffix = "$".to_owned();
    let prereleases = semver.fields("prereleases");
    let has_prereleases = prereleases.is_some();
    if let Some(mut prereleases) = prereleases {
        let names = prereleases.texts("identifiers").unwrap_or_default();
        let is_name = |name: &String| {
            let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-';
            name.chars().all(is_part) && !name.chars().all(|c| c.is_ascii_digit())
        };
        if !names.iter().all(is_name) {
            prereleases.problem("identifiers", "expected words of letters, digits and dashes, not numbers");
        }
        suffix = if names.is_empty() {
            r"(-[0-9A-Za-z.-]+)?$".to_owned()
        } else {
            format!(r"(-([0-9A-Za-z-]+\.)*({})(\.[0-9A-Za-z-]+)*)?$", names.join("|"))
        };
        prereleases.end();
    }
    semver.end();
    selection.end();
    let range = range(&constraints);
    let filter = Some(format!("{VERSION}{suffix}"));
    spec.set_semver(Semver { range, prereleases: has_prereleases, filter }, &path, problems);
    if spec.image.rsplit('/').next().is_some_and(|name| name.contains([':', '@'])) {
        problems.add(&path, "the url has a tag or a digest; expected neither beside tagSelection");
    }
}

/// Returns constraints in our syntax: `==` is `=`, and `!` is `!=`.
fn range(constraints: &str) -> String {
    let mut range = String::with_capacity(constraints.len());
    let mut rest = constraints.chars().peekable();
    while let Some(c) = rest.next() {
        range.push(c);
        if c == '=' {
            rest.next_if_eq(&'=');
        } else if c == '!' && rest.peek() != Some(&'=') {
            range.push('=');
        }
    }
    range
}

/// Completes a reference as imgpkg does: one without a host is on Docker Hub.
fn with_host(image: &str) -> String {
    let first = image.split('/').next().unwrap_or_default();
    let is_host = image.contains('/') && (first.contains(['.', ':']) || first == "localhost");
    if is_host || image.contains("://") || image.is_empty() {
        image.to_owned()
    } else if image.contains('/') {
        format!("docker.io/{image}")
    } else {
        format!("docker.io/library/{image}")
    }
}
