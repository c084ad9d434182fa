//! What is wrong with a document, collected; and names that were probably meant.

use std::collections::HashSet;

use weir_config::bounds::ERRORS_MAX;
use weir_config::{ConfigError, ConfigErrors, Position};

/// Errors and warnings found so far, each once: several roles find the same.
#[derive(Debug, Default)]
pub(super) struct Faults {
    pub(super) errors: Vec<ConfigError>,
    /// Errors past [`ERRORS_MAX`].
    pub(super) dropped: usize,
    warnings: Vec<ConfigError>,
    seen: HashSet<ConfigError>,
}

impl Faults {
    /// Something that must be changed before the document can run.
    pub(super) fn error(
        &mut self,
        path: String,
        at: Position,
        problem: impl Into<String>,
        hint: Option<String>,
    ) {
        let error = ConfigError {
            path,
            at,
            problem: problem.into(),
            hint,
        };
        if self.seen.contains(&error) {
            return;
        }
        if self.errors.len() >= ERRORS_MAX {
            self.dropped += 1;
            return;
        }
        self.seen.insert(error.clone());
        self.errors.push(error);
    }

    /// Something that is allowed but looks wrong.
    pub(super) fn warn(
        &mut self,
        path: String,
        at: Position,
        problem: impl Into<String>,
        hint: Option<String>,
    ) {
        let warning = ConfigError {
            path,
            at,
            problem: problem.into(),
            hint,
        };
        if self.seen.insert(warning.clone()) {
            self.warnings.push(warning);
        }
    }

    /// The warnings, when there is no error.
    pub(super) fn finish(mut self) -> Result<Vec<ConfigError>, ConfigErrors> {
        if self.errors.is_empty() {
            self.warnings.sort_by_key(|warning| warning.at);
            return Ok(self.warnings);
        }
        Err(ConfigErrors::collect(self.errors, self.dropped))
    }
}

/// A hint that names the known name nearest to an unknown one, or lists what there is.
pub(super) fn did_you_mean<'n>(
    unknown: &str,
    known: impl Iterator<Item = &'n str> + Clone,
) -> Option<String> {
    let near = known
        .clone()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), name))
        .filter(|(distance, name)| *distance <= 1 + unknown.len().max(name.len()) / 4)
        .min();
    if let Some((_, name)) = near {
        return Some(format!("did you mean `{name}`?"));
    }
    let some: Vec<_> = known.take(LISTED_MAX + 1).collect();
    match some.len() {
        0 => None,
        count if count > LISTED_MAX => None,
        _ => Some(format!("there is `{}`", some.join("`, `"))),
    }
}

/// Most names that a hint lists.
const LISTED_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_proposed() {
        let hint = |unknown: &str| did_you_mean(unknown, ["orders", "users"].into_iter());
        assert_eq!(hint("order").as_deref(), Some("did you mean `orders`?"));
        assert_eq!(hint("sers").as_deref(), Some("did you mean `users`?"));
        assert_eq!(
            hint("payments").as_deref(),
            Some("there is `orders`, `users`")
        );
        assert_eq!(did_you_mean("x", std::iter::empty()), None);
    }
}
