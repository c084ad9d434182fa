//! One request's way through the cache.
//!
//! ```text
//! errand ─▶ enter ─▶ answered from the store
//!             │
//!             ├─▶ wait (another fetches the same) ─▶ answered from the store
//!             ▼
//!           depart (asks only whether what is stored still holds) ─▶ the service
//!             ▼
//!           received ─▶ stored while it is passed on, or passed on, or what is stored instead
//! ```

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, Response, Uri, request};
use weir_config::route::HeaderChanges;
use weir_policy::cache::{self, Asked, QueryPlan, Serve, Way};
use weir_policy::moment::Moment;
use weir_policy::pipeline::Admitted;
use weir_policy::refusal::{Code, Refusal};
use weir_policy::request::RequestView;
use weir_policy::route::path;
use weir_policy::snapshot::{Route, RouteId, ServiceId};

use super::answer::Question;
use super::counts::{Outcome, Told};
use super::flights::{News, Part};
use super::refresh;
use super::shelf::{Cache, Found, Stored, Ticket};
use crate::serve::ClientConnection;
use crate::worker::{Entry, Installed, Worker};

mod received;

pub(crate) use received::{Received, is_failure};

/// What a request wants of the cache, found out before its head is prepared for the service.
#[derive(Debug)]
pub(crate) struct Errand {
    key: String,
    asked: Asked,
    /// What becomes of it.
    pub(crate) told: Told,
}

/// The errand of a request; `None` when it has nothing to do with the cache, as what a fallback
/// answers. `bare` says that it has no body.
pub(crate) fn errand(
    connection: &ClientConnection,
    entry: &Entry,
    admitted: &Admitted,
    head: &request::Parts,
    bare: bool,
) -> Option<Errand> {
    let route = entry.installed.snapshot.route(admitted.route);
    if admitted.fallback.is_some() && head.method.is_safe() {
        return None;
    }
    if route.cache.is_none() && (!route.invalidates || head.method.is_safe()) {
        return None;
    }
    let path = admitted.path.as_deref().unwrap_or_else(|| head.uri.path());
    let bare = bare && admitted.upgrade.is_none();
    errand_of(connection, entry, route, path, head, bare)
}

fn errand_of(
    connection: &ClientConnection,
    entry: &Entry,
    route: &Route,
    path: &str,
    head: &request::Parts,
    bare: bool,
) -> Option<Errand> {
    let view = RequestView {
        listener: entry.listener,
        method: &head.method,
        secure: connection.secure,
        authority: head.uri.authority().map(|authority| authority.as_str()),
        path: head.uri.path(),
        query: head.uri.query(),
        headers: &head.headers,
        version: head.version,
        remote: connection.remote.ip(),
        peer: connection.peer.as_deref(),
        body_bytes: None,
    };
    let query = route.cache.as_ref().map(|plan| &plan.query);
    let key = cache::key(query.unwrap_or(&QueryPlan::All), &view, path)?;
    let asked = Asked::of(&head.method, &head.headers, bare);
    Some(Errand {
        key,
        asked,
        told: Told::default(),
    })
}

/// What comes of entering the cache.
pub(crate) enum Entered {
    /// A stored answer.
    Answer(Response<Bytes>),
    /// It goes on to the service.
    Go(Box<Visit>),
    /// It must not go to the service.
    Refuse(Refusal),
}

/// A request on its way through the cache.
#[derive(Debug)]
pub(crate) struct Visit {
    cache: Arc<Cache>,
    worker: Rc<Worker>,
    installed: Rc<Installed>,
    route: RouteId,
    key: String,
    asked: Asked,
    /// `None` for what is fetched behind a client's back.
    told: Option<Told>,
    began: Moment,
    /// Why it goes to the service, in the words of RFC 9211.
    forward: &'static str,
    method: Method,
    target: Uri,
    /// As the service gets them, without conditions of the cache's own.
    headers: HeaderMap,
    /// What is stored and would not do by itself.
    held: Option<Arc<Stored>>,
    ticket: Option<Ticket>,
    part: Part,
    /// Whether the service is asked if `held` still holds.
    validates: bool,
    /// Whether the client's own conditions were taken out.
    stripped: bool,
    /// Whether answers for this URL were not stored lately.
    apart: bool,
}

/// Enters the cache with a head that is prepared for the service.
pub(crate) fn enter(
    errand: Errand,
    worker: &Rc<Worker>,
    entry: &Entry,
    (route, service): (RouteId, ServiceId),
    head: &request::Parts,
    began: Moment,
) -> Entered {
    let visit = Visit::new(errand, worker, entry, route, head, began);
    if visit.asked.way == Way::Through && visit.plan().is_some() {
        return visit.look(service);
    }
    if visit.plan().is_some() {
        visit.count(Outcome::Bypass);
    }
    Entered::Go(visit)
}

