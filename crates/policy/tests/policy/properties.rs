//! Properties: what holds for every path, and routing against a matcher that is too simple to err.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use weir_config::listener::Listener;
use weir_config::pattern::{HostPattern, PathPattern, Segment};
use weir_config::{Document, Located, Position};
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::route::path::{Slashes, normalise};
use weir_policy::snapshot::Role;

use crate::bench::{ask, document};

/// Text made of what matters in paths, and of anything.
fn path_text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("/".to_owned()),
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%61".to_owned()),
        Just("%c3%a9".to_owned()),
        Just("%".to_owned()),
        Just(";".to_owned()),
        Just("{|}".to_owned()),
        "[a-zA-Z0-9%/.~_-]{0,4}",
        any::<char>().prop_map(String::from),
    ];
    vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 2_000, ..Config::default() })]

    #[test]
    fn normalising_never_panics_and_is_idempotent(raw in path_text()) {
        for slashes in [Slashes::Keep, Slashes::Merge] {
            let Ok(normal) = normalise(&raw, slashes) else { continue };
            let again = normalise(&normal, slashes);
            assert_eq!(again.as_deref(), Ok(&*normal), "{raw:?}");
            assert!(matches!(again, Ok(std::borrow::Cow::Borrowed(_))), "{raw:?} is recognised");
            assert!(normal.starts_with('/'));
            assert!(normal.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
            assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            assert!(slashes == Slashes::Keep || !normal.contains("//"));
            assert!(http::uri::PathAndQuery::try_from(&*normal).is_ok());
        }
    }

    #[test]
    fn normalising_never_panics_on_anything(raw in any::<String>()) {
        let _ = normalise(&raw, Slashes::Merge);
    }
}

/// A random route: host, path, and which condition it has.
#[derive(Debug, Clone)]
struct Drawn {
    host: HostPattern,
    path: PathPattern,
    method: Option<http::Method>,
    header: bool,
    query: bool,
    client: bool,
}

fn drawn() -> impl Strategy<Value = Drawn> {
    let host = prop_oneof![
        Just(HostPattern::Any),
        Just(HostPattern::Exact("a.b.c".into())),
        Just(HostPattern::Suffix("b.c".into())),
        Just(HostPattern::Suffix("c".into())),
    ];
    let method = option::of(prop_oneof![
        Just(http::Method::GET),
        Just(http::Method::POST)
    ]);
    (host, path(), method, any::<[bool; 3]>()).prop_map(|(host, path, method, flags)| Drawn {
        host,
        path,
        method,
        header: flags[0],
        query: flags[1],
        client: flags[2],
    })
}

fn path() -> impl Strategy<Value = PathPattern> {
    let literal = prop_oneof![Just("x"), Just("y"), Just("z")];
    let text = vec(literal.clone(), 1..4).prop_map(|all| format!("/{}", all.join("/")));
    let segment = prop_oneof![
        literal.prop_map(|text| Segment::Literal(text.to_owned())),
        Just(Segment::Parameter(String::new())),
    ];
    let template = (vec(segment, 1..4), any::<bool>()).prop_map(|(mut segments, below)| {
        for (index, segment) in segments.iter_mut().enumerate() {
            if let Segment::Parameter(name) = segment {
                *name = format!("p{index}");
            }
        }
        PathPattern::Template { segments, below }
    });
    prop_oneof![
        text.clone().prop_map(PathPattern::Exact),
        text.prop_map(PathPattern::Prefix),
        Just(PathPattern::Prefix(String::new())),
        template,
        Just(PathPattern::Regex("/x(/.*)?".into())),
        Just(PathPattern::Regex(".*/z".into())),
    ]
}

/// Host and path as one sortable value, smaller first, or `None` when they do not match. Written
/// from the documentation of `weir_policy::route`, not from its code.
fn specificity(route: &Drawn, host: &str, path: &str) -> Option<(usize, u8, usize, Vec<u8>)> {
    let host_rank = match &route.host {
        HostPattern::Exact(name) => (name == host).then_some(0)?,
        HostPattern::Suffix(name) => host
            .ends_with(&format!(".{name}"))
            .then_some(100 - name.len())?,
        HostPattern::Any => 1_000,
    };
    let segments_of = |text: &str| -> Vec<Segment> {
        text.split('/')
            .skip(1)
            .map(|segment| Segment::Literal(segment.to_owned()))
            .collect()
    };
    let (segments, below) = match &route.path {
        PathPattern::Exact(text) => (segments_of(text), false),
        PathPattern::Prefix(text) => (segments_of(text), true),
        PathPattern::Template { segments, below } => (segments.clone(), *below),
        PathPattern::Regex(text) => {
            let regex = regex::Regex::new(&format!("^(?:{text})$")).unwrap();
            return regex
                .is_match(path)
                .then_some((host_rank, 2, 0, Vec::new()));
        }
    };
    let have: Vec<_> = path.split('/').skip(1).collect();
    let fits = segments.len() <= have.len()
        && (below || segments.len() == have.len())
        && segments
            .iter()
            .zip(&have)
            .all(|(segment, have)| match segment {
                Segment::Literal(text) => text == have,
                Segment::Parameter(_) => !have.is_empty(),
            });
    let order = segments
        .iter()
        .map(|segment| u8::from(matches!(segment, Segment::Parameter(_))));
    let (kind, length) = if below {
        (1, 1_000 - segments.len())
    } else {
        (0, 0)
    };
    fits.then_some((host_rank, kind, length, order.collect()))
}

