//! Packaging: from a directory to a manifest and its blobs in a layout.

#[allow(dead_code, reason = "the next commit uses it")]
mod gzip;
#[allow(dead_code, reason = "the next commit uses it")]
mod tar;
