//! Options for the cache of downloaded layers.

use std::time::Duration;

use super::values::{bytes, duration};
use crate::blob::CacheLimits;

/// Limits of the cache of downloaded layers.
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(next_help_heading = "Cache")]
pub(crate) struct CacheArguments {
    /// Maximum bytes of cached layers on each volume; 0 disables the cache.
    #[arg(hide_short_help = true, long, value_name = "BYTES", default_value = "2Gi", value_parser = bytes_or_none, env = "SUPERCARGO_CACHE_BYTES")]
    cache_bytes: u64,
    /// Time that a layer stays cached after its last use, as a duration such as 90m or 24h; 0s disables the cache.
    #[arg(hide_short_help = true, long, value_name = "DURATION", default_value = "24h", value_parser = duration, env = "SUPERCARGO_CACHE_AGE")]
    cache_age: Duration,
}

impl CacheArguments {
    pub(crate) fn limits(self) -> CacheLimits {
        CacheLimits { bytes: self.cache_bytes, age: self.cache_age }
    }
}

/// Parses a number of bytes, or 0 for none.
fn bytes_or_none(text: &str) -> Result<u64, &'static str> {
    if text == "0" { Ok(0) } else { bytes(text) }
}
