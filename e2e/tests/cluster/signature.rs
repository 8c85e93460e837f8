//! Signatures: accepted and refused ones, compared with cosign, and the trusted roots they are verified with.

mod bundle;
mod negatives;
pub(crate) mod signing;
mod trusted_root;
mod verify;

use crate::support::case::Test;

pub(crate) fn tests() -> Vec<Test> {
    [signing::tests(), bundle::tests(), trusted_root::tests(), verify::tests(), negatives::tests()].concat()
}
