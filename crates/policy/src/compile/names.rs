//! A unique name for every route: as written, or made of methods and path.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weir_config::Document;
use weir_config::broken::Doubts;
use weir_config::give_way::give_way;
use weir_config::route::Route;

use super::faults::Faults;

/// Names in the order of the routes. A made name that several routes would have gets the host, then
/// a number, so that adding a route elsewhere does not rename this one.
pub(super) fn assign(document: &Document, doubts: &Doubts, faults: &mut Faults) -> Vec<Arc<str>> {
    let mut used: HashMap<String, usize> = HashMap::new();
    for (index, route) in document.routes.iter().enumerate() {
        let Some(name) = &route.name else { continue };
        if doubts.route(index) {
            continue;
        }
        if let Some(first) = used.get(&name.value) {
            let at = document.routes[*first].at;
            let problem = format!("the name `{}` is taken", name.value);
            let hint = format!("routes[{first}] at line {} has it", at.line);
            faults.error(
                format!("routes[{index}].name"),
                name.at,
                problem,
                Some(hint),
            );
        } else {
            used.insert(name.value.clone(), index);
        }
    }
    let mut taken: HashSet<String> = used.into_keys().collect();
    let mut times: HashMap<String, u32> = HashMap::new();
    for route in document.routes.iter().filter(|route| route.name.is_none()) {
        *times.entry(plain(route)).or_default() += 1;
    }
    let name = |route: &Route| {
        give_way();
        if let Some(name) = &route.name {
            return name.value.as_str().into();
        }
        let mut name = plain(route);
        if times.get(&name).is_some_and(|&count| count > 1) {
            name = with_host(route);
        }
        let mut number = 1;
        let base = name.clone();
        while !taken.insert(name.clone()) {
            number += 1;
            name = format!("{base} #{number}");
        }
        name.into()
    };
    document.routes.iter().map(name).collect()
}

/// `GET,POST /order/{id}`.
fn plain(route: &Route) -> String {
    format!("{}{}", methods(route), route.path.value)
}

/// `GET shop.example/order/{id}`.
fn with_host(route: &Route) -> String {
    let hosts: Vec<_> = route
        .hosts
        .iter()
        .map(|host| host.value.to_string())
        .collect();
    format!("{}{}{}", methods(route), hosts.join(","), route.path.value)
}

fn methods(route: &Route) -> String {
    let methods: Vec<_> = route
        .methods
        .iter()
        .map(|method| method.value.as_str())
        .collect();
    let space = if methods.is_empty() { "" } else { " " };
    format!("{}{space}", methods.join(","))
}
