//! Tokens that are really signed, and everything that must not be believed.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue};
use serde_json::{Value, json};
use weir_config::Position;
use weir_config::auth::{Algorithm, Auth, ClaimRule, Issuer as IssuerConfig, Jwks};
use weir_config::bounds::TOKEN_BYTES_MAX;
use weir_config::position::Located;

use self::signing::{Signer, encode};
use super::{Claims, IssuerLive, KeysError, Local, RouteAuth, check};
use crate::moment::Moment;
use crate::refusal::{Code, Refusal};
use crate::snapshot::{Issuer, IssuerId};

mod claims;
mod keys;
mod signing;

const NOW: u64 = 1_800_000_000;
const LEEWAY: u64 = 30;

static RSA: LazyLock<Signer> = LazyLock::new(|| Signer::rsa("r1"));
static EC: LazyLock<Signer> = LazyLock::new(|| Signer::p256("e1"));
static EC384: LazyLock<Signer> = LazyLock::new(|| Signer::p384("e3"));
static ED: LazyLock<Signer> = LazyLock::new(|| Signer::ed25519("d1"));

/// An issuer with one key of each kind, and one worker's state.
struct Shop {
    issuers: Vec<Issuer>,
    auth: RouteAuth,
    local: Local,
    now: u64,
}

impl Shop {
    fn new() -> Shop {
        let shop = Shop::without_keys();
        let keys = json!({"keys": [RSA.jwk(), EC.jwk(), EC384.jwk(), ED.jwk()]});
        assert_eq!(shop.install(&keys).unwrap(), 3, "ES384 is not on the list");
        shop
    }

    fn without_keys() -> Shop {
        let algorithms = [
            Algorithm::Rs256,
            Algorithm::Ps256,
            Algorithm::Es256,
            Algorithm::EdDsa,
        ];
        let config = IssuerConfig {
            issuer: "https://id.example".to_owned(),
            audience: vec!["shop-api".to_owned(), "shop-admin".to_owned()],
            jwks: Jwks::File("jwks.json".into()),
            algorithms: algorithms
                .map(|value| Located {
                    value,
                    at: Position::default(),
                })
                .to_vec(),
            leeway: Duration::from_secs(LEEWAY),
            at: Position::default(),
        };
        let live = Arc::new(IssuerLive::default());
        let issuers = vec![Issuer {
            name: "shop".into(),
            config,
            live,
        }];
        Shop {
            issuers,
            auth: asks(&[]),
            local: Local::default(),
            now: NOW,
        }
    }

    fn install(&self, keys: &Value) -> Result<usize, KeysError> {
        let allowed = &self.issuers[0].config.algorithms;
        let allowed: Vec<Algorithm> = allowed.iter().map(|located| located.value).collect();
        self.issuers[0]
            .live
            .install(keys.to_string().as_bytes(), &allowed)
    }

    fn check(&mut self, token: &str) -> Result<Option<Arc<Claims>>, Refusal> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_str(&format!("Bearer {token}")).unwrap();
        headers.insert(AUTHORIZATION, value);
        let at = Moment {
            nanos: 0,
            unix_seconds: self.now,
        };
        check(
            &self.auth,
            &self.issuers,
            &headers,
            &mut self.local,
            at,
            &mut (),
        )
    }

    /// The code of the refusal; `None` when the token is believed.
    fn code(&mut self, token: &str) -> Option<Code> {
        self.check(token).err().map(|refusal| refusal.code)
    }
}

/// A claim and the values it may have.
type Rule<'a> = (&'a str, &'a [&'a str]);

fn asks(rules: &[Rule<'_>]) -> RouteAuth {
    let rule = |(claim, values): &Rule<'_>| ClaimRule {
        claim: (*claim).to_owned(),
        any_of: values.iter().map(|value| (*value).to_owned()).collect(),
        at: Position::default(),
    };
    let auth = Auth {
        jwt: Some(Located {
            value: "shop".to_owned(),
            at: Position::default(),
        }),
        claims: rules.iter().map(rule).collect(),
        at: Position::default(),
    };
    RouteAuth::compile(&auth, Some(IssuerId(0)))
}

