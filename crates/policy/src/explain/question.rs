//! The question of an explanation, read into the view that the phases take.

use std::net::{IpAddr, Ipv4Addr};

use http::{HeaderMap, HeaderName, HeaderValue, Method, Version, header};
use weir_config::Position;
use weir_config::edge_rules::{InterimResponses, Underscores};
use weir_config::listener::Listener as ListenerConfig;
use weir_config::pattern::HostPattern;

use super::{ExplainRequest, is_sidecar};
use crate::note::{Note, Recorder, Step};
use crate::pipeline::Admitted;
use crate::refusal::{Code, Refusal};
use crate::request::RequestView;
use crate::rewrite;
use crate::route::path;
use crate::route::{Wanted, host};
use crate::snapshot::{Listener, ListenerId, Route, Snapshot};

/// Why a question cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExplainFault {
    /// The question is about a connection, and the listener reads HTTP.
    #[error(
        "such a connection to listener `{listener}` carries HTTP: ask about a request, \
         `GET https://…`"
    )]
    CarriesHttp {
        /// The listener.
        listener: String,
    },
    /// A header field is none.
    #[error("`{0}` is not a header field")]
    Header(String),
    /// There is no such listener.
    #[error("there is no listener `{unknown}`; there is {known}")]
    Listener {
        /// What was asked for.
        unknown: String,
        /// What there is.
        known: String,
    },
    /// The method is none.
    #[error("`{0}` is not a method")]
    Method(String),
    /// The document has no listener.
    #[error("no listener is there to take a request")]
    NoListener,
    /// The URL is none.
    #[error("`{0}` is not `http://host/path`, `https://host/path` or `/path`")]
    Url(String),
}

/// A question with everything that was left out filled in.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) text: String,
    pub(super) listener: ListenerId,
    pub(super) method: Method,
    pub(super) secure: bool,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) remote: IpAddr,
    pub(super) draw: u64,
    peer: Option<String>,
    body_bytes: Option<u64>,
}

/// A URL in parts, nothing decoded: what is wrong with a path is for `admit` to say.
pub(super) struct Url<'a> {
    scheme: Option<&'a str>,
    authority: Option<&'a str>,
    path: &'a str,
    query: Option<&'a str>,
}

impl<'a> Url<'a> {
    /// Of a connection: no scheme of HTTP, no path.
    pub(super) fn of_connection(authority: &'a str) -> Self {
        Self {
            scheme: None,
            authority: Some(authority),
            path: "",
            query: None,
        }
    }
}

impl Question {
    pub(super) fn read(
        snapshot: &Snapshot,
        request: &ExplainRequest,
    ) -> Result<Question, ExplainFault> {
        let method = if request.method.is_empty() {
            "GET"
        } else {
            &request.method
        };
        let unknown = |_| ExplainFault::Method(method.to_owned());
        let method = Method::from_bytes(method.as_bytes()).map_err(unknown)?;
        let url = split(&request.url)?;
        let listener = listener(snapshot, request, &url)?;
        let tls = snapshot
            .listener(listener)
            .config
            .as_ref()
            .is_some_and(|it| it.tls.is_some());
        let mut headers = HeaderMap::new();
        for (name, value) in &request.headers {
            let fault = || ExplainFault::Header(format!("{name}: {value}"));
            let field = HeaderName::from_bytes(name.as_bytes()).map_err(|_| fault())?;
            headers.append(field, HeaderValue::from_str(value).map_err(|_| fault())?);
        }
        if !headers.contains_key(header::HOST) {
            let host = url.authority.unwrap_or("localhost");
            let fault = |_| ExplainFault::Url(request.url.clone());
            headers.insert(header::HOST, HeaderValue::from_str(host).map_err(fault)?);
        }
        Ok(Question {
            text: format!("{method} {}", request.url),
            listener,
            method,
            secure: url.scheme.map_or(tls, |scheme| scheme == "https"),
            path: url.path.to_owned(),
            query: url.query.map(str::to_owned),
            headers,
            remote: client(request),
            draw: request.draw,
            peer: request.peer.clone(),
            body_bytes: request.body_bytes,
        })
    }

