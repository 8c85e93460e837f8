//! What is told of files that are not any more what was published.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;

use super::scan::{Begun, Verdict};
use super::{OutputError, Outputs, Published, Recorded, blocking, record, volume};
use crate::metrics::{Found, Scanned};
use crate::request::{ObjectId, Place, Target};
use crate::unpack::Stop;

/// Differences that are looked for in one output; there may be any number.
pub(super) const MAX_DIFFERENCES: usize = 5;
/// Most characters of a path that are shown.
const MAX_SHOWN: usize = 120;

/// What an output holds, looked at just now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Held {
    /// Nothing, or not whole.
    Nothing,
    /// A whole revision, as far as that can be seen without reading its files.
    Whole(Published),
    /// The same, but for files with other times or inodes than they had: only their bytes can tell.
    Doubtful(Published),
    /// Other files than were published.
    Damaged(Damage),
}

impl Held {
    pub(super) fn found(&self) -> Found {
        match self {
            Self::Nothing => Found::Nothing,
            Self::Whole(_) => Found::Whole,
            Self::Doubtful(_) => Found::Doubtful,
            Self::Damaged(_) => Found::Damaged,
        }
    }
}

/// How much of the files is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Those only that have other times or inodes than they had.
    Doubtful,
    /// All.
    Everything,
}

/// Files of one output that are not what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Name of the output.
    pub output: String,
    /// The first differences.
    pub differences: Vec<Difference>,
}

/// One path that is not what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    path: String,
    what: What,
}

/// What is different.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Added,
    Removed,
    Kind,
    Mode,
    Size,
    Target,
    Content,
    /// The list itself, which has no path.
    List,
}

impl Difference {
    pub(super) fn new(path: &[u8], what: What) -> Self {
        let path: String = String::from_utf8_lossy(path).chars().take(MAX_SHOWN).collect();
        Self { path: if path.is_empty() { ".".to_owned() } else { path }, what }
    }

    pub(super) fn list() -> Self {
        Self { path: String::new(), what: What::List }
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self.what {
            What::Added => "was added",
            What::Removed => "was removed",
            What::Kind => "was replaced by something of another kind",
            What::Mode => "has another mode",
            What::Size => "has another size",
            What::Target => "is a link to something else",
            What::Content => "has other content",
            What::List => return f.write_str("the list of what was published was changed"),
        };
        write!(f, "{:?} {what}", self.path)
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "files of output {} were changed on the volume: ", self.output)?;
        for (number, difference) in self.differences.iter().enumerate() {
            write!(f, "{}{difference}", if number == 0 { "" } else { ", " })?;
        }
        if self.differences.len() >= MAX_DIFFERENCES {
            f.write_str(", and perhaps more")?;
        }
        Ok(())
    }
}

impl Outputs {
    /// Reads files of a volume output, and compares them with what was published. A slice at a time, each with a permit
    /// of `processors`: whoever unpacks does not wait for all of a large tree. Dropping this ends it at the next buffer.
    pub(crate) async fn read(
        &self,
        object: &ObjectId,
        target: &Target,
        recorded: Option<Recorded>,
        reading: Reading,
        processors: &Arc<Semaphore>,
    ) -> Result<Option<Damage>, OutputError> {
        let Place::Volume { volume } = &target.place else { return Ok(None) };
        let (volume, id) = (self.volume(target, volume)?, object.clone());
        let stop = Stop::new();
        let _guard = stop.clone().drop_guard();
        let on = Arc::clone(&volume);
        let begun = blocking(move || volume::read(&on, &id, recorded.as_ref(), reading)).await?;
        let verdict = match begun {
            Begun::NoList => return Ok(None),
            Begun::Done(verdict) => verdict,
            Begun::Scan(mut scan) => loop {
                let permit = Arc::clone(processors).acquire_owned().await.map_err(|_| OutputError::Aborted)?;
                let (stop, volume, id) = (stop.clone(), Arc::clone(&volume), object.clone());
                let slice = blocking(move || {
                    let verdict = scan.advance(&stop)?;
                    drop(permit);
                    if verdict != Some(Verdict::Whole) {
                        return Ok((verdict, Some(scan)));
                    }
                    // Without it the files are read again, no more.
                    if let Err(error) = scan.remember(&volume, &id) {
                        tracing::debug!(object = %id, %error, "what was read is not remembered");
                    }
                    Ok((verdict, None))
                });
                match slice.await? {
                    (Some(verdict), _) => break verdict,
                    (None, Some(rest)) => scan = rest,
                    (None, None) => return Err(OutputError::Aborted),
                }
            },
        };
        let damage = match verdict {
            Verdict::Whole | Verdict::Doubtful => None,
            Verdict::Damaged(differences) => Some(Damage { output: target.output.clone(), differences }),
        };
        let scanned = match reading {
            Reading::Doubtful => Scanned::Doubtful,
            Reading::Everything => Scanned::Everything,
        };
        self.metrics.scanned(scanned, if damage.is_some() { Found::Damaged } else { Found::Whole });
        Ok(damage)
    }

    /// How long ago every byte of a volume output was looked at; `None` where that is not known.
    pub(crate) async fn last_read(&self, object: &ObjectId, target: &Target) -> Result<Option<Duration>, OutputError> {
        let Place::Volume { volume } = &target.place else { return Ok(None) };
        let (volume, object) = (self.volume(target, volume)?, object.clone());
        blocking(move || Ok(record::age(&volume, &object)?)).await
    }
}
