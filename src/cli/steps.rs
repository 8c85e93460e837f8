//! Steps of a pass on their own, for commands: without a turn at the registry, and with processors that no other
//! namespace needs.

use jiff::Timestamp;

use crate::failure::Failure;
use crate::permits::Permits;
use crate::registry::{self, Pinned, Registry, RegistryError};
use crate::request::Request;
use crate::trust::{self, Basis, TrustError};

/// Resolves the reference of a request. No request is sent for a digest.
pub(crate) async fn resolve<R: Registry>(registry: &R, request: &Request) -> Result<Pinned, RegistryError> {
    let seat = Permits::default().seat(&request.object.namespace);
    let (reference, selection) = (&request.reference, request.selection.as_ref());
    registry::resolve(registry, &request.access, reference, selection, &seat).await
}

/// As [`resolve`], within the time limit of the request.
pub(crate) async fn resolve_in_time<R: Registry>(registry: &R, request: &Request) -> Result<Pinned, Failure> {
    match tokio::time::timeout(request.timeout, resolve(registry, request)).await {
        Ok(resolved) => Ok(resolved?),
        Err(_) => Err(Failure::timeout(request.timeout, "resolving the reference")),
    }
}

/// Judges a digest by the requirement of a request.
pub(crate) async fn judge<R: Registry>(
    registry: &R,
    request: &Request,
    pinned: &Pinned,
    now: Timestamp,
) -> Result<Basis, TrustError> {
    let seat = Permits::default().seat(&request.object.namespace);
    trust::judge(registry, &request.access, pinned, &request.requirement, &seat, now).await
}
