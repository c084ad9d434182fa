//! Tokens: keys they are checked with, claims they must carry.
//!
//! For: answering who calls, from `Authorization: Bearer` and the keys of an issuer. Not for:
//! fetching keys (the engine does, and installs them) or signing. The one idea: a token is believed
//! for what a *key* may verify, never for what the token says about itself. Which algorithms a key
//! may be used with is decided when the key set loads; the token's header only picks among them.
//! Without keys nothing is believed (fail closed).

use std::sync::Arc;

use http::HeaderMap;
use weir_config::Position;
use weir_config::auth::{Auth, ClaimRule};

use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::refusal::{Code, Refusal};
use crate::snapshot::{Issuer, IssuerId};

mod bearer;
mod cache;
mod claims;
mod keys;
mod token;

pub use cache::Local;
pub use claims::Claims;
pub use keys::{IssuerLive, JWKS_BYTES_MAX, KeyStatus, KeysError, KeysStatus};

/// What a route asks of a token.
#[derive(Debug, Default)]
pub struct RouteAuth {
    /// The issuer of the token it asks for.
    issuer: Asked,
    /// Claims the token must carry.
    rules: Vec<ClaimRule>,
    at: Position,
}

/// Whose token is asked for.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Asked {
    #[default]
    Nobody,
    Of(IssuerId),
    /// An issuer that the document does not have: nobody can satisfy this.
    Unknown,
}

impl RouteAuth {
    /// Compiles what a route asks; `issuer` is the one that `auth.jwt` names. A name without an
    /// issuer, or claims without a token, refuse every request rather than none.
    #[must_use]
    pub fn compile(auth: &Auth, issuer: Option<IssuerId>) -> RouteAuth {
        let issuer = match (&auth.jwt, issuer) {
            (Some(_), Some(id)) => Asked::Of(id),
            (None, _) if auth.claims.is_empty() => Asked::Nobody,
            _ => Asked::Unknown,
        };
        RouteAuth {
            issuer,
            rules: auth.claims.clone(),
            at: auth.at,
        }
    }

    /// The issuer whose token is asked for.
    #[must_use]
    pub fn issuer(&self) -> Option<IssuerId> {
        match self.issuer {
            Asked::Of(id) => Some(id),
            Asked::Nobody | Asked::Unknown => None,
        }
    }

    /// Whether claims, once they are believed, satisfy every rule.
    ///
    /// # Errors
    /// `claim-denied` for the first rule that they do not satisfy.
    pub fn allows(&self, claims: &Claims) -> Result<(), Refusal> {
        match self
            .rules
            .iter()
            .find(|rule| !claims.has_any(&rule.claim, &rule.any_of))
        {
            None => Ok(()),
            Some(rule) => Err(Refusal::new(Code::ClaimDenied).with_detail(format!(
                "claim {:?} of the token does not allow this",
                rule.claim
            ))),
        }
    }
}

/// Checks the token of a request; `None` when the route asks for none.
///
/// # Errors
/// `token-missing`, `token-invalid`, `token-too-long`, `token-expired` or `keys-unavailable`;
/// `claim-denied` when the token is believed and does not allow this.
pub fn check(
    auth: &RouteAuth,
    issuers: &[Issuer],
    headers: &HeaderMap,
    local: &mut Local,
    at: Moment,
    note: &mut impl Note,
) -> Result<Option<Arc<Claims>>, Refusal> {
    let issuer = match auth.issuer {
        Asked::Nobody => return Ok(None),
        Asked::Unknown => return Err(Refusal::new(Code::KeysUnavailable)),
        Asked::Of(id) => issuers
            .get(usize::from(id.0))
            .ok_or(Code::KeysUnavailable)?,
    };
    let checked = believed(issuer, headers, local, at)
        .and_then(|(claims, remembered)| auth.allows(&claims).map(|()| (claims, remembered)));
    note.note(|| Step {
        area: "auth",
        said: match &checked {
            Ok((_, true)) => format!("token of issuer {:?} accepted, remembered", issuer.name),
            Ok((_, false)) => format!("token of issuer {:?} accepted", issuer.name),
            Err(refusal) => format!("token of issuer {:?} refused: {refusal}", issuer.name),
        },
        at: auth.at,
    });
    checked.map(|(claims, _)| Some(claims))
}

/// The claims of the request's token, once it is believed, and whether its signature was
/// remembered.
fn believed(
    issuer: &Issuer,
    headers: &HeaderMap,
    local: &mut Local,
    at: Moment,
) -> Result<(Arc<Claims>, bool), Refusal> {
    // Shape: one header, one bounded token. Failing here costs the client no cryptography.
    let token = bearer::token(headers)?;

    // Keys: none is the operator's or the network's trouble, not the client's.
    let keys = issuer.live.keys().load();
    let Some(keys) = keys.as_ref() else {
        issuer.live.want();
        return Err(Refusal::new(Code::KeysUnavailable).with_retry_after(keys::FETCH_PAUSE));
    };

    // Signature: remembered, or verified now and remembered once the claims hold as well.
    let digest = cache::digest(token);
    let remembered = local.find(&digest, keys);
    let (claims, algorithm, known) = match remembered {
        Some((claims, algorithm)) => (claims, algorithm, true),
        None => {
            let (claims, algorithm) = token::verify(token, keys, issuer)?;
            (Arc::new(claims), algorithm, false)
        }
    };

    // Claims: looked at every time, because time passes and settings change.
    token::validate(&claims, algorithm, &issuer.config, at)?;
    if !known {
        local.remember(digest, keys, &claims, algorithm, token.len());
    }
    Ok((claims, known))
}

#[cfg(test)]
mod tests;
