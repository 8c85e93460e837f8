//! The table, by subject.

use super::{End, Row};

mod access;
mod interruptions;
mod lies;
mod locations;
mod mounts;
mod ranges;
mod redirects;
mod referrers;
mod waits;

/// Path of the upload that a registry begins first.
const UPLOAD: &str = "/v2/team/app/blobs/uploads/0";
/// Digest that nothing has.
const OTHER: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

const fn unavailable(noun: &'static str) -> End {
    End::Refused(3, "RegistryUnavailable", noun)
}

const fn limited() -> End {
    End::Refused(3, "RateLimited", "127.0.0.1")
}

const fn timeout() -> End {
    End::Refused(3, "Timeout", "4s")
}

const fn unauthorized() -> End {
    End::Refused(4, "Unauthorized", "team/app")
}

const fn forbidden() -> End {
    End::Refused(4, "Forbidden", "team/app")
}

const fn refused(noun: &'static str) -> End {
    End::Refused(7, "PublishRefused", noun)
}

const fn denied(noun: &'static str) -> End {
    End::Refused(8, "AddressDenied", noun)
}

/// Returns all rows.
pub fn all() -> Vec<Row> {
    [
        locations::rows(),
        ranges::rows(),
        lies::rows(),
        redirects::rows(),
        waits::rows(),
        interruptions::rows(),
        mounts::rows(),
        access::rows(),
        referrers::rows(),
    ]
    .concat()
}
