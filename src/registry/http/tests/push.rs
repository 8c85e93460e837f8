//! Writing: uploads of every kind, and registries that break, cut, refuse and lie.

use std::sync::Mutex;

use axum::http::{HeaderMap, Method};
use bytes::BytesMut;

use super::*;
use crate::registry::{BlobSource, ManifestName, Push};

mod lies;
mod uploads;

/// Received request.
#[derive(Clone, Debug)]
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    fn line(&self) -> String {
        let path = self.path.split('?').next().unwrap_or_default();
        let length = if self.body.is_empty() { String::new() } else { format!(" {}", self.body.len()) };
        format!("{} {}{length}", self.method, path.trim_start_matches("/v2/team/app/"))
    }
}

/// Content of a registry.
#[derive(Default)]
struct Held {
    blobs: BTreeMap<String, Bytes>,
    /// Bytes of each upload, by its number.
    uploads: Vec<Option<BytesMut>>,
    manifests: BTreeMap<String, Bytes>,
}

/// Answer in place of the registry's own; `None` to behave.
type Twist = Box<dyn Fn(&str, &Asked, &mut Held) -> Option<Response> + Send + Sync>;

/// A registry that stores what is pushed, with a twist.
struct Shelf {
    host: String,
    held: Arc<Mutex<Held>>,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Shelf {
    async fn start(twist: impl Fn(&str, &Asked, &mut Held) -> Option<Response> + Send + Sync + 'static) -> Self {
        let twist: Arc<Twist> = Arc::new(Box::new(twist));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (held, asked) = (Arc::<Mutex<Held>>::default(), Arc::<Mutex<Vec<Asked>>>::default());
        let router = Router::new().fallback({
            let (held, asked, host) = (Arc::clone(&held), Arc::clone(&asked), host.clone());
            async move |request: Request| {
                let (parts, body) = request.into_parts();
                let mut received = BytesMut::new();
                let mut body = body.into_data_stream();
                let mut is_whole = true;
                while let Some(chunk) = body.next().await {
                    match chunk {
                        Ok(chunk) => received.extend_from_slice(&chunk),
                        Err(_) => is_whole = false,
                    }
                }
                let (method, path) = (parts.method, parts.uri.to_string());
                let one = Asked { method, path, headers: parts.headers, body: received.freeze() };
                asked.lock().unwrap().push(one.clone());
                let mut held = held.lock().unwrap();
                if !is_whole {
                    keep_beginning(&one, &mut held);
                    return StatusCode::BAD_REQUEST.into_response();
                }
                twist(&host, &one, &mut held).unwrap_or_else(|| behave(&one, &mut held))
            }
        });
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { host, held, asked }
    }

    async fn honest() -> Self {
        Self::start(|_, _, _| None).await
    }

    fn repository(&self) -> Repository {
        self.repository_named("team/app")
    }

    fn repository_named(&self, path: &str) -> Repository {
        format!("{}/{path}", self.host).parse::<Reference>().unwrap().repository
    }

    fn has(&self, bytes: &[u8]) -> bool {
        self.held.lock().unwrap().blobs.get(&Digest::of(bytes).to_string()).is_some_and(|held| held == bytes)
    }

    fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().iter().map(Asked::line).collect()
    }

    async fn push(&self, bytes: &[u8]) -> Result<(), RegistryError> {
        let source = Bytes::copy_from_slice(bytes);
        registry().upload_blob(&access(None), &self.repository(), &descriptor(bytes), &source).await
    }
}

/// A body that broke off stays in its upload, as in registries with files.
fn keep_beginning(asked: &Asked, held: &mut Held) {
    if let Some(Some(upload)) = upload_of(asked).and_then(|number| held.uploads.get_mut(number)) {
        upload.extend_from_slice(&asked.body);
    }
}

fn upload_of(asked: &Asked) -> Option<usize> {
    asked.path.split('?').next()?.rsplit_once("/blobs/uploads/")?.1.parse().ok()
}

fn accepted(number: usize, length: usize) -> Response {
    let headers = [
        ("location", format!("/v2/team/app/blobs/uploads/{number}?state={length}")),
        ("range", format!("0-{}", length.saturating_sub(1))),
    ];
    (StatusCode::ACCEPTED, headers).into_response()
}

fn created(digest: &str) -> Response {
    (StatusCode::CREATED, [("docker-content-digest", digest.to_owned()), ("location", "/x".to_owned())]).into_response()
}

/// Answers as the distribution-spec says.
fn behave(asked: &Asked, held: &mut Held) -> Response {
    let path = asked.path.split('?').next().unwrap_or_default();
    let digest = asked.path.split("digest=").nth(1).map(|text| text.replace("%3A", ":"));
    if let Some((_, name)) = path.split_once("/manifests/") {
        return match asked.method {
            Method::PUT => {
                let digest = Digest::of(&asked.body).to_string();
                held.manifests.insert(name.to_owned(), asked.body.clone());
                created(&digest)
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        };
    }
    let is_upload = path.contains("/blobs/uploads/");
    if asked.method == Method::HEAD || (asked.method == Method::GET && !is_upload) {
        let Some(blob) = path.rsplit('/').next().and_then(|digest| held.blobs.get(digest)) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        if asked.method == Method::GET {
            assert_eq!(asked.header("range"), Some("bytes=0-0"), "a writer reads no more than the first byte");
            let range = [("content-range", format!("bytes 0-0/{}", blob.len()))];
            return (StatusCode::PARTIAL_CONTENT, range, blob.slice(..1)).into_response();
        }
        return ([("content-length", blob.len().to_string())], "").into_response();
    }
    if asked.method == Method::POST {
        if let Some(mount) = asked.path.split("mount=").nth(1) {
            let digest = mount.split('&').next().unwrap_or_default();
            if held.blobs.contains_key(digest) {
                return created(digest);
            }
        }
        held.uploads.push(Some(BytesMut::new()));
        return accepted(held.uploads.len() - 1, 0);
    }
    let Some(number) = upload_of(asked) else { return StatusCode::NOT_FOUND.into_response() };
    let Some(upload) = held.uploads.get_mut(number).and_then(Option::as_mut) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    match asked.method {
        Method::GET => {
            let mut response = accepted(number, upload.len());
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        Method::DELETE => {
            held.uploads[number] = None;
            StatusCode::NO_CONTENT.into_response()
        }
        Method::PATCH => {
            let start = asked.header("content-range").and_then(|range| range.split('-').next()?.parse().ok());
            if start != Some(upload.len()) {
                return StatusCode::RANGE_NOT_SATISFIABLE.into_response();
            }
            upload.extend_from_slice(&asked.body);
            accepted(number, upload.len())
        }
        _ => {
            upload.extend_from_slice(&asked.body);
            let whole = upload.clone().freeze();
            let is_right = digest.as_ref().is_some_and(|digest| *digest == Digest::of(&whole).to_string());
            if !is_right {
                return StatusCode::BAD_REQUEST.into_response();
            }
            let digest = digest.unwrap_or_default();
            held.blobs.insert(digest.clone(), whole);
            held.uploads[number] = None;
            created(&digest)
        }
    }
}

/// Bytes of a blob that is sent by PATCH.
fn large(seed: u64) -> Vec<u8> {
    let mut random = crate::testing::Random::new(seed);
    (0..(5 * 1024 * 1024 / 8)).flat_map(|_| random.next().to_le_bytes()).collect()
}
