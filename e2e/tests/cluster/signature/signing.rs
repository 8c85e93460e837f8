//! Proof that signatures made here equal those made elsewhere: cosign's own verdicts, and the manifests it leaves in
//! each kind of registry.

mod by_hand;
mod identities;
mod keys;
mod ours;
mod promoted;
mod published;
mod pushed;

use anyhow::Result;
use supercargo_e2e::registry::{Options, Product, Registry};
use supercargo_e2e::signing::{Cosign, Identity, SigningKey};

use crate::support::artifact::Artifact;
use crate::support::case::{Case, Test};

pub(crate) fn tests() -> Vec<Test> {
    [
        keys::tests(),
        identities::tests(),
        by_hand::tests(),
        published::tests(),
        promoted::tests(),
        ours::tests(),
        pushed::tests(),
    ]
    .concat()
}

pub(crate) async fn cosign(case: &Case) -> Result<Cosign> {
    case.lab.cosign(&case.directory.join("cosign")).await
}

pub(crate) async fn registry(case: &Case, product: Product) -> Result<Registry> {
    case.registry(&format!("{product:?}").to_lowercase(), &Options { product, ..Options::default() }).await
}

/// Returns true if cosign accepts a signature of the artifact with this key.
async fn accepts(cosign: &Cosign, artifact: &Artifact, key: &SigningKey) -> Result<bool> {
    Ok(cosign.verify(&artifact.image(), &key.verify_args()).await?.accepted)
}

/// Returns one identity of each kind, because Fulcio handles each kind differently.
pub(crate) fn identities() -> [Identity; 3] {
    let workflow = Identity::workflow("acme/app", "release.yml", "refs/heads/main");
    [Identity::email("dev@example.test"), Identity::Uri("team/builder".to_owned()), workflow]
}
