//! Manifests that list the same bytes several times.

use super::*;

const TITLE: &str = "org.opencontainers.image.title";

#[tokio::test]
async fn equal_layers_are_fetched_once() {
    let spec = json!({"image": "r.example/app:1"});
    for cache in [0, 1 << 20] {
        let mut world = World::new();
        let limits = CacheLimits { bytes: cache, ..CacheLimits::default() };
        let volume = world.engine.outputs.places(&request(&spec)).unwrap().remove(0).volume;
        world.engine.cache = Cache::open([&volume], limits, &Arc::new(Metrics::default()));
        let titles: Vec<_> = (0..50).map(|number| format!("{number}.txt")).collect();
        let files: Vec<_> = titles.iter().map(|title| (title.as_str(), "one")).chain([("other", "two")]).collect();
        world.registry.push_files("1", &files);
        let outcome = world.pass(&spec, &Before::default()).await.unwrap();
        assert_eq!((outcome.published[0].files, world.read("49.txt").as_deref()), (51, Some("one")));
        let mut asked = world.registry.asked();
        asked.sort();
        let blob = |bytes: &[u8]| format!("blob {}", Digest::of(bytes).short());
        let mut wanted = [blob(b"one"), blob(b"two"), "manifest".to_owned(), "resolve".to_owned()];
        wanted.sort();
        assert_eq!(asked, wanted, "cache of {cache} bytes");
    }
}

#[tokio::test]
async fn a_layer_repeated_in_a_row_is_unpacked_once() {
    let limits = Limits::default();
    let world = World::with_limits(&Limits { extracted_bytes: limits.extracted_bytes.set(6), ..limits });
    let spec = json!({"image": "r.example/app:1"});
    let layer = |title: &str, text: &'static str| ("text/plain", json!({TITLE: title}), text.as_bytes());
    // Layers → text in the message if they exceed six bytes.
    let rows = [
        ("the same", vec![layer("a", "one"); 100], None),
        ("two of them", [vec![layer("a", "one"); 50], vec![layer("b", "one"); 50]].concat(), None),
        (
            "by turns",
            [["a", "one"], ["b", "two"]].repeat(2).iter().map(|[title, text]| layer(title, text)).collect(),
            Some("--max-extracted-bytes=6"),
        ),
        ("another name each", vec![layer("a", "one"), layer("b", "one"), layer("c", "one")], Some("bytes=6")),
    ];
    for (label, layers, told) in rows {
        world.registry.push("1", &layers);
        match (world.pass(&spec, &Before::default()).await, told) {
            (Ok(_), None) => assert_eq!(world.read("a").as_deref(), Some("one"), "{label}"),
            (Err(failure), Some(told)) => assert!(failure.message.contains(told), "{label}: {failure:?}"),
            (other, _) => panic!("{label}: {other:?}"),
        }
    }
}
