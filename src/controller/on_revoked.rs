//! `--on-revoked`.

/// Treatment of published content that is refused later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnRevoked {
    /// Keep it, and report the refusal in status.
    #[default]
    Keep,
    /// Withdraw it from consumers.
    Withdraw,
}