    pub(super) fn view(&self) -> RequestView<'_> {
        RequestView {
            listener: self.listener,
            method: &self.method,
            secure: self.secure,
            authority: None,
            path: &self.path,
            query: self.query.as_deref(),
            headers: &self.headers,
            version: Version::HTTP_11,
            remote: self.remote,
            peer: self.peer.as_deref(),
            // Who says nothing of a body and gives it no type has none.
            body_bytes: self.body_bytes.or_else(|| self.is_bare().then_some(0)),
        }
    }

    fn is_bare(&self) -> bool {
        let speaks = [header::CONTENT_TYPE, header::TRANSFER_ENCODING];
        !speaks.iter().any(|name| self.headers.contains_key(name))
    }

    /// What happens before the phases to header names with `_`.
    pub(super) fn hold_to(
        &mut self,
        rule: Underscores,
        at: Position,
        note: &mut impl Note,
    ) -> Result<(), Refusal> {
        let before = self.headers.len();
        rewrite::hold_to(rule, &mut self.headers)?;
        if self.headers.len() < before {
            let said = "fields with `_` in their name are dropped".to_owned();
            let area = "headers";
            note.note(|| Step { area, said, at });
        }
        Ok(())
    }

    /// Where file order alone decided: the routes that stand further down.
    pub(super) fn note_equals(
        &self,
        snapshot: &Snapshot,
        admitted: &Admitted,
        recorder: &mut Recorder,
    ) {
        let Ok(authority) = host::of(None, &self.headers, Version::HTTP_11, self.secure) else {
            return;
        };
        let wanted = Wanted {
            host: authority.as_ref().map_or("", |authority| &authority.host),
            path: admitted.path.as_deref().unwrap_or(&self.path),
            request: &self.view(),
            client: admitted.client,
        };
        let table = &snapshot.listener(self.listener).table;
        let equals = table.equals_of(admitted.route, &wanted, &snapshot.routes);
        let said = equals.into_iter().map(|id| {
            let equal = snapshot.route(id);
            let said = format!(
                "`{}` would take it as well and is as specific; it stands further down",
                equal.name
            );
            let (area, at) = ("route", equal.at);
            Step { area, said, at }
        });
        let steps = &mut recorder.steps;
        let after = steps.iter().rposition(|step| step.area == "route");
        let after = after.map_or(steps.len(), |index| index + 1);
        drop(steps.splice(after..after, said));
    }

    /// Where no route takes the request: routes that have its path, but another host or listener.
    pub(super) fn note_elsewhere(
        &self,
        snapshot: &Snapshot,
        refusal: &Refusal,
        recorder: &mut Recorder,
    ) {
        if refusal.code != Code::NoRoute {
            return;
        }
        let rules = snapshot.listener(self.listener).paths;
        let Ok(path) = path::normalise(&self.path, rules) else {
            return;
        };
        let told: Vec<_> = recorder.steps.iter().map(|step| step.at).collect();
        let near = snapshot
            .routes
            .iter()
            .filter(|route| route.written.is_some() && !told.contains(&route.at))
            .filter(|route| route.matcher.path.matches(&path))
            .take(ELSEWHERE_MAX);
        for route in near {
            let said = format!("route `{}` has this path, but {}", route.name, why(route));
            recorder.note(|| Step {
                area: "near-miss",
                said,
                at: route.at,
            });
        }
    }
}

/// Where a listener listens, and behind whom.
pub(super) fn listener_text(listener: &Listener) -> String {
    match &listener.config {
        Some(config) => format!(
            "`{}` at {}{}, at most {} connections, {} of one client{}",
            listener.name,
            config.bind,
            expected_header(config),
            config.connections_max,
            config.client_connections_max,
            interim_text(config.interim_responses),
        ),
        None => format!("`{}` of a sidecar", listener.name),
    }
}