/// What is stored for a request that its service could not take (breaker open, too many in
/// flight): everything that is asked of its sender has been asked by then. Its head is not the one
/// that would have been sent, so that of the answers which depend on header fields only those are
/// served whose fields no proxy changes.
pub(crate) fn rescue(
    connection: &ClientConnection,
    entry: &Entry,
    head: &request::Parts,
    bare: bool,
    (code, id): (Code, RouteId),
    now: Moment,
) -> Option<(Response<Bytes>, Told)> {
    let full = [Code::BreakerOpen, Code::ServiceOverloaded, Code::Shed];
    if !full.contains(&code) {
        return None;
    }
    let snapshot = &entry.installed.snapshot;
    let route = snapshot.route(id);
    route.cache.as_ref()?;
    let rules = snapshot.listener(entry.listener).paths;
    let path = path::normalise(head.uri.path(), rules).ok()?;
    let errand = errand_of(connection, entry, route, &path, head, bare)?;
    let told = Rc::clone(&errand.told);
    let visit = Visit::new(errand, &connection.worker, entry, id, head, now);
    let stored = visit.find(now).held?;
    let written = route
        .written
        .and_then(|at| snapshot.document.routes.get(at));
    let plain = written.is_some_and(|route| route.request_headers == HeaderChanges::default());
    let accepts = |(name, _): &(HeaderName, _)| name.as_str().starts_with("accept");
    let untouched = stored.selecting.is_empty() || (plain && stored.selecting.iter().all(accepts));
    if visit.asked.way != Way::Through || !untouched {
        return None;
    }
    let response = match cache::may_serve(&stored.freshness, &visit.asked, now) {
        Serve::Fresh => visit.hit(&stored, now),
        Serve::Meanwhile | Serve::Stale => visit.stale(&stored, "", now),
        Serve::Validate if cache::may_serve_instead(&stored.freshness, &visit.asked, now) => {
            visit.stale(&stored, "; fwd=stale", now)
        }
        Serve::Validate => return None,
    };
    Some((response, told))
}

impl Visit {
    fn new(
        errand: Errand,
        worker: &Rc<Worker>,
        entry: &Entry,
        route: RouteId,
        head: &request::Parts,
        began: Moment,
    ) -> Box<Self> {
        let through = errand.asked.way == Way::Through;
        Box::new(Self {
            cache: Arc::clone(&worker.cache),
            worker: Rc::clone(worker),
            installed: Rc::clone(&entry.installed),
            route,
            key: errand.key,
            asked: errand.asked,
            told: Some(errand.told),
            began,
            forward: match head.method {
                Method::GET | Method::HEAD => "bypass",
                _ => "method",
            },
            method: head.method.clone(),
            target: head.uri.clone(),
            headers: match through {
                true => head.headers.clone(),
                false => HeaderMap::new(),
            },
            held: None,
            ticket: None,
            part: Part::Alone,
            validates: false,
            stripped: false,
            apart: false,
        })
    }

    /// Looks for a stored answer.
    fn look(mut self: Box<Self>, service: ServiceId) -> Entered {
        let now = self.began;
        let found = self.find(now);
        if let Some(stored) = &found.held {
            match cache::may_serve(&stored.freshness, &self.asked, now) {
                Serve::Fresh => return Entered::Answer(self.hit(stored, now)),
                Serve::Stale => return Entered::Answer(self.stale(stored, "", now)),
                Serve::Meanwhile => {
                    let response = self.stale(stored, "", now);
                    self.held = found.held;
                    // A part of it, or its head alone, would not be stored.
                    if self.asked.stores
                        && let Part::Lead(lead) = self.cache.join(&self.key, self.route_name())
                    {
                        self.part = Part::Lead(lead);
                        refresh::start(self, service);
                    }
                    return Entered::Answer(response);
                }
                Serve::Validate => {}
            }
        }
        if self.asked.only_if_cached() {
            self.count(Outcome::Miss);
            return Entered::Refuse(Refusal::new(Code::NotCached));
        }
        self.forward = match &found.held {
            Some(stored) if stored.freshness.fresh_for(now).is_some() => "request",
            Some(_) => "stale",
            None if found.known => "vary-miss",
            None => "uri-miss",
        };
        self.apart = found.apart;
        self.held = found.held;
        let waits = self.plan().is_some_and(|plan| !plan.wait.is_zero());
        if self.asked.shares() && waits && !self.apart {
            self.part = self.cache.join(&self.key, self.route_name());
        }
        Entered::Go(self)
    }

    /// Waits for another request that fetches the same, as long as the route says; the answer,
    /// where it can be shared.
    pub(crate) async fn wait(&mut self) -> Option<Response<Bytes>> {
        let wait = self.plan().map_or(Duration::ZERO, |plan| plan.wait);
        let until = tokio::time::Instant::now() + wait;
        while let Part::Wait(news) = &mut self.part {
            let ended = news.wait_for(|news| *news != News::Fetching);
            let ended = match tokio::time::timeout_at(until, ended).await {
                Err(_) => Some(News::Apart),
                Ok(Ok(news)) => Some(*news),
                Ok(Err(_)) => None,
            };
            let Some(news) = ended else {
                // Whoever fetched it has gone: the first to notice goes instead.
                self.part = self.cache.join(&self.key, self.route_name());
                continue;
            };
            self.part = Part::Alone;
            let now = self.worker.clock.now();
            let found = self.find(now);
            self.held = found.held;
            let stored = self.held.clone()?;
            let serves = cache::may_serve(&stored.freshness, &self.asked, now);
            if serves == Serve::Fresh {
                self.count(Outcome::Collapsed);
                let how = format!("fwd={}; collapsed", self.forward);
                return Some(self.question(now).answered(&stored, &how));
            }
            if news == News::Failed {
                return self.instead(now);
            }
        }
        None
    }

