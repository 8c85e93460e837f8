//! Fields of an `OCIArtifact`'s spec that the tools have, which are the fields of an entry of an `ArtifactSet` too.

use super::fields::Problems;
use super::node::{Map, Node};
use crate::oci::Reference;
use crate::oci::tag_selection::TagSelection;

/// Spec to write. Empty fields have their default, and are left out.
#[derive(Debug, Default)]
pub(super) struct Spec {
    pub(super) image: String,
    pub(super) semver: Option<Semver>,
    pub(super) interval: Option<String>,
    pub(super) timeout: Option<String>,
    pub(super) suspend: bool,
    pub(super) media_types: Vec<String>,
    /// Value of `layers.mode`.
    pub(super) mode: Option<&'static str>,
    pub(super) files: Files,
    pub(super) registry: Registry,
    /// The `cosign` part of the single entry of `verify`.
    pub(super) cosign: Map,
}

/// Selection of a tag.
#[derive(Debug)]
pub(super) struct Semver {
    pub(super) range: String,
    pub(super) prereleases: bool,
    pub(super) filter: Option<String>,
}

/// Selection of files.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Files {
    pub(super) sub_path: Option<String>,
    pub(super) include: Vec<String>,
    pub(super) exclude: Vec<String>,
}

/// Access to the registry.
#[derive(Debug, Default)]
pub(super) struct Registry {
    pub(super) pull_secret: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) plain_http: bool,
    pub(super) insecure_skip_verify: bool,
    /// Secret with certificate authorities.
    pub(super) ca_secret: Option<String>,
    /// Secret with a client certificate.
    pub(super) client_certificate: Option<String>,
}

impl Spec {
    /// Sets the image, after a check that it can be parsed.
    pub(super) fn set_image(&mut self, image: String, path: &str, problems: &Problems) {
        if let Err(error) = image.parse::<Reference>() {
            problems.add(path, error.to_string());
        }
        self.image = image;
    }

    /// Sets the selection of the tag, after a check that it can be parsed.
    pub(super) fn set_semver(&mut self, semver: Semver, path: &str, problems: &Problems) {
        if let Err(error) = TagSelection::new(&semver.range, semver.prereleases, semver.filter.as_deref()) {
            problems.add(path, error.to_string());
        }
        self.semver = Some(semver);
    }

    /// Returns the fields, behind those of `head`.
    pub(super) fn fields(self, head: Map) -> Map {
        let semver = self.semver.map_or_else(Map::default, |semver| {
            Map::default()
                .with("range", semver.range)
                .with("prereleases", semver.prereleases)
                .with("filter", semver.filter)
        });
        let layers = Map::default().with("mediaTypes", self.media_types).with("mode", self.mode.unwrap_or_default());
        let files = Map::default()
            .with("subPath", self.files.sub_path)
            .with("include", self.files.include)
            .with("exclude", self.files.exclude);
        let verify = Map::default().with("cosign", self.cosign);
        let verify =
            if verify == Map::default() { Vec::new() } else { vec![Node::from(verify.after("name", "signature"))] };
        head.with("image", self.image)
            .with("semver", semver)
            .with("interval", self.interval)
            .with("timeout", self.timeout)
            .with("suspend", self.suspend)
            .with("registry", self.registry.fields())
            .with("layers", layers)
            .with("files", files)
            .with("verify", verify)
    }
}

impl Registry {
    fn fields(self) -> Map {
        let named = |name: String| Map::default().with("name", name);
        let pull_secrets: Vec<Map> = self.pull_secret.map(named).into_iter().collect();
        let authority = self.ca_secret.map(|name| Map::default().with("kind", "Secret").with("name", name));
        Map::default()
            .with("pullSecrets", pull_secrets)
            .with("serviceAccountName", self.service_account)
            .with("plainHTTP", self.plain_http)
            .with("insecureSkipVerify", self.insecure_skip_verify)
            .with("caRef", authority.unwrap_or_default())
            .with("clientCertificateRef", self.client_certificate.map(named).unwrap_or_default())
    }
}

/// Checks a media type, which a pattern would read in another way if it had a special character.
pub(super) fn check_media_type(media_type: &str, path: &str, problems: &Problems) {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/.+-_!#$&^;= ".contains(c);
    if !media_type.contains('/') || !media_type.chars().all(is_plain) {
        problems.add(path, format!("\"{media_type}\" is not a media type"));
    }
}
