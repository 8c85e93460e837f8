//! Selection of artifacts, layers and files, and the cost of those that are not selected.

use super::*;

const TITLE: &str = "org.opencontainers.image.title";

/// Pushes three layers with titles, and a signature.
fn push(world: &World) -> Digest {
    world.registry.push(
        "1",
        &[
            ("application/json", json!({TITLE: "a.json"}), b"{}\n"),
            ("text/plain", json!({TITLE: "b.txt"}), b"text"),
            ("text/plain", json!({TITLE: "d/c.txt"}), b"more"),
            ("application/vnd.dev.sigstore.bundle.v0.3+json", json!({}), b"bundle"),
        ],
    )
}

fn spec(more: &Value) -> Value {
    let mut spec = json!({"image": "r.example/app:1"});
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    spec
}

fn blobs(asked: &[String]) -> usize {
    asked.iter().filter(|what| what.starts_with("blob")).count()
}

#[tokio::test]
async fn layers_that_are_not_selected_are_not_fetched() {
    let rows: [(Value, usize, &[&str]); 5] = [
        (json!({}), 3, &["a.json", "b.txt", "d/c.txt"]),
        (json!({"layers": {"mediaTypes": ["text/*"]}}), 2, &["b.txt", "d/c.txt"]),
        (json!({"layers": {"titles": ["*.json"]}}), 1, &["a.json"]),
        (json!({"layers": {"titles": ["d/*"], "mediaTypes": ["text/plain"]}}), 1, &["d/c.txt"]),
        (json!({"files": {"include": ["**/*.txt"], "exclude": ["d"]}}), 3, &["b.txt"]),
    ];
    for (more, fetched, files) in rows {
        let world = World::new();
        push(&world);
        let outcome = world.pass(&spec(&more), &Before::default()).await.unwrap();
        assert_eq!(blobs(&world.registry.asked()), fetched, "{more}");
        for name in ["a.json", "b.txt", "d/c.txt"] {
            assert_eq!(world.read(name).is_some(), files.contains(&name), "{more}: {name}");
        }
        assert_eq!(outcome.skipped, ["application/vnd.dev.sigstore.bundle.v0.3+json"]);
        assert_eq!(outcome.published[0].skipped, 1);
    }
}

#[tokio::test]
async fn refused_artifacts_cause_no_layer_fetch() {
    let rows = [
        (json!({"artifactTypes": ["application/vnd.other"]}), Reason::UnexpectedArtifactType),
        (json!({"layers": {"mediaTypes": ["application/vnd.other"]}}), Reason::NoMatchingLayer),
        (json!({"limits": {"layers": 3}}), Reason::LimitExceeded),
        (json!({"limits": {"layerBytes": 2}}), Reason::LimitExceeded),
    ];
    for (more, want) in rows {
        let world = World::new();
        let digest = push(&world);
        let failure = world.pass(&spec(&more), &Before::default()).await.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Stalled, want), "{more}: {failure:?}");
        assert_eq!(failure.candidate, Some(digest), "{more}");
        assert_eq!(blobs(&world.registry.asked()), 0, "{more}");
    }
}

#[tokio::test]
async fn an_artifact_with_signatures_only_is_not_empty() {
    let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let empty = "application/vnd.oci.empty.v1+json";
    let rows: [(&[&str], bool); 5] = [
        (&[bundle], false),
        (&[bundle, "application/vnd.dsse.envelope.v1+json"], false),
        (&[empty, bundle], false),
        (&[empty], true),
        (&[], true),
    ];
    for (types, is_taken) in rows {
        let world = World::new();
        let layers: Vec<_> = types.iter().map(|media_type| (*media_type, json!({}), b"{}".as_slice())).collect();
        world.registry.push("1", &layers);
        match world.pass(&spec(&json!({})), &Before::default()).await {
            Ok(outcome) => assert!(is_taken && outcome.published[0].files == 0, "{types:?}"),
            Err(failure) => {
                assert!(!is_taken && failure.reason == Reason::NoMatchingLayer, "{types:?}: {failure:?}");
                assert!(failure.message.contains(bundle), "{types:?}: {failure:?}");
            }
        }
        assert_eq!(blobs(&world.registry.asked()), 0, "{types:?}");
    }
}

#[tokio::test]
async fn each_output_gets_the_files_of_its_patterns() {
    let world = World::new();
    push(&world);
    let outputs = json!({"outputs": [
        {"name": "text", "volume": {}, "include": ["**/*.txt"]},
        {"name": "json", "configMap": {"name": "json"}, "include": ["*.json"]},
    ]});
    let outcome = world.pass(&spec(&outputs), &Before::default()).await.unwrap();
    let held: Vec<_> = outcome.published.iter().map(|published| published.files).collect();
    assert_eq!(held, [2, 1]);
    assert_eq!((world.read("b.txt").as_deref(), world.read("a.json")), (Some("text"), None));
    assert_eq!(blobs(&world.registry.asked()), 3, "each layer once");
}
