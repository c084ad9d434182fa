//! Properties: what holds for every path, and routing against a matcher that is too simple to err.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::{Just, Strategy, any, prop_oneof, proptest};
use proptest::test_runner::Config;
use weir_config::pattern::{HostPattern, PathPattern, Segment, ValuePattern};
use weir_config::{Document, Located, Position};
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::route::path::{Rules, normalise};
use weir_policy::snapshot::{Role, Snapshot};

use crate::bench::{Ask, ask, document};

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
        for rules in [Rules::MESH, Rules::EDGE] {
            let Ok(normal) = normalise(&raw, rules) else { continue };
            let again = normalise(&normal, rules);
            assert_eq!(again.as_deref(), Ok(&*normal), "{raw:?}");
            assert!(matches!(again, Ok(std::borrow::Cow::Borrowed(_))), "{raw:?} is recognised");
            assert!(normal.starts_with('/'));
            assert!(normal.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'));
            assert!(normal.split('/').all(|segment| segment != "." && segment != ".."));
            assert!(rules == Rules::MESH || !normal.contains("//"));
            assert!(http::uri::PathAndQuery::try_from(&*normal).is_ok());
        }
    }

    #[test]
    fn normalising_never_panics_on_anything(raw in any::<String>()) {
        let _ = normalise(&raw, Rules::EDGE);
    }
}

/// A random route: host, path, and which condition it has. A condition on a value is on one exact
/// value (`true`) or on there being any.
#[derive(Debug, Clone)]
struct Drawn {
    host: HostPattern,
    path: PathPattern,
    method: Option<http::Method>,
    header: Option<bool>,
    query: Option<bool>,
    cookie: Option<bool>,
    /// How many bits of 10.0.0.0 the client must have.
    client: Option<u8>,
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
    let conditions = any::<[Option<bool>; 3]>();
    let client = option::of(prop_oneof![Just(8_u8), Just(16)]);
    (host, path(), method, conditions, client).prop_map(
        |(host, path, method, conditions, client)| Drawn {
            host,
            path,
            method,
            header: conditions[0],
            query: conditions[1],
            cookie: conditions[2],
            client,
        },
    )
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

/// The order of a route among those that take the request, smaller first; `None` when it does not.
fn order(route: &Drawn, asked: &Asked) -> Option<impl Ord + std::fmt::Debug + use<>> {
    let place = specificity(route, asked.host, &asked.path)?;
    let holds = route.method.as_ref().is_none_or(|method| {
        *method == asked.method || (*method == http::Method::GET && asked.method == "HEAD")
    }) && route
        .header
        .is_none_or(|exact| asked.holds(asked.header, exact))
        && route
            .query
            .is_none_or(|exact| asked.holds(asked.query, exact))
        && route
            .cookie
            .is_none_or(|exact| asked.holds(asked.cookie, exact))
        && route.client.is_none_or(|bits| asked.client >= bits);
    let methods = match &route.method {
        Some(method) if *method == http::Method::GET => 2,
        Some(_) => 1,
        None => usize::MAX,
    };
    let conditions = [route.header, route.query, route.cookie];
    let exact = conditions.iter().filter(|it| **it == Some(true)).count();
    let rank = (
        methods,
        conditions.map(|it| it.is_none()),
        3 - exact,
        // Networks are narrower the more bits they have.
        128 - route.client.unwrap_or(0),
    );
    holds.then_some((place, rank))
}

/// The index of the route that should take the request.
fn expected(routes: &[Drawn], asked: &Asked) -> Option<usize> {
    let candidates = routes
        .iter()
        .enumerate()
        .filter_map(|(index, route)| Some(((order(route, asked)?, index), index)));
    candidates.min().map(|(_, index)| index)
}

#[derive(Debug, Clone)]
struct Asked {
    host: &'static str,
    path: String,
    method: http::Method,
    header: Option<bool>,
    query: Option<bool>,
    cookie: Option<bool>,
    /// How many bits of its address are those of 10.0.0.0.
    client: u8,
}

impl Asked {
    /// Whether a value that is there, and perhaps the exact one, meets a condition.
    fn holds(&self, has: Option<bool>, exact: bool) -> bool {
        has.is_some_and(|is_exact| is_exact || !exact)
    }

