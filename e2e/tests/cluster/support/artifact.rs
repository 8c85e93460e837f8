//! An artifact in a registry, and the manifests about it.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::hostile::artifact::digest;
use supercargo_e2e::http;
use supercargo_e2e::registry::Registry;
use supercargo_e2e::signing::handmade::{self, Legacy};
use supercargo_e2e::signing::{SIGN_PREDICATE, fallback_tag, legacy_tag};

use crate::support::case::Case;

/// An artifact to be signed.
#[derive(Debug, Clone)]
pub(crate) struct Artifact {
    registry: String,
    repository: String,
    pub(crate) digest: String,
    /// The manifest.
    pub(crate) bytes: Vec<u8>,
}

impl Artifact {
    /// Pushes an artifact with the tag `1`.
    pub(crate) async fn push(case: &Case, registry: &Registry, name: &str) -> Result<Self> {
        Self::push_text(case, registry, &format!("{name}:1"), name).await
    }

    /// Pushes an artifact whose only layer is a text, as `name:tag`.
    pub(crate) async fn push_text(case: &Case, registry: &Registry, name: &str, text: &str) -> Result<Self> {
        let fixture = Fixture::artifact("application/x.test").layer("text/plain", text.as_bytes(), &[]);
        let directory = case.directory.join("pushed").join(name);
        let reference = registry.reference(&case.repository(name));
        let digest = case.lab.publisher.fixture(&directory, &reference, &fixture).await?;
        Ok(Self::of(case, registry, name, digest, fixture.manifest()?))
    }

    /// Pushes an index, as `name:tag`, of artifacts for platforms that are in the same repository.
    pub(crate) async fn index(case: &Case, registry: &Registry, name: &str, of: &[(&str, &Self)]) -> Result<Self> {
        let entries: Vec<String> = of.iter().map(|(platform, one)| format!("{platform}={}", one.digest)).collect();
        let entries: Vec<&str> = entries.iter().map(String::as_str).collect();
        let reference = registry.reference(&case.repository(name));
        let digest = case.lab.publisher.index(&reference, &entries).await?;
        let bytes = case.lab.publisher.manifest(&reference).await?.trim_end().as_bytes().to_vec();
        Ok(Self::of(case, registry, name, digest, bytes))
    }

    pub(crate) fn of(case: &Case, registry: &Registry, name: &str, digest: String, bytes: Vec<u8>) -> Self {
        let repository = case.repository(name.split(':').next().unwrap_or_default());
        Self { registry: registry.address.clone(), repository, digest, bytes }
    }

    /// Returns the same artifact under another address of its registry.
    pub(crate) fn through(&self, address: &str) -> Self {
        Self { registry: address.to_owned(), ..self.clone() }
    }

    /// Returns the size of the manifest, in bytes.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Returns `host:port/repository@digest`.
    pub(crate) fn image(&self) -> String {
        format!("{}/{}@{}", self.registry, self.repository, self.digest)
    }

    /// Returns `host:port/repository`.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Pushes a manifest beside the artifact, under a `:tag` or without a tag.
    pub(crate) async fn attach(&self, case: &Case, tag: &str, fixture: &Fixture) -> Result<String> {
        let directory = case.directory.join("attached").join(digest(&fixture.manifest()?));
        case.lab.publisher.fixture(&directory, &format!("{}{tag}", self.repository()), fixture).await
    }

    /// Attaches a bundle as cosign attaches a signature, independent of its content; returns the digest of its
    /// manifest.
    pub(crate) async fn attach_bundle(&self, case: &Case, bundle: &Value) -> Result<String> {
        let attachment = handmade::attachment(bundle, SIGN_PREDICATE, &self.digest, self.size());
        self.attach(case, "", &attachment).await
    }

    /// Pushes a legacy signature under the artifact's `.sig` tag.
    pub(crate) async fn attach_legacy(&self, case: &Case, signature: Legacy) -> Result<()> {
        let tag = format!(":{}", legacy_tag(&self.digest));
        self.attach(case, &tag, &Legacy::fixture(&[signature])).await.map(drop)
    }

    /// Returns a manifest of the repository, by `:tag` or `@digest`.
    pub(crate) async fn manifest(&self, case: &Case, which: &str) -> Result<Value> {
        let reference = format!("{}/{}{which}", self.registry, self.repository);
        Ok(serde_json::from_str(&case.lab.publisher.manifest(&reference).await?)?)
    }

    /// Returns a text blob.
    pub(crate) async fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        let answer = http::get(&self.registry, &format!("/v2/{}/blobs/{digest}", self.repository)).await?;
        ensure!(answer.status == 200, "{digest}: {}", answer.status);
        Ok(answer.body.into_bytes())
    }

    pub(crate) async fn tags(&self) -> Result<Value> {
        let answer = http::get(&self.registry, &format!("/v2/{}/tags/list", self.repository)).await?;
        let mut tags: Value = serde_json::from_str(&answer.body)?;
        Ok(tags["tags"].take())
    }

    /// Returns the list of the referrers API; `None` if the registry does not implement it.
    pub(crate) async fn referrers(&self) -> Result<Option<Vec<Value>>> {
        self.referrers_with("").await
    }

    /// Returns the list of the referrers API for a query.
    pub(crate) async fn referrers_with(&self, query: &str) -> Result<Option<Vec<Value>>> {
        let path = format!("/v2/{}/referrers/{}{query}", self.repository, self.digest);
        let answer = http::get(&self.registry, &path).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let index: Value = serde_json::from_str(&answer.body)?;
        Ok(Some(index["manifests"].as_array().cloned().unwrap_or_default()))
    }

    /// Returns the only referrer, from either kind of list: its manifest and the bundle in its layer.
    pub(crate) async fn only_bundle(&self, case: &Case) -> Result<(Value, Value)> {
        let listed = if let Some(listed) = self.referrers().await? {
            listed
        } else {
            let index = self.manifest(case, &format!(":{}", fallback_tag(&self.digest))).await?;
            index["manifests"].as_array().cloned().unwrap_or_default()
        };
        ensure!(listed.len() == 1, "{} are about it", listed.len());
        let digest = listed[0]["digest"].as_str().context("a descriptor without a digest")?;
        let manifest = self.manifest(case, &format!("@{digest}")).await?;
        let layer = manifest["layers"][0]["digest"].as_str().context("a manifest without a layer")?;
        let bundle = serde_json::from_slice(&self.blob(layer).await?)?;
        Ok((manifest, bundle))
    }
}

/// Returns the statement in a bundle (in-toto, in DSSE).
pub(crate) fn statement(bundle: &Value) -> Result<Value> {
    let payload = bundle.pointer("/dsseEnvelope/payload").and_then(Value::as_str).context("no envelope")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}
