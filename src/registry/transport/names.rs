//! Names to addresses that may be dialled.

use std::io;
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::registry::egress::Egress;

/// Most addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 64;

/// Looks names up and keeps the addresses that may be dialled. What it answers is what is dialled:
/// there is no second look-up that could answer otherwise.
#[derive(Debug)]
pub(super) struct VettedNames(pub(super) Arc<Egress>);

impl Resolve for VettedNames {
    fn resolve(&self, name: Name) -> Resolving {
        let egress = Arc::clone(&self.0);
        Box::pin(async move {
            let mut denied = None;
            let mut open = Vec::new();
            for found in tokio::net::lookup_host((name.as_str(), 0)).await?.take(MAX_ADDRESSES) {
                match egress.check(name.as_str(), found.ip()) {
                    Ok(()) => open.push(found),
                    Err(error) => denied = Some(error),
                }
            }
            match (open.is_empty(), denied) {
                (true, Some(denied)) => Err(denied.into()),
                (true, None) => Err(io::Error::other("the name has no address").into()),
                (false, _) => Ok(Box::new(open.into_iter()) as Addrs),
            }
        })
    }
}
