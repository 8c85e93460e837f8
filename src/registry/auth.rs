//! Credentials, and the `Authorization` headers that are made from them.

pub(super) mod authorization;
pub(super) mod challenge;
mod credential;
pub mod credentials;
mod docker_config;
pub(super) mod requester;
mod scope;
mod token;
