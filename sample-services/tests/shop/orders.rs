//! Orders, and what becomes of them when users is in trouble.

use std::time::Duration;

use serde_json::{Value, json};
use weir_testkit::ports::free_addr;
use weir_testkit::upstream::{Answer, Reply, Upstream};

use crate::running::{Running, assert_documented_operations_exist, problem};

/// A token as the gateway passes it on: {"alg":"none"} and {"sub":"1"}, its signature verified
/// before it comes here.
const DEMO: (&str, &str) = (
    "authorization",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.x",
);

async fn login(users: &Running, email: &str, password: &str) -> String {
    let login = json!({ "email": email, "password": password });
    let body: Value = users.post("/users/login", &[], &login).await.json();
    format!("Bearer {}", body["token"].as_str().unwrap())
}

#[tokio::test]
async fn customers_see_and_place_their_own_orders() {
    let users = Running::users(&[]).await;
    let orders = Running::orders(&users.url(""), &[]).await;
    let demo = login(&users, "demo@weir.example", "demo").await;
    let grace = login(&users, "grace@weir.example", "grace").await;
    let (demo, grace) = (
        [("authorization", demo.as_str())],
        [("authorization", grace.as_str())],
    );

    let seen: Value = orders.get_with("/orders", &demo).await.json();
    assert_eq!(seen["orders"].as_array().unwrap().len(), 2);
    for order in seen["orders"].as_array().unwrap() {
        assert_eq!(
            order["customer"],
            json!({ "id": 1, "name": "Demo Customer" })
        );
    }
    let new = json!({ "item": "Lamp", "quantity": 3 });
    let placed = orders.post("/orders", &demo, &new).await;
    assert_eq!(
        (placed.status.as_u16(), placed.header("location")),
        (201, Some("/orders/4"))
    );
    let order: Value = orders.get_with("/orders/4", &demo).await.json();
    assert_eq!(order, placed.json::<Value>());
    assert_eq!(
        (&order["item"], &order["quantity"]),
        (&json!("Lamp"), &json!(3))
    );
    problem(
        &orders.get_with("/orders/4", &grace).await,
        404,
        "not-found",
    );
    let page: Value = orders
        .get_with("/orders?after=1&limit=1", &demo)
        .await
        .json();
    assert_eq!(page["orders"][0]["id"], 2);
}

#[tokio::test]
async fn users_is_called_by_its_host_in_the_same_trace() {
    let users = Upstream::start(Reply::ok(r#"{"id":1,"name":"Demo"}"#));
    let orders = Running::orders(&users.url(""), &["--users-host", "people.mesh"]).await;
    let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [
        DEMO,
        ("traceparent", parent),
        ("tracestate", "a=b"),
        ("x-request-id", "request-7"),
    ];
    let response = orders.get_with("/orders", &headers).await;
    assert_eq!(response.status, 200, "{response}");
    assert_eq!(response.header("x-request-id"), Some("request-7"));
    let call = users.last_request();
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        ("GET", "/users/1")
    );
    assert_eq!(call.header_values("host"), ["people.mesh"]);
    assert_eq!(call.header("traceparent"), Some(parent));
    assert_eq!(call.header("tracestate"), Some("a=b"));
    assert_eq!(call.header("x-request-id"), Some("request-7"));
    assert_eq!(
        call.header("authorization"),
        None,
        "the token is not for users"
    );

    orders.get_with("/orders", &[DEMO]).await;
    assert_eq!(users.connection_count(), 1, "the connection is kept");
    let invented = users.last_request();
    assert_eq!(invented.header("traceparent").map(str::len), Some(55));
    assert_eq!(invented.header("x-request-id").map(str::len), Some(32));
}

#[tokio::test]
async fn a_users_in_trouble_is_named() {
    let nobody = format!("http://{}", free_addr());
    let orders = Running::orders(&nobody, &[]).await;
    let response = orders.get_with("/orders", &[DEMO]).await;
    let document = problem(&response, 502, "neighbour-unavailable");
    assert_eq!(document["detail"], "users cannot be reached");
    let new = json!({ "item": "Lamp", "quantity": 3 });
    problem(
        &orders.post("/orders", &[DEMO], &new).await,
        502,
        "neighbour-unavailable",
    );

    let cases: [(Answer, u16, &str); 5] = [
        (
            Reply::status(503).into(),
            502,
            "users answered 503 Service Unavailable",
        ),
        (Answer::Reset, 502, "users cannot be reached"),
        (
            Reply::ok("surprise").into(),
            502,
            "users gave an answer that is not understood",
        ),
        (
            Reply::ok("{}").close_after(1).into(),
            502,
            "users gave an answer that is not understood",
        ),
        (Answer::Hang, 504, "users did not answer within 3s"),
    ];
    for (answer, status, detail) in cases {
        let users = Upstream::start(answer.clone());
        let orders = Running::orders(&users.url("/"), &[]).await;
        let response = orders.get_with("/orders", &[DEMO]).await;
        let document = problem(&response, status, "neighbour-unavailable");
        assert_eq!(document["detail"], detail, "{answer:?}");
    }
}

#[tokio::test]
async fn a_customer_that_users_does_not_know_has_no_name_and_cannot_order() {
    let users = Upstream::start(Reply::status(404));
    let orders = Running::orders(&users.url(""), &[]).await;
    let seen: Value = orders.get_with("/orders/1", &[DEMO]).await.json();
    assert_eq!(seen["customer"], json!({ "id": 1, "name": null }));
    let new = json!({ "item": "Lamp", "quantity": 3 });
    problem(
        &orders.post("/orders", &[DEMO], &new).await,
        403,
        "unknown-customer",
    );
}

#[tokio::test]
async fn the_caller_comes_from_the_token_and_from_a_header_only_when_told() {
    let users = Upstream::start(Reply::ok(r#"{"name":"Demo"}"#));
    let orders = Running::orders(&users.url(""), &[]).await;
    let response = orders.get("/orders").await;
    problem(&response, 401, "no-caller");
    assert!(response.header("www-authenticate").is_some());
    let claimed = orders.get_with("/orders", &[("x-user-id", "1")]).await;
    problem(&claimed, 401, "no-caller");
    // {"sub":"robot"}
    let robot = ("authorization", "Bearer e30.eyJzdWIiOiJyb2JvdCJ9.x");
    problem(
        &orders.get_with("/orders", &[robot]).await,
        401,
        "unknown-caller",
    );

    let behind_gateway = Running::orders(&users.url(""), &["--caller-header", "x-user-id"]).await;
    problem(
        &behind_gateway.get_with("/orders", &[DEMO]).await,
        401,
        "no-caller",
    );
    let seen: Value = behind_gateway
        .get_with("/orders", &[("x-user-id", "2")])
        .await
        .json();
    assert_eq!(seen["orders"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn orders_are_checked() {
    let users = Upstream::start(Reply::ok(r#"{"name":"Demo"}"#));
    let orders = Running::orders(&users.url(""), &[]).await;
    let invalid = json!({ "item": " ", "quantity": 0 });
    let response = orders.post("/orders", &[DEMO], &invalid).await;
    let errors = problem(&response, 422, "invalid-body")["errors"].clone();
    assert_eq!(errors.as_array().unwrap().len(), 2);
    assert_eq!(users.request_count(), 0, "users is not asked in vain");
}

#[tokio::test]
async fn the_document_tells_what_is_there() {
    let users = Upstream::start(Reply::ok(r#"{"name":"Demo"}"#).delay(Duration::ZERO));
    assert_documented_operations_exist(&Running::orders(&users.url(""), &[]).await).await;
}
