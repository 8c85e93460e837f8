//! Scans that read published files, concurrent with the reconciles of their objects.
//!
//! Reading a large tree on a share can take hours, in which its object must still follow its tag, policies and keys. So
//! a scan is a task of its own, limited to two per volume, and its end wakes the object.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::UnboundedSender;

use super::attempt::is_superseded;
use super::context::Context;
use crate::api::stored::Stored;
use crate::failure::Failure;
use crate::mutex::lock;
use crate::output::damage::{Damage, Reading};
use crate::pass::{self, Before, Records};
use crate::registry::Registry;
use crate::request::Request;

/// Number of entries above which results of objects that are gone are dropped.
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
    object: ObjectRef<Stored>,
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
            let is_there = |scan: &Scan| context.objects.get(&scan.object).is_some();
            known.retain(|_, scan| scan.result.is_none() || is_there(scan));
        }
        let (number, object) =
            (self.begun.fetch_add(1, Ordering::Relaxed), ObjectRef::new(&id.name).within(&id.namespace));
        known.insert(id.uid.clone(), Scan { number, object, outputs: before.outputs.clone(), result: None });
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use kube::Client;
    use kube::client::Body;
    use kube::runtime::reflector;
    use kube::runtime::watcher::Event;
    use serde_json::json;

    use super::*;
    use crate::blob::{Cache, CacheLimits};
    use crate::controller::OnRevoked;
    use crate::controller::named::Named;
    use crate::controller::policies::PolicyBook;
    use crate::output::location::Location;
    use crate::output::{ApiObjects, Outputs};
    use crate::pass::Engine;
    use crate::pass::turns::Turns;
    use crate::permits::Permits;
    use crate::request::{Limits, ObjectId, Otherwise, OutputKind, Referred};
    use crate::storage::Mount;
    use crate::testing::FakeRegistry;
    use crate::trust::public_root::PublicRoot;

    fn context(root: &std::path::Path, names: &[&str]) -> Context<FakeRegistry> {
        let answer = tower::service_fn(|_: http::Request<Body>| async {
            Ok::<_, Infallible>(http::Response::builder().status(500).body(Body::empty()).unwrap())
        });
        let client = Client::new(answer, "operators");
        let volume = Mount::open(root).unwrap();
        let volumes = BTreeMap::from([("default".to_owned(), Arc::clone(&volume))]);
        let metrics = Arc::new(crate::metrics::Metrics::default());
        let api_objects = ApiObjects::Directory(root.join("configmaps"));
        let engine = Engine {
            registry: FakeRegistry::default(),
            cache: Cache::open([&volume], CacheLimits::default(), &metrics),
            outputs: Outputs::new(volumes, volume, api_objects, Arc::clone(&metrics)).unwrap(),
            limits: Limits::default(),
            turns: Turns::default(),
            processors: Permits::new(1),
            progress: None,
        };
        let (objects, mut writer) = reflector::store::<Stored>();
        for name in names {
            let object =
                json!({"metadata": {"namespace": "n", "name": name, "uid": name, "generation": 1}, "spec": {}});
            writer.apply_watcher_event(&Event::Apply(serde_json::from_value(object).unwrap()));
        }
        Context {
            named: Arc::new(Named::new(client.clone(), Arc::clone(&metrics))),
            client,
            engine: Arc::new(engine),
            memory: crate::controller::memory::Memory::default(),
            empty_dirs: Arc::default(),
            metrics,
            shutdown: tokio_util::sync::CancellationToken::new(),
            full_scan: std::time::Duration::ZERO,
            on_revoked: OnRevoked::Keep,
            policies: Arc::new(PolicyBook::empty(Otherwise::Allow)),
            outage: Arc::default(),
            public_root: Arc::new(PublicRoot::embedded()),
            scans: Arc::new(Scans::new(tokio::sync::mpsc::unbounded_channel().0)),
            objects,
        }
    }

    /// Scans wait for one of two turns, so there can be as many as objects.
    #[tokio::test]
    async fn what_a_scan_has_found_is_not_dropped_for_the_number_of_scans() {
        let root = tempfile::tempdir().unwrap();
        let context = context(root.path(), &["damaged", "other"]);
        let damage = Damage {
            output: "files".to_owned(),
            location: Location::new(OutputKind::Volume, "default".to_owned()),
            differences: Vec::new(),
            is_additive: false,
        };
        {
            let mut known = lock(&context.scans.known);
            let scan = |name: &str, result| {
                let object = ObjectRef::new(name).within("n");
                (name.to_owned(), Scan { number: 0, object, outputs: Records::default(), result })
            };
            known.extend((0..=MOST_RESULTS).map(|number| scan(&format!("waiting-{number}"), None)));
            known.extend([scan("damaged", Some(Ok(vec![damage]))), scan("gone", Some(Ok(Vec::new())))]);
        }
        let object = ObjectId { namespace: "n".to_owned(), name: "other".to_owned(), uid: "other".to_owned() };
        let spec = serde_json::from_value(json!({"image": "r.example/app:1"})).unwrap();
        let request = Request::parse(object, &spec, &Referred::default()).unwrap();
        context.scans.begin(&context, Some(1), request, Before::default(), Reading::Everything);
        assert!(context.scans.has_ended("damaged"), "nobody learns of the damage before the next full scan");
        assert!(!context.scans.has_ended("gone"), "nobody takes it any more");
    }
}
