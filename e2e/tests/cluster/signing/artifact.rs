//! An artifact in a registry, and what there is about it.

use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use supercargo_e2e::fixture::Fixture;
use supercargo_e2e::http;
use supercargo_e2e::registry::Registry;
use supercargo_e2e::signing::fallback_tag;

use crate::case::Case;

/// Something to be signed.
pub(crate) struct Artifact {
    registry: String,
    repository: String,
    pub(crate) digest: String,
    /// Of the manifest, in bytes.
    pub(crate) size: usize,
}

impl Artifact {
    /// Pushes one with the tag `1`.
    pub(crate) async fn push(case: &Case, registry: &Registry, name: &str) -> Result<Self> {
        let repository = case.repository(name);
        let reference = registry.reference(&format!("{repository}:1"));
        let fixture = Fixture::artifact("application/x.test").layer("text/plain", name.as_bytes(), &[]);
        let digest = case.lab.publisher.fixture(&case.directory.join(name), &reference, &fixture).await?;
        let size = fixture.manifest()?.len();
        Ok(Self { registry: registry.address.clone(), repository, digest, size })
    }

    /// `host:port/repository@digest`.
    pub(crate) fn image(&self) -> String {
        format!("{}/{}@{}", self.registry, self.repository, self.digest)
    }

    /// `host:port/repository`.
    pub(crate) fn repository(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// Pushes something beside it, under a `:tag`, or under none.
    pub(crate) async fn attach(&self, case: &Case, tag: &str, fixture: &Fixture) -> Result<String> {
        let directory = case.directory.join(format!("{}{tag}-attached", self.repository.replace('/', "-")));
        case.lab.publisher.fixture(&directory, &format!("{}{tag}", self.repository()), fixture).await
    }

    /// A manifest beside it, by `:tag` or `@digest`.
    pub(super) async fn manifest(&self, case: &Case, which: &str) -> Result<Value> {
        let reference = format!("{}/{}{which}", self.registry, self.repository);
        Ok(serde_json::from_str(&case.lab.publisher.manifest(&reference).await?)?)
    }

    /// A blob that is text.
    pub(super) async fn blob(&self, digest: &str) -> Result<Vec<u8>> {
        let answer = http::get(&self.registry, &format!("/v2/{}/blobs/{digest}", self.repository)).await?;
        ensure!(answer.status == 200, "{digest}: {}", answer.status);
        Ok(answer.body.into_bytes())
    }

    pub(super) async fn tags(&self) -> Result<Value> {
        let answer = http::get(&self.registry, &format!("/v2/{}/tags/list", self.repository)).await?;
        let mut tags: Value = serde_json::from_str(&answer.body)?;
        Ok(tags["tags"].take())
    }

    /// What the referrers API lists; `None` where there is none.
    pub(super) async fn referrers(&self) -> Result<Option<Vec<Value>>> {
        self.referrers_with("").await
    }

    /// The same, with a query.
    pub(super) async fn referrers_with(&self, query: &str) -> Result<Option<Vec<Value>>> {
        let path = format!("/v2/{}/referrers/{}{query}", self.repository, self.digest);
        let answer = http::get(&self.registry, &path).await?;
        if answer.status == 404 {
            return Ok(None);
        }
        let index: Value = serde_json::from_str(&answer.body)?;
        Ok(Some(index["manifests"].as_array().cloned().unwrap_or_default()))
    }

    /// The only one that is about it, wherever the registry lists it: its manifest and what is in its layer.
    pub(super) async fn only_bundle(&self, case: &Case) -> Result<(Value, Value)> {
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

/// The statement in a bundle (in-toto, in DSSE).
pub(super) fn statement(bundle: &Value) -> Result<Value> {
    let payload = bundle.pointer("/dsseEnvelope/payload").and_then(Value::as_str).context("no envelope")?;
    Ok(serde_json::from_slice(&STANDARD.decode(payload)?)?)
}
