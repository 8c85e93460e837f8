//! One artifact: its pass, or in a dry run the preview of it.

use tokio_util::sync::CancellationToken;

use super::directories::{self, Locked, at_entry};
use super::outcome::{Change, Done, Refused};
use crate::cli::artifacts::{self, Artifact, Selected};
use crate::cli::checkout::{Place, Source};
use crate::cli::files::objects::Input;
use crate::cli::options::artifacts::FileArguments;
use crate::failure::Failure;
use crate::login::Logins;
use crate::oci::Digest;
use crate::output::damage::Reading;
use crate::output::{OutputError, Wanted};
use crate::pass::turns::Turns;
use crate::pass::{self, Before, Engine, Prepared, Progressed, Unattended};
use crate::permits::Permits;
use crate::plan::Observed;
use crate::registry::Registry;
use crate::registry::http::HttpRegistry;
use crate::request::{Limits, OutputKind, Request};

/// State shared by the passes.
pub(super) struct Shared<'a, R> {
    /// Places below the root; `None` if there are none.
    pub(super) engine: Option<Engine<R>>,
    /// Origin of directories and of locked artifacts; `None` in a dry run, and if there are none.
    pub(super) source: Option<&'a Source<HttpRegistry>>,
    pub(super) locked: &'a Locked,
    /// State of a dry run.
    pub(super) rehearsal: Option<Rehearsal>,
    pub(super) input: &'a Input,
    pub(super) logins: &'a Logins,
    pub(super) files: &'a FileArguments,
    /// Cancelled by a signal.
    pub(super) stop: &'a CancellationToken,
}

/// State of a dry run, which has no places if the root does not exist yet.
pub(super) struct Rehearsal {
    pub(super) registry: HttpRegistry,
    pub(super) limits: Limits,
    pub(super) turns: Turns,
    pub(super) processors: Permits,
}

/// A pass that can no longer be given up without a trace.
struct Pass {
    request: Request,
    progressed: Progressed,
    /// Digest that consumers read before.
    previous: Option<Digest>,
}

/// State of the outputs before a pass.
struct Earlier {
    before: Before,
    /// Digest that consumers read.
    previous: Option<Digest>,
}

