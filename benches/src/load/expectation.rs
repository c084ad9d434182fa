//! What a response must be. Nothing counts as a request that was not checked here to its last byte.

use aws_lc_rs::digest;
use bytes::Bytes;

use crate::load::tally::Failure;

/// What every response must be.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// The only good status.
    pub status: u16,
    /// Statuses that count too, with any content: refusals that the test provokes.
    pub tolerated: Vec<u16>,
    /// Length of the content, bytes.
    pub bytes: Option<u64>,
    /// The content itself.
    pub content: Content,
}

/// How the content is known.
#[derive(Clone, Debug)]
pub enum Content {
    /// It is not.
    Any,
    /// All of it.
    Exactly(Bytes),
    /// Its SHA-256.
    Sha256([u8; 32]),
}

impl Expectation {
    /// Begins to check a response of that status.
    #[must_use]
    pub fn begin(&self, status: u16) -> Check<'_> {
        let is_tolerated = status != self.status && self.tolerated.contains(&status);
        let digest = match self.content {
            Content::Sha256(_) if !is_tolerated => Some(digest::Context::new(&digest::SHA256)),
            _ => None,
        };
        Check {
            expectation: self,
            status,
            is_tolerated,
            is_equal: true,
            seen: 0,
            digest,
        }
    }
}

/// One response being checked.
pub struct Check<'a> {
    expectation: &'a Expectation,
    status: u16,
    is_tolerated: bool,
    is_equal: bool,
    seen: usize,
    digest: Option<digest::Context>,
}

impl Check<'_> {
    /// The next piece of the content.
    pub fn feed(&mut self, piece: &[u8]) {
        if let Content::Exactly(expected) = &self.expectation.content {
            let end = self.seen + piece.len();
            self.is_equal &= expected.get(self.seen..end) == Some(piece);
        }
        if let Some(digest) = &mut self.digest {
            digest.update(piece);
        }
        self.seen += piece.len();
    }

    /// The content is complete: what was received, if it is what it must be.
    ///
    /// # Errors
    /// [`Failure::Status`] and [`Failure::Body`].
    pub fn finish(self) -> Result<Verified, Failure> {
        let verified = Verified {
            status: self.status,
            bytes: self.seen as u64,
        };
        if self.is_tolerated {
            return Ok(verified);
        }
        if self.status != self.expectation.status {
            return Err(Failure::Status(self.status));
        }
        let is_length = match (self.expectation.bytes, &self.expectation.content) {
            (Some(length), _) => length == verified.bytes,
            (None, Content::Exactly(expected)) => expected.len() == self.seen,
            (None, _) => true,
        };
        let is_content = match (&self.expectation.content, self.digest) {
            (Content::Exactly(expected), _) => self.is_equal && expected.len() == self.seen,
            (Content::Sha256(expected), Some(digest)) => digest.finish().as_ref() == expected,
            _ => true,
        };
        if is_length && is_content {
            Ok(verified)
        } else {
            Err(Failure::Body {
                bytes: verified.bytes,
            })
        }
    }
}

/// A response that is what it must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its status.
    pub status: u16,
    /// Length of its content, bytes.
    pub bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(expectation: &Expectation, status: u16, pieces: &[&[u8]]) -> Result<u64, String> {
        let mut check = expectation.begin(status);
        for piece in pieces {
            check.feed(piece);
        }
        check
            .finish()
            .map(|verified| verified.bytes)
            .map_err(|failure| failure.to_string())
    }

    fn expecting(content: Content) -> Expectation {
        Expectation {
            status: 200,
            tolerated: vec![429],
            bytes: None,
            content,
        }
    }

    #[test]
    fn content_must_be_equal_to_the_last_byte() {
        let exact = expecting(Content::Exactly(Bytes::from_static(b"hello")));
        assert_eq!(check(&exact, 200, &[b"he", b"llo"]), Ok(5));
        assert!(check(&exact, 200, &[b"hell"]).is_err());
        assert!(check(&exact, 200, &[b"hello", b"!"]).is_err());
        assert!(check(&exact, 200, &[b"hellO"]).is_err());

        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, b"hello").as_ref());
        let hashed = expecting(Content::Sha256(hash));
        assert_eq!(check(&hashed, 200, &[b"hel", b"lo"]), Ok(5));
        assert!(check(&hashed, 200, &[b"hellO"]).is_err());

        let counted = Expectation {
            bytes: Some(5),
            ..expecting(Content::Any)
        };
        assert_eq!(check(&counted, 200, &[b"12345"]), Ok(5));
        assert!(check(&counted, 200, &[b"1234"]).is_err());
        assert!(check(&counted, 200, &[b"123456"]).is_err());
    }

    #[test]
    fn status_must_be_the_expected_or_a_tolerated_one() {
        let exact = expecting(Content::Exactly(Bytes::from_static(b"hello")));
        assert_eq!(
            check(&exact, 503, &[b"hello"]),
            Err("status 503".to_owned())
        );
        assert_eq!(check(&exact, 429, &[b"slow"]), Ok(4));
    }
}
