//! Reading of published files, which takes as long as a tree is large.

use std::sync::Arc;
use std::time::Duration;

use super::damage::{Damage, Reading};
use super::location::Location;
use super::scan::{Begun, Scan, Verdict};
use super::{OutputError, Outputs, Recorded, volume};
use crate::metrics::{Found, Scanned};
use crate::processors::Seat;
use crate::request::{ObjectId, Place, Target};
use crate::storage::{Call, OnVolume, Volume};
use crate::unpack::Stop;

impl Outputs {
    /// Reads files of the target, and compares them with what was published. A slice at a time, each with a permit of
    /// `seat`: an unpack does not wait for all of a large tree. Dropping this ends it at the next buffer.
    pub(crate) async fn read(
        &self,
        object: &ObjectId,
        target: &Target,
        recorded: Option<Recorded>,
        reading: Reading,
        seat: &Seat,
    ) -> Result<Option<Damage>, OutputError> {
        let Place::Volume { volume } = &target.place else {
            // A probe compares the others whole.
            return Ok(None);
        };
        let mount = self.volume(target, volume)?;
        let _turn = mount.pool().scan_turn().await?;
        let stop = Stop::new();
        let _guard = stop.clone().drop_guard();
        let begun = self.at(object, target, volume, move |place| {
            Ok((volume::read(&place, recorded.as_ref(), reading)?, Arc::clone(&place.volume)))
        });
        let verdict = match begun.await? {
            (Begun::NoList, _) => return Ok(None),
            (Begun::Done(verdict), _) => verdict,
            (Begun::Scan(scan), on) => scanned(OnVolume::new(mount.pool(), scan), on, object, &stop, seat).await?,
        };
        let location = Location::Volume(volume.clone());
        let damage = match verdict {
            Verdict::Whole | Verdict::Doubtful => None,
            Verdict::Damaged(differences) => {
                Some(Damage { output: target.output.clone(), location, differences, is_additive: false })
            }
        };
        let scanned = match reading {
            Reading::Doubtful => Scanned::Doubtful,
            Reading::Everything => Scanned::Everything,
        };
        self.metrics.scanned(scanned, if damage.is_some() { Found::Damaged } else { Found::Whole });
        Ok(damage)
    }

    /// Time since every byte of the target was read; `None` where that is not known.
    pub(crate) async fn last_read(&self, object: &ObjectId, target: &Target) -> Result<Option<Duration>, OutputError> {
        match &target.place {
            Place::Volume { volume } => self.at(object, target, volume, |place| volume::last_read(&place)).await,
            Place::ConfigMap(_) | Place::Secret { .. } | Place::Directory => Ok(None),
        }
    }
}

/// Reads the files of a tree, a slice at a time.
async fn scanned(
    mut scan: OnVolume<Box<Scan>>,
    on: Arc<Volume>,
    object: &ObjectId,
    stop: &Stop,
    seat: &Seat,
) -> Result<Verdict, OutputError> {
    loop {
        let slot = scan.pool().slot(Call::Long).await?;
        // Held here and not by the thread, which may hang.
        let _permit = seat.permit().await;
        let (pool, stop, on, object) = (scan.pool().clone(), stop.clone(), Arc::clone(&on), object.clone());
        let slice = slot.run(move || -> Result<_, OutputError> {
            let mut scan = scan.take().ok_or(OutputError::Aborted)?;
            let verdict = scan.advance(&stop)?;
            if verdict == Some(Verdict::Whole) {
                // Without it the files are read again, no more.
                if let Err(error) = scan.remember(&on, &object) {
                    tracing::debug!(%object, %error, "what was read is not remembered");
                }
                return Ok((verdict, None));
            }
            Ok((verdict, Some(OnVolume::new(&pool, scan))))
        });
        match slice.await?? {
            (Some(verdict), _) => return Ok(verdict),
            (None, Some(rest)) => scan = rest,
            (None, None) => return Err(OutputError::Aborted),
        }
    }
}
