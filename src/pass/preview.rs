//! A pass without its effects, for a dry run: everything that can be decided before a layer is fetched.

use super::fetch::approve;
use super::step::Step;
use super::turns::Turn;
use super::{check_denied, judge, resolve};
use crate::failure::Failure;
use crate::oci::Manifest;
use crate::permits::Permits;
use crate::plan::{self, Observed, Plan};
use crate::registry::{Pinned, Registry};
use crate::request::{Limits, Request};
use crate::trust::Basis;

/// Outcome of a pass up to the first layer.
#[derive(Debug)]
pub struct Preview {
    /// Repository and digest that the reference resolved to.
    pub pinned: Pinned,
    /// The manifest, if the pass would publish it.
    pub manifest: Option<Manifest>,
    /// Basis of the verdict, if the digest was judged.
    pub basis: Option<Basis>,
}

/// Resolves the reference, decides what a pass would do, and checks and judges the digest as the pass would, within
/// `spec.timeout`. `observed` is the state of the outputs; the default if there are none yet.
pub async fn preview<R: Registry>(
    registry: &R,
    limits: &Limits,
    processors: &Permits,
    _turn: &Turn,
    request: &Request,
    observed: &Observed,
) -> Result<Preview, Failure> {
    let step = Step::new(processors, request);
    let steps = async {
        check_denied(request)?;
        step.set("resolving the reference");
        let pinned = resolve(registry, request, &step).await?;
        let digest = pinned.digest().clone();
        let decided = async {
            match plan::decide(request, &pinned, observed) {
                Plan::Keep => Ok(Preview { pinned, manifest: None, basis: None }),
                Plan::Reapprove => {
                    let basis = judge(registry, limits, request, &pinned, &step).await?;
                    Ok(Preview { pinned, manifest: None, basis: Some(basis) })
                }
                Plan::Publish | Plan::Refuse => {
                    let (pinned, manifest, basis) =
                        approve(registry, limits, request, pinned, &step).await?.into_parts();
                    Ok(Preview { pinned, manifest: Some(manifest), basis: Some(basis) })
                }
            }
        };
        decided.await.map_err(|failure: Failure| failure.of(&digest))
    };
    let result = step.seat.within(request.timeout, Box::pin(steps)).await;
    result.unwrap_or_else(|| Err(Failure::timeout(request.timeout, step.now())))
}
