//! Lines of the log about requests.

use std::io::Write;
use std::sync::Mutex;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing_subscriber::EnvFilter;

use super::*;

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Returns what a resolution of a tag logs: a challenge, a token, and a redirect to a signed address.
async fn logged(filter: &str) -> (String, String) {
    let server = Server::start(|host, request| match (request.uri().path(), request.headers().get("authorization")) {
        ("/token", _) => r#"{"token":"t0ken-value"}"#.into_response(),
        (path, Some(_)) if path.contains("manifests") => {
            (StatusCode::TEMPORARY_REDIRECT, [("location", "/moved?signature=s1gned")], "").into_response()
        }
        (_, Some(_)) => with_digest(&Digest::of(b"m")),
        (_, None) => challenge(&format!("Bearer realm=\"http://{host}/token?state=st4te\"")),
    })
    .await;
    let sink = Sink::default();
    let writer = sink.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::new(filter))
        .with_writer(move || writer.clone())
        .with_ansi(false)
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);
    let repository = server.repository();
    registry().tag_digest(&access(Some((&repository, "bob"))), &repository, "1").await.unwrap();
    drop(guard);
    let text = String::from_utf8(sink.0.lock().unwrap().clone()).unwrap();
    (server.host, text)
}

#[tokio::test]
async fn each_request_is_one_line_without_its_query() {
    let (host, text) = logged("supercargo=debug").await;
    let lines: Vec<&str> = text.lines().collect();
    let want = [
        format!("HEAD http://{host}/v2/team/app/manifests/1 401 "),
        format!("GET http://{host}/token 200 "),
        format!("HEAD http://{host}/v2/team/app/manifests/1 307 "),
        format!("HEAD http://{host}/moved 200 "),
    ];
    assert_eq!(lines.len(), want.len(), "{text}");
    assert!(lines.iter().zip(&want).all(|(line, want)| line.contains(want) && line.ends_with("ms")), "{text}");
    assert!(!["st4te", "s1gned", "service"].iter().any(|secret| text.contains(secret)), "{text}");
}

#[tokio::test]
async fn no_level_logs_a_password_or_a_token() {
    for filter in ["supercargo=debug", "trace"] {
        let (_, text) = logged(filter).await;
        assert!(text.contains("/v2/team/app/manifests/1 307 "), "{filter}: {text}");
        let basic = STANDARD.encode("bob:hunter2");
        for secret in ["hunter2", basic.as_str(), "t0ken-value"] {
            assert!(!text.contains(secret), "{filter}: {secret}: {text}");
        }
    }
}
