//! Scans that read published files, concurrent with the reconciles of their objects.
//!
//! Reading a large tree on a share can take hours, in which its object must still follow its tag, policies and keys. So
//! a scan is a task of its own, limited to two per volume, and its end wakes the object.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

use super::attempt::is_superseded;
use super::context::Context;
use super::stored::Stored;
use crate::failure::Failure;
use crate::output::damage::{Damage, Reading};
use crate::pass::{self, Before, Records};
use crate::registry::Registry;
use crate::request::Request;

/// Number of entries above which untaken results are dropped: their objects are gone.
const MOST_RESULTS: usize = 1024;

/// Scans by the uid of their object.
#[derive(Debug)]
pub(super) struct Scans {
    known: Arc<Mutex<HashMap<String, Scan>>>,
    begun: AtomicU64,
    wake: UnboundedSender<ObjectRef<Stored>>,
}

#[derive(Debug)]
struct Scan {
    number: u64,
    /// Scanned outputs, as recorded in status.
    outputs: Records,
    /// `None` until the scan has ended.
    result: Option<Found>,
}

/// Result of a scan.
type Found = Result<Vec<Damage>, Failure>;

impl Scans {
    /// Creates an empty set. When a scan ends, its object is sent to `wake`.
    pub(super) fn new(wake: UnboundedSender<ObjectRef<Stored>>) -> Self {
        Self { known: Arc::default(), begun: AtomicU64::new(0), wake }
    }

    /// Takes the result of a scan that has ended, if the outputs are unchanged since.
    pub(super) fn take(&self, uid: &str, outputs: &Records) -> Option<Found> {
        let mut known = lock(&self.known);
        known.get(uid)?.result.as_ref()?;
        let scan = known.remove(uid)?;
        scan.result.filter(|_| scan.outputs == *outputs)
    }

    /// True if a scan of the object has ended and its result was not taken yet.
    pub(super) fn has_ended(&self, uid: &str) -> bool {
        lock(&self.known).get(uid).is_some_and(|scan| scan.result.is_some())
    }

    /// Drops the scan of an object's outputs, because they were published again.
    pub(super) fn forget(&self, uid: &str) {
        lock(&self.known).remove(uid);
    }

    /// Starts a scan, unless one of the object is running. The scan ends early if the object changes.
    pub(super) fn begin<R: Registry>(
        &self,
        context: &Context<R>,
        generation: Option<i64>,
        request: Request,
        before: Before,
        reading: Reading,
    ) {
        let id = request.object.clone();
        let mut known = lock(&self.known);
        if known.contains_key(&id.uid) {
            return;
        }
        if known.len() > MOST_RESULTS {
            known.retain(|_, scan| scan.result.is_none());
        }
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        known.insert(id.uid.clone(), Scan { number, outputs: before.outputs.clone(), result: None });
        drop(known);
        let (known, wake) = (Arc::clone(&self.known), self.wake.clone());
        let (engine, objects, shutdown) =
            (Arc::clone(&context.engine), context.objects.clone(), context.shutdown.clone());
        tokio::spawn(async move {
            let result = tokio::select! {
                read = pass::read(&engine, &request, &before, reading) => Some(read),
                () = is_superseded(&objects, &id, generation) => None,
                () = shutdown.cancelled() => return,
            };
            {
                let mut known = lock(&known);
                match result {
                    Some(result) => {
                        if let Some(scan) = known.get_mut(&id.uid).filter(|scan| scan.number == number) {
                            scan.result = Some(result);
                        }
                    }
                    // The object changed: its next pass begins a scan where one is due.
                    None if known.get(&id.uid).is_some_and(|scan| scan.number == number) => drop(known.remove(&id.uid)),
                    None => {}
                }
            }
            // Fails only if the controller has ended.
            let _ = wake.send(ObjectRef::new(&id.name).within(&id.namespace));
        });
    }
}

fn lock(known: &Mutex<HashMap<String, Scan>>) -> MutexGuard<'_, HashMap<String, Scan>> {
    // Each statement leaves the map consistent.
    known.lock().unwrap_or_else(PoisonError::into_inner)
}
