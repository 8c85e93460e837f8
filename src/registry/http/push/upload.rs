//! One upload: begun, continued where the registry kept it, begun again where it did not, and completed.
//!
//! ```text
//!            ┌────────────── 404, or another offset ◀───────────────┐
//!            ▼                                                      │
//!  begin: POST ─▶ session ─┬─ small ─▶ PUT with all bytes ──┬─ 201 ─▶ check: HEAD
//!            ▲             └─ large ─▶ PATCH … PATCH, PUT ──┤
//!            │                            ▲    │ 413: smaller parts
//!            │                            │    ▼ broken
//!            └──────── no ──── GET: how many bytes does the registry hold?
//! ```

use futures::FutureExt;
use reqwest::{Method, Response, StatusCode};

use super::body::Body;
use super::location::{UploadUrl, minimum, stored};
use super::{Held, check_digest};
use crate::oci::{Descriptor, Repository};
use crate::registry::http::HttpRegistry;
use crate::registry::http::call::{Content, HttpCall, Item};
use crate::registry::retry::Repetitions;
use crate::registry::{Access, BlobSource, RegistryError};

/// Size up to which a blob is sent with the PUT that completes it. Larger ones are sent by PATCH, because that part of
/// an upload can be continued after a failure.
const SMALL: u64 = 4 * 1024 * 1024;
/// Smallest part of a large blob, in bytes: object stores refuse smaller ones.
const SMALLEST_PART: u64 = 5 * 1024 * 1024;
/// First size of parts once the registry, or a proxy before it, refuses the whole blob as too large.
const FIRST_PART: u64 = 64 * 1024 * 1024;
/// Maximum number of parts of a blob, refused ones included.
const MAX_PARTS: usize = 10_000;
/// Maximum number of parts of which the registry keeps only the beginning.
const MAX_CUT: usize = 8;
/// Maximum number of uploads begun for one blob.
const MAX_BEGUN: usize = 6;

/// An upload that a registry has begun.
struct Session {
    url: UploadUrl,
    /// Index of the credential that began it.
    credential: usize,
    /// Number of bytes that the registry holds.
    stored: u64,
    /// True if the registry may hold another number of bytes, because a request broke.
    is_unsure: bool,
}

/// Upload of one blob.
pub(super) struct Upload<'a> {
    registry: &'a HttpRegistry,
    access: &'a Access,
    repository: &'a Repository,
    descriptor: &'a Descriptor,
    body: Body<'a>,
    session: Option<Session>,
    /// Largest part; `None` to send everything at once.
    part: Option<u64>,
    begun: usize,
    parts: usize,
    cut: usize,
}

impl<'a> Upload<'a> {
    pub(super) fn new(
        registry: &'a HttpRegistry,
        access: &'a Access,
        repository: &'a Repository,
        descriptor: &'a Descriptor,
        source: &'a dyn BlobSource,
    ) -> Self {
        let body = Body::new(source, descriptor, format!("blob {} of {repository}", descriptor.digest.short()));
        Self { registry, access, repository, descriptor, body, session: None, part: None, begun: 0, parts: 0, cut: 0 }
    }

    /// Uploads the blob, and fails unless the registry holds it afterwards.
    pub(super) async fn run(mut self) -> Result<(), RegistryError> {
        let mut repetitions = Repetitions::default();
        loop {
            let before = self.held_bytes();
            let result = self.send().await;
            // The client reports only that the body broke off.
            let result = result.map_err(|error| self.body.take_error().unwrap_or(error));
            let Err(error) = result else { break };
            if self.held_bytes() > before {
                repetitions.reset();
            }
            if let Err(error) = repetitions.after(error).await {
                self.give_up().await;
                return Err(error);
            }
            // The response may have been lost after the registry had completed the blob.
            let held = self.registry.held(self.access, self.repository, self.descriptor).await;
            if matches!(held, Ok(Held::Yes)) {
                return Ok(());
            }
        }
        self.registry.check_held(self.access, self.repository, self.descriptor).await
    }