    /// The request itself.
    fn ask(&self) -> Ask {
        let value = |exact| if exact { "1" } else { "2" };
        let query = self.query.map(|exact| format!("?q={}", value(exact)));
        let line = format!("{} {}{}", self.method, self.path, query.unwrap_or_default());
        let mut request = ask(&line).header("host", self.host);
        if let Some(exact) = self.header {
            request = request.header("x-h", value(exact));
        }
        if let Some(exact) = self.cookie {
            request = request.header("cookie", &format!("a=b; c={}", value(exact)));
        }
        let client = match self.client {
            0 => [192, 0, 2, 1],
            8 => [10, 1, 0, 1],
            _ => [10, 0, 0, 1],
        };
        request.remote = IpAddr::from(client);
        request
    }
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
    let values = any::<[Option<bool>; 3]>();
    let client = prop_oneof![Just(0_u8), Just(8), Just(16)];
    (host, path, method, values, client).prop_map(|(host, path, method, values, client)| Asked {
        host,
        // The reference works on normalised paths.
        path: normalise(&path, Rules::EDGE).unwrap().into_owned(),
        method,
        header: values[0],
        query: values[1],
        cookie: values[2],
        client,
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
        let pattern = |exact| match exact {
            true => ValuePattern::Exact("1".into()),
            false => ValuePattern::Present,
        };
        let named = |name: &str| Located {
            value: name.to_owned(),
            at,
        };
        let header = Located {
            value: http::HeaderName::from_static("x-h"),
            at,
        };
        let header = drawn.header.map(|exact| (header, pattern(exact)));
        route.headers.extend(header);
        let query = drawn.query.map(|exact| (named("q"), pattern(exact)));
        route.query.extend(query);
        let cookie = drawn.cookie.map(|exact| (named("c"), pattern(exact)));
        route.cookies.extend(cookie);
        let network = |bits| format!("10.0.0.0/{bits}").parse::<ipnet::IpNet>().unwrap();
        route.clients.extend(drawn.client.map(network));
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
        cookie,
        client,
        ..
    } = route;
    format!("{host:?} {path} {method:?} {header:?} {query:?} {cookie:?} {client:?}")
}

/// Without those that a document may not have beside others.
fn without_doubles(routes: Vec<Drawn>) -> Vec<Drawn> {
    let mut seen = std::collections::HashSet::new();
    let fresh = routes.into_iter().filter(|route| seen.insert(key(route)));
    fresh.collect()
}

fn compiled(routes: &[Drawn]) -> Snapshot {
    let document = Arc::new(document_of(routes));
    compile(document, &Role::Gateway, "r", &Live::default()).unwrap()
}

/// The name of the route that takes a request.
fn taken(snapshot: &Snapshot, asked: &Asked) -> Option<String> {
    let admitted = asked.ask().admit(snapshot).ok()?;
    Some(snapshot.route(admitted.route).name.to_string())
}

proptest! {
    #![proptest_config(Config { failure_persistence: None, cases: 100, ..Config::default() })]

    #[test]
    fn routing_agrees_with_a_linear_search(
        routes in vec(drawn(), 1..24),
        requests in vec(asked(), 16),
    ) {
        let routes = without_doubles(routes);
        let snapshot = compiled(&routes);
        for asked in requests {
            let wanted = expected(&routes, &asked).map(|index| format!("r{index}"));
            assert_eq!(taken(&snapshot, &asked), wanted, "{asked:?} over {routes:#?}");
        }
    }

    #[test]
    fn the_order_of_the_file_decides_between_equals_alone(
        (routes, shuffled) in vec(drawn(), 1..24).prop_map(without_doubles).prop_flat_map(
            |routes| (Just(routes.clone()), Just(routes).prop_shuffle()),
        ),
        requests in vec(asked(), 16),
    ) {
        let snapshots = [compiled(&routes), compiled(&shuffled)];
        for asked in requests {
            let of = |routes: &[Drawn], snapshot| {
                let name = taken(snapshot, &asked)?;
                let index: usize = name.strip_prefix('r')?.parse().ok()?;
                Some(order(&routes[index], &asked))
            };
            let before = of(&routes, &snapshots[0]);
            let after = of(&shuffled, &snapshots[1]);
            assert_eq!(before, after, "{asked:?} over {routes:#?}");
        }
    }
}
