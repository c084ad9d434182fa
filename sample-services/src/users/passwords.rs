//! Password hashes (Argon2id), a few at a time.
//!
//! Hashing is meant to be expensive, so it runs off the event loop and its queue is bounded: a
//! flood of logins must not take the rest of the service with it.

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use thiserror::Error;
use tokio::sync::Semaphore;

/// Why there is no verdict on a password.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum PasswordError {
    /// Too many others wait. The caller may try again.
    #[error("too many logins at once; try again")]
    Busy,
    /// Hashing failed: no memory or no randomness.
    #[error("passwords cannot be hashed")]
    Failed,
}

/// Hashes and verifies.
pub(super) struct Passwords {
    waiting: Semaphore,
    running: Semaphore,
    /// Of a password that nobody has, for emails that nobody has.
    decoy: String,
}

impl Passwords {
    pub(super) fn new() -> Result<Self, PasswordError> {
        let mut secret = [0; 16];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| PasswordError::Failed)?;
        Ok(Self {
            waiting: Semaphore::new(WAITING_MAX),
            running: Semaphore::new(RUNNING_MAX),
            decoy: hash_bytes(&secret)?,
        })
    }

    /// The hash to store, in PHC string format.
    pub(super) async fn hash(&self, password: String) -> Result<String, PasswordError> {
        self.run(move || hash(&password)).await?
    }

    /// Whether the password belongs to the hash; without a hash it does not, in the same time.
    pub(super) async fn verify(
        &self,
        password: String,
        hash: Option<String>,
    ) -> Result<bool, PasswordError> {
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| self.decoy.clone());
        let is_right = self.run(move || is_password_of(&password, &hash)).await?;
        Ok(is_right && is_known)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| PasswordError::Busy)?;
        let _running = self
            .running
            .acquire()
            .await
            .map_err(|_| PasswordError::Busy)?;
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| PasswordError::Failed)
    }
}

/// Hashes on the calling thread.
pub(super) fn hash(password: &str) -> Result<String, PasswordError> {
    hash_bytes(password.as_bytes())
}

fn hash_bytes(password: &[u8]) -> Result<String, PasswordError> {
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|_| PasswordError::Failed)?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2
        .hash_password(password)
        .map_err(|_| PasswordError::Failed)?;
    Ok(hash.to_string())
}

fn is_password_of(password: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| {
        // The parameters are those of the hash.
        Argon2::default()
            .verify_password(password.as_bytes(), &hash)
            .is_ok()
    })
}

/// Small, because a sample must start and log in quickly in a debug build too. A shop with real
/// customers takes at least 19 MiB and 2 passes.
const MEMORY_KIB: u32 = 4 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
const RUNNING_MAX: usize = 2;
const WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{PasswordError, Passwords, WAITING_MAX};
    use std::sync::Arc;

    #[tokio::test]
    async fn only_the_password_of_the_hash_is_right() {
        let passwords = Passwords::new().unwrap();
        let hash = passwords.hash("secret".to_owned()).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=4096,t=2,p=1$"), "{hash}");
        assert_ne!(passwords.hash("secret".to_owned()).await.unwrap(), hash);
        assert_eq!(
            passwords
                .verify("secret".to_owned(), Some(hash.clone()))
                .await,
            Ok(true)
        );
        assert_eq!(
            passwords.verify("Secret".to_owned(), Some(hash)).await,
            Ok(false)
        );
        assert_eq!(passwords.verify("secret".to_owned(), None).await, Ok(false));
    }

    #[tokio::test]
    async fn the_queue_is_bounded() {
        let passwords = Arc::new(Passwords::new().unwrap());
        let places = passwords
            .waiting
            .try_acquire_many(u32::try_from(WAITING_MAX).unwrap());
        assert_eq!(
            passwords.verify("a".to_owned(), None).await,
            Err(PasswordError::Busy)
        );
        drop(places);
        assert_eq!(passwords.verify("a".to_owned(), None).await, Ok(false));
    }
}
