//! Reader that polls published content as consumers see it, and records the revision of each place over time.
//!
//! Each place has its own task. A change of a value is recorded with the time at which it was first read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DynamicObject};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::object::text;

/// Intervals between two reads of a volume, and of the API server.
const FILE_PACE: Duration = Duration::from_millis(1);
const API_PACE: Duration = Duration::from_millis(20);

/// Name of the file, and of the ConfigMap key, that holds the revision.
pub const REVISION: &str = "revision";

/// Running reader; dropping it ends it.
#[derive(Default)]
pub struct Reader {
    done: Arc<AtomicBool>,
    places: BTreeMap<&'static str, JoinHandle<Place>>,
}

/// Values read at one place.
#[derive(Debug, Clone, Default)]
pub struct Place {
    /// Each new value; `None` for an absent value.
    pub values: Vec<(Instant, Option<String>)>,
    /// Targets of `current` by revision; empty for places other than volumes.
    pub targets: BTreeMap<String, BTreeSet<PathBuf>>,
    end: Option<Instant>,
}

/// Record of a reader, by place.
#[derive(Debug, Clone)]
pub struct Seen(BTreeMap<&'static str, Place>);

/// Place to read from.
enum Source {
    Volume(PathBuf),
    ConfigMap(Api<ConfigMap>, String),
    Field(Api<DynamicObject>, String, String),
}

impl Reader {
    /// Reads the file `revision` through `<directory>/current`.
    #[must_use]
    pub fn volume(self, name: &'static str, directory: &Path) -> Self {
        self.place(name, FILE_PACE, Source::Volume(directory.to_owned()))
    }

    /// Reads the key `revision` of a ConfigMap.
    #[must_use]
    pub fn config_map(self, name: &'static str, maps: Api<ConfigMap>, map: &str) -> Self {
        self.place(name, API_PACE, Source::ConfigMap(maps, map.to_owned()))
    }

    /// Reads a string of an object, such as a digest in its status.
    #[must_use]
    pub fn field(self, name: &'static str, objects: Api<DynamicObject>, object: &str, pointer: &str) -> Self {
        self.place(name, API_PACE, Source::Field(objects, object.to_owned(), pointer.to_owned()))
    }

    fn place(mut self, name: &'static str, pace: Duration, source: Source) -> Self {
        let done = Arc::clone(&self.done);
        let reading = tokio::spawn(async move {
            let mut place = Place::default();
            let mut ticks = interval(pace);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while !done.load(Ordering::Relaxed) {
                ticks.tick().await;
                source.read(&mut place).await;
            }
            place.end = Some(Instant::now());
            place
        });
        self.places.insert(name, reading);
        self
    }

    /// Stops reading and returns the record.
    pub async fn stop(mut self) -> Result<Seen> {
        self.done.store(true, Ordering::Relaxed);
        let mut seen = BTreeMap::new();
        for (name, reading) in std::mem::take(&mut self.places) {
            seen.insert(name, reading.await.with_context(|| format!("reading {name}"))?);
        }
        Ok(Seen(seen))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

impl Source {
    /// Reads once. A failed request to the API server records nothing.
    async fn read(&self, place: &mut Place) {
        let value = match self {
            Self::Volume(directory) => place.read_volume(directory),
            Self::ConfigMap(maps, map) => {
                let Ok(found) = maps.get_opt(map).await else { return };
                found.and_then(|found| found.data?.remove(REVISION)).map(|text| text.trim().to_owned())
            }
            Self::Field(objects, object, pointer) => {
                let Ok(found) = objects.get_opt(object).await else { return };
                found.and_then(|found| text(&found, pointer).map(str::to_owned))
            }
        };
        place.record(value);
    }
}

impl Place {
    fn read_volume(&mut self, directory: &Path) -> Option<String> {
        let target = fs_err::read_link(directory.join("current")).ok()?;
        // The file is read once per target, so that a later change of the tree does not count as a switch.
        if let Some((revision, _)) = self.targets.iter().find(|(_, targets)| targets.contains(&target)) {
            return Some(revision.clone());
        }
        let revision = fs_err::read_to_string(directory.join(&target).join(REVISION)).ok()?.trim().to_owned();
        self.targets.entry(revision.clone()).or_default().insert(target);
        Some(revision)
    }

    fn record(&mut self, value: Option<String>) {
        if self.values.last().is_none_or(|(_, last)| *last != value) {
            self.values.push((Instant::now(), value));
        }
    }

    fn at(&self, time: Instant) -> Option<&str> {
        let (_, value) = self.values.iter().rev().find(|(since, _)| *since <= time)?;
        value.as_deref()
    }
}

impl Seen {
    /// Replaces the values by other names, such as a digest by its revision.
    #[must_use]
    pub fn named(mut self, name: impl Fn(&str) -> String) -> Self {
        for (_, value) in self.0.values_mut().flat_map(|place| &mut place.values) {
            *value = value.as_deref().map(&name);
        }
        self
    }

    pub fn place(&self, name: &str) -> Result<&Place> {
        self.0.get(name).with_context(|| format!("no place {name}"))
    }

    /// Returns the longest time in which two places held different revisions. An absent value differs from no revision.
    pub fn max_torn(&self, one: &str, other: &str) -> Result<Duration> {
        let (one, other) = (self.place(one)?, self.place(other)?);
        let end = one.end.max(other.end).context("the reader has not ended")?;
        let mut times: Vec<Instant> = one.values.iter().chain(&other.values).map(|(time, _)| *time).collect();
        times.sort();
        let (mut longest, mut since) = (Duration::ZERO, None::<Instant>);
        for time in times {
            let differ = matches!((one.at(time), other.at(time)), (Some(one), Some(other)) if one != other);
            if let Some(begin) = since {
                longest = longest.max(time - begin);
            }
            since = if differ { since.or(Some(time)) } else { None };
        }
        Ok(longest.max(since.map_or(Duration::ZERO, |begin| end - begin)))
    }

    /// Returns the highest number of distinct targets that `current` had for one revision, with that revision.
    pub fn most_switches(&self, volume: &str) -> Result<(usize, String)> {
        let counts = self.place(volume)?.targets.iter().map(|(revision, targets)| (targets.len(), revision.clone()));
        counts.max().with_context(|| format!("nothing was ever read from {volume}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(values: &[(u64, Option<&str>)], begin: Instant) -> Place {
        let at = |milliseconds| begin + Duration::from_millis(milliseconds);
        let values = values.iter().map(|(time, value)| (at(*time), value.map(str::to_owned))).collect();
        Place { values, targets: BTreeMap::new(), end: Some(at(1000)) }
    }

    #[test]
    fn torn_is_the_longest_time_of_different_revisions() {
        type Row = (&'static str, &'static [(u64, Option<&'static str>)], &'static [(u64, Option<&'static str>)], u64);
        let rows: [Row; 6] = [
            ("always the same", &[(0, Some("1"))], &[(0, Some("1"))], 0),
            ("switched together", &[(0, Some("1")), (500, Some("2"))], &[(0, Some("1")), (510, Some("2"))], 10),
            ("one stays behind", &[(0, Some("1")), (400, Some("2"))], &[(0, Some("1"))], 600),
            ("one goes on and back", &[(0, Some("1"))], &[(0, Some("1")), (100, Some("2")), (300, Some("1"))], 200),
            ("never caught up", &[(0, Some("1")), (100, Some("2"))], &[(0, Some("1")), (200, Some("3"))], 900),
            ("absent", &[(0, Some("1")), (100, Some("2"))], &[(0, Some("1")), (150, None)], 50),
        ];
        for (label, one, other, torn) in rows {
            let begin = Instant::now();
            let seen = Seen(BTreeMap::from([("a", place(one, begin)), ("b", place(other, begin))]));
            assert_eq!(seen.max_torn("a", "b").unwrap(), Duration::from_millis(torn), "{label}");
        }
    }
}
