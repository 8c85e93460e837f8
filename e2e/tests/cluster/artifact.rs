//! Content of artifacts: selection of the manifest and its layers, formats, and archives that are refused.

mod bombs;
mod content;
mod corpus;
mod formats;
mod platforms;
mod resolve;

use crate::support::case::Test;

pub(crate) use bombs::{LIMITED, may_limit};

pub(crate) fn tests() -> Vec<Test> {
    [corpus::tests(), bombs::tests(), resolve::tests(), formats::tests(), content::tests(), platforms::tests()].concat()
}