    fn held_bytes(&self) -> u64 {
        self.session.as_ref().map_or(0, |session| session.stored)
    }

    async fn give_up(&mut self) {
        if let Some(session) = self.session.take() {
            self.registry.give_up(self.access, self.repository, &session.url, session.credential).await;
        }
    }

    /// Sends what the registry does not hold yet. The session stays for the next attempt.
    async fn send(&mut self) -> Result<(), RegistryError> {
        let size = self.descriptor.size;
        loop {
            let session = self.current().await?;
            let (from, is_small) = (session.stored, size <= SMALL);
            if from == size || (from == 0 && is_small) {
                match self.complete(from).await? {
                    Some(()) => return Ok(()),
                    None => continue,
                }
            }
            let to = self.part.map_or(size, |part| from.saturating_add(part).min(size));
            self.patch(from, to).await?;
        }
    }

    /// Returns the session in which to go on: the same one, if the registry still has it.
    async fn current(&mut self) -> Result<&mut Session, RegistryError> {
        let session = match self.session.take() {
            Some(session) if session.is_unsure => self.ask(session).await?,
            session => session,
        };
        let session = match session {
            Some(session) => session,
            None => self.begin().await?,
        };
        Ok(self.session.insert(session))
    }

    async fn begin(&mut self) -> Result<Session, RegistryError> {
        self.begun += 1;
        if self.begun > MAX_BEGUN {
            return Err(self.violation(format!("{MAX_BEGUN} uploads of one blob ended without a result")));
        }
        let call = HttpCall::write(self.access, self.repository, Method::POST, Item::Uploads(None));
        let (response, credential) = self.registry.request_by_any(&call).await?;
        if response.status() != StatusCode::ACCEPTED {
            return Err(self.violation(format!("it returned {} to the start of an upload", response.status())));
        }
        let url = UploadUrl::of(&self.registry.client, &call, &response)?;
        if let (Some(part), Some(least)) = (self.part, minimum(response.headers())) {
            self.part = Some(part.max(least));
        }
        Ok(Session { url, credential, stored: 0, is_unsure: false })
    }

