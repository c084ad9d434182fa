//! Documents with several errors: all are told at once, each once, and nothing that only follows.

use weir_config::bounds::ERRORS_MAX;
use weir_policy::compile::{Elsewhere, check, read};
use weir_policy::live::Live;
use weir_policy::snapshot::Role;

/// Every error as `line:column path: problem`, the same for every role; none may be missing, none
/// more may be there.
fn told(title: &str, yaml: &str, expected: &[&str]) {
    let application = "127.0.0.1:5000".parse().unwrap();
    let sidecar = Role::Sidecar {
        service: "s".into(),
        application,
    };
    let refusals = [
        ("both", check(yaml, &Elsewhere).map(|_| ())),
        (
            "gateway",
            read(yaml, &Role::Gateway, "r", &Live::default(), &Elsewhere).map(|_| ()),
        ),
        (
            "sidecar",
            read(yaml, &sidecar, "r", &Live::default(), &Elsewhere).map(|_| ()),
        ),
    ];
    for (role, refusal) in refusals {
        let errors = refusal.expect_err(title);
        let told: Vec<_> = errors
            .0
            .iter()
            .map(|error| format!("{} {}: {}", error.at, error.path, error.problem))
            .collect();
        assert_eq!(told, expected, "{title} ({role})");
    }
}

#[test]
fn every_kind_of_error_is_told_at_once() {
    told(
        "each in its own entry",
        r#"
listeners:
  web: { bind: "127.0.0.1:8080", idle_timout: 5s }
  other: { bind: "127.0.0.1:8080" }
services:
  users: { endpoints: ["127.0.0.1:1"], timeouts: { response: 5 sec } }
issuers:
  shop: { issuer: "https://id.example", audience: a, jwks: { service: user } }
routes:
  - { path: /a, to: users, listeners: [web] }
  - { path: /b, to: userz }
  - { path: /c, to: users, auth: { jwt: shopp } }
  - { path: /d, to: users, listeners: [wob] }
  - { path: { regex: "/e(" }, to: users }
  - { path: /a, to: users, listeners: [web] }
"#,
        &[
            "3:34 listeners.web.idle_timout: unknown key `idle_timout`",
            "4:10 listeners.other.bind: listener `web` has the address 127.0.0.1:8080 already",
            "6:62 services.users.timeouts.response: `5 sec` has the unknown unit ` sec`",
            "8:71 issuers.shop.jwks.service: there is no service `user`",
            "11:21 routes[1].to[0].service: there is no service `userz`",
            "12:41 routes[2].auth.jwt: there is no issuer `shopp`",
            "13:40 routes[3].listeners[0]: there is no listener `wob`",
            "14:22 routes[4].path.regex: `/e(` is not a regular expression: unclosed group",
            "15:5 routes[5]: never reached on the same listener: same as routes[0] at line 10",
        ],
    );
    told(
        "all in one route",
        r#"
services: { users: { endpoints: ["127.0.0.1:1"] } }
routes:
  - path: /a
    method: [GET]
    timeouts: { response: 5 sec }
    listeners: [wob]
    auth: { jwt: shopp }
    to: [{ service: userz, weight: much }, users]
    limit: { rate: 1/s, by: peer }
"#,
        &[
            "5:5 routes[0].method: unknown key `method`",
            "6:27 routes[0].timeouts.response: `5 sec` has the unknown unit ` sec`",
            "7:17 routes[0].listeners[0]: there is no listener `wob`",
            "8:18 routes[0].auth.jwt: there is no issuer `shopp`",
            "9:21 routes[0].to[0].service: there is no service `userz`",
            "9:36 routes[0].to[0].weight: expected a whole number, found the text `much`",
        ],
    );
}

