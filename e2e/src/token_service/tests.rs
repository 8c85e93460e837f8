use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::http;
use crate::pki::Authority;
use crate::tls::connector;

fn shared() -> Shared {
    Shared {
        issuer: Issuer::new().unwrap(),
        lifetime: AtomicU64::new(60),
        anonymous: AtomicBool::new(false),
        seen: Mutex::default(),
    }
}

fn pairs(text: &str) -> Vec<(String, String)> {
    form_urlencoded::parse(text.as_bytes()).into_owned().collect()
}

fn part(token: &str, number: usize) -> Value {
    let bytes = URL_SAFE_NO_PAD.decode(token.split('.').nth(number).unwrap()).unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[test]
fn each_dialect_has_its_answer() {
    const USER: &str = "Basic cmVhZGVyOmxldC1tZS1pbg==";
    const SERVICE: &str = "service=supercargo-e2e-registry";
    let post = |rest: &str| format!("{SERVICE}&client_id=x&{rest}");
    let query = SERVICE.to_owned();
    let refused = |status: StatusCode, error| Err(Refusal(status, error));
    let unknown = || refused(StatusCode::UNAUTHORIZED, "invalid_client");
    let grant = || refused(StatusCode::BAD_REQUEST, "invalid_grant");
    let wrong = || refused(StatusCode::BAD_REQUEST, "invalid_request");
    let rows = [
        ("user", "GET", query.clone(), Some(USER), Ok("token")),
        ("wrong password", "GET", query.clone(), Some("Basic cmVhZGVyOng="), unknown()),
        ("nobody", "GET", query, None, unknown()),
        ("no service", "GET", String::new(), Some(USER), wrong()),
        ("another service", "GET", "service=x".to_owned(), Some(USER), wrong()),
        (
            "identity",
            "POST",
            post(&format!("grant_type=refresh_token&refresh_token={IDENTITY_TOKEN}")),
            None,
            Ok("access_token"),
        ),
        ("wrong identity", "POST", post("grant_type=refresh_token&refresh_token=x"), None, grant()),
        ("password", "POST", post("grant_type=password&username=reader&password=let-me-in"), None, Ok("access_token")),
        ("wrong password", "POST", post("grant_type=password&username=reader&password=x"), None, grant()),
        ("no grant", "POST", post(""), Some(USER), refused(StatusCode::BAD_REQUEST, "unsupported_grant_type")),
        ("no client", "POST", format!("{SERVICE}&grant_type=refresh_token"), None, wrong()),
        ("method", "PUT", post(""), Some(USER), refused(StatusCode::METHOD_NOT_ALLOWED, "invalid_request")),
    ];
    for (label, method, parameters, authorization, want) in rows {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = shared().answer(&method, &pairs(&parameters), authorization, Duration::from_secs(60));
        let field = answer.map(|answer| {
            assert_eq!(answer["expires_in"], 60, "{label}");
            answer.as_object().unwrap().keys().find(|key| key.ends_with("token")).unwrap().clone()
        });
        assert_eq!(field, want.map(str::to_owned), "{label}");
    }
}

#[test]
fn nobody_gets_only_what_nobody_may() {
    let rows = [
        (Caller::User, "repository:a/b:pull,push", vec![("a/b", "pull,push")]),
        (Caller::Nobody, "repository:a/b:pull,push", vec![("a/b", "pull")]),
        (Caller::Nobody, "repository:a/b:push", vec![("a/b", "")]),
        (Caller::User, "repository:a:pull repository:b:pull", vec![("a", "pull"), ("b", "pull")]),
        (Caller::User, "repository:127.0.0.1:5000/a:pull", vec![("127.0.0.1:5000/a", "pull")]),
        (Caller::User, "nonsense", vec![]),
    ];
    for (caller, scope, want) in rows {
        let found = granted(&[("scope".to_owned(), scope.to_owned())], caller);
        let found: Vec<_> = found.iter().map(|access| (access.name.clone(), access.actions.join(","))).collect();
        let want: Vec<_> = want.iter().map(|(name, actions)| ((*name).to_owned(), (*actions).to_owned())).collect();
        assert_eq!(found, want, "{caller:?} {scope}");
    }
}

#[test]
fn a_token_is_signed_with_the_published_key() {
    let issuer = Issuer::new().unwrap();
    let access = granted(&pairs("scope=repository:a/b:pull"), Caller::Nobody);
    let token = issuer.token("somebody", &access, Duration::from_secs(7)).unwrap();
    let claims = part(&token, 1);
    assert_eq!(claims["access"], json!([{"type": "repository", "name": "a/b", "actions": ["pull"]}]));
    assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 7);

    let keys = issuer.key_set().unwrap();
    let coordinate = |name: &str| URL_SAFE_NO_PAD.decode(keys["keys"][0][name].as_str().unwrap()).unwrap();
    let point = [vec![4], coordinate("x"), coordinate("y")].concat();
    assert_eq!(part(&token, 0)["kid"], keys["keys"][0]["kid"]);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(signed.as_bytes(), &signature).unwrap();
}

#[test]
fn the_longest_lived_token_counts_and_a_refusal_does_not() {
    let mut seen = Seen::default();
    let rows = [(401, 60, true), (200, 0, true), (200, 60, false), (200, 0, false)];
    for (status, lifetime, expired) in rows {
        let request = TokenRequest { method: "GET".to_owned(), parameters: Vec::new(), authorization: false, status };
        seen.remember(request, Duration::from_secs(lifetime));
        assert_eq!(seen.last_end.is_none_or(|end| end < Instant::now()), expired, "{status} {lifetime}");
    }
    assert_eq!(seen.requests.len(), rows.len());
}

#[tokio::test]
async fn it_serves_over_tls_to_who_trusts_its_authority() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, other) = (directory.path().join("ours"), directory.path().join("other"));
    for path in [&ours, &other] {
        fs_err::create_dir_all(path).unwrap();
    }
    let authority = Authority::create(&ours, "ours").unwrap();
    let stranger = Authority::create(&other, "other").unwrap();
    let identity = authority.server("tokens", &[]).unwrap();
    let service = TokenService::start(&ours.join("key_set.json"), Some(&identity), "127.0.0.1").await.unwrap();
    let address = service.realm.trim_start_matches("https://").trim_end_matches("/token").to_owned();

    let trusting = connector(&authority.certificate, None).unwrap();
    assert_eq!(http::get_tls(&trusting, &address, "/token").await.unwrap().status, 400);
    assert_eq!(service.requests(), [], "requests of the harness are not counted");
    let error = http::get_tls(&connector(&stranger.certificate, None).unwrap(), &address, "/token").await.unwrap_err();
    assert!(format!("{error:#}").contains("UnknownIssuer"), "{error:#}");
}