    /// Asks the registry for the number of bytes that it holds; `None` if the upload is gone.
    async fn ask(&self, session: Session) -> Result<Option<Session>, RegistryError> {
        let call = HttpCall {
            credential: Some(session.credential),
            ..HttpCall::write(self.access, self.repository, Method::GET, Item::Upload(&session.url, None))
        };
        let response = match self.registry.request(&call).await {
            Ok(response) if response.status().is_success() => response,
            Ok(_) | Err(RegistryError::NotFound(_) | RegistryError::Protocol { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let Ok(Some(stored)) = stored(response.headers()) else { return Ok(None) };
        if stored > self.descriptor.size {
            return Ok(None);
        }
        let url = UploadUrl::of(&self.registry.client, &call, &response).unwrap_or_else(|_| session.url.clone());
        Ok(Some(Session { url, stored, is_unsure: false, ..session }))
    }

    /// Sends one part by PATCH.
    async fn patch(&mut self, from: u64, to: u64) -> Result<(), RegistryError> {
        self.parts += 1;
        if self.parts > MAX_PARTS {
            return Err(self.violation(format!("a blob takes more than {MAX_PARTS} parts")));
        }
        let (response, url) = self.request(Method::PATCH, from, to, false).await?;
        let status = response.status();
        if !status.is_success() {
            return self.refused_part(status, to.saturating_sub(from));
        }
        if status != StatusCode::ACCEPTED {
            return Err(self.violation(format!("it returned {status} to a part of an upload")));
        }
        let stored = stored(response.headers()).map_err(|problem| self.violation(problem))?.unwrap_or(to);
        if stored > to || stored < from {
            return Err(self.violation(format!("it holds {stored} bytes of an upload after bytes {from} to {to}")));
        }
        if stored < to {
            self.cut += 1;
            if self.cut > MAX_CUT {
                return Err(self.violation("it repeatedly stored fewer bytes than it accepted".to_owned()));
            }
        }
        if let Some(session) = &mut self.session {
            (session.url, session.stored, session.is_unsure) = (url, stored, false);
        }
        Ok(())
    }

    /// Completes the upload with the bytes from `from` on. Returns `None` if the upload must go on in another way.
    async fn complete(&mut self, from: u64) -> Result<Option<()>, RegistryError> {
        let (response, _) = self.request(Method::PUT, from, self.descriptor.size, true).await?;
        let status = response.status();
        match status {
            StatusCode::CREATED | StatusCode::OK | StatusCode::NO_CONTENT => {
                self.session = None;
                Ok(Some(()))
            }
            // Accepted is not stored: a client that believed it would tag an incomplete artifact.
            status if status.is_success() => {
                Err(self.violation(format!("it returned {status} to the end of an upload; expected 201")))
            }
            status => self.refused_part(status, self.descriptor.size.saturating_sub(from)).map(|()| None),
        }
    }

    /// Sends bytes to the session's URL. Until the response is read, it is unknown what the registry holds.
    async fn request(
        &mut self,
        method: Method,
        from: u64,
        to: u64,
        is_last: bool,
    ) -> Result<(Response, UploadUrl), RegistryError> {
        let Some(session) = &mut self.session else {
            return Err(RegistryError::Protocol { host: self.repository.host().to_owned(), problem: String::new() });
        };
        session.is_unsure = true;
        let (url, credential) = (session.url.clone(), Some(session.credential));
        let body = &self.body;
        let open = move || body.open(from, to);
        let content = if from == to && from > 0 {
            Content::Document("application/octet-stream", bytes::Bytes::new())
        } else {
            Content::Part(from, to.saturating_sub(from), &open)
        };
        let digest = is_last.then_some(&self.descriptor.digest);
        let call = HttpCall::write(self.access, self.repository, method, Item::Upload(&url, digest));
        let call = HttpCall { content, credential, ..call };
        // Boxed: the future of a request is large.
        let response = self.registry.request(&call).boxed().await?;
        let is_done = is_last && response.status().is_success();
        if is_done {
            check_digest(&call, &response, &self.descriptor.digest)?;
        }
        let next = if response.status() == StatusCode::ACCEPTED {
            UploadUrl::of(&self.registry.client, &call, &response)?
        } else {
            url.clone()
        };
        Ok((response, next))
    }

    /// Decides how to go on after a refused part.
    fn refused_part(&mut self, status: StatusCode, length: u64) -> Result<(), RegistryError> {
        match status {
            // A limit of the registry or of a proxy before it: smaller parts in another upload.
            StatusCode::PAYLOAD_TOO_LARGE if length > SMALLEST_PART => {
                let smaller = self.part.map_or(FIRST_PART, |part| part / 4).min(length / 2);
                self.part = Some(smaller.max(SMALLEST_PART));
                self.session = None;
                Ok(())
            }
            // The registry holds another number of bytes. It is asked once, because its answer may be wrong too.
            StatusCode::RANGE_NOT_SATISFIABLE => {
                self.cut += 1;
                if self.cut > MAX_CUT {
                    return Err(self.violation("it accepts no range of an upload".to_owned()));
                }
                if self.cut.is_multiple_of(2) {
                    self.session = None;
                }
                Ok(())
            }
            // The upload expired, or the registry has lost it.
            StatusCode::NOT_FOUND => {
                self.session = None;
                Ok(())
            }
            _ => Err(RegistryError::Refused {
                host: self.repository.host().to_owned(),
                what: format!("blob {} of {}", self.descriptor.digest.short(), self.repository),
                answer: status.to_string(),
            }),
        }
    }

    fn violation(&self, problem: String) -> RegistryError {
        RegistryError::Protocol { host: self.repository.host().to_owned(), problem }
    }
}
