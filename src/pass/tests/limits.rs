//! Limits that a pass enforces.

use std::time::Duration;

use super::*;

#[tokio::test]
async fn limits_hold_before_a_byte_is_fetched() {
    let world = World::with_limits(&Limits { layer_bytes: Limits::default().layer_bytes.set(10), ..Limits::default() });
    let spec = json!({"image": "r.example/app:1"});
    world.registry.push_files("1", &[("a", "more than ten bytes")]);
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Stalled, Reason::LimitExceeded));
    assert!(failure.message.contains("--max-layer-bytes=10"), "{}", failure.message);
    assert_eq!(world.registry.asked(), ["resolve", "manifest"]);
}

#[tokio::test]
async fn the_longest_path_that_the_kernel_takes_is_published_and_one_byte_more_is_refused() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    let longest = vec!["n".repeat(255); 16].join("/");
    let digest = world.registry.push_files("1", &[(longest.as_str(), "x")]);
    world.pass(&spec, &Before::default()).await.unwrap();
    let again = world.pass(&spec, &recorded(&spec, &digest)).await.unwrap();
    assert_eq!((longest.len(), again.manifest), (4095, None), "what was published is found again");

    let longer = vec!["m".repeat(240); 17].join("/");
    world.registry.push_files("1", &[(longer.as_str(), "x")]);
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    assert_eq!((longer.len(), failure.class, failure.reason), (4096, Class::Stalled, Reason::LimitExceeded));
    let said = failure.message;
    assert!(said.contains("entry \"mmm") && said.contains("--max-path-bytes=4096"), "{said}");
}

#[tokio::test]
async fn unpacking_beyond_the_time_limit_is_not_retried() {
    let limits = Limits { unpack_seconds: Limits::default().unpack_seconds.set(0), ..Limits::default() };
    let world = World::with_limits(&limits);
    let spec = json!({"image": "r.example/app:1"});
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default()));
    let mut header = tar::Header::new_gnu();
    header.set_size(64 << 20);
    header.set_mode(0o644);
    header.set_mtime(0);
    tar.append_data(&mut header, "zeros", std::io::Read::take(std::io::repeat(0), 64 << 20)).unwrap();
    let layer = tar.into_inner().unwrap().finish().unwrap();
    world.registry.push("1", &[("application/vnd.oci.image.layer.v1.tar+gzip", json!({}), &layer)]);
    let failure = world.pass(&spec, &Before::default()).await.unwrap_err();
    let said = failure.message;
    assert_eq!((failure.class, failure.reason), (Class::Stalled, Reason::LimitExceeded), "{said}");
    assert!(said.contains("--max-unpack-time=0s"), "{said}");
    assert!(!world.object_dir().exists());
}

#[tokio::test]
async fn a_config_above_its_limit_is_not_fetched() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:1"});
    let (config, layer) = ("application/vnd.oci.image.config.v1+json", "application/vnd.oci.image.layer.v1.tar");
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(1);
    header.set_mode(0o644);
    tar.append_data(&mut header, "a", b"x".as_slice()).unwrap();
    let tar = tar.into_inner().unwrap();
    // Size of the config → true if it is read.
    for (bytes, is_read) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let blob = vec![b' '; bytes];
        world.registry.push("blobs", &[(config, json!({}), &blob), (layer, json!({}), &tar)]);
        let descriptor =
            |kind: &str, bytes: &[u8]| json!({"mediaType": kind, "digest": Digest::of(bytes), "size": bytes.len()});
        world.registry.push_document(
            "1",
            &json!({"schemaVersion": 2, "mediaType": crate::oci::media_type::OCI_MANIFEST,
                "config": descriptor(config, &blob), "layers": [descriptor(layer, &tar)]}),
        );
        let passed = world.pass(&spec, &Before::default()).await;
        let asked = world.registry.asked();
        if is_read {
            passed.unwrap();
            assert!(asked.contains(&format!("blob {}", Digest::of(&blob).short())), "{asked:?}");
            continue;
        }
        let failure = passed.unwrap_err();
        assert_eq!((failure.class, failure.reason), (Class::Stalled, Reason::LimitExceeded));
        assert!(failure.message.contains("1048576") && failure.message.contains("image config"), "{}", failure.message);
        assert_eq!(asked, ["resolve", "manifest"], "refused before it is fetched");
    }
}

#[tokio::test]
async fn a_namespace_stays_within_its_limit_on_a_volume() {
    let mut world = World::new();
    // Room for three trees with one file of one byte; a replaced tree counts too.
    let most = Limits::default().namespace_bytes.set(3 * 4097);
    world.engine.outputs = world.engine.outputs.with_namespace_bytes(most);
    let named = |name: &str, namespace: &str| {
        let mut request = request(&json!({"image": "r.example/app:1"}));
        (request.object.name, request.object.namespace) = (name.to_owned(), namespace.to_owned());
        request
    };
    let publish = async |request: &Request| {
        pass(&world.engine, &world.engine.turn(request).await, request, &Before::default()).await
    };
    world.registry.push_files("1", &[("a", "1")]);
    publish(&named("one", "team")).await.unwrap();
    publish(&named("two", "team")).await.unwrap();
    world.registry.push_files("1", &[("a", "2")]);
    publish(&named("one", "team")).await.unwrap();
    let failure = publish(&named("two", "team")).await.unwrap_err();
    assert_eq!((failure.class, failure.reason), (Class::Retry, Reason::LimitExceeded));
    for part in ["namespace team", "volume default", "--max-namespace-bytes=12291"] {
        assert!(failure.message.contains(part), "{}", failure.message);
    }
    assert_eq!(fs_err::read_to_string(world.root.path().join("team/two/current/a")).unwrap(), "1", "what it has stays");
    publish(&named("two", "other")).await.unwrap();
    assert!(world.engine.outputs.remove_object(&named("one", "team").object).await.is_empty());
    publish(&named("two", "team")).await.unwrap();
}

/// A21.
#[tokio::test]
async fn layers_that_wait_for_a_processor_leave_threads_of_the_volume_to_others() {
    let world = World::new();
    let spec = json!({"image": "r.example/app:modest"});
    let digest = world.registry.push_files("modest", &[("a", "1")]);
    world.pass(&spec, &Before::default()).await.unwrap();
    // All processors are busy, and layers of many objects of one namespace wait.
    let held = world.engine.processors.seat("other").permit().await;
    let greedy = (0..12).map(|number| {
        let files: Vec<_> = (0..8).map(|file| (format!("f{file}"), format!("{file} of {number}"))).collect();
        let files: Vec<_> = files.iter().map(|(name, content)| (name.as_str(), content.as_str())).collect();
        let tag = format!("greedy-{number}");
        world.registry.push_files(&tag, &files);
        let mut request = request(&json!({"image": format!("r.example/app:{tag}")}));
        (request.object.namespace, request.object.name) = ("greedy".to_owned(), tag);
        let world = &world;
        async move {
            let turn = world.engine.turn(&request).await;
            pass(&world.engine, &turn, &request, &Before::default()).await.unwrap();
        }
    });
    let mut greedy = Box::pin(futures::future::join_all(greedy));
    assert!(tokio::time::timeout(Duration::from_secs(1), &mut greedy).await.is_err(), "they wait for a processor");
    let before = recorded(&spec, &digest);
    let kept = tokio::time::timeout(Duration::from_secs(20), world.pass(&spec, &before)).await;
    kept.expect("the outputs of another namespace cannot be looked at").unwrap();
    drop(held);
    greedy.await;
}