fn interim_text(interim: InterimResponses) -> &'static str {
    match interim {
        InterimResponses::Drop => "; interim responses are dropped",
        InterimResponses::Forward => "",
        InterimResponses::Http2 => "; interim responses go to clients of HTTP/2 alone",
    }
}

/// From whom connections are to begin with a PROXY header.
fn expected_header(config: &ListenerConfig) -> String {
    let Some(expected) = &config.proxy_protocol else {
        return String::new();
    };
    let from: Vec<_> = expected.from.iter().map(ToString::to_string).collect();
    format!(", behind PROXY headers from {} alone", from.join(", "))
}

fn why(route: &Route) -> String {
    let hosts: Vec<_> = route
        .matcher
        .hosts
        .iter()
        .map(HostPattern::to_string)
        .collect();
    match hosts.is_empty() {
        true => "is attached to another listener".to_owned(),
        false => format!("is for host {} (or another listener)", hosts.join(", ")),
    }
}

/// Whose request or connection it is.
pub(super) fn client(request: &ExplainRequest) -> IpAddr {
    request.client.unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST))
}

/// By name, else by the port of the URL, else by its scheme, else the first.
pub(super) fn listener(
    snapshot: &Snapshot,
    request: &ExplainRequest,
    url: &Url<'_>,
) -> Result<ListenerId, ExplainFault> {
    if let Some(name) = &request.listener {
        let known: Vec<_> = snapshot
            .listeners
            .iter()
            .map(|listener| format!("`{}`", listener.name))
            .collect();
        let fault = ExplainFault::Listener {
            unknown: name.clone(),
            known: known.join(", "),
        };
        return snapshot.listener_named(name).ok_or(fault);
    }
    let port = url
        .authority
        .and_then(|authority| authority.rsplit_once(':'));
    let port = port.and_then(|(_, port)| port.parse::<u16>().ok());
    let configs = || {
        let listeners = snapshot.listeners.iter().enumerate();
        listeners.filter_map(|(index, listener)| Some((index, listener.config.as_ref()?)))
    };
    let by_port = configs().find(|(_, config)| Some(config.bind.port()) == port);
    let by_scheme = || {
        let secure = url.scheme? == "https";
        configs().find(|(_, config)| config.tls.is_some() == secure)
    };
    let index = match by_port.or_else(by_scheme) {
        Some((index, _)) => index,
        None if snapshot.listeners.is_empty() => return Err(ExplainFault::NoListener),
        None => 0,
    };
    debug_assert!(
        !is_sidecar(snapshot) || index == 0,
        "a sidecar explains what leaves it"
    );
    u16::try_from(index)
        .map(ListenerId)
        .map_err(|_| ExplainFault::NoListener)
}

fn split(url: &str) -> Result<Url<'_>, ExplainFault> {
    let fault = || ExplainFault::Url(url.to_owned());
    let text = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = match text.split_once("://") {
        Some((scheme @ ("http" | "https"), rest)) => (Some(scheme), rest),
        _ if text.starts_with('/') => (None, text),
        _ => return Err(fault()),
    };
    let (before, query) = match rest.split_once('?') {
        Some((before, query)) => (before, Some(query)),
        None => (rest, None),
    };
    if scheme.is_none() {
        return Ok(Url {
            scheme,
            authority: None,
            path: before,
            query,
        });
    }
    let (authority, path) = before.split_at(before.find('/').unwrap_or(before.len()));
    if authority.is_empty() {
        return Err(fault());
    }
    let path = if path.is_empty() { "/" } else { path };
    Ok(Url {
        scheme,
        authority: Some(authority),
        path,
        query,
    })
}

/// Most routes of other hosts and listeners that are told.
const ELSEWHERE_MAX: usize = 5;
