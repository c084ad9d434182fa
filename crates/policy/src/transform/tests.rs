//! Every change, what it leaves alone, and what it refuses.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use proptest::prelude::{Just, Strategy, any, prop, prop_oneof, proptest};
use serde_json::json;
use weir_config::Document;

use super::*;
use crate::route::PathMatch;

/// The changes of a request, as a document has them.
fn plan(yaml: &str) -> JsonPlan {
    let text = format!(
        "routes: [{{ path: /, to: s, transform: {{ request: {yaml} }} }}]\n\
         services: {{ s: {{ endpoints: [\"127.0.0.1:1\"] }} }}"
    );
    let document = Document::from_yaml(&text).unwrap_or_else(|errors| panic!("{errors}"));
    let transform = document.routes[0].transform.clone().unwrap();
    let scope = Scope {
        route: "it",
        pattern: &PathMatch::default(),
        authenticated: true,
        groups: None,
    };
    JsonPlan::compile(&transform.request.unwrap(), scope).unwrap()
}

fn changed(plan: &JsonPlan, body: &str) -> Result<String, TransformFault> {
    let changed = plan.apply(body.as_bytes(), &[])?;
    Ok(String::from_utf8(changed).unwrap())
}

#[test]
fn fields_are_removed_renamed_and_set() {
    let table = [
        ("{ remove: [/a] }", r#"{"a":1,"b":2}"#, r#"{"b":2}"#),
        ("{ remove: [/a] }", r#"{ "b" : 2 }"#, r#"{"b":2}"#),
        (
            "{ remove: [/a/b] }",
            r#"{"a":{"b":1,"c":2}}"#,
            r#"{"a":{"c":2}}"#,
        ),
        ("{ remove: [/a/b] }", r#"{"a":1}"#, r#"{"a":1}"#),
        ("{ remove: [/a/1] }", r#"{"a":[1,2,3]}"#, r#"{"a":[1,3]}"#),
        (
            "{ remove: [/a/3, /a/x, /a/01] }",
            r#"{"a":[1,2,3]}"#,
            r#"{"a":[1,2,3]}"#,
        ),
        (
            "{ remove: [/a~1b, \"/c~0d\", /] }",
            r#"{"a/b":1,"c~d":2,"":3}"#,
            "{}",
        ),
        ("{ remove: [/a] }", r#"[1]"#, "[1]"),
        ("{ remove: [/a] }", r#""x""#, r#""x""#),
        (
            "{ rename: { /a: /b } }",
            r#"{"a":{"x":1},"c":2}"#,
            r#"{"c":2,"b":{"x":1}}"#,
        ),
        (
            "{ rename: { /a: /b/c } }",
            r#"{"a":1,"b":{"d":2}}"#,
            r#"{"b":{"d":2,"c":1}}"#,
        ),
        ("{ rename: { /a: /b } }", r#"{"a":1,"b":2}"#, r#"{"b":1}"#),
        ("{ rename: { /a/b: /a } }", r#"{"a":{"b":1}}"#, r#"{"a":1}"#),
        ("{ rename: { /a: /a/b } }", r#"{"a":1}"#, r#"{"a":{"b":1}}"#),
        ("{ rename: { /x: /b } }", r#"{"a":1}"#, r#"{"a":1}"#),
        ("{ rename: { /0: /1 } }", "[1,2,3]", "[2,1]"),
        ("{ set: { /a: 1 } }", "{}", r#"{"a":1}"#),
        (
            "{ set: { /a: 1 } }",
            r#"{"a":{"x":[]},"b":2}"#,
            r#"{"a":1,"b":2}"#,
        ),
        ("{ set: { /a/b/c: x } }", "{}", r#"{"a":{"b":{"c":"x"}}}"#),
        ("{ set: { /a/b: 1 } }", r#"{"a":null}"#, r#"{"a":{"b":1}}"#),
        (
            "{ set: { /a/-: 3, /a/0: 9 } }",
            r#"{"a":[1,2]}"#,
            r#"{"a":[9,2,3]}"#,
        ),
        ("{ set: { /a/2: 3 } }", r#"{"a":[1,2]}"#, r#"{"a":[1,2,3]}"#),
        (
            "{ set: { /a/-/b: 3 } }",
            r#"{"a":[]}"#,
            r#"{"a":[{"b":3}]}"#,
        ),
        (
            "{ set: { /a: { b: [1, 2.5, true, null, \"{{x}\"], c: {} } } }",
            "{}",
            r#"{"a":{"b":[1,2.5,true,null,"{x}"],"c":{}}}"#,
        ),
        (
            "{ set: { /a: {}, /a/b: 1, /a/c: [] , /a/c/-: 2 } }",
            "{}",
            r#"{"a":{"b":1,"c":[2]}}"#,
        ),
        (
            "{ set: { /n: { a: 1 }, /n/a/b: 1 }, remove: [/n] }",
            "{}",
            "NoPlace(\"/n/a/b\")",
        ),
        // Removed before renamed before set.
        (
            "{ set: { /b: 2 }, rename: { /a: /b }, remove: [/b] }",
            r#"{"a":1,"b":0}"#,
            r#"{"b":2}"#,
        ),
        ("{ set: { /a: 1 } }", "null", r#"{"a":1}"#),
        ("{ set: { /a: 1 } }", "[]", "NoPlace(\"/a\")"),
        ("{ set: { /a: 1 } }", "7", "NoPlace(\"/a\")"),
        ("{ set: { /a/b: 1 } }", r#"{"a":"x"}"#, "NoPlace(\"/a/b\")"),
        (
            "{ set: { /a/3: 1 } }",
            r#"{"a":[1,2]}"#,
            "NoPlace(\"/a/3\")",
        ),
        (
            "{ set: { /a/x: 1 } }",
            r#"{"a":[1,2]}"#,
            "NoPlace(\"/a/x\")",
        ),
        (
            "{ set: { /a: 1 } }",
            "",
            "Malformed(\"ends too early (line 1, column 0)\")",
        ),
        (
            "{ set: { /a: 1 } }",
            "{} x",
            "Malformed(\"is no JSON (line 1, column 4)\")",
        ),
        (
            "{ set: { /a: 1 } }",
            r#"{"b":1,"b":2}"#,
            "Malformed(\"has a field twice",
        ),
        (
            "{ set: { /a: 1 } }",
            r#"{"b":1,"\u0062":2}"#,
            "Malformed(\"has a field twice",
        ),
    ];
    for (yaml, body, expected) in table {
        let got = match changed(&plan(yaml), body) {
            Ok(text) => text,
            Err(fault) => format!("{fault:?}"),
        };
        assert!(got.starts_with(expected), "{yaml} of {body}: {got}");
        assert!(
            got.len() == expected.len() || got.starts_with("Malformed"),
            "{yaml}: {got}"
        );
    }
}

#[test]
fn what_is_not_named_leaves_as_it_came() {
    let body = r#"{"z":1.10,"big":12345678901234567890123,"exp":1e999,"a":{"y":[ 1 , 2 ],"\u0041":"\u00e9\/"},"k\"":-0.0}"#;
    let same = changed(&plan("{ remove: [/none, /a/none] }"), body).unwrap();
    let expected = body.replace("\"\\u0041\"", "\"A\"");
    assert_eq!(same, expected);
}

#[test]
fn bodies_have_a_bound_before_and_after() {
    let plan = plan("{ set: { /a: xx }, body_bytes_max: 1KiB }");
    let body = |bytes: usize| format!("{{\"a\":\"{}\"}}", "y".repeat(bytes - 8));
    assert!(changed(&plan, &body(1024)).is_ok());
    assert_eq!(
        changed(&plan, &body(1025)),
        Err(TransformFault::TooLarge(1024))
    );
    // `,"a":"xx"` takes nine bytes more.
    let other = |bytes: usize| format!("{{\"b\":\"{}\"}}", "y".repeat(bytes - 8));
    assert_eq!(changed(&plan, &other(1015)).unwrap().len(), 1024);
    assert_eq!(
        changed(&plan, &other(1016)),
        Err(TransformFault::TooLarge(1024))
    );
    // Deep nesting is only passed over.
    let mut roomy = plan;
    roomy.bytes_max = 1 << 20;
    let deep = format!("{{\"b\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(changed(&roomy, &deep).is_ok());
}

#[test]
fn values_that_have_none_take_their_field_out() {
    let plan = plan("{ set: { /a: 1, /b: \"{claim.sub}\", /c: [\"{claim.x}\"] } }");
    assert!(plan.varies());
    let filled = [Some(json!("ann")), None];
    let changed = plan
        .apply(br#"{"b":"forged","c":["forged"]}"#, &filled)
        .unwrap();
    assert_eq!(changed, br#"{"b":"ann","a":1}"#);
    assert!(!tests::plan("{ set: { /a: \"{route.name}\" } }").varies());
}

#[test]
fn heads_speak_of_the_new_body() {
    let mut headers = HeaderMap::new();
    let fields = [
        ("content-length", "7"),
        ("content-digest", "x"),
        ("digest", "x"),
        ("etag", "\"x\""),
        ("accept-ranges", "bytes"),
        ("x-other", "1"),
    ];
    for (name, value) in fields {
        headers.insert(
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        );
    }
    weaken(&mut headers);
    disown(&mut headers);
    assert_eq!(headers["etag"], "W/\"x\"");
    weaken(&mut headers);
    assert_eq!(headers["etag"], "W/\"x\"");
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    assert_eq!(left, ["etag", "x-other"]);
}

/// JSON of some depth, with the names that the plan speaks of.
fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-z\"\\\\é]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop::sample::select(vec!["a", "b", "c", "", "a/b", "0"]);
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from);
        let map = prop::collection::vec((name, inner), 0..4).prop_map(|fields| {
            let fields = fields.into_iter();
            Value::Object(
                fields
                    .map(|(name, value)| (name.to_owned(), value))
                    .collect(),
            )
        });
        prop_oneof![list, map]
    })
}

proptest! {
    #[test]
    fn no_body_makes_it_panic(body in any::<Vec<u8>>()) {
        let plan = plan("{ remove: [/a/b], rename: { /b: /c/0 }, set: { /a/-: 1 } }");
        let _ = plan.apply(&body, &[]);
    }

    #[test]
    fn what_comes_out_is_json_with_what_was_asked(value in value()) {
        let plan = plan("{ remove: [/a], rename: { /b: /d }, set: { /c/x: 7 } }");
        let body = value.to_string();
        if let Ok(changed) = plan.apply(body.as_bytes(), &[]) {
            let changed: Value = serde_json::from_slice(&changed).unwrap();
            assert_eq!(changed["c"]["x"], 7);
            assert!(changed.get("a").is_none() && changed.get("b").is_none());
            assert_eq!(changed.get("d").or(Some(&value["d"])), value.get("b").or(Some(&value["d"])));
        } else {
            assert!(!value.is_null());
        }
    }
}
