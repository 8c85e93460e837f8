//! Harness of the end-to-end tests, the demo and the benchmarks.
//!
//! The harness gets real programs ([`tools`]), runs them under a [`guardian`] that leaves nothing behind, and combines
//! them into a [`lab`]: a Kubernetes control plane, registries, the installed chart and the operator as a local process
//! with the chart's ServiceAccount. It uses the operator only from outside: by command line, objects and files.

#![allow(missing_debug_implementations, reason = "a Kubernetes client cannot be printed, nor what holds one")]

pub mod api_proxy;
pub mod archive;
pub mod cgroup;
pub mod chart;
pub mod clients;
pub mod control_plane;
pub mod corpus;
mod credentials;
pub mod files;
pub mod fixture;
pub mod gate;
pub mod guardian;
pub mod hostile;
pub mod http;
pub mod kubeconfig;
pub mod lab;
pub mod measured;
pub mod object;
pub mod obstacle;
pub mod operator;
pub mod pki;
pub mod ports;
mod progress;
pub mod publish;
mod random;
pub mod random_tree;
pub mod reader;
pub mod registry;
pub mod rights;
pub mod run;
pub mod signals;
pub mod signing;
pub mod tls;
pub mod token_service;
pub mod tools;
pub mod wait;
