//! Verified tokens of one worker, so that a signature is checked once per token and worker.
//!
//! Only the *signature* is remembered: time, audience and issuer are compared at each use. Tokens
//! that were not believed are not remembered at all, so only holders of real tokens take up room.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::FixedState;
use sha2::{Digest, Sha256};
use weir_config::auth::Algorithm;
use weir_config::bounds::TOKEN_CACHE_MAX;

use crate::auth::Claims;
use crate::auth::keys::KeySet;

/// State of one worker that no other worker touches: verified tokens.
///
/// Two halves: the young one takes what is new or used; when it is full it becomes the old one, and
/// what is in the old one then is forgotten. So what is used stays, and nothing is ever searched
/// for something to throw out.
#[derive(Debug, Default)]
pub struct Local {
    young: Half,
    old: Half,
}

#[derive(Debug, Default)]
struct Half {
    /// The keys are digests of tokens that an issuer signed: nobody chooses where they fall.
    entries: HashMap<[u8; 32], Entry, FixedState>,
    /// Bytes of the tokens remembered.
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// The very set that verified it: a token is remembered as long as its set is in force. Held,
    /// so that its address cannot become another set's.
    keys: Arc<KeySet>,
    claims: Arc<Claims>,
    algorithm: Algorithm,
    bytes: usize,
}

/// What a token is found by. A collision would be a way to be somebody else, hence a cryptographic
/// hash; one of a token takes a hundredth of checking its signature.
pub(super) fn digest(token: &str) -> [u8; 32] {
    Sha256::digest(token.as_bytes()).into()
}

impl Local {
    /// How many tokens are remembered.
    #[must_use]
    pub fn tokens(&self) -> usize {
        self.young.entries.len() + self.old.entries.len()
    }

    /// Claims and algorithm of a token that this set has verified.
    pub(super) fn find(
        &mut self,
        digest: &[u8; 32],
        keys: &Arc<KeySet>,
    ) -> Option<(Arc<Claims>, Algorithm)> {
        if let Some(entry) = self.young.entries.get(digest) {
            return entry.answer(keys);
        }
        let entry = self.old.entries.remove(digest)?;
        self.old.bytes -= entry.bytes;
        let answer = entry.answer(keys);
        if answer.is_some() {
            self.insert(*digest, entry);
        }
        answer
    }

    /// Remembers a token.
    pub(super) fn remember(
        &mut self,
        digest: [u8; 32],
        keys: &Arc<KeySet>,
        claims: &Arc<Claims>,
        algorithm: Algorithm,
        bytes: usize,
    ) {
        let (keys, claims) = (keys.clone(), claims.clone());
        self.insert(
            digest,
            Entry {
                keys,
                claims,
                algorithm,
                bytes,
            },
        );
    }

    fn insert(&mut self, digest: [u8; 32], entry: Entry) {
        let full = self.young.entries.len() >= TOKEN_CACHE_MAX / 2
            || self.young.bytes + entry.bytes > HALF_BYTES_MAX;
        if full {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.bytes += entry.bytes;
        if let Some(replaced) = self.young.entries.insert(digest, entry) {
            self.young.bytes -= replaced.bytes;
        }
    }
}

impl Entry {
    fn answer(&self, keys: &Arc<KeySet>) -> Option<(Arc<Claims>, Algorithm)> {
        Arc::ptr_eq(&self.keys, keys).then(|| (self.claims.clone(), self.algorithm))
    }
}

/// Most bytes of tokens in a half: large tokens must not multiply the memory that ordinary ones
/// need.
const HALF_BYTES_MAX: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_bounded_and_keeps_what_is_used() {
        let mut local = Local::default();
        let keys = Arc::new(KeySet::default());
        let claims = Arc::new(Claims::default());
        let used = digest("used");
        local.remember(used, &keys, &claims, Algorithm::Es256, 4);
        for number in 0..20_000 {
            let other = digest(&number.to_string());
            local.remember(other, &keys, &claims, Algorithm::Es256, 700);
            assert!(local.find(&used, &keys).is_some(), "after {number}");
            assert!(local.tokens() <= TOKEN_CACHE_MAX);
            assert!(local.young.bytes <= HALF_BYTES_MAX);
        }
        assert!(
            local.find(&digest("0"), &keys).is_none(),
            "what is not used is forgotten"
        );
        let bytes = |half: &Half| {
            half.entries
                .values()
                .map(|entry| entry.bytes)
                .sum::<usize>()
        };
        assert_eq!(local.young.bytes, bytes(&local.young));
        assert_eq!(local.old.bytes, bytes(&local.old));
        // Another set has not verified it.
        assert!(local.find(&used, &Arc::new(KeySet::default())).is_none());
    }
}
