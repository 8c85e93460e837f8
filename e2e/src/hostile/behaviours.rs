//! Table of behaviours: actions of a registry, and the expected outcomes of the operator.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::artifact::Artifact;
use super::ask::{Ask, Item};
use super::place::Place;
use super::reply::Reply;
use super::tls::Certificate;

mod bodies;
mod confidences;
mod connections;
mod documents;
mod http2;
mod layers;
mod redirects;
mod resolving;
mod tag_lists;
mod tokens;
mod waits;

/// Function that answers one request.
pub type Script = Arc<dyn Fn(&Ask, &Place) -> Reply + Send + Sync>;
/// Function that derives the served artifact from a good artifact.
pub type Edit = Arc<dyn Fn(&Artifact) -> Artifact + Send + Sync>;
/// Function that answers one request in frames, given its number and stream.
pub type FrameScript = Arc<dyn Fn(u32, u32, &Place) -> Reply + Send + Sync>;

/// Expected final condition of the object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Published: the misbehaviour is harmless.
    Ready,
    /// Reason, and the condition that is true beside `Ready=False`: `Stalled` or `Reconciling`.
    Refused(&'static str, &'static str),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ready => f.write_str("Ready"),
            Self::Refused(reason, kind) => write!(f, "{reason} {kind}"),
        }
    }
}

const fn waiting(reason: &'static str) -> Expected {
    Expected::Refused(reason, "Reconciling")
}

const fn stalled(reason: &'static str) -> Expected {
    Expected::Refused(reason, "Stalled")
}

const READY: Expected = Expected::Ready;
const UNAVAILABLE: Expected = waiting("RegistryUnavailable");
const LIMITED: Expected = waiting("RateLimited");
const TIMEOUT: Expected = waiting("Timeout");
const MISSING: Expected = waiting("ReferenceNotFound");
const UNAUTHORIZED: Expected = waiting("Unauthorized");
const FORBIDDEN: Expected = waiting("Forbidden");
const OTHER_BYTES: Expected = waiting("DigestMismatch");
const TLS: Expected = waiting("TLSFailed");
const DENIED: Expected = stalled("AddressDenied");
const INVALID: Expected = stalled("ManifestInvalid");
const NO_PLATFORM: Expected = stalled("PlatformNotFound");
const TOO_LARGE: Expected = stalled("LimitExceeded");
const NO_TAG: Expected = waiting("NoMatchingTag");

/// `spec.timeout` of a pass that ends by itself, on a machine that runs all other behaviours at the same time.
const PATIENT: &str = "90s";
/// `spec.timeout` of a pass that would never end.
const IMPATIENT: &str = "4s";

/// Protocol of a port, and its script.
#[derive(Clone)]
pub enum Kind {
    Http(Script),
    Greets(Reply),
    Frames(FrameScript),
}

/// Form of the reference in the object's spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsksFor {
    Tag,
    Digest,
    /// No tag: the highest version of all tags, by `spec.semver`.
    Version,
}

/// Credentials for the registry in the object's pull Secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// No pull Secret.
    None,
    Password,
    /// The password as an identity token, which may be sent only to token services.
    IdentityToken,
}

/// Permitted frequency of requests to a registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Repeated requests with growing pauses.
    Retries,
    /// Six requests a minute: the registry limits the rate, but its `Retry-After` is missing, malformed, or shorter
    /// than the operator's own pause.
    Limited,
    /// One request for as long as the registry misbehaves.
    Once,
}

/// Expected connections to the site's other port and other host. In either case no request there may have an
/// authorization, cookie or referer header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    Unheard,
    Reached,
}

/// Row of the table.
#[derive(Clone)]
pub struct Behaviour {
    /// Description in words with dashes; also the name of the object and of the repository.
    pub name: String,
    pub expected: Expected,
    /// Alternative outcomes of a race.
    pub or: Vec<Expected>,
    pub kind: Kind,
    /// Edit that turns a good artifact into the served artifact.
    pub edit: Edit,
    /// `spec.timeout`.
    pub timeout: &'static str,
    /// Certificate of the port; `None` without TLS.
    pub certificate: Option<Certificate>,
    /// `spec.registry.plainHTTP`.
    pub plain_http: bool,
    pub login: Login,
    pub asks_for: AsksFor,
    pub elsewhere: Elsewhere,
    pub pace: Pace,
}

