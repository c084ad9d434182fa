//! All accounts, in memory.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use thiserror::Error;

/// One account.
#[derive(Clone)]
pub(super) struct User {
    pub(super) id: u64,
    pub(super) name: String,
    pub(super) email: String,
    pub(super) password_hash: String,
}

/// Why an account was not made.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum CreateError {
    /// Emails are unique, whatever their case.
    #[error("an account with this email exists")]
    Duplicate,
    /// The bound is reached.
    #[error("the shop takes no more than {USERS_MAX} accounts")]
    Full,
}

/// All accounts.
#[derive(Default)]
pub(super) struct Directory(RwLock<Accounts>);

#[derive(Default)]
struct Accounts {
    by_id: BTreeMap<u64, User>,
    ids_by_email: HashMap<String, u64>,
}

impl Directory {
    /// Makes an account.
    pub(super) fn create(
        &self,
        name: String,
        email: String,
        password_hash: String,
    ) -> Result<User, CreateError> {
        let mut accounts = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let key = email.to_lowercase();
        if accounts.ids_by_email.contains_key(&key) {
            return Err(CreateError::Duplicate);
        }
        if accounts.by_id.len() >= USERS_MAX {
            return Err(CreateError::Full);
        }
        let id = accounts
            .by_id
            .last_key_value()
            .map_or(1, |(last, _)| last + 1);
        let user = User {
            id,
            name,
            email,
            password_hash,
        };
        accounts.ids_by_email.insert(key, id);
        accounts.by_id.insert(id, user.clone());
        Ok(user)
    }

    pub(super) fn by_id(&self, id: u64) -> Option<User> {
        self.read().by_id.get(&id).cloned()
    }

    pub(super) fn by_email(&self, email: &str) -> Option<User> {
        let accounts = self.read();
        let id = accounts.ids_by_email.get(&email.to_lowercase())?;
        accounts.by_id.get(id).cloned()
    }

    /// Up to `limit` accounts with ids above `after`.
    pub(super) fn page(&self, after: u64, limit: usize) -> Vec<User> {
        let above = (Bound::Excluded(after), Bound::Unbounded);
        self.read()
            .by_id
            .range(above)
            .take(limit)
            .map(|(_, user)| user.clone())
            .collect()
    }

    /// No code that can panic runs while it is locked for writing.
    fn read(&self) -> RwLockReadGuard<'_, Accounts> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// At the bound no account is made.
const USERS_MAX: usize = 10_000;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::{CreateError, Directory, USERS_MAX};

    fn create(directory: &Directory, email: &str) -> Result<u64, CreateError> {
        let created = directory.create("name".to_owned(), email.to_owned(), "hash".to_owned());
        created.map(|user| user.id)
    }

    #[test]
    fn emails_are_unique_whatever_their_case() {
        let directory = Directory::default();
        assert_eq!(create(&directory, "a@b.c"), Ok(1));
        assert_eq!(create(&directory, "A@B.c"), Err(CreateError::Duplicate));
        assert_eq!(directory.by_email("A@b.C").unwrap().id, 1);
    }

    #[test]
    fn the_directory_is_bounded_and_paged() {
        let directory = Directory::default();
        for number in 0..USERS_MAX {
            create(&directory, &number.to_string()).unwrap();
        }
        assert_eq!(create(&directory, "one more"), Err(CreateError::Full));
        let ids: Vec<u64> = directory
            .page(9_997, 100)
            .iter()
            .map(|user| user.id)
            .collect();
        assert_eq!(ids, [9_998, 9_999, 10_000]);
        assert!(directory.page(u64::MAX, 1).is_empty());
    }
}
