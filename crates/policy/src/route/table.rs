//! Host → path → candidates, in order of precedence.

use std::collections::HashMap;
use std::net::IpAddr;
use std::ops::ControlFlow;

use foldhash::fast::FixedState;
use weir_config::give_way::give_way;
use weir_config::pattern::HostPattern;

use super::trie::PathTable;
use super::{Matcher, Methods, Params, Unmet};
use crate::note::{Note, Step};
use crate::request::RequestView;
use crate::snapshot::{Route, RouteId};

/// The routes of one listener.
#[derive(Debug, Default)]
pub struct RouteTable {
    exact: HashMap<Box<str>, PathTable, FixedState>,
    suffixes: HashMap<Box<str>, PathTable, FixedState>,
    any: Option<PathTable>,
    /// Asked when none of these takes the request, whatever its host.
    fallback: Option<Box<RouteTable>>,
}

/// What is looked up: the normalised host and path beside the request.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// Host in normal form; empty when the request named none.
    pub host: &'a str,
    /// Path in normal form.
    pub path: &'a str,
    /// The request.
    pub request: &'a RequestView<'a>,
    /// The client's address.
    pub client: IpAddr,
}

/// The route that takes a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The route.
    pub route: RouteId,
    /// Its path parameters.
    pub params: Params,
}

/// No route takes the request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Miss {
    /// Methods with which a route would have taken it.
    pub allow: Option<Methods>,
}

impl RouteTable {
    /// Builds the table of these routes; their order is the file's.
    pub fn build<'m>(routes: impl IntoIterator<Item = (RouteId, &'m Matcher)>) -> RouteTable {
        let mut ordered: Vec<_> = routes.into_iter().collect();
        // Stable, so that file order stays between equals.
        ordered.sort_by_cached_key(|(_, matcher)| matcher.rank());
        let mut table = RouteTable::default();
        for (id, matcher) in ordered {
            give_way();
            if matcher.hosts.is_empty() {
                table.paths(&HostPattern::Any).insert(id, matcher);
            }
            for host in &matcher.hosts {
                table.paths(host).insert(id, matcher);
            }
        }
        table
    }

    /// The same table, and another behind it.
    #[must_use]
    pub fn or_else(mut self, fallback: RouteTable) -> RouteTable {
        self.fallback = Some(Box::new(fallback));
        self
    }

    fn paths(&mut self, host: &HostPattern) -> &mut PathTable {
        match host {
            HostPattern::Any => self.any.get_or_insert_with(PathTable::new),
            HostPattern::Exact(name) => self
                .exact
                .entry(name.as_str().into())
                .or_insert_with(PathTable::new),
            HostPattern::Suffix(name) => self
                .suffixes
                .entry(name.as_str().into())
                .or_insert_with(PathTable::new),
        }
    }

    /// The tables that a host may use, most specific first.
    fn tables<'t>(&'t self, host: &'t str) -> impl Iterator<Item = &'t PathTable> {
        let suffixes = if self.suffixes.is_empty() { "" } else { host };
        // Leftmost dot first: the longest suffix.
        let suffixes = suffixes
            .match_indices('.')
            .filter_map(|(dot, _)| self.suffixes.get(suffixes.get(dot + 1..)?));
        self.exact
            .get(host)
            .into_iter()
            .chain(suffixes)
            .chain(&self.any)
    }

    /// The route that takes the request. Never allocates on a hit, except for notes.
    ///
    /// # Errors
    /// None does.
    pub fn lookup(
        &self,
        wanted: &Wanted<'_>,
        routes: &[Route],
        note: &mut impl Note,
    ) -> Result<Found, Miss> {
        let Wanted {
            host,
            path,
            request,
            client,
        } = *wanted;
        let mut allow: Option<Methods> = None;
        let matcher = |id: RouteId| &routes[id.0 as usize].matcher;
        let fallback = self
            .fallback
            .iter()
            .flat_map(|fallback| fallback.tables(host));
        for table in self.tables(host).chain(fallback) {
            let visit = |id: RouteId| {
                let Some(unmet) = matcher(id).unmet(request, client) else {
                    return ControlFlow::Break(id);
                };
                note.note(|| near_miss(&routes[id.0 as usize], unmet, request, client));
                let method_alone = unmet == Unmet::Method
                    && matcher(id).unmet_beside_method(request, client).is_none();
                if method_alone {
                    allow.get_or_insert_default().merge(&matcher(id).methods);
                }
                ControlFlow::Continue(())
            };
            let by_expression = |id: RouteId| {
                matcher(id)
                    .path
                    .regex
                    .as_ref()
                    .is_some_and(|regex| regex.is_match(path))
            };
            if let ControlFlow::Break(route) = table.visit(path, visit, by_expression) {
                return Ok(Found {
                    route,
                    params: matcher(route).path.params(path),
                });
            }
        }
        Err(Miss { allow })
    }
}

impl RouteTable {
    /// The routes that would take the request too and are not less specific than the one that does:
    /// those behind it by file order alone. For explanations.
    pub(crate) fn equals_of(
        &self,
        found: RouteId,
        wanted: &Wanted<'_>,
        routes: &[Route],
    ) -> Vec<RouteId> {
        let matcher = |id: RouteId| &routes[id.0 as usize].matcher;
        let place = |id: RouteId| {
            matcher(id)
                .path
                .regex
                .is_none()
                .then(|| matcher(id).path.place())
        };
        let mut equals = Vec::new();
        let fallback = self.fallback.iter();
        let fallback = fallback.flat_map(|fallback| fallback.tables(wanted.host));
        for table in self.tables(wanted.host).chain(fallback) {
            let mut passed = false;
            let visit = |id: RouteId| {
                passed |= id == found;
                let equal = id != found
                    && matcher(id).rank() == matcher(found).rank()
                    && place(id) == place(found)
                    && matcher(id).unmet(wanted.request, wanted.client).is_none();
                if passed && equal {
                    equals.push(id);
                }
                ControlFlow::<()>::Continue(())
            };
            let by_expression = |id: RouteId| matcher(id).path.matches(wanted.path);
            let _ = table.visit(wanted.path, visit, by_expression);
            if passed {
                break;
            }
        }
        equals
    }
}

fn near_miss(route: &Route, unmet: Unmet, request: &RequestView<'_>, client: IpAddr) -> Step {
    Step {
        area: "near-miss",
        said: format!(
            "route `{}`: {}",
            route.name,
            route.matcher.why(unmet, request, client)
        ),
        at: route.at,
    }
}
