//! Requests held against two documents, and what is said about them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::net::IpAddr;
use std::sync::LazyLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version};
use proptest::prelude::{any, prop, proptest};
use serde_json::{Value, json};
use weir_config::bounds::OPENAPI_OPERATIONS_MAX;

use super::*;
use crate::snapshot::ListenerId;

const PETSTORE: &str = include_str!("../../../../config/examples/openapi/petstore.yaml");
const SHOP: &str = include_str!("../../../../config/examples/openapi/shop.yaml");
const TENANT: (&str, &str) = ("x-tenant", "7d9a4f6e-0000-4000-8000-000000000001");

static PETS: LazyLock<OpenapiPlan> = LazyLock::new(|| plan(PETSTORE));
static ORDERS: LazyLock<OpenapiPlan> = LazyLock::new(|| plan(SHOP));

fn plan(text: &str) -> OpenapiPlan {
    let api = Api::compile(text, true).unwrap_or_else(|faults| panic!("{faults:#?}"));
    OpenapiPlan {
        api: Some(Arc::new(api)),
        mode: OpenapiMode::Enforce,
        unknown: Unknown::Refuse,
        query_unknown: Unknown::Pass,
        base_path: None,
        body_bytes_max: 4096,
        mock: Some(true),
        at: Position::default(),
    }
}

fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
    let pair = |(name, value): &(&str, &str)| {
        let name: HeaderName = name.parse().unwrap();
        (name, HeaderValue::from_bytes(value.as_bytes()).unwrap())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in pairs.iter().map(pair) {
        headers.append(name, value);
    }
    headers
}

/// The verdict on the head of a request.
fn examine(
    plan: &OpenapiPlan,
    asked: &str,
    fields: &[(&str, &str)],
    body_bytes: Option<u64>,
) -> Result<Examined, Refusal> {
    let (method, target) = asked.split_once(' ').unwrap();
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let (method, headers) = (method.parse::<Method>().unwrap(), headers(fields));
    let view = RequestView {
        listener: ListenerId(0),
        method: &method,
        secure: false,
        authority: None,
        path,
        query,
        headers: &headers,
        version: Version::HTTP_11,
        remote: IpAddr::from([127, 0, 0, 1]),
        peer: None,
        body_bytes,
    };
    plan.examine(&view, path, &mut ())
}

/// What is said about a request without a body; empty when nothing.
fn said(plan: &OpenapiPlan, asked: &str, fields: &[(&str, &str)]) -> String {
    match examine(plan, asked, fields, Some(0)) {
        Ok(_) => String::new(),
        Err(refusal) => told(&refusal),
    }
}

/// What is said about a request with a body.
fn body_said(plan: &OpenapiPlan, asked: &str, kind: &str, body: &str) -> String {
    let fields = [("content-type", kind)];
    let judged = examine(plan, asked, &fields, Some(body.len() as u64))
        .and_then(|examined| plan.examine_body(&examined, Some(body.as_bytes())));
    judged
        .err()
        .map_or_else(String::new, |refusal| told(&refusal))
}

fn told(refusal: &Refusal) -> String {
    let fields: Vec<_> = refusal.fields.iter().map(ToString::to_string).collect();
    match fields.is_empty() {
        true => refusal.to_string(),
        false => format!("{}: {}", refusal.code, fields.join(" | ")),
    }
}

