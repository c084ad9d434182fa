//! What a new account must look like.

use serde::Deserialize;

use crate::problem::FieldError;

/// An account as it is asked for.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NewAccount {
    pub(super) name: String,
    pub(super) email: String,
    pub(super) password: String,
}

impl NewAccount {
    /// The account with surrounding blanks gone, or everything that is wrong with it.
    pub(super) fn check(self) -> Result<Self, Vec<FieldError>> {
        let account = Self {
            name: self.name.trim().to_owned(),
            email: self.email.trim().to_owned(),
            password: self.password,
        };
        let mut errors = Vec::new();
        let mut require = |holds: bool, field, detail| {
            if !holds {
                errors.push(FieldError { field, detail });
            }
        };
        require(
            (1..=NAME_CHARS_MAX).contains(&account.name.chars().count())
                && !account.name.chars().any(char::is_control),
            "name",
            "must have 1 to 100 characters, none of them a control character",
        );
        require(
            is_email(&account.email),
            "email",
            "must look like name@host.example, at most 254 characters",
        );
        require(
            (PASSWORD_BYTES_MIN..=PASSWORD_BYTES_MAX).contains(&account.password.len()),
            "password",
            "must have 8 to 128 bytes",
        );
        if errors.is_empty() {
            Ok(account)
        } else {
            Err(errors)
        }
    }
}

/// Whether mail arrives is found out by sending some; this is about slips of the pen.
fn is_email(text: &str) -> bool {
    let Some((name, host)) = text.split_once('@') else {
        return false;
    };
    let is_plain = text.len() <= EMAIL_BYTES_MAX
        && !text
            .chars()
            .any(|character| character.is_whitespace() || character.is_control());
    let is_host = host.contains('.') && host.split('.').all(|label| !label.is_empty());
    is_plain && !name.is_empty() && is_host && !host.contains('@')
}

const NAME_CHARS_MAX: usize = 100;
const EMAIL_BYTES_MAX: usize = 254;
const PASSWORD_BYTES_MIN: usize = 8;
/// Long enough for any passphrase, short enough to hash.
const PASSWORD_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::{NewAccount, is_email};

    #[test]
    fn emails_are_checked_for_slips() {
        assert!(is_email("a.b+c@shop.example"));
        for wrong in [
            "", "a", "@b.c", "a@", "a@b", "a@b..c", "a b@c.d", "a@b@c.d", "a@.b",
        ] {
            assert!(!is_email(wrong), "{wrong}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        let account = |name: &str, email: &str, password: &str| NewAccount {
            name: name.to_owned(),
            email: email.to_owned(),
            password: password.to_owned(),
        };
        let errors = account(" ", "nowhere", "short")
            .check()
            .map(|_| ())
            .map_err(|errors| errors.iter().map(|error| error.field).collect::<Vec<_>>());
        assert_eq!(errors, Err(vec!["name", "email", "password"]));
        let checked = account(" Ada ", "ada@shop.example ", "long enough").check();
        assert!(checked.is_ok_and(|account| account.name == "Ada"));
    }
}
