//! Versions of an API: one route that says how they are told apart and where each goes.

use std::fmt;

use http::HeaderName;

use crate::bounds::VERSIONS_MAX;
use crate::declare::{defaulted, object, optional, place, required, words};
use crate::decode::{Complaint, Decoder};
use crate::position::{Located, Position};
use crate::route::{Destination, destinations};
use crate::syntax::plain::word;
use crate::syntax::text::name;
use crate::syntax::unit::date;
use crate::syntax::version::{link, version_by};
use crate::syntax::{at, map, of};
use crate::units::Date;
use crate::yaml::Node;

object! {
    /// The versions of an API. A version that is asked for and is none of them is refused with
    /// `api-version-unknown`.
    pub struct Versions {
        check Versions::check;
        /// Where a request says which version it wants: `path.NAME` (a parameter of the route's
        /// path, as in `/{version}/orders/*`), `header.NAME`, `query.NAME`, or `media_type`
        /// (`Accept`, else `Content-Type`: `application/vnd.shop.v2+json` or
        /// `application/json; version=2`).
        pub by: Located<VersionBy> = required(at(version_by())),
        /// The version for requests that name none.
        pub default: Option<Located<String>> =
            optional(at(name())).note("they are refused with `api-version-missing`"),
        /// The versions by name. Requests may leave out or add a `v` before a digit: `v2` is `2`.
        pub of: Vec<(Located<String>, Version)> =
            required(map(name(), of::<Version>()).at_most(VERSIONS_MAX)),
        /// Where it was written.
        pub at: Position = place(),
    }
}

object! {
    /// One version of an API; its destinations alone say it too.
    pub struct Version {
        short destinations() => |to, at| Version {
            to,
            deprecated: None,
            sunset: None,
            after_sunset: AfterSunset::Serve,
            link: None,
            at,
        };
        check Version::check;
        /// Where it goes: a service, or a list of weighted ones.
        pub to: Vec<Destination> = required(destinations()),
        /// Since when, or from when on, it is deprecated (UTC): responses say so (`Deprecation`,
        /// RFC 9745).
        pub deprecated: Option<Located<Date>> = optional(at(date())),
        /// From when on it may be gone (UTC): responses say so (`Sunset`, RFC 8594).
        pub sunset: Option<Located<Date>> = optional(at(date())),
        /// What happens from `sunset` on.
        pub after_sunset: AfterSunset = defaulted(word(), AfterSunset::Serve),
        /// A page about it: responses link to it (`Link`, with `rel="deprecation"`,
        /// `rel="sunset"`, or both).
        pub link: Option<String> = optional(link()),
        /// Where it was written.
        pub at: Position = place(),
    }
}

words! {
    /// What becomes of requests for a version whose time is over.
    pub enum AfterSunset {
        /// They are refused with 410 `api-version-gone`.
        Refuse = "refuse",
        /// They are served as before.
        Serve = "serve",
    }
}

/// Where a request says which version it wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionBy {
    /// `header.api-version`: a request header.
    Header(HeaderName),
    /// `media_type`: the media type of `Accept`, else of `Content-Type`.
    MediaType,
    /// `path.version`: a parameter of the route's path.
    Path(String),
    /// `query.version`: a query parameter.
    Query(String),
}

impl fmt::Display for VersionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionBy::Header(name) => write!(f, "header.{name}"),
            VersionBy::MediaType => f.write_str("media_type"),
            VersionBy::Path(name) => write!(f, "path.{name}"),
            VersionBy::Query(name) => write!(f, "query.{name}"),
        }
    }
}

/// A name of a version without the `v` that some write before a number.
#[must_use]
pub fn bare_version(name: &str) -> &str {
    match name.strip_prefix(['v', 'V']) {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_digit()) => rest,
        _ => name,
    }
}

impl Versions {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        if self.of.is_empty() {
            let complaint = Complaint::new("there is no version");
            decoder.in_key("of", |decoder| decoder.report(node.at, complaint));
        }
        for (index, (name, _)) in self.of.iter().enumerate() {
            let same = |(other, _): &&(Located<String>, Version)| {
                bare_version(other) == bare_version(name)
            };
            if let Some((first, _)) = self.of[..index].iter().find(same) {
                let problem = format!("`{}` is the same as `{}`", name.value, first.value);
                let complaint = Complaint::new(problem).hint("a `v` before a digit does not count");
                decoder.in_key("of", |decoder| decoder.report(name.at, complaint));
            }
        }
        if let Some(default) = &self.default
            && !self.of.iter().any(|(name, _)| name.value == default.value)
        {
            let names: Vec<_> = self
                .of
                .iter()
                .map(|(name, _)| format!("`{}`", name.value))
                .collect();
            let problem = format!("there is no version `{}`", default.value);
            let complaint = Complaint::new(problem).hint(format!("there is {}", names.join(", ")));
            decoder.in_key("default", |decoder| decoder.report(default.at, complaint));
        }
        if let (VersionBy::Path(name), Some(default)) = (&self.by.value, &self.default) {
            let problem = format!("every request names its version: `{{{name}}}` is in the path");
            let complaint = Complaint::new(problem)
                .hint("remove `default`, or add a route for the path without a version");
            decoder.in_key("default", |decoder| decoder.report(default.at, complaint));
        }
    }
}

impl Version {
    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let mut complain = |key: &str, at: Position, problem: &str, hint: &str| {
            let complaint = Complaint::new(problem).hint(hint);
            decoder.in_key(key, |decoder| decoder.report(at, complaint));
        };
        // RFC 9745 section 4.
        if let (Some(deprecated), Some(sunset)) = (&self.deprecated, &self.sunset)
            && sunset.value < deprecated.value
        {
            let problem = "it is gone before it is deprecated";
            complain(
                "sunset",
                sunset.at,
                problem,
                "write a date after `deprecated`",
            );
        }
        if self.sunset.is_none() && self.after_sunset == AfterSunset::Refuse {
            let problem = "nothing is refused, because there is no sunset";
            complain("after_sunset", node.at, problem, "add `sunset: <date>`");
        }
        if self.link.is_some() && self.deprecated.is_none() && self.sunset.is_none() {
            let problem = "the link would not be sent, because nothing is announced";
            complain(
                "link",
                node.at,
                problem,
                "add `deprecated: <date>` or `sunset: <date>`",
            );
        }
    }
}
