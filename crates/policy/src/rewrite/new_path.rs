//! New paths: a template, or an expression over the old path. What comes out is read like a path
//! that a client sent, so that the service sees no path that policy would have refused.

use regex::Regex;
use weir_config::bounds::REGEX_BYTES_MAX;
use weir_config::route::NewPath as Written;

use super::template::{Goes, Scope, Template, TemplateFault, Values};
use crate::refusal::{Code, Refusal};
use crate::route::path::{self, PathFault, Rules};
use crate::route::{MatchFault, PathMatch, anchored, canonical};

/// How the path is changed.
#[derive(Debug, Clone)]
pub struct NewPath {
    /// Changes only paths that match as a whole.
    regex: Option<Regex>,
    template: Template,
    /// What follows the matched prefix stays.
    keeps_rest: bool,
}

/// Why a new path cannot be used by a route.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewPathFault {
    /// It could never be one.
    #[error(transparent)]
    Path(#[from] MatchFault),
    /// Its expression is none, or too large.
    #[error("the regular expression cannot be used: {0}")]
    Regex(#[from] regex::Error),
    /// A place cannot be filled.
    #[error(transparent)]
    Template(#[from] TemplateFault),
}

impl NewPath {
    /// Compiles a new path; `keeps_rest` for one that stands for a matched prefix.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(crate) fn compile(
        written: &Written,
        scope: Scope<'_>,
        keeps_rest: bool,
    ) -> Result<NewPath, NewPathFault> {
        let regex = match &written.regex {
            Some(text) => {
                let mut builder = regex::RegexBuilder::new(&anchored(text)?);
                Some(builder.size_limit(REGEX_BYTES_MAX).build()?)
            }
            None => None,
        };
        canonical(&written.with.probe())?;
        let scope = Scope {
            groups: regex.as_ref(),
            ..scope
        };
        let template = Template::compile(&written.with, scope)?.escaped();
        Ok(NewPath {
            regex,
            template,
            keeps_rest,
        })
    }

    /// The path that leaves; `None` where the expression does not match the old one.
    ///
    /// # Errors
    /// `rewrite-failed`: a value is missing, or what came out is no path that can be sent.
    pub(crate) fn make(
        &self,
        pattern: &PathMatch,
        values: &Values<'_>,
        rules: Rules,
    ) -> Result<Option<String>, Refusal> {
        let groups = match &self.regex {
            Some(regex) => match regex.captures(values.path) {
                Some(groups) => Some(groups),
                None => return Ok(None),
            },
            None => None,
        };
        let filled = self.template.fill(values, groups.as_ref(), Goes::Path);
        let filled = filled.map_err(|unfilled| {
            failed(format!(
                "`{unfilled}` has no value that the new path could have"
            ))
        })?;
        let mut new = String::from_utf8(filled).map_err(|_| unsendable(&PathFault::RawByte))?;
        if self.keeps_rest && pattern.is_prefix() {
            let matched = pattern.matched_bytes(values.path);
            let rest = values.path.get(matched..).unwrap_or_default();
            if !rest.is_empty() {
                new.truncate(new.trim_end_matches('/').len());
                new.push_str(rest);
            }
        }
        // A value of `..` would lead somewhere that nobody wrote.
        if new.split('/').any(|segment| matches!(segment, "." | "..")) {
            return Err(failed("the new path would have dot segments".to_owned()));
        }
        let normal = path::normalise(&new, rules).map_err(|fault| unsendable(&fault))?;
        Ok(Some(normal.into_owned()))
    }
}

fn unsendable(fault: &PathFault) -> Refusal {
    failed(format!("the new path cannot be sent: {fault}"))
}

/// Nothing can be sent in the place of what the route says.
pub(super) fn failed(detail: String) -> Refusal {
    Refusal::new(Code::RewriteFailed).with_detail(detail)
}