#[test]
fn paths_and_methods_are_those_of_the_document() {
    let table = [
        ("GET /v1/pets/7", ""),
        ("HEAD /v1/pets/7", ""),
        ("GET /v1/pets/mine", ""),
        ("GET /pets/7", "openapi-path (404)"),
        ("GET /v1/pets/7/", "openapi-path (404)"),
        ("GET /v10/pets/7", "openapi-path (404)"),
        ("POST /v1/pets/7", "openapi-method (405)"),
        ("GET /v1", "openapi-path (404)"),
    ];
    for (asked, expected) in table {
        assert_eq!(said(&PETS, asked, &[]), expected, "{asked}");
    }
    let refusal = examine(&PETS, "TRACE /v1/pets/7", &[], Some(0)).unwrap_err();
    assert_eq!(refusal.allow.as_deref(), Some("GET, PUT, DELETE, HEAD"));
    // Every server counts, and variables have their defaults.
    for asked in [
        "HEAD /api/stock",
        "HEAD /stock",
        "OPTIONS /stock",
        "GET /status",
    ] {
        assert_eq!(said(&ORDERS, asked, &[]), "", "{asked}");
    }
    let mut based = plan(PETSTORE);
    based.base_path = Some("/store".into());
    assert_eq!(said(&based, "GET /store/pets/7", &[]), "");
    assert_eq!(said(&based, "GET /v1/pets/7", &[]), "openapi-path (404)");
    let mut open = plan(PETSTORE);
    (open.unknown, open.mock) = (Unknown::Pass, None);
    assert_eq!(said(&open, "GET /elsewhere", &[]), "");
    assert_eq!(said(&open, "PATCH /v1/pets", &[]), "");
    open.mock = Some(true);
    assert_eq!(said(&open, "GET /elsewhere", &[]), "openapi-path (404)");
}

#[test]
fn parameters_of_the_pet_store() {
    let list = |query: &str| format!("GET /v1/pets{query}");
    let table = [
        ("", ""),
        ("?limit=1", ""),
        ("?limit=100", ""),
        ("?limit=101", "query parameter `limit` must be at most 100"),
        ("?limit=0", "query parameter `limit` must be at least 1"),
        ("?limit=x", "query parameter `limit` must be an integer"),
        ("?limit=1.5", "query parameter `limit` must be an integer"),
        ("?limit=", "query parameter `limit` must be an integer"),
        (
            "?limit=1&limit=2",
            "query parameter `limit` is given more than once",
        ),
        ("?l%69mit=x", "query parameter `limit` must be an integer"),
        ("?limit=%ff", "query parameter `limit` is not UTF-8"),
        ("?tags=ab,cd,ef", ""),
        ("?tags=ab%2Ccd", ""),
        (
            "?tags=ab,c",
            "query parameter `tags` /1 must have at least 2 characters",
        ),
        (
            "?tags=ab,cd,ef,gh",
            "query parameter `tags` must have at most 3 items",
        ),
        ("?status=sold&status=pending", ""),
        (
            "?status=sold&status=gone",
            "query parameter `status` /1 must be one of `\"available\"`, `\"pending\"`, `\"sold\"`",
        ),
        ("?other=1", ""),
    ];
    for (query, expected) in table {
        let said = said(&PETS, &list(query), &[TENANT]);
        let expected = match expected {
            "" => String::new(),
            expected => format!("openapi-parameter: {expected}"),
        };
        assert_eq!(said, expected, "{query}");
    }
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[], "header `x-tenant` is missing"),
        (
            &[("x-tenant", "7")],
            "header `x-tenant` must be of format `uuid`",
        ),
        (
            &[TENANT, TENANT],
            "header `x-tenant` is given more than once",
        ),
        (
            &[("x-tenant", "\u{e9}")],
            "header `x-tenant` must be of format `uuid`",
        ),
        (&[TENANT, ("cookie", "a=b; session=abcd")], ""),
        (
            &[TENANT, ("cookie", "session=ABCD")],
            "cookie `session` must match `^[a-z]{4,8}$`",
        ),
    ];
    for (fields, expected) in table {
        let said = said(&PETS, "GET /v1/pets", fields);
        assert!(said.ends_with(expected), "{fields:?}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{fields:?}: {said}");
    }
    let table = [
        ("GET /v1/pets/9223372036854775807", ""),
        (
            "GET /v1/pets/9223372036854775808",
            "path parameter `id` must be at most 9223372036854775807",
        ),
        ("GET /v1/pets/0", "path parameter `id` must be at least 1"),
        ("GET /v1/pets/x", "path parameter `id` must be an integer"),
    ];
    for (asked, expected) in table {
        let said = said(&PETS, asked, &[]);
        assert!(said.ends_with(expected), "{asked}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{asked}: {said}");
    }
}