/// The index of the route that should take the request.
fn expected(routes: &[Drawn], asked: &Asked) -> Option<usize> {
    let candidates = routes.iter().enumerate().filter_map(|(index, route)| {
        let place = specificity(route, asked.host, &asked.path)?;
        let holds = route.method.as_ref().is_none_or(|method| {
            *method == asked.method || (*method == http::Method::GET && asked.method == "HEAD")
        }) && (!route.header || asked.header)
            && (!route.query || asked.query)
            && (!route.client || asked.client);
        let rank = (
            route.method.is_none(),
            !route.header,
            !route.query,
            !route.client,
        );
        holds.then_some(((place, rank, index), index))
    });
    candidates.min().map(|(_, index)| index)
}

#[derive(Debug, Clone)]
struct Asked {
    host: &'static str,
    path: String,
    method: http::Method,
    header: bool,
    query: bool,
    client: bool,
}

fn asked() -> impl Strategy<Value = Asked> {
    let host = prop_oneof![
        Just("a.b.c"),
        Just("x.b.c"),
        Just("b.c"),
        Just("c"),
        Just("d")
    ];
    let segment = prop_oneof![Just("x"), Just("y"), Just("z"), Just("w"), Just("")];
    let path = vec(segment, 1..5).prop_map(|all| format!("/{}", all.join("/")));
    let method = prop_oneof![
        Just(http::Method::GET),
        Just(http::Method::HEAD),
        Just(http::Method::POST)
    ];
    (host, path, method, any::<[bool; 3]>()).prop_map(|(host, path, method, flags)| Asked {
        host,
        path,
        method,
        header: flags[0],
        query: flags[1],
        client: flags[2],
    })
}

/// The document of these routes; those whose conditions are wholly equal are left out, as a
/// document with them is refused.
fn document_of(routes: &[Drawn]) -> Document {
    let mut document = document(
        "listeners: { web: { bind: \"127.0.0.1:0\" } }\n\
         services: { s: { endpoints: [\"127.0.0.1:1\"] } }\n\
         routes: [{ path: /template, to: s }]\n",
    );
    let template = document.routes.remove(0);
    let at = Position::default();
    for (index, drawn) in routes.iter().enumerate() {
        let mut route = template.clone();
        route.name = Some(Located {
            value: format!("r{index}"),
            at,
        });
        route.hosts = vec![Located {
            value: drawn.host.clone(),
            at,
        }];
        route.path = Located {
            value: drawn.path.clone(),
            at,
        };
        route.methods = drawn
            .method
            .iter()
            .map(|method| Located {
                value: method.clone(),
                at,
            })
            .collect();
        if drawn.header {
            let name = Located {
                value: http::HeaderName::from_static("x-h"),
                at,
            };
            route
                .headers
                .push((name, weir_config::pattern::ValuePattern::Present));
        }
        if drawn.query {
            let name = Located {
                value: "q".to_owned(),
                at,
            };
            route
                .query
                .push((name, weir_config::pattern::ValuePattern::Exact("1".into())));
        }
        if drawn.client {
            route.clients.push("10.0.0.0/8".parse().unwrap());
        }
        document.routes.push(route);
    }
    document
}

/// Conditions in which parameter names do not count.
fn key(route: &Drawn) -> String {
    let path = match &route.path {
        PathPattern::Exact(text) => text.clone(),
        PathPattern::Prefix(text) => format!("{text}/*"),
        PathPattern::Regex(text) => format!("~{text}"),
        PathPattern::Template { segments, below } => {
            let segment = |segment: &Segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                Segment::Parameter(_) => "/{}".to_owned(),
            };
            let text: String = segments.iter().map(segment).collect();
            format!("{text}{}", if *below { "/*" } else { "" })
        }
    };
    let Drawn {
        host,
        method,
        header,
        query,
        client,
        ..
    } = route;
    format!("{host:?} {path} {method:?} {header} {query} {client}")
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 100, ..Config::default() })]

    #[test]
    fn routing_agrees_with_a_linear_search(
        routes in vec(drawn(), 1..24),
        requests in vec(asked(), 16),
    ) {
        let mut seen = std::collections::HashSet::new();
        let routes: Vec<_> = routes.into_iter().filter(|route| seen.insert(key(route))).collect();
        let document: Document = document_of(&routes);
        let _: &Listener = &document.listeners[0].1;
        let snapshot =
            compile(Arc::new(document), &Role::Gateway, "r", &Live::default()).unwrap();
        for mut asked in requests {
            // The reference works on normalised paths.
            asked.path = normalise(&asked.path, Slashes::Merge).unwrap().into_owned();
            let query = if asked.query { "?q=1" } else { "" };
            let mut request = ask(&format!("{} {}{query}", asked.method, asked.path));
            request = request.header("host", asked.host);
            if asked.header {
                request = request.header("x-h", "");
            }
            let client = if asked.client { [10, 0, 0, 1] } else { [192, 0, 2, 1] };
            request.remote = IpAddr::from(client);
            let found = request.admit(&snapshot).ok();
            let found = found.map(|admitted| snapshot.route(admitted.route).name.to_string());
            let wanted = expected(&routes, &asked).map(|index| format!("r{index}"));
            assert_eq!(found, wanted, "{asked:?} over {routes:#?}");
        }
    }
}
