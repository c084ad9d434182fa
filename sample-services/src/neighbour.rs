//! Calls to another service of the shop.
//!
//! The address is that of the service itself or of a proxy that finds it by the Host. Retries,
//! balancing and breaking are the proxy's work; here is one deadline.

use std::time::Duration;

use axum::http::uri::{Authority, InvalidUri, Parts, PathAndQuery, Scheme};
use axum::http::{HeaderValue, Request, StatusCode, Uri, header};
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::problem::Problem;
use crate::trace::TraceContext;

/// Another service.
#[derive(Clone, Debug)]
pub struct Neighbour {
    name: &'static str,
    authority: Authority,
    host: HeaderValue,
    client: Client<HttpConnector, Empty<Bytes>>,
}

/// The configured place of a neighbour cannot be one.
#[derive(Debug, Error)]
pub enum NeighbourPlaceError {
    /// The Host has characters that no header takes.
    #[error("{0:?} is not a host")]
    Host(String),
    /// Not `http://HOST:PORT`.
    #[error("{0} is not of the form http://HOST:PORT")]
    Url(Uri),
}

/// Why a neighbour did not answer as it should. None of it is the client's fault.
#[derive(Debug, Error)]
pub enum CallError {
    /// The answer is not what was agreed.
    #[error("{0} gave an answer that is not understood")]
    Malformed(&'static str),
    /// It says that it cannot.
    #[error("{0} answered {1}")]
    Status(&'static str, StatusCode),
    /// Nothing within the deadline.
    #[error("{0} did not answer within {CALL_TIMEOUT:?}")]
    TimedOut(&'static str),
    /// No connection, or it broke.
    #[error("{0} cannot be reached")]
    Unreachable(&'static str),
}

impl From<CallError> for Problem {
    fn from(error: CallError) -> Self {
        let status = match error {
            CallError::TimedOut(_) => StatusCode::GATEWAY_TIMEOUT,
            CallError::Malformed(_) | CallError::Status(..) | CallError::Unreachable(_) => {
                StatusCode::BAD_GATEWAY
            }
        };
        Self::new(status, "neighbour-unavailable", error.to_string())
    }
}

impl Neighbour {
    /// The service of that name, at a URL, by a Host.
    ///
    /// # Errors
    /// When the URL is more than scheme, host and port, or the Host is not one.
    pub fn new(name: &'static str, url: &Uri, host: &str) -> Result<Self, NeighbourPlaceError> {
        let wrong = || NeighbourPlaceError::Url(url.clone());
        if url.scheme() != Some(&Scheme::HTTP) || !matches!(url.path(), "" | "/") {
            return Err(wrong());
        }
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(IDLE_MAX)
            .build_http();
        Ok(Self {
            name,
            authority: url.authority().ok_or_else(wrong)?.clone(),
            host: host
                .parse()
                .map_err(|_| NeighbourPlaceError::Host(host.to_owned()))?,
            client,
        })
    }

    /// GETs JSON; nothing when the neighbour says 404.
    ///
    /// # Errors
    /// When it does not answer as it should.
    pub async fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        context: &TraceContext,
    ) -> Result<Option<T>, CallError> {
        let uri = self
            .uri(path)
            .map_err(|_| CallError::Malformed(self.name))?;
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri;
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        context.pass_on(request.headers_mut());
        let called = tokio::time::timeout(CALL_TIMEOUT, self.exchange(request)).await;
        let (status, body) = called.unwrap_or(Err(CallError::TimedOut(self.name)))?;
        match status {
            StatusCode::OK => serde_json::from_slice(&body)
                .map(Some)
                .map_err(|_| CallError::Malformed(self.name)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(CallError::Status(self.name, status)),
        }
    }

    async fn exchange(
        &self,
        request: Request<Empty<Bytes>>,
    ) -> Result<(StatusCode, Bytes), CallError> {
        let response = self.client.request(request).await.map_err(|error| {
            tracing::warn!(neighbour = self.name, %error, "call failed");
            CallError::Unreachable(self.name)
        })?;
        let status = response.status();
        let body = Limited::new(response.into_body(), BODY_BYTES_MAX)
            .collect()
            .await;
        let body = body.map_err(|error| {
            tracing::warn!(
                neighbour = self.name,
                error,
                "answer broke off or is too large"
            );
            CallError::Malformed(self.name)
        })?;
        Ok((status, body.to_bytes()))
    }

    fn uri(&self, path: &str) -> Result<Uri, InvalidUri> {
        let mut parts = Parts::default();
        parts.scheme = Some(Scheme::HTTP);
        parts.authority = Some(self.authority.clone());
        parts.path_and_query = Some(path.parse::<PathAndQuery>()?);
        // With all three parts there is nothing left to be wrong.
        Ok(Uri::from_parts(parts).unwrap_or_default())
    }
}

const CALL_TIMEOUT: Duration = Duration::from_secs(3);
const IDLE_TIMEOUT: Duration = Duration::from_secs(30);
const IDLE_MAX: usize = 32;
const BODY_BYTES_MAX: usize = 64 * 1024;
