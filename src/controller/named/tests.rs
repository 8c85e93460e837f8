//! A fake API server with configurable answers, which counts requests.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use k8s_openapi::api::core::v1::Secret;
use kube::client::Body;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher;
use serde_json::json;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::table::{GOOD_FOR, READS};
use super::*;
use crate::api::vocabulary::CaSource;

/// Answer of the API server, and the number of requests.
#[derive(Default)]
struct Server {
    requests: AtomicUsize,
    /// HTTP status, and content of the key.
    answer: Mutex<(u16, String)>,
}

impl Server {
    fn answers(&self, code: u16, text: &str) {
        *self.answer.lock().unwrap() = (code, text.to_owned());
    }

    fn requests(&self) -> usize {
        self.requests.load(Ordering::Relaxed)
    }

    fn reply(&self, path: &str) -> (u16, String) {
        self.requests.fetch_add(1, Ordering::Relaxed);
        let (code, text) = self.answer.lock().unwrap().clone();
        let name = path.rsplit('/').next().unwrap();
        let body = if code == 200 {
            let data = std::collections::BTreeMap::from([("k".to_owned(), k8s_openapi::ByteString(text.into_bytes()))]);
            let metadata = kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() };
            serde_json::to_value(Secret { metadata, data: Some(data), ..Secret::default() }).unwrap()
        } else {
            let reason = if code == 404 { "NotFound" } else { "Unknown" };
            json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "message": "no", "reason": reason})
        };
        (code, body.to_string())
    }
}

fn named() -> (Arc<Server>, Named) {
    let server = Arc::new(Server::default());
    server.answers(200, "one");
    let answering = Arc::clone(&server);
    let service = tower::service_fn(move |request: http::Request<Body>| {
        let (code, body) = answering.reply(request.uri().path());
        async move {
            tokio::task::yield_now().await;
            Ok::<_, Infallible>(http::Response::builder().status(code).body(Body::from(body.into_bytes())).unwrap())
        }
    });
    (server, Named::new(Client::new(service, "operators"), Arc::default()))
}

fn secret(namespace: &str, name: &str) -> Name {
    Name::key(CaSource::Secret, namespace, name, "k")
}

/// Artifacts of a controller.
struct World {
    writer: Writer<Stored>,
    woken: UnboundedReceiver<ObjectRef<Stored>>,
}

impl World {
    fn new(named: &Named) -> Self {
        let writer = Writer::default();
        let (wake, woken) = unbounded_channel();
        named.add_scope(writer.as_reader(), wake);
        Self { writer, woken }
    }

    fn object(&mut self, namespace: &str, name: &str) -> ObjectRef<Stored> {
        let object = json!({"metadata": {"namespace": namespace, "name": name, "uid": name}, "spec": {}});
        self.writer.apply_watcher_event(&watcher::Event::Apply(serde_json::from_value(object).unwrap()));
        ObjectRef::new(name).within(namespace)
    }

    fn woken(&mut self) -> Vec<String> {
        let mut all: Vec<_> = std::iter::from_fn(|| self.woken.try_recv().ok()).map(|object| object.name).collect();
        all.sort();
        all
    }
}

impl Named {
    /// Makes all names due.
    fn age(&self) {
        let long_ago = Instant::now().checked_sub(GOOD_FOR * 2).unwrap();
        for slot in self.lock().slots.values_mut() {
            slot.next = long_ago;
            if let Some(last) = &mut slot.last {
                last.at = long_ago;
            }
        }
    }

    async fn tick(&self) {
        let due = self.lock().take_due(Instant::now(), "operators");
        futures::future::join_all(due.iter().map(|name| self.read_again(name))).await;
        self.lock().drop_expired(Instant::now());
    }
}

