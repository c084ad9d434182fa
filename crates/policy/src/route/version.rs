//! Which version of an API a request wants, and what its responses say about it.
//!
//! The one idea: a route is found first, as if it had no versions, and then one lookup by name says
//! where the request goes; so ten versions cost what two do.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use foldhash::fast::FixedState;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderName, LINK, VARY};
use http::{HeaderMap, HeaderValue};
use weir_config::Position;
use weir_config::units::Date;
use weir_config::version::{AfterSunset, Version, VersionBy, Versions, bare_version};

use super::{Params, PathMatch, query_values};
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::refusal::{Code, Refusal};
use crate::request::RequestView;

/// The versions of a route.
#[derive(Debug, Clone)]
pub struct VersionPlan {
    by: By,
    /// As it was written.
    written: VersionBy,
    default: Option<u16>,
    /// By name without a `v` before a digit. Names come from the document, so the hash needs no
    /// secret.
    by_name: HashMap<Box<str>, u16, FixedState>,
    versions: Box<[Planned]>,
    at: Position,
}

/// Where a version is named.
#[derive(Debug, Clone)]
enum By {
    Header(HeaderName),
    MediaType,
    /// The parameter with this index.
    Path(usize),
    Query(Box<str>),
}

#[derive(Debug, Clone)]
struct Planned {
    name: Arc<str>,
    /// Which of the route's destinations are its own.
    destinations: Range<usize>,
    deprecated: Option<Date>,
    sunset: Option<Date>,
    refuses: bool,
    /// Fields that replace those of the service.
    announced: Vec<(HeaderName, HeaderValue)>,
    link: Option<HeaderValue>,
    at: Position,
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Declared(u16),
    Nothing,
    Unknown,
}

/// Why versions cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VersionFault {
    /// A link that no field can hold.
    #[error("the link of `{0}` cannot stand in a header")]
    Link(String),
    /// The path has no such parameter.
    #[error("the route's path has no parameter `{0}`")]
    Parameter(String),
}

impl VersionPlan {
    /// Compiles the versions of a route with this path.
    ///
    /// # Errors
    /// Why they cannot be told apart.
    pub(crate) fn compile(
        written: &Versions,
        path: &PathMatch,
    ) -> Result<VersionPlan, VersionFault> {
        let by = match &written.by.value {
            VersionBy::Header(name) => By::Header(name.clone()),
            VersionBy::MediaType => By::MediaType,
            VersionBy::Path(name) => {
                let parameter = path.parameter(name);
                By::Path(parameter.ok_or_else(|| VersionFault::Parameter(name.clone()))?)
            }
            VersionBy::Query(name) => By::Query(name.as_str().into()),
        };
        let mut by_name = HashMap::default();
        let mut versions = Vec::with_capacity(written.of.len());
        let mut first = 0;
        // The language bounds versions far below 2^16.
        for (index, (name, version)) in (0_u16..).zip(&written.of) {
            by_name.insert(bare_version(name).into(), index);
            let destinations = first..first + version.to.len();
            first = destinations.end;
            versions.push(Planned::compile(name, version, destinations)?);
        }
        let default = written.default.as_ref();
        Ok(VersionPlan {
            by,
            written: written.by.value.clone(),
            default: default.and_then(|name| by_name.get(bare_version(name)).copied()),
            by_name,
            versions: versions.into(),
            at: written.at,
        })
    }