impl<R: Registry> Shared<'_, R> {
    /// Processes an artifact; `None` if a signal came before anything was switched.
    pub(super) async fn process(&self, one: Selected<'_>) -> Option<Result<Done, Refused>> {
        let done = Box::pin(self.try_process(one)).await?;
        Some(done.map_err(|failure| Refused::of(one.1, self.files.explain(failure))))
    }

    async fn try_process(&self, (key, object): Selected<'_>) -> Option<Result<Done, Failure>> {
        if object.spec.suspend {
            return Some(Ok(Done::suspended()));
        }
        let artifact = Artifact::of(key, object);
        if let Some(rehearsal) = &self.rehearsal {
            return self.stop.run_until_cancelled(self.rehearse(rehearsal, &artifact)).await;
        }
        if let Some(place) = &artifact.place {
            return self.stop.run_until_cancelled(Box::pin(self.fill(&artifact, place))).await;
        }
        // A switch is never left half done, so it is awaited also after a signal.
        match self.stop.run_until_cancelled(self.prepare(&artifact)).await? {
            Ok(pass) => self.finish(pass, &artifact).await,
            Err(failure) => Some(Err(failure)),
        }
    }

    /// Returns the request of an artifact, with the time limit of the command if it has one.
    fn wanted(&self, artifact: &Artifact<'_>) -> Result<artifacts::Wanted, Failure> {
        Ok(artifact.wanted(self.input, self.files.policy_namespace())?.within(self.files.timeout))
    }

    /// Fills the directory of an artifact.
    async fn fill(&self, artifact: &Artifact<'_>, place: &Place) -> Result<Done, Failure> {
        let wanted = self.wanted(artifact)?;
        let (Some(source), Some(checkout)) = (self.source, &self.locked.checkout) else {
            return Err(Failure::internal("no record is open"));
        };
        let outcome = source.sync(checkout, place, &wanted, self.locked.entry(artifact)).await?;
        Ok(directories::done(&wanted.request, &outcome))
    }

    async fn prepare(&self, artifact: &Artifact<'_>) -> Result<Pass, Failure> {
        let entry = self.locked.entry(artifact);
        let wanted = at_entry(&self.wanted(artifact)?, entry);
        if let (Some(source), Some(_)) = (self.source, entry) {
            return source.once_more(&wanted, async || self.prepare_request(wanted.request.clone()).await).await;
        }
        self.prepare_request(wanted.with_login(self.logins).await?).await
    }

    async fn prepare_request(&self, request: Request) -> Result<Pass, Failure> {
        let engine = self.engine()?;
        let Earlier { before, previous } = earlier(engine, &request).await?;
        let stop = self.stop.clone();
        let wanted = Wanted::new(move || !stop.is_cancelled());
        let turn = engine.turn(&request).await;
        let progressed = pass::prepare(engine, &turn, &request, &before, &wanted).await?;
        Ok(Pass { request, progressed, previous })
    }

    async fn finish(&self, pass: Pass, artifact: &Artifact<'_>) -> Option<Result<Done, Failure>> {
        let Pass { request, progressed, previous } = pass;
        let outcome = match progressed {
            Progressed::Kept(outcome) => *outcome,
            Progressed::Prepared(prepared) => match self.commit(prepared).await {
                Ok(outcome) => outcome?,
                Err(failure) => return Some(Err(failure)),
            },
        };
        if let Some(entry) = self.locked.entry(artifact)
            && let Err(failure) = directories::check_files(entry, &request, &outcome.published)
        {
            return Some(Err(failure));
        }
        let is_same = previous.as_ref() == Some(outcome.pinned.digest());
        let change = match &outcome.manifest {
            None => Change::Unchanged,
            Some(_) if request.targets.is_empty() => Change::Verified,
            Some(_) if is_same && !outcome.repaired.is_empty() => Change::Repaired,
            Some(_) => Change::Published,
        };
        let done = Done::of(change, &request, &outcome.pinned, outcome.manifest.as_ref(), outcome.basis.as_ref());
        let places = outcome.published.iter().map(|output| output.location.text(&request.object)).collect();
        let files = outcome.published.iter().map(|output| output.files).max();
        let mut done = Done { places, files, previous: previous.filter(|_| !is_same), ..done };
        done.warnings.extend(outcome.repaired.iter().map(ToString::to_string));
        Some(self.tidy(&request).await.map(|()| done))
    }

    async fn commit(&self, prepared: Box<Prepared>) -> Result<Option<pass::Outcome>, Failure> {
        let committed = prepared.commit(self.engine()?, &Unattended).await?;
        Ok(committed.map(|committed| committed.outcome))
    }

    /// Removes earlier revisions.
    async fn tidy(&self, request: &Request) -> Result<(), Failure> {
        let engine = self.engine()?;
        for target in &request.targets {
            engine.outputs.prune(&request.object, target, pass::now()).await?;
        }
        Ok(())
    }

    fn engine(&self) -> Result<&Engine<R>, Failure> {
        self.engine.as_ref().ok_or_else(|| Failure::internal("no root is open"))
    }

    async fn rehearse(&self, rehearsal: &Rehearsal, artifact: &Artifact<'_>) -> Result<Done, Failure> {
        let wanted = at_entry(&self.wanted(artifact)?, self.locked.entry(artifact));
        let request = wanted.with_login(self.logins).await?;
        if let Some(place) = &artifact.place {
            return self.rehearse_directory(rehearsal, artifact, place, &request).await;
        }
        let (mut observed, mut previous, mut is_damaged) = (Observed::default(), None, false);
        if let Some(engine) = self.engine.as_ref().filter(|engine| has_every_volume(engine, &request)) {
            let earlier = earlier(engine, &request).await?;
            let look = pass::look(engine, &request, &earlier.before).await?;
            is_damaged = !look.damage.is_empty();
            (observed, previous) = (look.observed, earlier.previous);
        } else if request.targets.iter().any(|target| target.place.kind() == OutputKind::Secret) {
            return Err(OutputError::NoCluster(OutputKind::Secret).into());
        }
        let Rehearsal { registry, limits, turns, processors } = rehearsal;
        let turn = turns.wait(&request.object.namespace, &request.reference.repository).await;
        let preview = pass::preview(registry, limits, processors, &turn, &request, &observed).await?;
        let is_same = previous.as_ref() == Some(preview.pinned.digest());
        let change = match &preview.manifest {
            None => Change::Unchanged,
            Some(_) if request.targets.is_empty() => Change::Verified,
            Some(_) if is_same && is_damaged => Change::Repaired,
            Some(_) => Change::Published,
        };
        let done = Done::of(change, &request, &preview.pinned, preview.manifest.as_ref(), preview.basis.as_ref());
        Ok(Done { previous: previous.filter(|_| !is_same), ..done })
    }

    async fn rehearse_directory(
        &self,
        rehearsal: &Rehearsal,
        artifact: &Artifact<'_>,
        place: &Place,
        request: &Request,
    ) -> Result<Done, Failure> {
        let Rehearsal { registry, limits, turns, processors } = rehearsal;
        let turn = turns.wait(&request.object.namespace, &request.reference.repository).await;
        let preview = pass::preview(registry, limits, processors, &turn, request, &Observed::default()).await?;
        let holds = self.locked.holds(artifact, place, preview.pinned.digest()).await?;
        if let Some(checkout) = self.locked.checkout.as_ref().filter(|_| !holds) {
            checkout.check(place).await?;
        }
        let change = if holds { Change::Unchanged } else { Change::Published };
        Ok(Done::of(change, request, &preview.pinned, preview.manifest.as_ref(), preview.basis.as_ref()))
    }
}

/// Returns the state of the outputs. Without a status, their content is the record.
async fn earlier<R: Registry>(engine: &Engine<R>, request: &Request) -> Result<Earlier, Failure> {
    let look = pass::look(engine, request, &Before::default()).await?;
    let damage = if look.is_doubtful {
        pass::read(engine, request, &Before::default(), Reading::Doubtful).await?
    } else {
        Vec::new()
    };
    let previous = look.shown.iter().flatten().next().map(|shown| shown.revision.digest.clone());
    let recorded = look.held.into_iter().flatten().next().map(|published| published.revision);
    Ok(Earlier { before: Before { recorded, damage, ..Before::default() }, previous })
}

/// Returns true if every volume that the outputs are on exists.
fn has_every_volume<R>(engine: &Engine<R>, request: &Request) -> bool {
    let mut names = request.targets.iter().filter_map(|target| target.place.volume());
    names.all(|name| engine.outputs.volume_paths().any(|(known, _)| known == name))
}
