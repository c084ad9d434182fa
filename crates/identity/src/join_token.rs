//! The join token: what a new proxy is given so that it can ask for its first certificate.
//!
//! `weir-join.<fingerprint>.<secret>`. The fingerprint of the trust root lets the proxy verify the
//! control plane before it has any certificate; the secret lets the control plane accept the
//! proxy. Only the secret travels, and only to a verified control plane.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use thiserror::Error;

use crate::fingerprint::Fingerprint;

/// Why a text is not a join token, or none could be made.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JoinTokenError {
    /// Not of the form `weir-join.<fingerprint>.<secret>`.
    #[error("a join token has the form weir-join.<fingerprint>.<secret>")]
    Form,
    /// The fingerprint is not 32 bytes of base64url.
    #[error("the fingerprint of the join token is not 32 bytes of base64url: copied incompletely?")]
    Fingerprint,
    /// The secret is not 32 bytes of base64url.
    #[error("the secret of the join token is not 32 bytes of base64url: copied incompletely?")]
    Secret,
    /// The system gives no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomness,
}

/// A join token. `Debug` hides the secret and there is no `Display`: printing it is always
/// [`JoinToken::expose`], on purpose.
#[derive(Clone)]
pub struct JoinToken {
    fingerprint: Fingerprint,
    secret: [u8; 32],
}

impl JoinToken {
    /// A new token for joining under the root with this fingerprint.
    pub fn generate(fingerprint: Fingerprint) -> Result<Self, JoinTokenError> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).map_err(|_| JoinTokenError::NoRandomness)?;
        Ok(Self {
            fingerprint,
            secret,
        })
    }

    /// Reads a token; white space around it is ignored, since it comes out of files.
    pub fn parse(text: &str) -> Result<Self, JoinTokenError> {
        let rest = text
            .trim()
            .strip_prefix(PREFIX)
            .ok_or(JoinTokenError::Form)?;
        let (fingerprint, secret) = rest.split_once('.').ok_or(JoinTokenError::Form)?;
        let fingerprint = decode(fingerprint).ok_or(JoinTokenError::Fingerprint)?;
        let secret = decode(secret).ok_or(JoinTokenError::Secret)?;
        Ok(Self {
            fingerprint: fingerprint.into(),
            secret,
        })
    }

    /// The root that the control plane must present.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The same secret under another root: what a token becomes when the root is rotated.
    pub fn with_fingerprint(&self, fingerprint: Fingerprint) -> Self {
        Self {
            fingerprint,
            secret: self.secret,
        }
    }

    /// The whole token as text: for the file or the eyes it is meant for, never for a log.
    pub fn expose(&self) -> String {
        format!("{PREFIX}{}.{}", self.fingerprint, self.bearer())
    }

    /// What the proxy sends as `Authorization: Bearer …`: the secret alone.
    pub fn bearer(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.secret)
    }

    /// Whether the bearer text presented is this token's secret; takes the same time for every
    /// wrong secret.
    pub fn accepts(&self, bearer: &str) -> bool {
        decode(bearer.trim())
            .is_some_and(|presented| verify_slices_are_equal(&presented, &self.secret).is_ok())
    }
}

impl FromStr for JoinToken {
    type Err = JoinTokenError;

    fn from_str(text: &str) -> Result<Self, JoinTokenError> {
        Self::parse(text)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "JoinToken({}.<hidden>)", self.fingerprint)
    }
}

fn decode(text: &str) -> Option<[u8; 32]> {
    // 32 bytes are 43 characters; checking first keeps a hostile header from being decoded.
    if text.len() != 43 {
        return None;
    }
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

const PREFIX: &str = "weir-join.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{JoinToken, JoinTokenError};
    use crate::fingerprint::Fingerprint;

    #[test]
    fn text_and_back() {
        let token = JoinToken::generate(Fingerprint::from([7; 32])).unwrap();
        let read = JoinToken::parse(&format!("{}\n", token.expose())).unwrap();
        assert_eq!(read.fingerprint(), token.fingerprint());
        assert!(token.accepts(&read.bearer()));
        let rotated = token.with_fingerprint(Fingerprint::from([8; 32]));
        assert!(rotated.accepts(&token.bearer()));
    }

    #[test]
    fn another_secret_is_not_accepted() {
        let token = JoinToken::generate(Fingerprint::from([7; 32])).unwrap();
        let other = JoinToken::generate(Fingerprint::from([7; 32])).unwrap();
        assert!(!token.accepts(&other.bearer()));
        for odd in ["", "x", "\u{e9}", &token.expose(), &token.bearer()[1..]] {
            assert!(!token.accepts(odd), "{odd}");
        }
    }

    #[test]
    fn malformed_texts_are_refused_with_the_part_that_is_wrong() {
        let good = JoinToken::generate(Fingerprint::from([7; 32])).unwrap();
        let (fingerprint, secret) = (good.fingerprint(), good.bearer());
        let cases = [
            (String::new(), JoinTokenError::Form),
            ("weir-join".into(), JoinTokenError::Form),
            (format!("weir-join.{fingerprint}"), JoinTokenError::Form),
            (format!("weir-join.x.{secret}"), JoinTokenError::Fingerprint),
            (
                format!("weir-join.{fingerprint}.{}", &secret[1..]),
                JoinTokenError::Secret,
            ),
            (
                format!("weir-join.{fingerprint}.{secret}.x"),
                JoinTokenError::Secret,
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(
                JoinToken::parse(&text).expect_err(&text),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn debug_hides_the_secret() {
        let token = JoinToken::generate(Fingerprint::from([7; 32])).unwrap();
        assert!(!format!("{token:?}").contains(&token.bearer()));
    }
}