    /// The version that a request takes.
    ///
    /// # Errors
    /// It names none where it should, none that there is, or one whose time is over.
    pub(crate) fn choose(
        &self,
        request: &RequestView<'_>,
        path: &str,
        params: &Params,
        at: Moment,
        note: &mut impl Note,
    ) -> Result<u16, Refusal> {
        let asked = self.asked(request, path, params);
        let index = match (asked, self.default) {
            (Asked::Declared(index), _) | (Asked::Nothing, Some(index)) => index,
            (Asked::Nothing, None) => return Err(self.refuse(Code::ApiVersionMissing)),
            (Asked::Unknown, _) if matches!(self.by, By::MediaType) => {
                return Err(self.refuse(Code::ApiVersionUnacceptable));
            }
            (Asked::Unknown, _) => return Err(self.refuse(Code::ApiVersionUnknown)),
        };
        let version = &self.versions[usize::from(index)];
        note.note(|| Step {
            area: "version",
            said: match asked {
                Asked::Nothing => format!("`{}`, the default", version.name),
                _ => format!("`{}`, by {}", version.name, self.written),
            },
            at: version.at,
        });
        let passed = |date: Option<Date>| date.filter(|date| date.unix_seconds <= at.unix_seconds);
        for (date, what) in [(version.deprecated, "deprecated"), (version.sunset, "gone")] {
            if let Some(date) = passed(date) {
                note.note(|| Step {
                    area: "version",
                    said: format!("`{}` is {what} since {date}", version.name),
                    at: version.at,
                });
            }
        }
        match passed(version.sunset).filter(|_| version.refuses) {
            Some(date) => {
                let detail = format!("`{}` is gone since {date}", version.name);
                Err(Refusal::new(Code::ApiVersionGone).with_detail(detail))
            }
            None => Ok(index),
        }
    }

    fn refuse(&self, code: Code) -> Refusal {
        let names: Vec<_> = self.versions.iter().map(|version| &*version.name).collect();
        let detail = format!("by {} there is {}", self.written, names.join(", "));
        Refusal::new(code).with_detail(detail)
    }

    fn asked(&self, request: &RequestView<'_>, path: &str, params: &Params) -> Asked {
        match &self.by {
            By::Header(name) => match request.headers.get(name) {
                None => Asked::Nothing,
                Some(value) => self.named(value.as_bytes().trim_ascii()),
            },
            By::MediaType => self.of_media_types(request.headers),
            By::Path(index) => self.named(params.text(path, *index).as_bytes()),
            By::Query(name) => match query_values(request.query, name).next() {
                None => Asked::Nothing,
                Some(value) => self.named(&value),
            },
        }
    }

    fn named(&self, name: &[u8]) -> Asked {
        if name.is_empty() {
            return Asked::Nothing;
        }
        let name = std::str::from_utf8(name).ok();
        let found = name.and_then(|name| self.by_name.get(bare_version(name)));
        found.map_or(Asked::Unknown, |index| Asked::Declared(*index))
    }

    /// What `accept` says, and where it names no version, `content-type`.
    fn of_media_types(&self, headers: &HeaderMap) -> Asked {
        let mut best = Asked::Nothing;
        for field in [ACCEPT, CONTENT_TYPE] {
            let mut best_quality = 0;
            for value in headers.get_all(field) {
                let Ok(text) = value.to_str() else { continue };
                for media_type in text.split(',') {
                    let (asked, quality) = self.of_media_type(media_type);
                    match asked {
                        Asked::Declared(_) if quality > best_quality => {
                            (best, best_quality) = (asked, quality);
                        }
                        Asked::Unknown if best == Asked::Nothing && quality > 0 => best = asked,
                        Asked::Declared(_) | Asked::Nothing | Asked::Unknown => {}
                    }
                }
            }
            if best != Asked::Nothing {
                break;
            }
        }
        best
    }

