//! Documents of any size.

use std::fmt::Write as _;
use std::sync::Arc;

use weir_config::Document;
use weir_policy::compile::compile;
use weir_policy::live::Live;
use weir_policy::snapshot::{Role, Snapshot};

/// Routes that each host has.
pub const ROUTES_PER_HOST: usize = 10;

/// Hosts of which one has a route with a regular expression.
const HOSTS_PER_EXPRESSION: usize = 10;

/// So many routes, ten on each host: exact paths, templates, a prefix, and on every tenth host a
/// regular expression. A hundred services, or as many as there are routes.
#[must_use]
pub fn routes(count: usize) -> String {
    let services = count.clamp(1, 100);
    let mut yaml = String::from("listeners: { web: { bind: \"127.0.0.1:0\" } }\nservices:\n");
    for service in 0..services {
        let port = service + 1;
        let _ = writeln!(
            yaml,
            "  s{service}: {{ endpoints: [\"127.0.0.1:{port}\"] }}"
        );
    }
    yaml.push_str("routes:\n");
    for route in 0..count {
        let (host, nr) = (route / ROUTES_PER_HOST, route % ROUTES_PER_HOST);
        let service = route % services;
        let path = match nr {
            0..=3 => format!("\"/api/items{nr}\""),
            4..=6 => format!("\"/api/{{tenant}}/orders{nr}/{{id}}\""),
            7 => "\"/files/*\"".to_owned(),
            8 if host.is_multiple_of(HOSTS_PER_EXPRESSION) => {
                "{ regex: \"/reports/[a-z]+-[0-9]{4}\" }".to_owned()
            }
            _ => format!("\"/static/page{nr}\""),
        };
        let _ = writeln!(
            yaml,
            "  - {{ hosts: [h{host}.example], path: {path}, to: s{service} }}"
        );
    }
    yaml
}

/// How many hosts `routes(count)` has.
#[must_use]
pub fn hosts(count: usize) -> usize {
    count.div_ceil(ROUTES_PER_HOST)
}

/// A host of `routes(count)`, spread over all of them; one that has a regular expression if asked.
#[must_use]
pub fn host(count: usize, nr: usize, with_expression: bool) -> String {
    let hosts = hosts(count);
    // A prime, so that neighbours in the order of requests are none in the table.
    let host = nr * 7919 % hosts;
    let host = match with_expression {
        true => host / HOSTS_PER_EXPRESSION * HOSTS_PER_EXPRESSION,
        false => host,
    };
    format!("h{host}.example")
}

/// Compiles a document for a gateway.
///
/// # Panics
/// When it is refused.
#[must_use]
pub fn gateway(yaml: &str) -> Snapshot {
    let document = Document::from_yaml(yaml)
        .unwrap_or_else(|errors| panic!("{}", errors.render(yaml, "micro")));
    compile(
        Arc::new(document),
        &Role::Gateway,
        "micro",
        &Live::default(),
    )
    .unwrap_or_else(|errors| panic!("{errors}"))
}
