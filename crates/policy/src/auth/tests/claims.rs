//! What signed tokens say: times, issuer, audience, and the claims that a route asks for.

use serde_json::{Value, json};
use weir_config::auth::Algorithm;

use super::{EC, ED, LEEWAY, NOW, Rule, Shop, asks, claims, with};
use crate::refusal::Code;

#[test]
fn times_are_compared_with_leeway_at_every_use() {
    let expires = NOW + 600;
    let header = json!({"alg": "EdDSA", "kid": "d1"});
    let code = |now: u64, claims: &Value| {
        let mut shop = Shop::new();
        shop.now = now;
        shop.code(&ED.token(&header, claims))
    };
    assert_eq!(
        code(expires + LEEWAY - 1, &claims()),
        None,
        "expired, within leeway"
    );
    assert_eq!(code(expires + LEEWAY, &claims()), Some(Code::TokenExpired));
    assert_eq!(
        code(NOW, &with("exp", json!(NOW as f64 + 0.5))),
        None,
        "a fraction"
    );
    let invalid = [
        ("exp", Value::Null),
        ("exp", json!("soon")),
        ("exp", json!(-1)),
        ("exp", json!([NOW])),
        ("nbf", json!(NOW + LEEWAY + 1)),
        ("nbf", json!("x")),
        ("iat", json!(NOW + LEEWAY + 1)),
        ("iat", json!({})),
    ];
    for (name, value) in invalid {
        let code = code(NOW, &with(name, value.clone()));
        assert_eq!(code, Some(Code::TokenInvalid), "{name}: {value}");
    }
    for name in ["nbf", "iat"] {
        assert_eq!(
            code(NOW, &with(name, json!(NOW + LEEWAY))),
            None,
            "{name} within leeway"
        );
        assert_eq!(
            code(NOW, &with(name, Value::Null)),
            None,
            "{name} may be absent"
        );
    }
    assert_eq!(
        code(NOW, &with("exp", json!(u64::MAX))),
        None,
        "does not overflow"
    );

    // A remembered token expires as well.
    let mut shop = Shop::new();
    let token = ED.token(&header, &claims());
    assert_eq!(shop.code(&token), None);
    shop.now = expires + LEEWAY;
    assert_eq!(shop.code(&token), Some(Code::TokenExpired));
    shop.now = NOW - 10 - LEEWAY - 1;
    assert_eq!(shop.code(&token), Some(Code::TokenInvalid), "not valid yet");
}

#[test]
fn issuer_and_audience_must_be_ours() {
    let mut shop = Shop::new();
    let mut code = |name: &str, value: Value| {
        let header = json!({"alg": "ES256", "kid": "e1"});
        shop.code(&EC.token(&header, &with(name, value)))
    };
    for aud in [
        json!("shop-admin"),
        json!(["other", "shop-api"]),
        json!(["shop-api"]),
    ] {
        assert_eq!(code("aud", aud.clone()), None, "{aud}");
    }
    for aud in [
        Value::Null,
        json!("other"),
        json!([]),
        json!(["other"]),
        json!({"shop-api": 1}),
    ] {
        assert_eq!(code("aud", aud.clone()), Some(Code::TokenInvalid), "{aud}");
    }
    for iss in [
        Value::Null,
        json!("https://id.example/"),
        json!(["https://id.example"]),
        json!("x"),
    ] {
        assert_eq!(code("iss", iss.clone()), Some(Code::TokenInvalid), "{iss}");
    }
}

#[test]
fn settings_that_change_hold_for_remembered_tokens() {
    let mut shop = Shop::new();
    let token = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    assert_eq!(shop.code(&token), None);
    let audience = std::mem::replace(&mut shop.issuers[0].config.audience, vec!["x".to_owned()]);
    assert_eq!(shop.code(&token), Some(Code::TokenInvalid));
    shop.issuers[0].config.audience = audience;
    assert_eq!(shop.code(&token), None);
    shop.issuers[0]
        .config
        .algorithms
        .retain(|allowed| allowed.value != Algorithm::Es256);
    assert_eq!(shop.code(&token), Some(Code::TokenInvalid));
}

#[test]
fn claim_rules_all_hold() {
    let mut shop = Shop::new();
    let token = EC.token(&json!({"alg": "ES256", "kid": "e1"}), &claims());
    let table: [(&[Rule<'_>], Option<Code>); 5] = [
        (&[("sub", &["ann", "bob"])], None),
        (&[("scope", &["orders:read"]), ("sub", &["ann"])], None),
        (&[("scope", &["orders:write"])], Some(Code::ClaimDenied)),
        (
            &[("sub", &["ann"]), ("role", &["admin"])],
            Some(Code::ClaimDenied),
        ),
        (&[("scope", &["orders"])], Some(Code::ClaimDenied)),
    ];
    for (rules, expected) in table {
        shop.auth = asks(rules);
        assert_eq!(shop.code(&token), expected, "{rules:?}");
    }
}