    /// The version that a media type names, and its quality in thousandths (RFC 9110 section
    /// 12.4.2).
    fn of_media_type(&self, text: &str) -> (Asked, u32) {
        let mut parts = text.split(';');
        let essence = parts.next().unwrap_or_default().trim();
        let (mut asked, mut quality) = (Asked::Nothing, 1_000);
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim() {
                key if key.eq_ignore_ascii_case("q") => quality = thousandths(value),
                key if key.eq_ignore_ascii_case("version") => {
                    asked = self.named(value.as_bytes());
                }
                _ => {}
            }
        }
        if asked == Asked::Nothing {
            asked = self.of_vendor_type(essence);
        }
        (asked, quality)
    }

    /// The version in `application/vnd.shop.v2+json`.
    fn of_vendor_type(&self, essence: &str) -> Asked {
        let subtype = essence.split_once('/').map_or("", |(_, subtype)| subtype);
        let vendor = subtype.split('+').next().unwrap_or_default();
        let mut asked = Asked::Nothing;
        let mut parts = vendor.split('.');
        if !parts
            .next()
            .is_some_and(|tree| tree.eq_ignore_ascii_case("vnd"))
        {
            return asked;
        }
        for part in parts {
            match self.named(part.as_bytes()) {
                declared @ Asked::Declared(_) => return declared,
                Asked::Unknown if bare_version(part) != part => asked = Asked::Unknown,
                Asked::Nothing | Asked::Unknown => {}
            }
        }
        asked
    }

    /// Its name.
    #[must_use]
    pub fn name(&self, version: u16) -> &str {
        let version = self.versions.get(usize::from(version));
        version.map_or("", |version| &version.name)
    }

    /// Which of the route's destinations are a version's own.
    pub(crate) fn destinations(&self, version: u16) -> Range<usize> {
        let version = self.versions.get(usize::from(version));
        version.map_or(0..0, |version| version.destinations.clone())
    }

    /// Writes what a response says about its version.
    pub(crate) fn announce(&self, version: u16, headers: &mut HeaderMap) {
        let vary = match &self.by {
            By::Header(name) => Some(HeaderValue::from(name.clone())),
            By::MediaType => Some(HeaderValue::from_static("accept")),
            By::Path(_) | By::Query(_) => None,
        };
        if let Some(vary) = vary {
            headers.append(VARY, vary);
        }
        let Some(version) = self.versions.get(usize::from(version)) else {
            return;
        };
        for (name, value) in &version.announced {
            headers.insert(name, value.clone());
        }
        if let Some(link) = &version.link {
            headers.append(LINK, link.clone());
        }
    }

    /// Where it was written.
    #[must_use]
    pub fn at(&self) -> Position {
        self.at
    }
}

impl Planned {
    fn compile(
        name: &str,
        written: &Version,
        destinations: Range<usize>,
    ) -> Result<Planned, VersionFault> {
        let (deprecated, sunset) = (written.deprecated.as_ref(), written.sunset.as_ref());
        // Digits, `@`, and the letters of an HTTP date: always a value.
        let value = |text: String| HeaderValue::try_from(text).ok();
        let deprecation = deprecated.and_then(|date| value(format!("@{}", date.unix_seconds)));
        let ends = sunset.and_then(|date| value(date.http()));
        let announced = [(DEPRECATION, deprecation), (SUNSET, ends)];
        let announced = announced
            .into_iter()
            .filter_map(|(name, it)| Some((name, it?)));
        let link = match &written.link {
            Some(link) => Some(
                linked(link, deprecated.is_some(), sunset.is_some())
                    .ok_or_else(|| VersionFault::Link(name.to_owned()))?,
            ),
            None => None,
        };
        Ok(Planned {
            name: name.into(),
            destinations,
            deprecated: deprecated.map(|date| date.value),
            sunset: sunset.map(|date| date.value),
            refuses: written.after_sunset == AfterSunset::Refuse,
            announced: announced.collect(),
            link,
            at: written.at,
        })
    }
}

/// The value of `Link` (RFC 8288); several relations share one target.
fn linked(target: &str, deprecated: bool, sunset: bool) -> Option<HeaderValue> {
    let relations = match (deprecated, sunset) {
        (true, true) => "deprecation sunset",
        (true, false) => "deprecation",
        (false, _) => "sunset",
    };
    HeaderValue::try_from(format!("<{target}>; rel=\"{relations}\"")).ok()
}

/// `0.75` as 750; what is no quality is one of 0, so that nothing is chosen by it.
fn thousandths(text: &str) -> u32 {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.len() <= 3 && rest.bytes().all(|byte| byte.is_ascii_digit());
    match whole {
        "0" if digits => format!("{rest:0<3}").parse().unwrap_or(0),
        "1" if digits => 1_000,
        _ => 0,
    }
}

const DEPRECATION: HeaderName = HeaderName::from_static("deprecation");
const SUNSET: HeaderName = HeaderName::from_static("sunset");
