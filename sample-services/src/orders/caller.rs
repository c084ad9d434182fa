//! Who is calling, as the proxy in front has verified.
//!
//! The gateway lets nobody reach an order without a token that it has verified, and passes the
//! token on; the service listens where only its sidecar can reach it. So the signature is not
//! checked again here: the payload is read as it stands. Where that does not hold, nothing of this
//! does.

use axum::extract::{FromRef, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, header};
use jsonwebtoken::dangerous::insecure_decode_claims;
use serde::Deserialize;

use crate::problem::Problem;

/// Where the caller's id is found.
#[derive(Clone, Debug)]
pub(super) enum CallerSource {
    /// In a header that the proxy sets from the verified token, and that it lets nobody else set.
    Header(HeaderName),
    /// In the subject of the bearer token.
    Token,
}

/// The user whose request it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Caller {
    pub(super) user_id: u64,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller
where
    CallerSource: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let found = match CallerSource::from_ref(state) {
            CallerSource::Header(name) => only_value(&parts.headers, &name).map(str::to_owned),
            CallerSource::Token => subject(&parts.headers),
        };
        let subject = found.ok_or_else(|| {
            Problem::unauthorized("no-caller", "log in and send the token as a bearer token")
        })?;
        let user_id = subject.parse().map_err(|_| {
            Problem::unauthorized(
                "unknown-caller",
                "the token is not of a customer of this shop",
            )
        })?;
        Ok(Self { user_id })
    }
}

fn subject(headers: &HeaderMap) -> Option<String> {
    #[derive(Deserialize)]
    struct Claims {
        sub: String,
    }
    let (scheme, token) = only_value(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    insecure_decode_claims::<Claims>(token.trim())
        .ok()
        .map(|claims| claims.sub)
}

/// Two values would be two callers.
fn only_value<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok();
    if values.next().is_some() { None } else { value }
}

#[cfg(test)]
mod tests {
    use super::subject;
    use axum::http::{HeaderMap, HeaderValue, header};

    fn subject_of(value: &'static str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        subject(&headers)
    }

    #[test]
    fn the_subject_is_read_from_a_bearer_token_alone() {
        // {"alg":"none"} and {"sub":"7"}
        let token = "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiI3In0.x";
        assert_eq!(subject_of(token), Some("7".to_owned()));
        for wrong in [
            "",
            "Bearer",
            "Bearer x",
            "Bearer a.b.c",
            "Basic eyJhbGciOiJub25lIn0.e30.x",
        ] {
            assert_eq!(subject_of(wrong), None, "{wrong}");
        }
        let mut twice = HeaderMap::new();
        twice.append(header::AUTHORIZATION, HeaderValue::from_static(token));
        twice.append(header::AUTHORIZATION, HeaderValue::from_static(token));
        assert_eq!(subject(&twice), None);
    }
}