#[tokio::test]
async fn a_secret_that_many_objects_name_is_read_once() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let objects: Vec<_> = (0..1000).map(|number| world.object("n", &format!("o{number}"))).collect();
    let name = secret("operators", "key");
    let looks = objects.iter().map(|object| async {
        let mut look_up = named.look_up(object.clone());
        look_up.get(name.clone(), true).await.unwrap();
        look_up.finish();
    });
    futures::future::join_all(looks).await;
    assert_eq!(server.requests(), 1);
    for round in 2..5 {
        named.age();
        named.tick().await;
        named.tick().await;
        assert_eq!(
            (server.requests(), world.woken().len()),
            (round, 0),
            "once for all, and nobody is woken for nothing"
        );
    }
    server.answers(200, "two");
    named.age();
    named.tick().await;
    assert_eq!((server.requests(), world.woken().len()), (5, 1000));
}

#[tokio::test]
async fn an_unanswered_read_changes_nothing() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let object = world.object("n", "o");
    let get = async || named.look_up(object.clone()).get(secret("n", "s"), true).await;
    let before = get().await.unwrap().mark.clone();
    for code in [429, 500, 503, 410, 401, 409] {
        server.answers(code, "");
        named.age();
        named.tick().await;
        named.age();
        let error = get().await.unwrap_err().to_string();
        assert!(error.contains("Secret s"), "{code}: {error}");
        assert!(world.woken().is_empty(), "{code}");
    }
    server.answers(200, "one");
    named.age();
    assert_eq!(get().await.unwrap().mark, before);
    assert!(world.woken().is_empty());
    for (code, is_absent) in [(404, true), (403, true), (200, false)] {
        server.answers(code, "one");
        named.age();
        named.tick().await;
        assert_eq!(world.woken(), ["o"], "{code}");
        named.age();
        assert_eq!(get().await.unwrap().is_absent(), is_absent, "{code}");
    }
}

#[tokio::test]
async fn absent_objects_are_read_with_back_off_and_unused_ones_never() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let (one, other) = (world.object("n", "one"), world.object("n", "other"));
    server.answers(404, "");
    let mut look_up = named.look_up(one.clone());
    look_up.get(secret("n", "s"), true).await.unwrap();
    look_up.finish();
    let pause = || named.lock().slots.values().next().unwrap().next.saturating_duration_since(Instant::now()).as_secs();
    assert_eq!(pause(), 4);
    for wanted in [9, 19, 39, 59, 59] {
        named.age();
        named.tick().await;
        assert_eq!(pause(), wanted);
    }
    // The artifact uses another name now, or none, or is deleted.
    let mut look_up = named.look_up(one.clone());
    look_up.get(secret("n", "t"), false).await.unwrap();
    look_up.finish();
    let mut look_up = named.look_up(other.clone());
    look_up.get(secret("n", "u"), true).await.unwrap();
    look_up.finish();
    assert_eq!(named.lock().slots.len(), 2);
    named.forget(&other);
    let before = server.requests();
    named.age();
    named.tick().await;
    assert_eq!((server.requests(), named.lock().slots.len()), (before, 1), "t wakes nobody, so it is not read again");
    world.writer.apply_watcher_event(&watcher::Event::Init);
    world.writer.apply_watcher_event(&watcher::Event::InitDone);
    named.forget_missing();
    assert!(named.lock().slots.is_empty() && named.lock().uses.is_empty());
}

#[tokio::test]
async fn one_namespace_does_not_crowd_out_another_or_the_policies() {
    let (_, named) = named();
    let mut world = World::new(&named);
    let (greedy, modest) = (world.object("greedy", "a"), world.object("modest", "b"));
    for number in 0..200 {
        named.look_up(greedy.clone()).get(secret("greedy", &format!("s{number}")), true).await.unwrap();
    }
    named.look_up(modest.clone()).get(secret("modest", "s"), true).await.unwrap();
    named.look_up(greedy.clone()).get(secret("operators", "policy"), true).await.unwrap();
    named.age();
    let taken = named.lock().take_due(Instant::now(), "operators");
    assert_eq!(taken.len(), READS);
    let namespaces: BTreeSet<_> = taken.iter().map(|name| name.namespace.as_str()).collect();
    assert_eq!(namespaces.into_iter().collect::<Vec<_>>(), ["greedy", "modest", "operators"]);
}

