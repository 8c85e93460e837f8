//! Places of stages: each on the filesystem of the output for which it is made.

use std::sync::Arc;

use super::error::OutputError;
use super::outputs::Outputs;
use crate::request::{FileFilter, OutputKind, Place, Request, Target};
use crate::storage::Mount;

/// Place of a stage, with the filter for its files.
#[derive(Clone, Debug)]
pub struct StagePlace {
    /// Volume on whose filesystem the stage is.
    pub volume: Arc<Mount>,
    /// Filter for the artifact's files.
    pub filter: FileFilter,
    /// True if layers may be cached on the same volume. False for Secrets.
    pub is_cached: bool,
    /// The volume output that the stage is for; `None` for a stage with all files, for the other outputs.
    output: Option<String>,
}

impl StagePlace {
    /// True if `target` is published from a stage in this place.
    pub(crate) fn is_for(&self, target: &Target) -> bool {
        match target.place.volume() {
            Some(_) => self.output.as_ref() == Some(&target.output),
            None => self.filter.is_all(),
        }
    }
}

impl Outputs {
    /// Fails if a volume of the request cannot be used now.
    pub(crate) fn check_volumes(&self, request: &Request) -> Result<(), OutputError> {
        let states = self.places(request)?.into_iter().filter_map(|place| place.volume.pool().state());
        states.into_iter().next().map_or(Ok(()), |error| Err(error.into()))
    }

    /// Returns the places of stages: one for each volume output, and one with all files for the other outputs.
    pub(crate) fn places(&self, request: &Request) -> Result<Vec<StagePlace>, OutputError> {
        let mut places = Vec::new();
        for target in &request.targets {
            let (volume, filter, output) = match &target.place {
                Place::Volume { volume } => {
                    (self.volume(target, volume)?, target.filter.clone(), Some(target.output.clone()))
                }
                Place::ConfigMap(_) | Place::Directory => (Arc::clone(&self.work), FileFilter::default(), None),
                Place::Secret { .. } => {
                    let missing = || OutputError::NoSecretDirectory(target.output.clone());
                    (self.secret_work.clone().ok_or_else(missing)?, FileFilter::default(), None)
                }
            };
            if output.is_some() || !places.iter().any(|place: &StagePlace| place.is_for(target)) {
                let is_cached = target.place.kind() != OutputKind::Secret;
                places.push(StagePlace { volume, filter, is_cached, output });
            }
        }
        Ok(places)
    }
}
