//! JSON Web Tokens: who gets in, who does not and why, and keys that change.

use serde_json::{Value, json};
use weir_e2e::DEADLINE;
use weir_e2e::lone::{Lone, Place};
use weir_testkit::client::Response;
use weir_testkit::eventually::eventually;
use weir_testkit::upstream::{Answer, Reply, Upstream};

use crate::signing::{Signer, claims, hmac_token, key_set, now, with_signature};

/// A gateway whose route `/open` is open and every other one wants a token of an issuer with these
/// keys (`jwks`, written as in a document).
async fn gateway_with(place: Place, jwks: &str, upstream: &Upstream) -> Lone {
    let yaml = format!(
        "
        services: {{ app: {{ endpoints: [\"{}\"] }} }}
        issuers:
          shop: {{ issuer: \"https://id.example\", audience: shop-api, jwks: {jwks} }}
        routes:
          - {{ path: /open, to: app }}
          - {{ path: \"/*\", auth: {{ jwt: shop }}, to: app }}
          - {{ path: \"/admin/*\", auth: {{ jwt: shop, claims: {{ scope: orders:write, realm.roles: [admin, root] }} }}, to: app }}
        ",
        upstream.addr()
    );
    place.start(&yaml).await
}

/// The same with the keys in a file.
async fn gateway_with_file(keys: &str, upstream: &Upstream) -> Lone {
    let place = Place::new();
    let file = place.directory().join("keys.json");
    std::fs::write(&file, keys).unwrap();
    let jwks = format!("{{ file: \"{}\" }}", file.display());
    let gateway = gateway_with(place, &jwks, upstream).await;
    let probe = Signer::p256("probe").token(&claims("probe"));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &probe).await.status == 401
    })
    .await;
    gateway
}

async fn with_token(gateway: &Lone, path: &str, token: &str) -> Response {
    gateway
        .get_with(path, &[("authorization", &format!("Bearer {token}"))])
        .await
}

#[tokio::test]
async fn tokens_of_every_kind_of_key_are_believed() {
    let signers = [Signer::rsa("r"), Signer::p256("e"), Signer::ed25519("d")];
    let upstream = Upstream::start(Reply::ok("in"));
    let keys = key_set(&signers.each_ref());
    let gateway = gateway_with_file(&keys, &upstream).await;
    for signer in &signers {
        let token = signer.token(&claims("ada"));
        let answer = with_token(&gateway, "/x", &token).await;
        assert_eq!(answer.text(), "in", "{} {answer}", signer.header());
        // The service sees who it is.
        let bearer = format!("Bearer {token}");
        assert_eq!(
            upstream.last_request().header("authorization"),
            Some(bearer.as_str())
        );
    }
}

#[tokio::test]
async fn without_a_token_there_is_a_challenge_and_open_routes_stay_open() {
    let signer = Signer::p256("e");
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with_file(&key_set(&[&signer]), &upstream).await;
    let answer = gateway.get("/x").await;
    gateway.assert_refused(&answer, 401, "token-missing").await;
    assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    let answer = gateway
        .get_with("/x", &[("authorization", "Basic YTpi")])
        .await;
    gateway.assert_refused(&answer, 401, "token-missing").await;
    assert_eq!(gateway.get("/open").await.text(), "in");
    assert_eq!(upstream.request_count(), 1);
}

#[tokio::test]
async fn forged_and_unfit_tokens_are_refused() {
    let (signer, stranger) = (Signer::rsa("r"), Signer::rsa("r"));
    let upstream = Upstream::start(Reply::ok("in"));
    let keys = key_set(&[&signer]);
    let gateway = gateway_with_file(&keys, &upstream).await;
    let good = claims("ada");
    let changed = |name: &str, value: Value| {
        let mut claims = good.clone();
        claims[name] = value;
        signer.token(&claims)
    };
    let headed = |change: Value| {
        let mut header = signer.header();
        for (name, value) in change.as_object().unwrap() {
            header[name] = value.clone();
        }
        signer.sign(&header, &good)
    };
    let without_expiry = {
        let mut claims = good.clone();
        claims.as_object_mut().unwrap().remove("exp");
        signer.token(&claims)
    };
    let mut tampered = signer.token(&good);
    tampered.replace_range(tampered.len() - 3.., "AAA");
    let table = [
        (
            "none",
            with_signature(&json!({"alg": "none", "typ": "JWT"}), &good, ""),
        ),
        (
            "None",
            with_signature(&json!({"alg": "None", "kid": "r"}), &good, ""),
        ),
        ("hmac with the public key", {
            let header = json!({"alg": "HS256", "typ": "JWT", "kid": "r"});
            hmac_token(&header, &good, signer.public())
        }),
        (
            "hmac with the key set",
            hmac_token(&json!({"alg": "HS256"}), &good, keys.as_bytes()),
        ),
        ("another key", stranger.token(&good)),
        ("tampered", tampered),
        (
            "own algorithm, other key type",
            headed(json!({"alg": "ES256"})),
        ),
        ("not allowed", headed(json!({"alg": "RS512"}))),
        ("critical extension", headed(json!({"crit": ["exp"]}))),
        (
            "detached payload",
            headed(json!({"b64": false, "crit": ["b64"]})),
        ),
        ("brings its own key", {
            let jwk: Value = serde_json::from_str(&key_set(&[&stranger])).unwrap();
            let header = json!({"alg": "RS256", "jwk": jwk["keys"][0]});
            stranger.sign(&header, &good)
        }),
        ("unknown key", headed(json!({"kid": "unknown"}))),
        ("audience", changed("aud", "other-api".into())),
        ("no audience of ours", changed("aud", json!(["a", "b"]))),
        ("issuer", changed("iss", "https://evil.example".into())),
        ("not yet", changed("nbf", (now() + 600).into())),
        ("from the future", changed("iat", (now() + 600).into())),
        ("never expires", without_expiry),
        ("expires in words", changed("exp", "tomorrow".into())),
        ("two parts", "a.b".to_owned()),
        ("not base64", "!!!.???.###".to_owned()),
        ("as long as any", "a".repeat(8 * 1024)),
        ("longer", "a".repeat(8 * 1024 + 1)),
    ];
    for (what, token) in table {
        let answer = with_token(&gateway, "/x", &token).await;
        let code = match what {
            "longer" => "token-too-long",
            _ => "token-invalid",
        };
        let reason = answer.header("weir-reason");
        assert_eq!(
            (answer.status.as_u16(), reason),
            (401, Some(code)),
            "{what}: {answer}"
        );
        gateway.assert_refused(&answer, 401, code).await;
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{what}: {challenge}");
    }
    let answer = with_token(&gateway, "/x", &changed("exp", (now() - 60).into())).await;
    gateway.assert_refused(&answer, 401, "token-expired").await;
    // A clock may be a little off.
    let late = with_token(&gateway, "/x", &changed("exp", (now() - 5).into())).await;
    assert_eq!(late.status, 200, "{late}");
    assert_eq!(upstream.request_count(), 1);
}

#[tokio::test]
async fn two_authorization_headers_are_not_one_of_them() {
    let signer = Signer::p256("e");
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with_file(&key_set(&[&signer]), &upstream).await;
    let token = format!("Bearer {}", signer.token(&claims("ada")));
    let sent = [
        ("authorization", token.as_str()),
        ("authorization", "Bearer other"),
    ];
    let answer = gateway.get_with("/x", &sent).await;
    assert_eq!(answer.status, 401, "{answer}");
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn claims_open_and_close_routes() {
    let signer = Signer::ed25519("d");
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with_file(&key_set(&[&signer]), &upstream).await;
    let with = |scope: &str, roles: Value| {
        let mut claims = claims("ada");
        claims["scope"] = scope.into();
        claims["realm"] = json!({ "roles": roles });
        signer.token(&claims)
    };
    for (token, status) in [
        (
            with("orders:read orders:write", json!(["user", "admin"])),
            200,
        ),
        (with("orders:write", json!("root")), 200),
        (with("orders:writer", json!(["admin"])), 403),
        (with("orders:write", json!(["user"])), 403),
        (signer.token(&claims("ada")), 403),
    ] {
        let answer = with_token(&gateway, "/admin/x", &token).await;
        assert_eq!(answer.status, status, "{answer}");
        if status == 403 {
            gateway.assert_refused(&answer, 403, "claim-denied").await;
        }
    }
}

#[tokio::test]
async fn keys_by_url_are_fetched_and_a_new_one_is_found() {
    let (old, new) = (Signer::p256("old"), Signer::rsa("new"));
    let upstream = Upstream::start(Reply::ok("in"));
    let issuer =
        Upstream::start(Reply::ok(key_set(&[&old])).header("content-type", "application/json"));
    let jwks = format!("\"{}\"", issuer.url("/jwks.json"));
    let gateway = gateway_with(Place::new(), &jwks, &upstream).await;
    let token = old.token(&claims("ada"));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &token).await.status == 200
    })
    .await;
    let fetched = issuer.request_count();
    for _ in 0..20 {
        assert_eq!(with_token(&gateway, "/x", &token).await.status, 200);
    }
    assert_eq!(
        issuer.request_count(),
        fetched,
        "keys are kept, not fetched for each request"
    );

    // The issuer signs with a new key from now on.
    issuer.set_script(Reply::ok(key_set(&[&old, &new])));
    let rotated = new.token(&claims("ada"));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &rotated).await.status == 200
    })
    .await;
    assert_eq!(with_token(&gateway, "/x", &token).await.status, 200);

    // An issuer that is down changes nothing for keys that are known.
    issuer.set_script(Answer::Reset);
    assert_eq!(with_token(&gateway, "/x", &rotated).await.status, 200);
}

#[tokio::test]
async fn unknown_keys_do_not_make_the_gateway_hammer_the_issuer() {
    let (known, unknown) = (Signer::p256("known"), Signer::p256("unknown"));
    let upstream = Upstream::start(Reply::ok("in"));
    let issuer = Upstream::start(Reply::ok(key_set(&[&known])));
    let jwks = format!("\"{}\"", issuer.url("/jwks.json"));
    let gateway = gateway_with(Place::new(), &jwks, &upstream).await;
    let token = known.token(&claims("ada"));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &token).await.status == 200
    })
    .await;
    let before = issuer.request_count();
    let forged = unknown.token(&claims("ada"));
    for _ in 0..200 {
        assert_eq!(with_token(&gateway, "/x", &forged).await.status, 401);
    }
    assert!(
        issuer.request_count() - before <= 3,
        "{}",
        issuer.request_count() - before
    );
}

