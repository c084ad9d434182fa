//! The tokens of logins.

use std::time::Duration;

use jsonwebtoken::{Header, encode, get_current_timestamp};
use serde::Serialize;

use super::directory::User;
use super::keys::SigningKey;

/// Who issues the tokens.
pub const ISSUER: &str = "https://shop.weir.example";

/// Whom the tokens are for.
pub const AUDIENCE: &str = "shop-api";

/// How long a token is good for.
pub(super) const LIFETIME: Duration = Duration::from_secs(3600);

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: String,
    email: &'a str,
    scope: &'a str,
    iat: u64,
    exp: u64,
}

/// A signed token for the user.
pub(super) fn issue(user: &User, key: &SigningKey) -> jsonwebtoken::errors::Result<String> {
    let now = get_current_timestamp();
    let claims = Claims {
        iss: ISSUER,
        aud: AUDIENCE,
        sub: user.id.to_string(),
        email: &user.email,
        scope: SCOPE,
        iat: now,
        exp: now + LIFETIME.as_secs(),
    };
    let mut header = Header::new(key.algorithm);
    header.kid = Some(key.id.clone());
    encode(&header, &claims, &key.private)
}

/// Every customer may do the same.
const SCOPE: &str = "orders:read orders:write";
