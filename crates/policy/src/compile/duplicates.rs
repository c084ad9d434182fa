//! Routes that can never be reached, because another has wholly equal conditions.

use std::collections::HashMap;

use weir_config::pattern::{HostPattern, PathPattern, Segment};
use weir_config::{Document, Located, Position};

use super::faults::Faults;
use super::routes::{Compiled, MESH};
use crate::route::Matcher;

/// Refuses the later of two routes that match exactly the same on one listener and host.
pub(super) fn check(document: &Document, routes: &Compiled, faults: &mut Faults) {
    let any = [Located {
        value: HostPattern::Any,
        at: Position::default(),
    }];
    let all: Vec<&str> = document
        .listeners
        .iter()
        .map(|(name, _)| name.value.as_str())
        .collect();
    let mut seen: HashMap<(&str, &HostPattern, &str), usize> = HashMap::new();
    let texts: Vec<Option<String>> = routes
        .matchers
        .iter()
        .map(|matcher| matcher.as_ref().map(condition_text))
        .collect();
    for (index, (route, text)) in document.routes.iter().zip(&texts).enumerate() {
        let Some(text) = text else { continue };
        let hosts = if route.hosts.is_empty() {
            &any[..]
        } else {
            &route.hosts[..]
        };
        let named = route
            .listeners
            .iter()
            .map(|listener| listener.value.as_str());
        let on: Vec<&str> = if route.listeners.is_empty() {
            all.clone()
        } else {
            named.collect()
        };
        let places = on
            .iter()
            .flat_map(|listener| hosts.iter().map(move |host| (*listener, host)));
        let mut first = None;
        for (listener, host) in places {
            let key = (listener, &host.value, text.as_str());
            let earlier = *seen.entry(key).or_insert(index);
            if earlier != index {
                first.get_or_insert((earlier, listener));
            }
        }
        if let Some((earlier, listener)) = first {
            let line = document.routes[earlier].at.line;
            let what = if listener == MESH {
                "in the mesh"
            } else {
                "on the same listener"
            };
            let problem = format!("never reached {what}: same as routes[{earlier}] at line {line}");
            let hint = "make a condition differ, or remove one of the two".to_owned();
            faults.error(format!("routes[{index}]"), route.at, problem, Some(hint));
        }
    }
}

/// The conditions in one spelling: order and names of parameters do not matter.
fn condition_text(matcher: &Matcher) -> String {
    let path = match &matcher.path.pattern {
        PathPattern::Exact(text) => format!("={text}"),
        PathPattern::Prefix(text) => format!("={text}/*below"),
        PathPattern::Regex(text) => format!("~{text}"),
        PathPattern::Template { segments, below } => {
            let segment = |segment: &Segment| match segment {
                Segment::Literal(text) => format!("/{text}"),
                // No normalised path has a raw brace.
                Segment::Parameter(_) => "/{}".to_owned(),
            };
            let text: String = segments.iter().map(segment).collect();
            format!("={text}{}", if *below { "/*below" } else { "" })
        }
    };
    let sorted = |mut texts: Vec<String>| {
        texts.sort_unstable();
        texts.dedup();
        texts.join("\n")
    };
    let headers = matcher
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {value:?}"));
    let query = matcher
        .query
        .iter()
        .map(|(name, value)| format!("{name}= {value:?}"));
    let clients = matcher
        .clients
        .iter()
        .map(|network| network.trunc().to_string());
    format!(
        "{path}\n{}\n{}\n{}\n{}",
        sorted(matcher.methods.iter().map(ToString::to_string).collect()),
        sorted(headers.collect()),
        sorted(query.collect()),
        sorted(clients.collect())
    )
}