fn claims() -> Value {
    json!({
        "iss": "https://id.example", "aud": "shop-api", "sub": "ann",
        "iat": NOW - 10, "nbf": NOW - 10, "exp": NOW + 600, "scope": "orders:read profile"
    })
}

/// The claims with one of them replaced; `null` removes it.
fn with(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => claims.as_object_mut().unwrap().remove(name),
        value => claims
            .as_object_mut()
            .unwrap()
            .insert(name.to_owned(), value),
    };
    claims
}

#[test]
fn tokens_of_every_allowed_algorithm_are_believed() {
    let mut shop = Shop::new();
    for (signer, algorithm) in [
        (&RSA, "RS256"),
        (&RSA, "PS256"),
        (&EC, "ES256"),
        (&ED, "EdDSA"),
        (&ED, "Ed25519"),
    ] {
        let header = json!({"alg": algorithm, "kid": signer.id(), "typ": "JWT"});
        let token = signer.token(&header, &claims());
        let claims = shop.check(&token).unwrap().unwrap();
        assert_eq!(claims.text("sub").as_deref(), Some("ann"), "{algorithm}");
        assert!(shop.check(&token).is_ok(), "{algorithm}, remembered");
    }
    assert_eq!(shop.local.tokens(), 5);
}

#[test]
fn what_is_not_asked_for_is_not_looked_at() {
    let shop = Shop::new();
    let auth = Auth {
        jwt: None,
        claims: Vec::new(),
        at: Position::default(),
    };
    let at = Moment {
        nanos: 0,
        unix_seconds: NOW,
    };
    let ask = |auth: &RouteAuth| {
        check(
            auth,
            &shop.issuers,
            &HeaderMap::new(),
            &mut Local::default(),
            at,
            &mut (),
        )
    };
    assert!(ask(&RouteAuth::compile(&auth, None)).unwrap().is_none());
    assert_eq!(ask(&asks(&[])).unwrap_err().code, Code::TokenMissing);
    // A name without an issuer refuses everybody.
    let auth = Auth {
        jwt: Some(Located {
            value: "lost".to_owned(),
            ..Located::default()
        }),
        ..auth
    };
    assert_eq!(
        ask(&RouteAuth::compile(&auth, None)).unwrap_err().code,
        Code::KeysUnavailable
    );
}

#[test]
fn algorithms_cannot_be_confused() {
    let mut shop = Shop::new();
    let payload = encode(claims().to_string().as_bytes());
    let unsigned = |header: Value| format!("{}.{payload}.", encode(header.to_string().as_bytes()));
    let mut refused = |token: String, what: &str| {
        assert_eq!(shop.code(&token), Some(Code::TokenInvalid), "{what}");
    };
    for none in ["none", "None", "NONE", "nOnE", ""] {
        refused(unsigned(json!({"alg": none})), none);
        refused(unsigned(json!({"alg": none, "kid": "r1"})), none);
    }
    // HMAC with what is public of the RSA key as its secret.
    for (name, secret) in [
        ("modulus", RSA.public().to_vec()),
        ("jwk", RSA.jwk().to_string().into()),
    ] {
        let token = signing::hmac_token(&json!({"alg": "HS256", "kid": "r1"}), &claims(), &secret);
        refused(token, name);
    }
    // The key of one algorithm under the name of another.
    refused(
        RSA.token(&json!({"alg": "RS256", "kid": "e1"}), &claims()),
        "an EC key's id",
    );
    refused(
        EC.token(&json!({"alg": "RS256", "kid": "r1"}), &claims()),
        "an EC signature as RSA",
    );
    refused(
        EC.token(&json!({"alg": "EdDSA", "kid": "e1"}), &claims()),
        "an EC key for EdDSA",
    );
    refused(
        EC384.token(&json!({"alg": "ES384", "kid": "e3"}), &claims()),
        "not on the list",
    );
    refused(
        RSA.token(&json!({"alg": "RS512", "kid": "r1"}), &claims()),
        "not on the list",
    );
    // A key that the token brings along.
    let own = Signer::p256("e1");
    let header =
        json!({"alg": "ES256", "kid": "e1", "jwk": own.jwk(), "jku": "https://evil.example"});
    refused(own.token(&header, &claims()), "its own key");
}

