//! Routes that can never be reached, because another has wholly equal conditions.

use std::collections::HashMap;

use weir_config::Document;
use weir_config::give_way::give_way;
use weir_config::pattern::HostPattern;
use weir_config::route::Route;

use super::faults::Faults;
use super::routes::{Compiled, MESH};
use crate::route::Matcher;

/// Refuses the later of two routes that match exactly the same on one listener and host.
pub(super) fn check(document: &Document, routes: &Compiled, faults: &mut Faults) {
    let mut seen: HashMap<(&str, &HostPattern, &str), usize> = HashMap::new();
    let texts: Vec<Option<String>> = routes
        .matchers
        .iter()
        .inspect(|_| give_way())
        .map(|matcher| matcher.as_ref().map(condition_text))
        .collect();
    for (index, (route, text)) in document.routes.iter().zip(&texts).enumerate() {
        give_way();
        let Some(text) = text else { continue };
        let mut first = None;
        for (listener, host) in attachments(document, route) {
            let key = (listener, host, text.as_str());
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

/// Every listener and host that a route is attached to.
pub(super) fn attachments<'d>(
    document: &'d Document,
    route: &'d Route,
) -> impl Iterator<Item = (&'d str, &'d HostPattern)> {
    let all = || document.listeners.iter().map(|(name, _)| name.as_str());
    let named = route.listeners.iter().map(|listener| listener.as_str());
    let everywhere = route.listeners.is_empty();
    let listeners = named.chain(everywhere.then(all).into_iter().flatten());
    let any = route.hosts.is_empty().then_some(&HostPattern::Any);
    let hosts = route.hosts.iter().map(|host| &host.value).chain(any);
    listeners.flat_map(move |listener| hosts.clone().map(move |host| (listener, host)))
}

/// The conditions in one spelling: order and names of parameters do not matter.
fn condition_text(matcher: &Matcher) -> String {
    let path = matcher.path.place();
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
    let cookies = matcher
        .cookies
        .iter()
        .map(|(name, value)| format!("{name}= {value:?}"));
    let clients = matcher
        .clients
        .iter()
        .map(|network| network.trunc().to_string());
    format!(
        "{path}\n{}\n{}\n{}\n{}\n{}",
        sorted(matcher.methods.iter().map(ToString::to_string).collect()),
        sorted(headers.collect()),
        sorted(query.collect()),
        sorted(cookies.collect()),
        sorted(clients.collect())
    )
}
