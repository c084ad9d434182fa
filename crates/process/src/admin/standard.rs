//! The admin routes that every process has, and the shapes of answers.

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use percent_encoding::percent_decode_str;
use serde_json::{Value, json as object};
use weir_telemetry::Registry;
use weir_telemetry::logging::LogControl;
use weir_telemetry::registry::TEXT_CONTENT_TYPE;

use super::routes::AdminRoutes;
use crate::drain::{Drain, Phase};
use crate::readiness::{Readiness, State};

/// What the standard routes show and change.
#[derive(Clone, Debug)]
pub struct Standard {
    /// For `POST /drain`.
    pub drain: Drain,
    /// For `/log`.
    pub log: LogControl,
    /// For `/readyz`.
    pub readiness: Readiness,
    /// For `/metrics`.
    pub registry: Registry,
}

impl Standard {
    /// `/healthz`, `/readyz`, `/metrics`, `/log` and `/drain`; the binary adds its own.
    pub fn routes(self) -> AdminRoutes {
        let Self {
            drain,
            log,
            readiness,
            registry,
        } = self;
        let (drain_state, log_state) = (drain.clone(), log.clone());
        AdminRoutes::new()
            .route(
                Method::GET,
                "/healthz",
                "200 while the process lives",
                |_| async { json(StatusCode::OK, &object!({ "status": "ok" })) },
            )
            .route(
                Method::GET,
                "/readyz",
                "200 when ready, else 503 and why",
                move |_| {
                    let response = ready(&readiness);
                    async { response }
                },
            )
            .route(Method::GET, "/metrics", "Prometheus text", move |_| {
                let response = content(StatusCode::OK, TEXT_CONTENT_TYPE, registry.encode());
                async { response }
            })
            .route(Method::GET, "/log", "the log level", move |_| {
                let response = json(StatusCode::OK, &object!({ "level": log_state.level() }));
                async { response }
            })
            .route(
                Method::PUT,
                "/log",
                "set the log level: ?level=debug",
                move |request| {
                    let response = set_level(&log, &request);
                    async { response }
                },
            )
            .route(
                Method::GET,
                "/drain",
                "whether the process ends",
                move |_| {
                    let response = drain_status(StatusCode::OK, &drain_state);
                    async { response }
                },
            )
            .route(
                Method::POST,
                "/drain",
                "end without losing a request",
                move |_| {
                    tracing::info!("drain asked for through the admin server");
                    drain.request();
                    let response = drain_status(StatusCode::ACCEPTED, &drain);
                    async { response }
                },
            )
    }
}

/// A JSON answer.
pub fn json(status: StatusCode, value: &Value) -> Response<Bytes> {
    content(status, "application/json", format!("{value}\n"))
}

/// A plain answer.
pub fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Bytes> {
    content(status, "text/plain; charset=utf-8", text)
}

/// A refusal as RFC 9457 wants it.
pub fn problem(status: StatusCode, title: &str, detail: &str) -> Response<Bytes> {
    let value = object!({
        "type": "about:blank", "title": title, "status": status.as_u16(), "detail": detail,
    });
    content(status, "application/problem+json", format!("{value}\n"))
}

fn content(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

fn ready(readiness: &Readiness) -> Response<Bytes> {
    let state = readiness.state();
    let status = match state {
        State::Ready => StatusCode::OK,
        State::Draining | State::Starting => StatusCode::SERVICE_UNAVAILABLE,
    };
    let waiting: Vec<Value> = readiness
        .waiting()
        .iter()
        .map(|waiting| object!({ "name": waiting.name, "detail": waiting.detail }))
        .collect();
    json(
        status,
        &object!({ "state": state.as_str(), "waiting_for": waiting }),
    )
}

fn drain_status(status: StatusCode, drain: &Drain) -> Response<Bytes> {
    let phase = match drain.phase() {
        Phase::Serving => "serving",
        Phase::Leaving => "leaving",
        Phase::Draining => "draining",
    };
    json(
        status,
        &object!({ "phase": phase, "active": drain.active() }),
    )
}

fn set_level(log: &LogControl, request: &Request<Bytes>) -> Response<Bytes> {
    let query = request.uri().query().unwrap_or_default();
    let level = query
        .split('&')
        .find_map(|pair| pair.strip_prefix("level="));
    let Some(level) = level else {
        return problem(
            StatusCode::BAD_REQUEST,
            "no level",
            "say PUT /log?level=debug",
        );
    };
    let level = percent_decode_str(level).decode_utf8_lossy();
    match log.set_level(&level) {
        Ok(()) => json(StatusCode::OK, &object!({ "level": log.level() })),
        Err(error) => problem(StatusCode::BAD_REQUEST, "invalid level", &error.to_string()),
    }
}