#[test]
fn styles_of_the_shop() {
    let table = [
        ("GET /orders?filter[state]=open&filter[min_total]=3", ""),
        (
            "GET /orders?filter%5Bstate%5D=gone",
            "query parameter `filter` /state must be one of",
        ),
        (
            "GET /orders?filter[x]=1",
            "fields that are not known here: `x`",
        ),
        ("GET /orders?size=50&after=x", ""),
        (
            "GET /orders?size=51",
            "query parameter `page` /size must be at most 50",
        ),
        ("GET /orders?sort=a|b%7Cc", ""),
        ("GET /orders?near=1.5%202", ""),
        ("GET /orders?near=1.5+2", ""),
        (
            "GET /orders?near=1",
            "query parameter `near` must have at least 2 items",
        ),
        ("GET /orders?where=%7B%22city%22:%22Bonn%22%7D", ""),
        (
            "GET /orders?where=%7B%7D",
            "query parameter `where` /city is missing",
        ),
        (
            "GET /orders?where=Bonn",
            "query parameter `where` must be JSON",
        ),
        ("GET /orders?ids=1&ids=2&ids=3", ""),
        (
            "GET /orders?ids=1&ids=2&ids=3&ids=4",
            "query parameter `ids` must have at most 3 items",
        ),
        (
            "GET /orders?ids=1&ids=x",
            "query parameter `ids` /1 must be an integer",
        ),
        ("GET /orders?verbose", ""),
        ("GET /orders?verbose=true", ""),
        (
            "GET /orders?verbose=1",
            "query parameter `verbose` must be a boolean",
        ),
        ("GET /orders/7d9a4f6e-0000-4000-8000-000000000001", ""),
        (
            "GET /orders/7",
            "path parameter `order` must be of format `uuid`",
        ),
        ("GET /orders/7/items/3.csv", ""),
        (
            "GET /orders/7/items/3.xml",
            "path parameter `format` must be one of",
        ),
        (
            "GET /orders/7/items/x.json",
            "path parameter `item` must be an integer",
        ),
        ("GET /shelves/.1.2", ""),
        (
            "GET /shelves/.1",
            "path parameter `place` must have at least 2 items",
        ),
        (
            "GET /shelves/1.2",
            "path parameter `place` is not written in the style",
        ),
        ("GET /boxes/;w=1;h=2", ""),
        ("GET /boxes/;w=1", "path parameter `size` /h is missing"),
        ("GET /colours/r,255,g,1", ""),
        (
            "GET /colours/r,256",
            "path parameter `rgb` /r must be at most 255",
        ),
        (
            "GET /colours/r",
            "path parameter `rgb` must have a value for each name",
        ),
    ];
    for (asked, expected) in table {
        let said = said(&ORDERS, asked, &[]);
        assert!(said.contains(expected), "{asked}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{asked}: {said}");
    }
    let table: &[(&[(&str, &str)], &str)] = &[
        (&[("x-range", "1, 2")], ""),
        (&[("x-range", "1"), ("x-range", "2")], ""),
        (
            &[("x-range", "1, 2"), ("x-range", "3")],
            "header `x-range` must have at most 2 items",
        ),
        (&[("x-pair", "a=true")], ""),
        (&[("x-pair", "a=7")], "header `x-pair` /a must be a boolean"),
    ];
    for (fields, expected) in table {
        let said = said(&ORDERS, "GET /colours/r,1", fields);
        assert!(said.contains(expected), "{fields:?}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{fields:?}: {said}");
    }
    let trace = [("x-trace", "nope")];
    let shared = "header `x-trace` must match";
    assert!(said(&ORDERS, "GET /orders", &trace).contains(shared));
    let mut strict = plan(SHOP);
    strict.query_unknown = Unknown::Refuse;
    assert_eq!(
        said(
            &strict,
            "GET /orders?size=1&filter[state]=open&verbose",
            &[]
        ),
        ""
    );
    let unknown = said(&strict, "GET /orders?sizes=1", &[]);
    assert_eq!(
        unknown,
        "openapi-parameter: query parameter `sizes` is not known"
    );
}