impl fmt::Debug for Behaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Behaviour({}, {:?})", self.name, self.expected)
    }
}

impl Behaviour {
    fn new(name: &str, expected: Expected, kind: Kind) -> Self {
        let timeout = if expected == TIMEOUT { IMPATIENT } else { PATIENT };
        Self {
            name: name.to_owned(),
            expected,
            or: Vec::new(),
            kind,
            edit: Arc::new(Artifact::clone),
            timeout,
            certificate: None,
            plain_http: true,
            login: Login::None,
            asks_for: AsksFor::Tag,
            elsewhere: Elsewhere::Unheard,
            pace: Pace::Retries,
        }
    }

    /// Makes a behaviour with a script for HTTP/1.1.
    fn http(name: &str, expected: Expected, script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(name, expected, Kind::Http(Arc::new(script)))
    }

    /// Makes a well-behaved registry with an edited artifact.
    fn serving(name: &str, expected: Expected, edit: impl Fn(&Artifact) -> Artifact + Send + Sync + 'static) -> Self {
        let serving = Self::http(name, expected, |ask, place| place.artifact.answer(ask));
        Self { edit: Arc::new(edit), ..serving }
    }

    /// Makes a registry that misbehaves only for requests for a manifest by digest.
    fn at_manifest(
        name: &str,
        expected: Expected,
        script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::http(name, expected, move |ask, place| {
            if let Item::Manifest(_) = ask.item() { script(ask, place) } else { place.artifact.answer(ask) }
        })
    }

    /// Makes a registry that misbehaves only for requests for a blob.
    fn at_layer(
        name: &str,
        expected: Expected,
        script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::http(name, expected, move |ask, place| {
            if let Item::Blob(_) = ask.item() { script(ask, place) } else { place.artifact.answer(ask) }
        })
    }

    #[must_use]
    fn over_tls(self, certificate: Certificate) -> Self {
        Self { certificate: Some(certificate), ..self }.expecting_tls()
    }

    #[must_use]
    fn expecting_tls(self) -> Self {
        Self { plain_http: false, ..self }
    }

    #[must_use]
    fn with_login(self) -> Self {
        Self { login: Login::Password, ..self }
    }

    #[must_use]
    fn with_identity_token(self) -> Self {
        Self { login: Login::IdentityToken, ..self }
    }

    #[must_use]
    fn pinned(self) -> Self {
        Self { asks_for: AsksFor::Digest, ..self }
    }

    #[must_use]
    fn by_version(self) -> Self {
        Self { asks_for: AsksFor::Version, ..self }
    }

    #[must_use]
    fn leading_elsewhere(self) -> Self {
        Self { elsewhere: Elsewhere::Reached, ..self }
    }

    #[must_use]
    fn or(mut self, expected: Expected) -> Self {
        self.or.push(expected);
        self
    }

    #[must_use]
    fn asked(self, pace: Pace) -> Self {
        Self { pace, ..self }
    }
}

/// Returns all behaviours except those of [`swarm()`] and [`confidences()`].
pub fn all() -> Result<Vec<Behaviour>> {
    Ok([
        resolving::behaviours(),
        tag_lists::behaviours(),
        bodies::behaviours()?,
        documents::behaviours(),
        layers::behaviours(),
        tokens::behaviours(),
        redirects::behaviours(),
        waits::behaviours(),
        connections::behaviours(),
        http2::behaviours(),
    ]
    .concat())
}

/// Returns many registries whose manifests stall one byte before the size limit.
pub fn swarm() -> Vec<Behaviour> {
    bodies::swarm()
}

/// Returns a well-behaved registry with a manifest of 300 KiB.
pub fn large() -> Behaviour {
    Behaviour::serving("large", READY, |good| good.with("/x", serde_json::json!("x".repeat(300 << 10))))
}

/// Returns registries that receive secrets and return secrets.
pub fn confidences() -> Vec<Behaviour> {
    confidences::behaviours()
}

/// Returns a well-behaved registry that requires a login.
pub fn private() -> Behaviour {
    confidences::private()
}
