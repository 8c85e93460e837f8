//! Options that several commands share.

pub(crate) mod artifacts;
pub(crate) mod cache;
pub(crate) mod content;
pub(crate) mod format;
pub(crate) mod limits;
pub(crate) mod login;
pub(crate) mod object;
pub(crate) mod packaging;
pub(crate) mod policy;
pub(crate) mod proxy;
pub(crate) mod reach;
pub(crate) mod reading;
pub(crate) mod signature;
pub(crate) mod signing;
pub(crate) mod trusted_root;
pub(crate) mod values;
pub(crate) mod writing;