    /// Whether it has to wait.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.part, Part::Wait(_))
    }

    /// It goes to the service: asks for what the cache can use.
    pub(crate) fn depart(&mut self, headers: &mut HeaderMap) {
        if self.asked.way != Way::Through || self.plan().is_none() {
            return;
        }
        if !self.asked.stores {
            self.count(Outcome::Miss);
            return;
        }
        self.prepare(headers);
        if !self.validates {
            self.count(Outcome::Miss);
        }
    }

    fn prepare(&mut self, headers: &mut HeaderMap) {
        self.ticket = Some(self.cache.ticket(&self.key));
        if let Some(stored) = &self.held {
            self.validates = cache::validate_with(&stored.headers, headers);
        } else if cache::is_conditional(headers) && !self.apart {
            // The whole answer is of use to others; this client may still be told that it has it.
            cache::strip_conditions(headers);
            self.stripped = true;
        }
    }

    /// What is stored in place of a failure of the service, where that is allowed.
    pub(crate) fn instead(&self, now: Moment) -> Option<Response<Bytes>> {
        let stored = self.held.as_ref()?;
        cache::may_serve_instead(&stored.freshness, &self.asked, now)
            .then(|| self.stale(stored, &format!("; fwd={}", self.forward), now))
    }

    /// The service failed and nothing else is left: those who wait need not.
    pub(crate) fn failed(mut self, now: Moment) -> Option<Response<Bytes>> {
        self.end_fetch(News::Failed);
        self.instead(now)
    }

    /// Whether something stored stands in for a failure of the service.
    pub(crate) fn stands_in(&self, now: Moment) -> bool {
        let stands_in =
            |stored: &Arc<Stored>| cache::may_serve_instead(&stored.freshness, &self.asked, now);
        self.held.as_ref().is_some_and(stands_in)
    }

    /// Its request goes to another service, as the client sent it: that one's answer is not stored.
    /// What is left to do, if anything: to make invalid what the request changes.
    pub(crate) fn divert(mut self: Box<Self>, head: Option<&mut HeaderMap>) -> Option<Box<Self>> {
        self.end_fetch(News::Failed);
        if self.asked.way != Way::Through {
            return Some(self);
        }
        if let Some(headers) = head {
            *headers = std::mem::take(&mut self.headers);
        }
        None
    }

    /// Where it runs.
    pub(super) fn runs_on(&self) -> (Rc<Worker>, Rc<Installed>) {
        (Rc::clone(&self.worker), Rc::clone(&self.installed))
    }

    /// The target that the service gets.
    pub(super) fn target(&self) -> Uri {
        self.target.clone()
    }

    /// The header fields that the service gets when it is asked anew.
    pub(super) fn sends(&mut self) -> HeaderMap {
        let mut headers = self.headers.clone();
        self.prepare(&mut headers);
        headers
    }

    /// Tells those who wait; says whether there are any.
    fn end_fetch(&mut self, news: News) -> bool {
        match std::mem::replace(&mut self.part, Part::Alone) {
            Part::Lead(lead) => lead.end(news),
            Part::Alone | Part::Wait(_) => false,
        }
    }

    fn find(&self, now: Moment) -> Found {
        let route = self.route_name();
        self.cache.find(&self.key, route, &self.headers, now)
    }

    fn plan(&self) -> Option<&cache::CachePlan> {
        self.installed.snapshot.route(self.route).cache.as_ref()
    }

    fn route_name(&self) -> &Arc<str> {
        &self.installed.snapshot.route(self.route).name
    }

    fn question(&self, now: Moment) -> Question<'_> {
        Question {
            method: &self.method,
            headers: &self.headers,
            now,
        }
    }

    fn hit(&self, stored: &Stored, now: Moment) -> Response<Bytes> {
        self.count(Outcome::Hit);
        let left = stored.freshness.fresh_for(now).unwrap_or_default();
        let how = format!("hit; ttl={}", left.as_secs());
        self.question(now).answered(stored, &how)
    }

    fn stale(&self, stored: &Stored, more: &str, now: Moment) -> Response<Bytes> {
        self.count(Outcome::Stale);
        let since = stored.freshness.stale_for(now).as_secs();
        let how = format!("hit; ttl=-{since}{more}");
        self.question(now).answered(stored, &how)
    }

    /// Writes down what became of the request; the last word holds.
    fn count(&self, outcome: Outcome) {
        if let Some(told) = &self.told {
            told.set(Some(outcome));
            self.cache.count(self.worker.index, outcome);
        }
    }

    /// Goes on behind the client's back: its request has been counted.
    pub(super) fn leave_client(&mut self) {
        self.told = None;
    }
}
