//! Scans that read published files; their time grows with the size of the tree.

use std::sync::Arc;
use std::time::Duration;

use super::damage::{Damage, Reading};
use super::error::OutputError;
use super::location::Location;
use super::outputs::Outputs;
use super::published::Recorded;
use super::scan::{Begun, Scan, Verdict};
use super::volume;
use crate::metrics::{Found, Scanned};
use crate::permits::Seat;
use crate::request::{ObjectId, OutputKind, Place, Target};
use crate::storage::{OnVolume, Volume};
use crate::unpack::Stop;

impl Outputs {
    /// Reads files of the target and compares them with the list. Works in slices, each with a permit of `seat`, so
    /// that an unpack need not wait for a whole large tree. Dropping the future ends the work at the next buffer.
    pub(crate) async fn read(
        &self,
        object: &ObjectId,
        target: &Target,
        recorded: Option<Recorded>,
        reading: Reading,
        seat: &Seat,
    ) -> Result<Option<Damage>, OutputError> {
        let Place::Volume { volume } = &target.place else {
            // A probe already compares the full content of API objects.
            return Ok(None);
        };
        let mount = self.volume(target, volume)?;
        let _turn = mount.pool().scan_turn(seat).await?;
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
        let location = Location::new(OutputKind::Volume, volume);
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

    /// Returns the time since every byte of the target was read; `None` if unknown.
    pub(crate) async fn last_read(&self, object: &ObjectId, target: &Target) -> Result<Option<Duration>, OutputError> {
        let Some(volume) = target.place.volume() else { return Ok(None) };
        self.at(object, target, volume, |place| volume::last_read(&place)).await
    }
}

/// Reads the files of a tree in slices.
async fn scanned(
    mut scan: OnVolume<Box<Scan>>,
    on: Arc<Volume>,
    object: &ObjectId,
    stop: &Stop,
    seat: &Seat,
) -> Result<Verdict, OutputError> {
    loop {
        let slot = scan.pool().slot_for(seat).await?;
        // Held by the future, not by the thread, which may hang.
        let _permit = seat.permit().await;
        let (pool, stop, on, object) = (scan.pool().clone(), stop.clone(), Arc::clone(&on), object.clone());
        let slice = slot.run(move || -> Result<_, OutputError> {
            let mut scan = scan.take().ok_or(OutputError::Aborted)?;
            let verdict = scan.advance(&stop)?;
            if verdict == Some(Verdict::Whole) {
                // A failure only means that the files are read again at the next scan.
                if let Err(error) = scan.remember(&on, &object) {
                    tracing::debug!(namespace = %object.namespace, name = %object.name, %error, "the times of the read files cannot be recorded; they will be read again");
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
