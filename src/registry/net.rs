//! Connections to hosts: the rules for their addresses and names, TLS, the pace of requests, and redirects.

pub mod address;
pub(super) mod budget;
pub mod egress;
pub mod host_pattern;
pub(super) mod recent;
pub mod tls;
pub(super) mod transport;
