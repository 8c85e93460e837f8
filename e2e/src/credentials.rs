//! Credentials of the only user of registries with authentication.

pub const USERNAME: &str = "reader";
pub const PASSWORD: &str = "let-me-in";
