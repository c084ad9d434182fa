//! Accounts, logins and keys.

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::{Value, json};
use weir_sample_services::users::{AUDIENCE, ISSUER};

use crate::running::{Running, assert_documented_operations_exist, problem};

#[tokio::test]
async fn tokens_of_every_algorithm_verify_against_the_published_keys() {
    let users = Running::users(&[]).await;
    let published = users.get("/.well-known/jwks.json").await;
    assert_eq!(
        published.header("cache-control"),
        Some("public, max-age=300")
    );
    let keys: JwkSet = published.json();
    assert_eq!(keys.keys.len(), 3);
    assert!(
        !published.text().contains("\"d\""),
        "a private key is published"
    );

    let login = json!({ "email": "demo@weir.example", "password": "demo" });
    let cases = [
        (None, Algorithm::ES256),
        (Some("ES256"), Algorithm::ES256),
        (Some("RS256"), Algorithm::RS256),
        (Some("EdDSA"), Algorithm::EdDSA),
    ];
    for (asked, algorithm) in cases {
        let mut login = login.clone();
        if let Some(asked) = asked {
            login["algorithm"] = asked.into();
        }
        let response = users.post("/users/login", &[], &login).await;
        assert_eq!(response.status, 200, "{response}");
        assert_eq!(response.header("cache-control"), Some("no-store"));
        let body: Value = response.json();
        assert_eq!(
            (&body["token_type"], &body["expires_in"]),
            (&json!("Bearer"), &json!(3600))
        );

        let token = body["token"].as_str().unwrap();
        let header = decode_header(token).unwrap();
        assert_eq!(header.alg, algorithm);
        let key = keys.find(&header.kid.unwrap()).unwrap();
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        validation.set_issuer(&[ISSUER]);
        validation.set_audience(&[AUDIENCE]);
        let key = DecodingKey::from_jwk(key).unwrap();
        let claims = decode::<Value>(token, &key, &validation).unwrap().claims;
        assert_eq!(claims["sub"], "1");
        assert_eq!(claims["email"], "demo@weir.example");
        assert_eq!(claims["scope"], "orders:read orders:write");
        let lifetime = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
        assert_eq!(lifetime, 3600);
    }
}

#[tokio::test]
async fn wrong_credentials_are_all_refused_alike() {
    let users = Running::users(&[]).await;
    let wrong = [
        json!({ "email": "demo@weir.example", "password": "Demo" }),
        json!({ "email": "demo@weir.example", "password": "" }),
        json!({ "email": "nobody@weir.example", "password": "demo" }),
    ];
    let mut details = Vec::new();
    for login in wrong {
        let response = users.post("/users/login", &[], &login).await;
        details.push(problem(&response, 401, "wrong-credentials")["detail"].clone());
        assert!(response.header("www-authenticate").is_some());
    }
    assert!(details.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn accounts_are_made_listed_and_used() {
    let users = Running::users(&[]).await;
    let ada =
        json!({ "name": "Ada", "email": "ada@shop.example", "password": "analytical engine" });
    let made = users.post("/users", &[], &ada).await;
    assert_eq!(
        (made.status.as_u16(), made.header("location")),
        (201, Some("/users/3"))
    );
    assert_eq!(made.json::<Value>(), json!({ "id": 3, "name": "Ada" }));
    problem(&users.post("/users", &[], &ada).await, 409, "email-taken");

    let login = json!({ "email": "ADA@shop.example", "password": "analytical engine" });
    assert_eq!(users.post("/users/login", &[], &login).await.status, 200);
    assert_eq!(users.get("/users/3").await.json::<Value>()["name"], "Ada");
    let page: Value = users.get("/users?after=1&limit=1").await.json();
    assert_eq!(
        page,
        json!({ "users": [{ "id": 2, "name": "Grace Hopper" }] })
    );
    assert!(
        !users.get("/users").await.text().contains('@'),
        "emails are nobody's business"
    );
}

#[tokio::test]
async fn what_is_wrong_with_a_request_is_told() {
    let users = Running::users(&[]).await;
    problem(&users.get("/users/99").await, 404, "not-found");
    problem(&users.get("/users/one").await, 404, "not-found");
    problem(&users.get("/nowhere").await, 404, "not-found");
    problem(&users.get("/users?limit=many").await, 400, "invalid-page");
    let wrong_method = users.post("/users/1", &[], &json!({})).await;
    problem(&wrong_method, 405, "method-not-allowed");
    assert_eq!(wrong_method.header("allow"), Some("GET,HEAD"));

    let invalid = json!({ "name": "", "email": "x", "password": "short" });
    let response = users.post("/users", &[], &invalid).await;
    let errors = problem(&response, 422, "invalid-body")["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 3);
    let unknown_field = json!({ "email": "a", "password": "b", "otp": "c" });
    problem(
        &users.post("/users/login", &[], &unknown_field).await,
        422,
        "invalid-json",
    );
    let unknown_algorithm = json!({ "email": "a", "password": "b", "algorithm": "none" });
    problem(
        &users.post("/users/login", &[], &unknown_algorithm).await,
        422,
        "invalid-json",
    );

    let url = users.url("/users/login");
    let json_type = [("content-type", "application/json; charset=utf-8")];
    problem(
        &users.client.post(&url, &[], "{}").await.unwrap(),
        415,
        "not-json",
    );
    problem(
        &users.client.post(&url, &json_type, "{").await.unwrap(),
        400,
        "invalid-json",
    );
    let huge = vec![b' '; 65 * 1024];
    problem(
        &users.client.post(&url, &json_type, huge).await.unwrap(),
        413,
        "unreadable-body",
    );
}

#[tokio::test]
async fn the_document_tells_what_is_there() {
    assert_documented_operations_exist(&Running::users(&[]).await).await;
}
