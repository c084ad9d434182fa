//! Routes between which nothing but the order of the file decides: allowed, but worth a warning,
//! since sorting the file would change what a request gets. Wholly equal conditions are an error:
//! see `duplicates.rs`.

use std::collections::HashMap;

use weir_config::Document;
use weir_config::give_way::give_way;

use super::duplicates::attachments;
use super::faults::Faults;
use super::routes::Compiled;
use crate::route::Rank;

/// Warns about routes of equal host, path and rank that one request can meet both.
pub(super) fn check(document: &Document, routes: &Compiled, faults: &mut Faults) {
    let mut groups: HashMap<_, Vec<usize>> = HashMap::new();
    let ranked: Vec<Option<(String, Rank)>> = routes
        .matchers
        .iter()
        .inspect(|_| give_way())
        .map(|matcher| matcher.as_ref().map(|it| (it.path.place(), it.rank())))
        .collect();
    for (index, (route, ranked)) in document.routes.iter().zip(&ranked).enumerate() {
        give_way();
        let (Some((place, rank)), Some(matcher)) = (ranked, &routes.matchers[index]) else {
            continue;
        };
        let mut told = None;
        for (listener, host) in attachments(document, route) {
            let group = groups.entry((listener, host, place, rank)).or_default();
            let rivals = group.iter().rev().take(COMPARED_MAX);
            let rival = rivals.copied().find(|&earlier| {
                let earlier = routes.matchers[earlier].as_ref();
                earlier.is_some_and(|earlier| !earlier.excludes(matcher))
            });
            told = told.or(rival);
            group.push(index);
        }
        let Some(earlier) = told else { continue };
        let line = document.routes[earlier].at.line;
        let problem = format!(
            "a request can meet both this and routes[{earlier}] at line {line}; neither is more \
             specific, so the one that stands first takes it"
        );
        let hint = "give one of them another condition".to_owned();
        faults.warn(format!("routes[{index}]"), route.at, problem, Some(hint));
    }
}

/// Against how many routes before it each is compared. More with one path differ in conditions on
/// one header, hardly in several; and a check must not take the square of the routes.
const COMPARED_MAX: usize = 64;
