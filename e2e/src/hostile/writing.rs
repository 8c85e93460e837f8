//! Table of registries that misbehave towards a client that writes.
//!
//! ```text
//! rows ──▶ site: one row on its own port ──▶ shelf: what the registry really stored
//!            │ script: step of a publication ─▶ reply, or none to behave
//!            └▶ elsewhere: another port and another host; their requests are recorded too
//! ```
//!
//! Each registry requires a login, so that every row shows where the login goes.

use std::fmt;
use std::sync::Arc;

use super::ask::Ask;
use super::behaviours::Elsewhere;
use super::place::Place;
use super::reply::Reply;

pub mod rows;
pub mod shelf;
pub mod site;

pub use shelf::{APP, SOURCE, Shelf};

/// Function that answers one request; `None` to behave.
pub type Script = Arc<dyn Fn(&Ask, &Place, &mut Shelf) -> Option<Reply> + Send + Sync>;
/// Function that answers the head of a request before its body is read; `None` to read the body.
pub type Early = Arc<dyn Fn(&Ask, &Place) -> Option<Reply> + Send + Sync>;

/// Step of a publication, derived from a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    HeadBlob,
    GetBlob,
    Mount,
    /// POST that begins an upload.
    Start,
    /// PATCH of an upload.
    Part,
    /// PUT that completes an upload.
    End,
    /// GET of an upload.
    Progress,
    /// DELETE of an upload.
    GiveUp,
    PutDigest,
    PutTag,
    GetDigest,
    HeadTag,
    GetTag,
    Referrers,
    Token,
    Other,
}

impl Step {
    /// Returns the step of a request.
    pub fn of(ask: &Ask) -> Self {
        let (path, query) = ask.target.split_once('?').unwrap_or((&ask.target, ""));
        let (method, name) = (ask.method.as_str(), path.rsplit('/').next().unwrap_or_default());
        if path.starts_with("/token") {
            return Self::Token;
        }
        if path.contains("/blobs/uploads/") {
            return match method {
                "POST" if query.contains("mount=") => Self::Mount,
                "POST" => Self::Start,
                "PATCH" => Self::Part,
                "PUT" => Self::End,
                "DELETE" => Self::GiveUp,
                _ => Self::Progress,
            };
        }
        let is_manifest = path.contains("/manifests/");
        match (is_manifest, method, name.contains(':')) {
            (true, "PUT", true) => Self::PutDigest,
            (true, "PUT", false) => Self::PutTag,
            (true, "HEAD", false) => Self::HeadTag,
            (true, _, true) => Self::GetDigest,
            (true, _, false) => Self::GetTag,
            (false, "HEAD", _) if path.contains("/blobs/") => Self::HeadBlob,
            (false, "GET", _) if path.contains("/blobs/") => Self::GetBlob,
            (false, ..) if path.contains("/referrers/") => Self::Referrers,
            (false, ..) => Self::Other,
        }
    }
}

/// Command that meets the registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `push` of an artifact whose blobs are sent whole.
    Push,
    /// `push` of an artifact with a blob that is sent in parts.
    PushLarge,
    /// `promote` within the registry, by mounts.
    Promote,
    /// `attach` to an artifact of the registry.
    Attach,
    /// `sign` of an artifact of the registry.
    Sign,
}

/// Expected end of the command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Exit code 0, and everything is at the registry.
    Stored,
    /// Exit code, reason, and a noun of the message. No tag is set.
    Refused(u8, &'static str, &'static str),
    /// The same, and the registry lies about a tag that it has set.
    Tagged(u8, &'static str, &'static str),
}

/// Row of the table.
#[derive(Clone)]
pub struct Row {
    /// Description in words with dashes.
    pub name: String,
    pub act: Act,
    pub end: End,
    pub script: Script,
    pub early: Early,
    pub elsewhere: Elsewhere,
    /// `--timeout` of the command.
    pub timeout: &'static str,
    pub has_tls: bool,
    /// False if the script decides by itself who may write.
    pub is_basic: bool,
}

impl fmt::Debug for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Row({}, {:?}, {:?})", self.name, self.act, self.end)
    }
}

impl Row {
    /// Makes a row with a script.
    fn new(
        name: &str,
        act: Act,
        end: End,
        script: impl Fn(&Ask, &Place, &mut Shelf) -> Option<Reply> + Send + Sync + 'static,
    ) -> Self {
        Self {
            name: name.to_owned(),
            act,
            end,
            script: Arc::new(script),
            early: Arc::new(|_, _| None),
            elsewhere: Elsewhere::Unheard,
            timeout: "90s",
            has_tls: false,
            is_basic: true,
        }
    }

    /// Makes a row that misbehaves at each request of one step.
    fn at(
        name: &str,
        act: Act,
        end: End,
        step: Step,
        reply: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        Self::new(name, act, end, move |ask, place, _| (Step::of(ask) == step).then(|| reply(ask, place)))
    }

    /// Makes a row that misbehaves at the first request of one step.
    fn once(
        name: &str,
        act: Act,
        end: End,
        step: Step,
        reply: impl Fn(&Ask, &Place) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let first = First::default();
        Self::new(name, act, end, move |ask, place, _| {
            (Step::of(ask) == step && first.is_first()).then(|| reply(ask, place))
        })
    }

    #[must_use]
    fn leading_elsewhere(self) -> Self {
        Self { elsewhere: Elsewhere::Reached, ..self }
    }

    #[must_use]
    fn within(self, timeout: &'static str) -> Self {
        Self { timeout, ..self }
    }

    #[must_use]
    fn over_tls(self) -> Self {
        Self { has_tls: true, ..self }
    }

    /// Replaces the login by what the script decides.
    #[must_use]
    fn deciding_access(self) -> Self {
        Self { is_basic: false, ..self }
    }

    #[must_use]
    fn hasty(self, early: impl Fn(&Ask, &Place) -> Option<Reply> + Send + Sync + 'static) -> Self {
        Self { early: Arc::new(early), ..self }
    }
}

/// Mark of the first of several requests.
#[derive(Debug, Default)]
struct First(std::sync::atomic::AtomicBool);

impl First {
    fn is_first(&self) -> bool {
        !self.0.swap(true, std::sync::atomic::Ordering::SeqCst)
    }
}