#[tokio::test]
async fn content_is_kept_up_to_a_limit_and_for_a_short_time() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let object = world.object("n", "o");
    server.answers(200, &"x".repeat(64 * 1024));
    named.lock().most_bytes = 1024 * 1024;
    let mut look_up = named.look_up(object.clone());
    for number in 0..20 {
        look_up.get(secret("n", &format!("s{number}")), true).await.unwrap();
    }
    look_up.finish();
    let kept = named.lock().kept_bytes;
    assert!(kept <= 1024 * 1024 && kept > 512 * 1024, "{kept}");
    named.age();
    named.lock().drop_expired(Instant::now());
    assert_eq!(named.lock().kept_bytes, 0);
}

#[tokio::test]
async fn a_watch_event_with_a_known_version_wakes_no_object() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let object = world.object("n", "o");
    let mut look_up = named.look_up(object);
    look_up.get(secret("n", "s"), true).await.unwrap();
    look_up.finish();
    named.lock().slots.values_mut().next().unwrap().last.as_mut().unwrap().version = Some("7".to_owned());
    named.changed(Kind::Secret, "n", "s", Some("7"));
    named.changed(Kind::Secret, "n", "r", Some("8"));
    named.changed(Kind::ConfigMap, "n", "s", Some("8"));
    assert!(world.woken().is_empty());
    named.changed(Kind::Secret, "n", "s", Some("8"));
    assert_eq!((world.woken(), server.requests()), (vec!["o".to_owned()], 1));
}

#[tokio::test]
async fn every_name_has_its_turn_however_many_there_are() {
    for own in ["operators", "greedy"] {
        let (_, named) = named();
        let mut world = World::new(&named);
        let object = world.object("greedy", "a");
        for number in 0..400 {
            named.look_up(object.clone()).get(secret(own, &format!("s{number:03}")), true).await.unwrap();
        }
        named.age();
        let now = Instant::now();
        let read = (0..80).flat_map(|second| named.lock().take_due(now + Duration::from_secs(second), "operators"));
        let read: BTreeSet<_> = read.collect();
        assert_eq!(read.len(), 400, "in {own}: names of which no change is ever noticed");
    }
}

#[tokio::test]
async fn content_of_one_namespace_does_not_push_out_what_another_needs() {
    let (server, named) = named();
    let mut world = World::new(&named);
    let hostile = world.object("hostile", "o");
    server.answers(200, &"x".repeat(1024 * 1024));
    for number in 0..5 {
        let root = Name::root(CaSource::Secret, "hostile", &format!("root{number}"), "k");
        named.look_up(hostile.clone()).get(root, true).await.unwrap();
    }
    let full = named.lock().kept_bytes;
    assert!(full > 5 * 1024 * 1024, "{full}");
    named.lock().most_bytes = full;
    server.answers(200, "key");
    let before = server.requests();
    for number in 0..100 {
        let object = world.object("n", &format!("o{number}"));
        named.look_up(object).get(secret("operators", "policy"), true).await.unwrap();
    }
    assert_eq!(server.requests() - before, 1, "reads of one key for 100 objects");
}

#[tokio::test]
async fn an_object_that_is_deleted_during_its_look_leaves_nothing_behind() {
    let (_, named) = named();
    let mut world = World::new(&named);
    let object = world.object("n", "o");
    for is_finished in [true, false] {
        let mut look_up = named.look_up(object.clone());
        look_up.get(secret("n", "s"), true).await.unwrap();
        // As the watch does: the store first.
        let deleted = json!({"metadata": {"namespace": "n", "name": "o", "uid": "o"}, "spec": {}});
        world.writer.apply_watcher_event(&watcher::Event::Delete(serde_json::from_value(deleted).unwrap()));
        named.forget(&object);
        look_up.get(secret("n", "t"), true).await.unwrap();
        if is_finished {
            look_up.finish();
        } else {
            drop(look_up);
        }
        assert!(named.lock().slots.is_empty(), "names that nobody uses are read for ever");
    }
}