#[tokio::test]
async fn keys_in_a_file_are_read_again() {
    let (old, new) = (Signer::p256("old"), Signer::p256("new"));
    let upstream = Upstream::start(Reply::ok("in"));
    let gateway = gateway_with_file(&key_set(&[&old]), &upstream).await;
    let rotated = new.token(&claims("ada"));
    assert_eq!(with_token(&gateway, "/x", &rotated).await.status, 401);
    std::fs::write(
        gateway.place().directory().join("keys.json"),
        key_set(&[&new]),
    )
    .unwrap();
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &rotated).await.status == 200
    })
    .await;
    // And the old one is no longer good, however often it was before.
    let token = old.token(&claims("ada"));
    assert_eq!(with_token(&gateway, "/x", &token).await.status, 401);
}

#[tokio::test]
async fn keys_of_a_service_are_asked_for_through_it() {
    let signer = Signer::p256("e");
    let upstream = Upstream::start(Reply::ok(key_set(&[&signer])));
    let gateway = gateway_with(Place::new(), "{ service: app, path: /keys }", &upstream).await;
    let token = signer.token(&claims("ada"));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &token).await.status == 200
    })
    .await;
    assert!(upstream.requests().iter().any(|seen| seen.path == "/keys"));
}

#[tokio::test]
async fn an_issuer_that_was_never_reached_is_a_503() {
    let signer = Signer::p256("e");
    let upstream = Upstream::start(Reply::ok("in"));
    let issuer = Upstream::start(Reply::status(500));
    let jwks = format!("\"{}\"", issuer.url("/jwks.json"));
    let gateway = gateway_with(Place::new(), &jwks, &upstream).await;
    let token = signer.token(&claims("ada"));
    let answer = with_token(&gateway, "/x", &token).await;
    gateway
        .assert_refused(&answer, 503, "keys-unavailable")
        .await;
    assert_eq!(gateway.get("/open").await.text(), "in");
    issuer.set_script(Reply::ok(key_set(&[&signer])));
    eventually(DEADLINE, async || {
        with_token(&gateway, "/x", &token).await.status == 200
    })
    .await;
}
