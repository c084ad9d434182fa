//! `x-fault-…` request headers, each for the one request that carries it.
//!
//! | header | effect |
//! |---|---|
//! | `x-fault-delay: 250ms` | waits first |
//! | `x-fault-reset: true` | resets the connection instead of answering |
//! | `x-fault-status: 503` | answers that status |
//! | `x-fault-size: 100KiB` | answers 200 (or the status above) with a body of that size |
//! | `x-fault-trickle: 50ms` | sends the body in 16 pieces with that pause before each |

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use crate::problem::Problem;
use crate::serve::ConnectionReset;
use crate::units;

#[derive(Debug, Default, PartialEq, Eq)]
struct Knobs {
    delay: Duration,
    is_reset: bool,
    status: Option<StatusCode>,
    size: Option<usize>,
    trickle: Option<Duration>,
}

/// Does what the headers say, and otherwise passes the request on.
pub(super) async fn obey(request: Request, next: Next) -> Response {
    let knobs = match Knobs::parse(request.headers()) {
        Ok(knobs) => knobs,
        Err(problem) => return problem.into_response(),
    };
    tokio::time::sleep(knobs.delay).await;
    if knobs.is_reset
        && let Some(connection) = request.extensions().get::<ConnectionReset>()
    {
        tracing::info!("resetting a connection as x-fault-reset asked");
        connection.reset();
        // The connection's task ends this one.
        return std::future::pending().await;
    }
    let response = match (knobs.status, knobs.size) {
        (None, None) => next.run(request).await,
        (Some(status), None) => {
            Problem::new(status, "fault", "failing as x-fault-status asked").into_response()
        }
        (status, Some(size)) => {
            let content_type = [(header::CONTENT_TYPE, "application/octet-stream")];
            let body = Bytes::from(vec![b'x'; size]);
            (status.unwrap_or(StatusCode::OK), content_type, body).into_response()
        }
    };
    match knobs.trickle {
        Some(pause) => trickle(response, pause).await,
        None => response,
    }
}

impl Knobs {
    fn parse(headers: &HeaderMap) -> Result<Self, Problem> {
        let text = |name: &str| -> Result<Option<&str>, Problem> {
            let value = headers.get(name).map(|value| value.to_str());
            value
                .transpose()
                .map_err(|_| wrong(format!("{name} must be plain text")))
        };
        let pause = |name: &str| -> Result<Option<Duration>, Problem> {
            let pause = text(name)?.map(units::duration).transpose();
            match pause.map_err(|error| wrong(format!("{name}: {error}")))? {
                Some(pause) if pause > PAUSE_MAX => {
                    Err(wrong(format!("{name} must be at most {PAUSE_MAX:?}")))
                }
                pause => Ok(pause),
            }
        };
        let status = text("x-fault-status")?.map(|value| {
            let status = value
                .parse::<u16>()
                .ok()
                .filter(|status| (200..=599).contains(status));
            status
                .and_then(|status| StatusCode::from_u16(status).ok())
                .ok_or_else(|| wrong(format!("x-fault-status must be 200 to 599, not {value:?}")))
        });
        let size = text("x-fault-size")?.map(|value| {
            let bytes =
                units::size(value).map_err(|error| wrong(format!("x-fault-size: {error}")))?;
            let bytes = usize::try_from(bytes)
                .ok()
                .filter(|&bytes| bytes <= BODY_BYTES_MAX);
            bytes.ok_or_else(|| wrong("x-fault-size must be at most 64MiB"))
        });
        let is_reset = match text("x-fault-reset")? {
            None | Some("false") => false,
            Some("true") => true,
            Some(value) => {
                return Err(wrong(format!(
                    "x-fault-reset must be true or false, not {value:?}"
                )));
            }
        };
        Ok(Self {
            delay: pause("x-fault-delay")?.unwrap_or_default(),
            is_reset,
            status: status.transpose()?,
            size: size.transpose()?,
            trickle: pause("x-fault-trickle")?,
        })
    }
}

/// Sends the same body slowly, its length still announced.
async fn trickle(response: Response, pause: Duration) -> Response {
    let (mut head, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, BODY_BYTES_MAX).await else {
        return wrong("the body to trickle is too large").into_response();
    };
    head.headers
        .insert(header::CONTENT_LENGTH, body.len().into());
    let piece_bytes = body.len().div_ceil(PIECES).max(1);
    let pieces = stream::unfold(body, move |mut left| async move {
        if left.is_empty() {
            return None;
        }
        tokio::time::sleep(pause).await;
        let piece = left.split_to(piece_bytes.min(left.len()));
        Some((Ok::<_, std::convert::Infallible>(piece), left))
    });
    Response::from_parts(head, Body::from_stream(pieces))
}

fn wrong(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid-fault", detail)
}

const BODY_BYTES_MAX: usize = 64 * 1024 * 1024;
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PIECES: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::Knobs;
    use axum::http::{HeaderMap, HeaderName, StatusCode};
    use std::time::Duration;

    fn parse(headers: &[(&'static str, &str)]) -> Result<Knobs, StatusCode> {
        let headers: HeaderMap = headers
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()))
            .collect();
        Knobs::parse(&headers).map_err(|problem| problem.status())
    }

    #[test]
    fn knobs_are_read_and_bounded() {
        assert_eq!(parse(&[]), Ok(Knobs::default()));
        let all = [
            ("x-fault-delay", "250ms"),
            ("x-fault-reset", "true"),
            ("x-fault-status", "503"),
            ("x-fault-size", "1KiB"),
            ("x-fault-trickle", "1s"),
        ];
        let expected = Knobs {
            delay: Duration::from_millis(250),
            is_reset: true,
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            size: Some(1024),
            trickle: Some(Duration::from_secs(1)),
        };
        assert_eq!(parse(&all), Ok(expected));
        let wrong = [
            ("x-fault-delay", "61s"),
            ("x-fault-delay", "soon"),
            ("x-fault-reset", "yes"),
            ("x-fault-status", "100"),
            ("x-fault-status", "600"),
            ("x-fault-size", "65MiB"),
        ];
        for pair in wrong {
            assert_eq!(parse(&[pair]), Err(StatusCode::BAD_REQUEST), "{pair:?}");
        }
    }
}