#[test]
fn bodies_of_both() {
    let json = "application/json; charset=utf-8";
    let create = "POST /v1/pets";
    let table = [
        (json, r#"{"name":"Rex"}"#, ""),
        (
            json,
            r#"{"name":"Rex","id":7,"nickname":null,"age":0.1}"#,
            "",
        ),
        (
            json,
            r#"{"name":"Rex","age":0}"#,
            "`/age` of the body must be more than 0",
        ),
        (
            json,
            r#"{"name":"Rex","nickname":1}"#,
            "`/nickname` of the body must be null or a string",
        ),
        (
            json,
            r#"{"name":null}"#,
            "`/name` of the body must be a string",
        ),
        (json, r#"{}"#, "`/name` of the body is missing"),
        (
            json,
            r#"{"name":"Rex","x/y":1}"#,
            "fields that are not known here: `x/y`",
        ),
        (json, r#"[]"#, "the body must be an object"),
        (json, "", "the body is missing"),
        (json, "{", "the body ends too early (line 1, column 1)"),
        (
            json,
            r#"{"name":"a","name":"b"}"#,
            "the body has a field twice",
        ),
        (
            json,
            r#"{"name":"Rex","parents":[{"name":"Bo","parents":[{"name":""}]}]}"#,
            "`/parents/0/parents/0/name` of the body must have at least 1 characters",
        ),
        (
            json,
            r#"{"name":"","owner":{"email":"x"},"tags":["a","a"]}"#,
            " | ",
        ),
        (
            "application/x-www-form-urlencoded",
            "name=Rex+B&tags=a&tags=b",
            "",
        ),
        (
            "application/x-www-form-urlencoded",
            "name=%ff",
            "the body is not UTF-8",
        ),
        (
            "application/x-www-form-urlencoded",
            "age=x&name=R",
            "`/age` of the body must be a number",
        ),
        ("image/png", "\u{1}", ""),
        (
            "text/plain",
            "x",
            "openapi-media-type (415): the body must be of type",
        ),
        (
            "",
            "x",
            "openapi-media-type (415): the body must be of type",
        ),
    ];
    for (kind, body, expected) in table {
        let said = body_said(&PETS, create, kind, body);
        assert!(said.contains(expected), "{body}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{body}: {said}");
    }
    let order = |rest: &str| format!(r#"{{"items":[{{"sku":"A","count":1}}],{rest}}}"#);
    let card = r#""payment":{"kind":"card","number":"1234123412341234"}"#;
    let table = [
        (order(card), ""),
        (
            order(r#""payment":{"kind":"cash"}"#),
            "`/payment` of the body fits none of the alternatives",
        ),
        (
            order(&format!(r#"{card},"gift":true"#)),
            "`/note` of the body is missing",
        ),
        (
            order(&format!(r#"{card},"total":{{"amount":"1"}}"#)),
            "/total/",
        ),
    ];
    for (body, expected) in table {
        let said = body_said(&ORDERS, "POST /api/orders", "application/json", &body);
        assert!(said.contains(expected), "{body}: {said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{body}: {said}");
    }
    let change = "PATCH /orders/7d9a4f6e-0000-4000-8000-000000000001";
    let patch = "application/merge-patch+json";
    assert_eq!(body_said(&ORDERS, change, patch, r#"{"note":null}"#), "");
    assert!(body_said(&ORDERS, change, patch, r#"{"other":1}"#).contains("`other`"));
    // A range has no language of its own.
    assert_eq!(body_said(&ORDERS, change, "application/cbor", "x"), "");
    // A body that is not required may be missing.
    assert_eq!(body_said(&ORDERS, change, patch, ""), "");
    assert_eq!(
        body_said(
            &ORDERS,
            "POST /reports",
            "multipart/form-data; boundary=x",
            "x"
        ),
        ""
    );
}

#[test]
fn values_are_never_repeated() {
    let secret = "hunter2hunter2";
    let body = format!(
        r#"{{"name":"{secret}{secret}","age":"{secret}","owner":{{"email":"{secret}","password":"{secret}"}}}}"#
    );
    let fields = [("content-type", "application/json")];
    let examined = examine(&PETS, "POST /v1/pets", &fields, Some(1)).unwrap();
    let refusal = PETS
        .examine_body(&examined, Some(body.as_bytes()))
        .unwrap_err();
    assert_eq!(refusal.fields.len(), 3, "{refusal:?}");
    let asked = format!("GET /v1/pets?limit={secret}&status={secret}&tags={secret},{secret},a,a");
    let cookie = format!("session={secret}");
    let parameters = [("x-tenant", secret), ("cookie", cookie.as_str())];
    let other = examine(&PETS, &asked, &parameters, Some(0)).unwrap_err();
    assert!(other.fields.len() >= 5, "{other:?}");
    for refusal in [refusal, other] {
        let problem = String::from_utf8(refusal.problem_json("d")).unwrap();
        assert!(!problem.contains(secret), "{problem}");
        let problem: Value = serde_json::from_str(&problem).unwrap();
        assert_eq!(
            problem["errors"].as_array().unwrap().len(),
            refusal.fields.len()
        );
        assert!(
            problem["detail"].as_str().unwrap().contains(" more"),
            "{problem}"
        );
    }
}

#[test]
fn errors_are_bounded() {
    let many = |count: usize| {
        let tags = vec!["1"; count].join(",");
        format!(r#"{{"name":"Rex","parents":[{tags}]}}"#)
    };
    let judge = |body: &str, plan: &OpenapiPlan| {
        let examined = examine(
            plan,
            "POST /v1/pets",
            &[("content-type", "application/json")],
            None,
        );
        plan.examine_body(&examined.unwrap(), Some(body.as_bytes()))
            .unwrap_err()
    };
    assert_eq!(judge(&many(9), &PETS).fields.len(), 9);
    assert_eq!(judge(&many(11), &PETS).fields.len(), ERRORS_MAX);
    let mut roomy = plan(PETSTORE);
    roomy.body_bytes_max = 1 << 20;
    // The first is found at once; looking for more in a large body would take long.
    assert_eq!(judge(&many(100_000), &roomy).fields.len(), 1);
    let query = vec!["x=1"; 20].join("&");
    let mut strict = plan(PETSTORE);
    strict.query_unknown = Unknown::Refuse;
    let refusal = examine(&strict, &format!("GET /v1/pets?{query}"), &[], Some(0)).unwrap_err();
    assert_eq!(refusal.fields.len(), ERRORS_MAX);
}

#[test]
fn bodies_have_a_bound() {
    let fields = [("content-type", "application/json")];
    let declared = |bytes| examine(&PETS, "POST /v1/pets", &fields, Some(bytes));
    assert_eq!(PETS.holds(&declared(4096).unwrap()), Some(4096));
    let refusal = declared(4097).unwrap_err();
    assert_eq!(refusal.code, Code::OpenapiBodyTooLarge);
    let body = |bytes: usize| format!(r#"{{"name":"Rex"{}}}"#, " ".repeat(bytes - 14));
    let examined = examine(&PETS, "POST /v1/pets", &fields, None).unwrap();
    let judge = |body: &str| PETS.examine_body(&examined, Some(body.as_bytes()));
    assert_eq!(judge(&body(4096)), Ok(()));
    assert_eq!(
        judge(&body(4097)).unwrap_err().code,
        Code::OpenapiBodyTooLarge
    );
    let over = PETS.examine_body(&examined, None).unwrap_err();
    assert_eq!(over.code, Code::OpenapiBodyTooLarge);
    // What has no schema is not held, however long it is.
    // A body that came to nothing after all is none.
    let empty = |plan: &OpenapiPlan, asked: &str| {
        let examined = examine(plan, asked, &fields, None).unwrap();
        plan.examine_body(&examined, Some(b"")).is_ok()
    };
    assert!(!empty(&PETS, "POST /v1/pets"));
    assert!(empty(&PETS, "PUT /v1/pets/7"));
    let image = examine(
        &PETS,
        "POST /v1/pets",
        &[("content-type", "image/png")],
        Some(1 << 30),
    );
    assert_eq!(PETS.holds(&image.unwrap()), None);
    let packed = [
        ("content-type", "application/json"),
        ("content-encoding", "gzip"),
    ];
    let refusal = examine(&PETS, "POST /v1/pets", &packed, None).unwrap_err();
    assert_eq!(refusal.code, Code::OpenapiMediaType);
}

#[test]
fn a_report_lets_pass_and_remembers_the_first() {
    let mut report = plan(PETSTORE);
    report.mode = OpenapiMode::Report;
    let examined = examine(&report, "GET /v1/pets?limit=x", &[TENANT], Some(0)).unwrap();
    assert_eq!(examined.reported.unwrap().code, Code::OpenapiParameter);
    let fine = examine(&report, "GET /v1/pets?limit=1", &[TENANT], Some(0)).unwrap();
    assert!(fine.reported.is_none());
    let fields = [("content-type", "application/json")];
    let examined = examine(&report, "POST /v1/pets?x", &fields, Some(10)).unwrap();
    assert_eq!(report.holds(&examined), Some(4096));
}

/// Status, type and body of a mock.
fn mocked(plan: &OpenapiPlan, asked: &str, fields: &[(&str, &str)]) -> (u16, String, String) {
    let mut all = vec![TENANT];
    all.extend(fields);
    let examined = examine(plan, asked, &all, None).unwrap_or_else(|refusal| panic!("{refusal}"));
    match plan.mock(&examined, &headers(&all)) {
        Ok(answer) => {
            assert!(answer.headers().contains_key("weir-mock"));
            let kind = answer.headers().get("content-type");
            let kind = kind.map_or("", |kind| kind.to_str().unwrap()).to_owned();
            let body = String::from_utf8(answer.body().to_vec()).unwrap();
            (answer.status().as_u16(), kind, body)
        }
        Err(refusal) => (
            refusal.status().as_u16(),
            refusal.code.to_string(),
            refusal.detail.unwrap_or_default().into(),
        ),
    }
}

#[test]
fn examples_answer() {
    let json = "application/json";
    let create = ("POST /v1/pets", ("content-type", json));
    let list = "GET /v1/pets";
    let get =
        |plan: &OpenapiPlan, asked: &str, fields: &[(&str, &str)]| mocked(plan, asked, fields);
    let made = (
        200,
        json.to_owned(),
        r#"[{"id":7,"name":"Rex"}]"#.to_owned(),
    );
    assert_eq!(get(&PETS, list, &[]), made);
    assert_eq!(
        get(
            &PETS,
            list,
            &[("accept", "text/html, application/*;q=0.5, */*;q=0.1")]
        ),
        made
    );
    let csv = (200, "text/csv".to_owned(), "id,name\n1,Rex\n".to_owned());
    assert_eq!(
        get(&PETS, list, &[("accept", "text/*, application/json;q=0.9")]),
        csv
    );
    let refused = get(&PETS, list, &[("accept", "text/html, text/csv;q=0")]);
    assert_eq!((refused.0, refused.1.as_str()), (406, "mock-unacceptable"));
    let problem = get(&PETS, list, &[("prefer", "code=418")]);
    let expected = (
        418,
        "application/problem+json",
        r#"{"title":"No such pet"}"#,
    );
    assert_eq!((problem.0, &*problem.1, &*problem.2), expected);
    // The first by name.
    let first = get(&PETS, create.0, &[create.1]);
    assert_eq!((first.0, &first.2[..8]), (201, r#"{"id":2,"#));
    let rex = get(&PETS, create.0, &[create.1, ("prefer", "example=rex")]);
    assert_eq!((rex.0, &*rex.2), (201, r#"{"id":1,"name":"Rex"}"#));
    let bo = get(
        &PETS,
        create.0,
        &[create.1, ("prefer", "respond-async, example=\"bo\"")],
    );
    assert_eq!(
        (bo.0, &*bo.2),
        (201, r#"{"id":2,"name":"Bo","nickname":null}"#)
    );
    let gone = get(
        &PETS,
        create.0,
        &[create.1, ("prefer", "code=404; example=x")],
    );
    assert_eq!((gone.0, &*gone.1), (501, "mock-no-example"), "{}", gone.2);
    let none = get(&PETS, create.0, &[create.1, ("prefer", "code=500")]);
    assert_eq!(
        none,
        (
            501,
            "mock-no-example".to_owned(),
            "`createPet` has no response 500".to_owned()
        )
    );
    // No body is an answer, no example is none.
    assert_eq!(
        get(&PETS, "PUT /v1/pets/7", &[create.1]),
        (204, String::new(), String::new())
    );
    let silent = get(&PETS, "DELETE /v1/pets/7", &[]);
    assert_eq!(
        (silent.0, &*silent.1),
        (501, "mock-no-example"),
        "{}",
        silent.2
    );
    assert_eq!(PETS.api.as_ref().unwrap().operations(), (6, 1));
    // The lowest there is where none is a success; a range is no type; one made of its parts.
    assert_eq!(get(&ORDERS, "GET /status", &[]).0, 500);
    assert_eq!(get(&ORDERS, "GET /orders/7/items/1.csv", &[]).2, "\"one\"");
    let order = get(&ORDERS, "GET /orders", &[]).2;
    let order: Value = serde_json::from_str(&order).unwrap();
    let item = &order["items"][0];
    assert_eq!(
        item["total"],
        json!({ "amount": "9.90", "currency": "EUR" }),
        "{order}"
    );
    assert_eq!(
        item["items"][0],
        json!({ "count": 2, "sku": "A-1" }),
        "{order}"
    );
    let sold = get(&ORDERS, "POST /orders", &[create.1, ("prefer", "code=409")]);
    assert_eq!(
        (sold.0, &*sold.2),
        (409, r#"{"status":409,"title":"Sold out"}"#)
    );
    let mut deaf = plan(PETSTORE);
    deaf.mock = Some(false);
    assert_eq!(get(&deaf, list, &[("prefer", "code=418")]).0, 200);
    let examined = examine(&PETS, list, &[TENANT], Some(0)).unwrap();
    let answer = PETS.mock(&examined, &HeaderMap::new()).unwrap();
    assert_eq!(answer.headers()["x-next"], "/v1/pets?limit=2");
    assert_eq!(answer.headers()["weir-mock"], "listPets");
}

#[test]
fn broken_documents_say_where() {
    let head = "openapi: 3.1.0\n";
    let table = [
        ("paths: []", "/paths", "there are no paths"),
        ("paths: { a: {} }", "/paths/a", "does not begin with `/`"),
        (
            "paths: { '/{a}': {}, '/{b}': {} }",
            "/paths/~1{b}",
            "the same requests",
        ),
        (
            "paths: { /a: { get: 1 } }",
            "/paths/~1a/get",
            "expected an object",
        ),
        (
            "paths: { /a: { get: { parameters: [{ in: query }] } } }",
            "/paths/~1a/get/parameters/0",
            "`name` is missing",
        ),
        (
            "paths: { /a: { get: { parameters: [{ name: a, in: body }] } } }",
            "/paths/~1a/get/parameters/0",
            "`in` is `body`",
        ),
        (
            "paths: { /a: { get: { parameters: [{ name: id, in: path }] } } }",
            "/paths/~1a/get/parameters/0",
            "the path has no `{id}`",
        ),
        (
            "paths: { /a: { get: { parameters: [{ name: q, in: query, style: simple }] } } }",
            "/paths/~1a/get/parameters/0/style",
            "no style `simple`",
        ),
        (
            "paths: { /a: { get: { parameters: [{ $ref: '#/x' }] } } }",
            "/paths/~1a/get/parameters/0/$ref",
            "there is nothing at `#/x`",
        ),
        (
            "paths: { /a: { get: { parameters: [{ name: q, in: query, schema: { type: strng } }] } } }",
            "/paths/~1a/get/parameters/0/schema/type",
            "no schema",
        ),
        (
            "paths: { /a: { get: { parameters: [{ name: q, in: query, schema: { pattern: '(?=a)' } }] } } }",
            "/paths/~1a/get/parameters/0/schema/pattern",
            "regex",
        ),
        (
            "paths: { /a: { post: { requestBody: { content: { application/json: { schema: { $ref: '#/components/schemas/X' } } } } } } }",
            "/paths/~1a/post/requestBody/content/application~1json/schema",
            "no schema",
        ),
        (
            "paths: { /a: { post: { requestBody: {} } } }",
            "/paths/~1a/post/requestBody/content",
            "missing",
        ),
        (
            "paths: { /a: { get: { responses: { '99': {} } } } }",
            "/paths/~1a/get/responses/99",
            "this is no status",
        ),
    ];
    for (text, pointer, problem) in table {
        let faults = Api::compile(&format!("{head}{text}"), true).unwrap_err();
        assert_eq!(faults.len(), 1, "{text}: {faults:?}");
        assert_eq!(faults[0].pointer, pointer, "{text}: {faults:?}");
        assert!(faults[0].problem.contains(problem), "{text}: {faults:?}");
    }
    let many: String = (0..30).map(|index| format!("  a{index}: {{}}\n")).collect();
    let faults = Api::compile(&format!("{head}paths:\n{many}"), true).unwrap_err();
    assert_eq!(faults.len(), read::FAULTS_MAX);
}

#[test]
fn a_large_document_compiles_once_and_quickly_enough() {
    let mut text = String::from("openapi: 3.0.3\ncomponents:\n  schemas:\n");
    for index in 0..300 {
        let next = (index + 1) % 300;
        text.push_str(&format!(
            "    S{index}: {{ type: object, required: [id], properties: {{ id: {{ type: integer }}, \
             next: {{ $ref: '#/components/schemas/S{next}' }}, again: {{ $ref: '#/components/schemas/S{next}' }} }} }}\n"
        ));
    }
    text.push_str("paths:\n");
    for index in 0..300 {
        text.push_str(&format!(
            "  /s{index}/{{id}}: {{ put: {{ parameters: [{{ name: id, in: path, required: true, schema: {{ type: integer }} }}], \
             requestBody: {{ content: {{ application/json: {{ schema: {{ $ref: '#/components/schemas/S{index}' }} }} }} }} }} }}\n"
        ));
    }
    let began = std::time::Instant::now();
    let large = plan(&text);
    eprintln!("{} bytes in {:?}", text.len(), began.elapsed());
    let deep = r#"{"id":1,"next":{"id":2,"next":{"id":"x"}}}"#;
    let said = body_said(&large, "PUT /s299/7", "application/json", deep);
    assert!(
        said.contains("`/next/next/id` of the body must be an integer"),
        "{said}"
    );
}

proptest! {
    #[test]
    fn no_request_makes_it_panic(
        path in "(/v1|/api)?/(pets|orders|shelves|boxes|colours)(/[ -~]{0,12}){0,2}",
        query in "[ -~]{0,40}",
        header in prop::collection::vec(32_u8..=255, 0..20),
        kind in "application/(json|x-www-form-urlencoded|merge-patch\\+json)",
        body in any::<Vec<u8>>(),
    ) {
        let Ok(value) = HeaderValue::from_bytes(&header) else { return Ok(()) };
        let mut headers = HeaderMap::new();
        for name in ["x-tenant", "x-trace", "x-range", "x-pair", "cookie", "prefer", "accept"] {
            headers.insert(name, value.clone());
        }
        headers.insert("content-type", kind.parse().unwrap());
        let (pets, orders) = (&*PETS, &*ORDERS);
        for (plan, method) in [
            (pets, &Method::GET),
            (pets, &Method::POST),
            (orders, &Method::GET),
            (orders, &Method::POST),
        ] {
            let view = RequestView {
                listener: ListenerId(0),
                method,
                secure: false,
                authority: None,
                path: &path,
                query: Some(&query),
                headers: &headers,
                version: Version::HTTP_11,
                remote: IpAddr::from([127, 0, 0, 1]),
                peer: None,
                body_bytes: None,
            };
            if let Ok(examined) = plan.examine(&view, &path, &mut ()) {
                let _ = plan.examine_body(&examined, Some(&body));
                let _ = plan.mock(&examined, &headers);
            }
        }
    }
}

#[test]
fn operations_are_bounded() {
    let document = |operations: usize| {
        let mut text = "openapi: 3.0.3\ninfo: { title: t, version: '1' }\npaths:\n".to_owned();
        for at in 0..operations {
            text.push_str(&format!("  /p{at}: {{ get: {{ responses: {{}} }} }}\n"));
        }
        Api::compile(&text, false).map(drop)
    };
    assert!(document(OPENAPI_OPERATIONS_MAX).is_ok());
    let faults = document(OPENAPI_OPERATIONS_MAX + 1).unwrap_err();
    assert!(format!("{faults:?}").contains("operations"), "{faults:?}");
}
