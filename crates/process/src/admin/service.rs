//! One admin request: who may ask, which handler, a bounded body, an answer.

use std::convert::Infallible;
use std::error::Error;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use tokio::time::timeout;
use tower_service::Service;

use super::routes::{AdminRoutes, Found};
use super::standard::{problem, text};

/// The admin server without its sockets.
#[derive(Clone, Debug)]
pub struct AdminService {
    routes: Arc<AdminRoutes>,
    loopback: bool,
}

impl AdminService {
    /// Serves these routes; `loopback` says that only this machine can reach the address.
    pub fn new(routes: AdminRoutes, loopback: bool) -> Self {
        Self {
            routes: Arc::new(routes),
            loopback,
        }
    }
}

impl<B> Service<Request<B>> for AdminService
where
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    type Response = Response<Full<Bytes>>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let (routes, loopback) = (Arc::clone(&self.routes), self.loopback);
        Box::pin(async move { Ok(answer(&routes, loopback, request).await.map(Full::new)) })
    }
}

async fn answer<B>(routes: &AdminRoutes, loopback: bool, request: Request<B>) -> Response<Bytes>
where
    B: Body,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    // Who may ask. Failing here means: a browser, sent by a page that is not ours.
    if let Some(why) = forbidden(request.headers(), loopback) {
        return problem(StatusCode::FORBIDDEN, "forbidden", why);
    }

    // Which handler.
    let path = request.uri().path();
    let handle = match routes.find(request.method(), path) {
        Found::Handle(handle) => handle,
        Found::Methods(allowed) => {
            let mut response = problem(
                StatusCode::METHOD_NOT_ALLOWED,
                "method not allowed",
                &format!("{path} answers to {allowed}"),
            );
            if let Ok(allowed) = HeaderValue::from_str(&allowed) {
                response.headers_mut().insert(ALLOW, allowed);
            }
            return response;
        }
        Found::Nothing if path == "/" => return text(StatusCode::OK, routes.list()),
        Found::Nothing => {
            return problem(
                StatusCode::NOT_FOUND,
                "not found",
                "GET / lists what there is",
            );
        }
    };

    // The body, bounded in size and time.
    let (parts, body) = request.into_parts();
    let body = match timeout(BODY_DEADLINE, Limited::new(body, BODY_BYTES_MAX).collect()).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            return problem(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body too large",
                "1 MiB is the most",
            );
        }
        Ok(Err(error)) => {
            return problem(
                StatusCode::BAD_REQUEST,
                "unreadable body",
                &error.to_string(),
            );
        }
        Err(_) => {
            return problem(
                StatusCode::REQUEST_TIMEOUT,
                "body too slow",
                "10 s is the most",
            );
        }
    };

    // The answer.
    match timeout(ANSWER_DEADLINE, handle(Request::from_parts(parts, body))).await {
        Ok(response) => response,
        Err(_) => problem(
            StatusCode::GATEWAY_TIMEOUT,
            "no answer",
            "it took more than 60 s",
        ),
    }
}

/// Why a request is refused. A page in a browser on this machine can send requests here: across
/// origins, which the `origin` header shows, or by a name of its own that it lets point to
/// 127.0.0.1 (DNS rebinding), which the `host` header shows.
fn forbidden(headers: &HeaderMap, loopback: bool) -> Option<&'static str> {
    let host = headers.get(HOST).map(HeaderValue::as_bytes);
    if let Some(origin) = headers.get(ORIGIN) {
        let origin = origin
            .to_str()
            .ok()
            .and_then(|origin| origin.split_once("://"));
        if origin.map(|(_, authority)| authority.as_bytes()) != host {
            return Some("requests from pages of another origin are not served");
        }
    }
    let names_this_machine = |host| std::str::from_utf8(host).is_ok_and(is_address_or_localhost);
    if loopback && !host.is_none_or(names_this_machine) {
        return Some("use an IP address or localhost as the host");
    }
    None
}

fn is_address_or_localhost(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

const BODY_BYTES_MAX: usize = 1024 * 1024;
const BODY_DEADLINE: Duration = Duration::from_secs(10);
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