#[test]
fn headers_that_want_more_are_refused() {
    let mut shop = Shop::new();
    let mut code = |extra: (&str, Value)| {
        let mut header = json!({"alg": "ES256", "kid": "e1"});
        header
            .as_object_mut()
            .unwrap()
            .insert(extra.0.to_owned(), extra.1);
        shop.code(&EC.token(&header, &claims()))
    };
    for typ in [
        "JWT",
        "jwt",
        "at+jwt",
        "AT+JWT",
        "application/at+jwt",
        "application/jwt",
    ] {
        assert_eq!(code(("typ", json!(typ))), None, "{typ}");
    }
    for typ in [
        "logout+jwt",
        "dpop+jwt",
        "JOSE",
        "",
        "application/secevent+jwt",
    ] {
        assert_eq!(code(("typ", json!(typ))), Some(Code::TokenInvalid), "{typ}");
    }
    for crit in [json!(["exp"]), json!([]), json!(null)] {
        assert_eq!(
            code(("crit", crit.clone())),
            Some(Code::TokenInvalid),
            "{crit}"
        );
    }
    assert_eq!(code(("b64", json!(true))), Some(Code::TokenInvalid));
    assert_eq!(code(("kid", json!(7))), Some(Code::TokenInvalid));
    assert_eq!(code(("alg", json!(["ES256"]))), Some(Code::TokenInvalid));
}

#[test]
fn tokens_that_are_not_tokens_are_refused() {
    let mut shop = Shop::new();
    let good = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    let (message, signature) = good.rsplit_once('.').unwrap();
    let header = message.split('.').next().unwrap();
    let changed = encode(with("sub", json!("eve")).to_string().as_bytes());
    let array = EC.sign_parts(&json!({"alg": "ES256", "kid": "e1"}), b"[1]");
    let broken = EC.sign_parts(&json!({"alg": "ES256", "kid": "e1"}), b"{");
    for token in [
        "a",
        "a.b",
        "..",
        "...",
        "a.b.c",
        "a.b.c.d.e",
        message,
        &format!("{message}."),
        &format!("{good}.x"),
        &format!("{message}.AAAA"),
        &format!("{header}.{changed}.{signature}"),
        &format!("{good}A"),
        &array,
        &broken,
        &"A".repeat(TOKEN_BYTES_MAX),
    ] {
        assert_eq!(shop.code(token), Some(Code::TokenInvalid), "{token:.60}");
    }
    let long = format!("{header}.{}.{signature}", "A".repeat(TOKEN_BYTES_MAX));
    assert_eq!(shop.code(&long), Some(Code::TokenTooLong));
    assert_eq!(shop.code(&good), None);
    assert_eq!(
        shop.local.tokens(),
        1,
        "only what is believed is remembered"
    );
}

#[test]
fn what_was_decided_is_told() {
    let mut shop = Shop::new();
    let token = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    let mut headers = HeaderMap::new();
    headers.insert(
        AUTHORIZATION,
        HeaderValue::from_str(&format!("Bearer {token}")).unwrap(),
    );
    let mut recorder = crate::note::Recorder::default();
    for now in [NOW, NOW, NOW + 9_999] {
        let at = Moment {
            nanos: 0,
            unix_seconds: now,
        };
        let _ = check(
            &shop.auth,
            &shop.issuers,
            &headers,
            &mut shop.local,
            at,
            &mut recorder,
        );
    }
    let said: Vec<&str> = recorder
        .steps
        .iter()
        .map(|step| step.said.as_str())
        .collect();
    assert_eq!(
        said,
        [
            "token of issuer \"shop\" accepted",
            "token of issuer \"shop\" accepted, remembered",
            "token of issuer \"shop\" refused: token-expired (401)",
        ]
    );
    assert!(
        !said.concat().contains(&token),
        "the token itself is never told"
    );
}
