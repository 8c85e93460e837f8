//! The table of behaviours: what a registry does, and what the operator is to make of it.

use std::fmt;
use std::sync::Arc;

use anyhow::Result;

use super::artifact::Artifact;
use super::ask::{Ask, Item};
use super::reply::Reply;
use super::site::Place;
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

/// Answers one request.
pub type Script = Arc<dyn Fn(&Ask, &Place) -> Reply + Send + Sync>;
/// Makes another artifact of a good one.
pub type Edit = Arc<dyn Fn(&Artifact) -> Artifact + Send + Sync>;
/// Answers one request in frames, by its number and stream.
pub type FrameScript = Arc<dyn Fn(u32, u32, &Place) -> Reply + Send + Sync>;

/// What the object has to say in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Published: this much misbehaving is harmless.
    Ready,
    /// The reason, and the condition beside `Ready=False`: `Stalled` or `Reconciling`.
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

/// Time for a pass that is to end by itself, on a machine that is busy with all the others.
const PATIENT: &str = "90s";
/// Time for a pass that would never end.
const IMPATIENT: &str = "4s";

/// What a port does.
#[derive(Clone)]
pub enum Kind {
    Http(Script),
    Greets(Reply),
    Frames(FrameScript),
}

/// What the object names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AsksFor {
    Tag,
    Digest,
    /// The highest of all versions.
    Version,
}

/// What the object's pull secret holds for the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Login {
    /// The object has no pull secret.
    None,
    Password,
    /// The password as an identity token, which only token services are given.
    IdentityToken,
}

/// How often a registry may be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// Again and again, with pauses that grow.
    Retries,
    /// Six times a minute: it asks to be left alone, and does not say for how long in a way that counts.
    Limited,
    /// Once, and not again for as long as a test lasts.
    Once,
}

/// Whether anybody may be led elsewhere. Nobody may tell who they are there, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Elsewhere {
    Unheard,
    Reached,
}

/// One row of the table.
#[derive(Clone)]
pub struct Behaviour {
    /// What it does, in words with dashes; also the name of the object and of the repository.
    pub name: String,
    pub expected: Expected,
    /// The other ends of a race.
    pub or: Vec<Expected>,
    pub kind: Kind,
    /// What it makes of a good artifact.
    pub edit: Edit,
    /// `spec.timeout`.
    pub timeout: &'static str,
    /// TLS, and what the port shows there.
    pub certificate: Option<Certificate>,
    /// Whether the object says that the registry has no TLS.
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

    /// HTTP/1.1 by script.
    fn http(name: &str, expected: Expected, script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static) -> Self {
        Self::new(name, expected, Kind::Http(Arc::new(script)))
    }

    /// A registry that behaves, with an artifact that does not.
    fn serving(name: &str, expected: Expected, edit: impl Fn(&Artifact) -> Artifact + Send + Sync + 'static) -> Self {
        let serving = Self::http(name, expected, |ask, place| place.artifact.answer(ask));
        Self { edit: Arc::new(edit), ..serving }
    }

    /// Misbehaves where it is asked for a manifest by digest, and nowhere else.
    fn at_manifest(
        name: &str,
        expected: Expected,
        script: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::http(name, expected, move |ask, place| {
            if let Item::Manifest(_) = ask.item() { script(ask, place) } else { place.artifact.answer(ask) }
        })
    }

    /// Misbehaves where it is asked for a layer, and nowhere else.
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

/// Everything that a registry may do to a tag or a digest.
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

/// Many registries that stop one byte short of the largest manifest there may be.
pub fn swarm() -> Vec<Behaviour> {
    bodies::swarm()
}

/// One that behaves, and has a manifest of 300 KiB.
pub fn large() -> Behaviour {
    Behaviour::serving("large", READY, |good| good.with("/x", serde_json::json!("x".repeat(300 << 10))))
}

/// Registries that are told secrets and tell some.
pub fn confidences() -> Vec<Behaviour> {
    confidences::behaviours()
}

/// One that behaves, for those whom it knows.
pub fn private() -> Behaviour {
    confidences::private()
}