#[test]
fn no_error_is_the_shadow_of_another() {
    let head = r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: { users: { endpoints: ["127.0.0.1:1"] } }
routes:
"#;
    let table = [
        (
            "a service, a listener and an issuer are known by name, whatever is in them",
            r#"
listeners: { web: { bind: nowhere }, tls: { bind: "127.0.0.1:1", tls: { certs: [] } } }
services: { users: { wrong: 1 } }
issuers: { shop: { issuer: 1 } }
routes: [{ path: /a, to: users, listeners: [web, tls], auth: { jwt: shop } }]
"#
            .to_owned(),
            vec![
                "2:27 listeners.web.bind: `nowhere` is not an IP address with a port",
                "2:73 listeners.tls.tls.certs: unknown key `certs`",
                "3:20 services.users: exactly one of `consul`, `dns`, `endpoints`, `file`, \
                 `mesh` is needed; there is none",
                "3:22 services.users.wrong: unknown key `wrong`",
                "4:18 issuers.shop: `audience` is missing",
                "4:18 issuers.shop: `jwks` is missing",
                "4:28 issuers.shop.issuer: expected a text, found the integer `1`",
            ],
        ),
        (
            "a misspelt section has names that are not known",
            r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
service: { users: { endpoints: ["127.0.0.1:1"] } }
routes: [{ path: /a, to: users, listeners: [wob] }]
"#
            .to_owned(),
            vec![
                "3:1 service: unknown key `service`",
                "4:45 routes[0].listeners[0]: there is no listener `wob`",
            ],
        ),
        (
            "a section of another type, or written twice, has names that are not known",
            r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: [users]
listeners: { other: { bind: "127.0.0.1:8081" } }
routes: [{ path: /a, to: users, listeners: [other] }]
"#
            .to_owned(),
            vec![
                "3:11 services: expected a map, found a list",
                "4:1 listeners: the key `listeners` is already there, in line 2",
            ],
        ),
        (
            "routes that only look alike because of a misspelt condition",
            format!(
                "{head}  - {{ path: /a, to: users, method: GET }}\n  \
                 - {{ path: /a, to: users, methods: get }}\n  - {{ path: /a, to: users }}\n"
            ),
            vec![
                "5:28 routes[0].method: unknown key `method`",
                "6:37 routes[1].methods: `get` is not a method; methods are upper case",
            ],
        ),
        (
            "a limit by claim beside a misspelt `auth`, and a name that is taken",
            format!(
                "{head}  - {{ name: a, path: /a, to: users, aut: {{ jwt: x }}, \
                 limit: {{ rate: 1/s, by: claim.sub }} }}\n  \
                 - {{ name: a, path: /b, to: users }}\n"
            ),
            vec![
                "5:37 routes[0].aut: unknown key `aut`",
                "6:13 routes[1].name: the route name `a` is already there, in line 5",
            ],
        ),
        (
            "a redirect that was meant, and a parameter that is told once",
            format!(
                "{head}  - {{ path: /a, redirect: {{ pat: /b }} }}\n  \
                 - {{ path: \"/c/{{id}}\", to: users, rewrite: {{ path: \"/{{nr}}\" }} }}\n"
            ),
            vec![
                "5:29 routes[0].redirect.pat: unknown key `pat`",
                "6:52 routes[1].rewrite.path: the route's path has no parameter `nr`",
            ],
        ),
        (
            "a route alone, without the brackets of a list",
            "services: { users: { endpoints: [\"127.0.0.1:1\"] } }\n\
             routes: { path: /a, to: users, aut: x, limit: { rate: 1/s, by: peer } }\n"
                .to_owned(),
            vec!["2:32 routes.aut: unknown key `aut`"],
        ),
        (
            "routes keep their numbers behind one that cannot be read",
            format!("{head}  - {{ path: a, to: users }}\n  - {{ path: /b, to: userz }}\n"),
            vec![
                "5:13 routes[0].path: `a` is not a path that can match",
                "6:21 routes[1].to[0].service: there is no service `userz`",
            ],
        ),
        (
            "a text that is no tree has nothing else to be told",
            "routes: [".to_owned(),
            vec![
                "2:1 : not readable as YAML: while parsing a node, did not find expected node \
                 content",
            ],
        ),
    ];
    for (title, yaml, expected) in table {
        told(title, &yaml, &expected);
    }
}

#[test]
fn nobody_can_be_counted_by_an_identity_where_there_is_none() {
    told(
        "by: peer",
        r#"
listeners: { web: { bind: "127.0.0.1:8080" } }
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes:
  - { path: /a, to: s, limit: { rate: 1/s, by: peer } }
  - { path: /a, to: s, listeners: [mesh], limit: [9/s, { rate: 1/s, by: peer }] }
  - { path: /b, to: s, listeners: [web, mesh], limit: { rate: 1/s, by: client } }
"#,
        &[
            "5:31 routes[0].limit[0]: `by: peer` where no client has an identity in the mesh",
            "6:56 routes[1].limit[1]: `by: peer` where no client has an identity in the mesh",
        ],
    );
}

#[test]
fn what_is_valid_is_said_to_be_with_the_warnings_of_every_role() {
    let yaml = r#"
services: { s: { endpoints: ["127.0.0.1:1"] } }
routes: [{ path: /a, to: [{ service: s, weight: 5 }] }]
"#;
    let checked = check(yaml, &Elsewhere).unwrap();
    let paths: Vec<_> = checked.warnings.iter().map(|it| it.path.as_str()).collect();
    assert_eq!(paths, ["listeners", "routes[0].to[0].weight"]);
    assert_eq!(checked.document.routes.len(), 1);
}

#[test]
fn more_errors_than_are_shown_are_counted() {
    let mut yaml = String::from("routs: []\nroutes:\n");
    for number in 0..ERRORS_MAX + 6 {
        yaml.push_str(&format!("  - {{ path: /{number}, to: nobody }}\n"));
    }
    let yaml = format!("services: {{}}\n{yaml}");
    let errors = check(&yaml, &Elsewhere).unwrap_err().0;
    assert_eq!(errors.len(), ERRORS_MAX + 1);
    assert_eq!(errors[0].path, "routs");
    let last = &errors[ERRORS_MAX];
    assert_eq!(last.problem, "7 more errors are not shown");
}

#[test]
fn a_refused_document_leaves_no_trace_in_the_state_of_a_proxy() {
    let live = Live::default();
    let yaml = "services: { s: { wrong: 1 } }\nroutes: [{ path: /a, to: s }]\n";
    assert!(read(yaml, &Role::Gateway, "r", &live, &Elsewhere).is_err());
    assert_eq!(format!("{live:?}"), format!("{:?}", Live::default()));
}
