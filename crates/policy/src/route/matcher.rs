//! Everything one route asks of a request, compiled and still readable for explanations.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::net::IpAddr;

use http::HeaderName;
use ipnet::IpNet;
use percent_encoding::{AsciiSet, utf8_percent_encode};
use regex::Regex;
use smallvec::SmallVec;
use weir_config::Located;
use weir_config::bounds::REGEX_BYTES_MAX;
use weir_config::pattern::{HostPattern, PathPattern, Segment, ValuePattern};
use weir_config::route::Route as Written;

use super::cookie::cookie_values;
use super::path::{self, PathFault, Rules};
use super::value::{anchored, query_values};
use super::{Methods, Params, ValueMatch};
use crate::request::RequestView;

/// Conditions of one route.
#[derive(Debug, Clone, Default)]
pub struct Matcher {
    /// Hosts; empty for any.
    pub hosts: Vec<HostPattern>,
    /// The path.
    pub path: PathMatch,
    /// Methods; empty for any.
    pub methods: Methods,
    /// Header conditions.
    pub headers: Vec<(HeaderName, ValueMatch)>,
    /// Query conditions.
    pub query: Vec<(Box<str>, ValueMatch)>,
    /// Cookie conditions.
    pub cookies: Vec<(Box<str>, ValueMatch)>,
    /// Client networks; empty for any.
    pub clients: Vec<IpNet>,
}

/// What decides between routes of equal host and path, in this order: see [`super`]. A network that
/// is none counts as wider than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Rank {
    methods: usize,
    headers: Reverse<usize>,
    query: Reverse<usize>,
    cookies: Reverse<usize>,
    exact: Reverse<usize>,
    network_bits: Reverse<Option<u8>>,
}

/// A path pattern, its literals in the normal form of paths.
#[derive(Debug, Clone)]
pub struct PathMatch {
    /// The pattern.
    pub pattern: PathPattern,
    /// The anchored expression, where the pattern is one.
    pub regex: Option<Regex>,
    /// Names of parameters and the index of the segment that each stands for.
    pub parameters: Vec<(Box<str>, u16)>,
}

/// Why a written route cannot be matched.
#[derive(Debug, thiserror::Error)]
pub enum MatchFault {
    /// A pattern holds what no normalised path can.
    #[error("the path `{text}` cannot be that of a request: {fault}")]
    Path {
        /// The pattern.
        text: String,
        /// Why.
        fault: PathFault,
    },
    /// A regular expression is none, or too large.
    #[error("the regular expression cannot be used: {0}")]
    Regex(#[from] regex::Error),
    /// A template has more segments than can be told apart.
    #[error("the path has more than {} segments", u16::MAX)]
    TooLong,
}

/// The condition of a candidate that did not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unmet {
    /// The client is in none of the networks.
    Client,
    /// The cookie condition with this index.
    Cookie(usize),
    /// The header condition with this index.
    Header(usize),
    /// The method.
    Method,
    /// The query condition with this index.
    Query(usize),
}

impl Matcher {
    /// Compiles the conditions of a written route; each fault with the key it belongs to.
    ///
    /// # Errors
    /// Every fault.
    pub fn compile(written: &Written) -> Result<Matcher, Vec<(String, MatchFault)>> {
        let mut faults = Vec::new();
        let path = PathMatch::compile(&written.path).unwrap_or_else(|fault| {
            faults.push(("path".to_owned(), fault));
            PathMatch::default()
        });
        let mut condition = |key: &str, name: &str, pattern: &ValuePattern| {
            let compiled = ValueMatch::compile(pattern);
            compiled
                .map_err(|fault| faults.push((format!("{key}.{name}"), fault.into())))
                .ok()
        };
        let headers = written.headers.iter().filter_map(|(name, pattern)| {
            let value = condition("headers", name.as_str(), pattern)?;
            Some((name.value.clone(), value))
        });
        let headers = headers.collect();
        let mut named = |key: &str, written: &[(Located<String>, ValuePattern)]| {
            let named = written.iter().filter_map(|(name, pattern)| {
                Some((name.as_str().into(), condition(key, name, pattern)?))
            });
            named.collect()
        };
        let query = named("query", &written.query);
        let cookies = named("cookies", &written.cookies);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Matcher {
            hosts: written
                .hosts
                .iter()
                .map(|host| host.value.clone())
                .collect(),
            path,
            methods: Methods::new(written.methods.iter().map(|method| &method.value)),
            headers,
            query,
            cookies,
            clients: written.clients.clone(),
        })
    }

    /// The first condition beyond host and path that does not hold.
    #[must_use]
    pub fn unmet(&self, request: &RequestView<'_>, client: IpAddr) -> Option<Unmet> {
        if !self.methods.allows(request.method) {
            return Some(Unmet::Method);
        }
        self.unmet_beside_method(request, client)
    }

    /// As [`Matcher::unmet`], the method aside.
    #[must_use]
    pub fn unmet_beside_method(&self, request: &RequestView<'_>, client: IpAddr) -> Option<Unmet> {
        for (index, (name, value)) in self.headers.iter().enumerate() {
            let values = request.headers.get_all(name).iter();
            if !value.holds(values.map(|value| Cow::Borrowed(value.as_bytes()))) {
                return Some(Unmet::Header(index));
            }
        }
        for (index, (name, value)) in self.query.iter().enumerate() {
            if !value.holds(query_values(request.query, name)) {
                return Some(Unmet::Query(index));
            }
        }
        for (index, (name, value)) in self.cookies.iter().enumerate() {
            if !value.holds(cookie_values(request.headers, name).map(Cow::Borrowed)) {
                return Some(Unmet::Cookie(index));
            }
        }
        let outside = !self.clients.is_empty()
            && !self.clients.iter().any(|network| network.contains(&client));
        outside.then_some(Unmet::Client)
    }

    /// Says in words why a condition did not hold.
    #[must_use]
    pub fn why(&self, unmet: Unmet, request: &RequestView<'_>, client: IpAddr) -> String {
        match unmet {
            Unmet::Client => {
                let networks: Vec<_> = self.clients.iter().map(ToString::to_string).collect();
                format!("client {client} is not in {}", networks.join(", "))
            }
            Unmet::Cookie(index) => match self.cookies.get(index) {
                Some((name, value)) => format!("cookie `{name}` is not {value}"),
                None => String::new(),
            },
            Unmet::Header(index) => match self.headers.get(index) {
                Some((name, value)) => format!("header `{name}` is not {value}"),
                None => String::new(),
            },
            Unmet::Method => format!("method {} is not {}", request.method, self.methods),
            Unmet::Query(index) => match self.query.get(index) {
                Some((name, value)) => format!("query parameter `{name}` is not {value}"),
                None => String::new(),
            },
        }
    }

    /// Whether no request is likely to meet this and the other, their hosts and paths aside. A name
    /// with several values could; and what two expressions have in common is not worked out.
    pub(crate) fn excludes(&self, other: &Matcher) -> bool {
        fn differ<K: PartialEq>(one: &[(K, ValueMatch)], two: &[(K, ValueMatch)]) -> bool {
            one.iter().any(|(key, value)| {
                let mut same = two.iter().filter(|(name, _)| name == key);
                same.any(|(_, other)| value.excludes(other))
            })
        }
        let apart = |one: &IpNet| {
            let mut others = other.clients.iter();
            others.all(|two| !one.contains(two) && !two.contains(one))
        };
        self.methods.excludes(&other.methods)
            || differ(&self.headers, &other.headers)
            || differ(&self.query, &other.query)
            || differ(&self.cookies, &other.cookies)
            || (!self.clients.is_empty()
                && !other.clients.is_empty()
                && self.clients.iter().all(apart))
    }

    /// Orders routes of equal host and path: smaller goes first.
    pub(crate) fn rank(&self) -> Rank {
        let headers = self.headers.iter().map(|(_, value)| value);
        let named = self.query.iter().chain(&self.cookies);
        let values = headers.chain(named.map(|(_, value)| value));
        let exact = values.filter(|value| matches!(value, ValueMatch::Exact(_)));
        let methods = self.methods.iter().count();
        Rank {
            // None named is any, which is more than all.
            methods: methods.checked_sub(1).unwrap_or(usize::MAX),
            headers: Reverse(self.headers.len()),
            query: Reverse(self.query.len()),
            cookies: Reverse(self.cookies.len()),
            exact: Reverse(exact.count()),
            network_bits: Reverse(self.clients.iter().map(network_bits).min()),
        }
    }
}

/// How narrow a network is among IPv4 and IPv6 alike: bits of its prefix as an IPv6 network.
fn network_bits(network: &IpNet) -> u8 {
    match network {
        IpNet::V4(network) => network.prefix_len() + 96,
        IpNet::V6(network) => network.prefix_len(),
    }
}

impl PathMatch {
    /// Compiles a path pattern.
    ///
    /// # Errors
    /// Why it can match nothing.
    pub fn compile(written: &PathPattern) -> Result<PathMatch, MatchFault> {
        let mut regex = None;
        let mut parameters = Vec::new();
        let pattern = match written {
            PathPattern::Exact(text) => PathPattern::Exact(canonical(text)?),
            PathPattern::Prefix(text) => {
                let text = text.trim_end_matches('/');
                let normal = if text.is_empty() {
                    String::new()
                } else {
                    canonical(text)?
                };
                PathPattern::Prefix(normal.trim_end_matches('/').to_owned())
            }
            PathPattern::Regex(text) => {
                let mut builder = regex::RegexBuilder::new(&anchored(text)?);
                regex = Some(builder.size_limit(REGEX_BYTES_MAX).build()?);
                written.clone()
            }
            PathPattern::Template { segments, below } => {
                let mut normal = Vec::with_capacity(segments.len());
                for (index, segment) in segments.iter().enumerate() {
                    let index = u16::try_from(index).map_err(|_| MatchFault::TooLong)?;
                    normal.push(match segment {
                        Segment::Literal(text) => Segment::Literal(literal(text)?),
                        Segment::Parameter(name) => {
                            parameters.push((name.as_str().into(), index));
                            segment.clone()
                        }
                    });
                }
                PathPattern::Template {
                    segments: normal,
                    below: *below,
                }
            }
        };
        Ok(PathMatch {
            pattern,
            regex,
            parameters,
        })
    }

    /// Index of the parameter with this name.
    #[must_use]
    pub fn parameter(&self, name: &str) -> Option<usize> {
        self.parameters
            .iter()
            .position(|(known, _)| &**known == name)
    }

    /// Where the parameters stand in a normalised path that matched.
    #[must_use]
    pub fn params(&self, path: &str) -> Params {
        let mut ranges = SmallVec::new();
        if self.parameters.is_empty() {
            return Params(ranges);
        }
        let mut start = 1;
        let mut wanted = self
            .parameters
            .iter()
            .map(|(_, index)| usize::from(*index))
            .peekable();
        for (index, segment) in path.get(1..).unwrap_or_default().split('/').enumerate() {
            let end = start + segment.len();
            if wanted.next_if_eq(&index).is_some() {
                // Paths are far shorter than 4 GiB: the header section bounds them.
                ranges.push((start as u32, end as u32));
            }
            start = end + 1;
        }
        Params(ranges)
    }

    /// How many bytes of a matched path the pattern stands for: the prefix without what follows
    /// below it; everything for other patterns.
    #[must_use]
    pub fn matched_bytes(&self, path: &str) -> usize {
        let segments = match &self.pattern {
            PathPattern::Prefix(text) => return text.len().min(path.len()),
            PathPattern::Template {
                segments,
                below: true,
            } => segments.len(),
            _ => return path.len(),
        };
        let mut slashes = path.bytes().enumerate().filter(|(_, byte)| *byte == b'/');
        slashes.nth(segments).map_or(path.len(), |(index, _)| index)
    }

    /// Whether a normalised path matches. The tables find routes without asking this; it is for
    /// explanations, which ask about routes of other hosts.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        let (segments, below) = match &self.pattern {
            PathPattern::Regex(_) => {
                return self
                    .regex
                    .as_ref()
                    .is_some_and(|regex| regex.is_match(path));
            }
            PathPattern::Exact(text) => return path == text,
            PathPattern::Prefix(text) => {
                let rest = path.strip_prefix(text.as_str());
                return rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
            }
            PathPattern::Template { segments, below } => (segments, *below),
        };
        let mut have = path.get(1..).unwrap_or_default().split('/');
        let fits = segments.iter().all(|segment| match (segment, have.next()) {
            (Segment::Literal(text), Some(have)) => text == have,
            (Segment::Parameter(_), Some(have)) => !have.is_empty(),
            (_, None) => false,
        });
        fits && (below || have.next().is_none())
    }

    /// The pattern in one spelling, in which names of parameters do not matter.
    pub(crate) fn place(&self) -> String {
        match &self.pattern {
            PathPattern::Exact(text) => format!("={text}"),
            PathPattern::Prefix(text) => format!("={text}/*below"),
            PathPattern::Regex(text) => format!("~{text}"),
            PathPattern::Template { segments, below } => {
                let segment = |segment: &Segment| match segment {
                    Segment::Literal(text) => format!("/{text}"),
                    // No normalised path has a raw brace.
                    Segment::Parameter(_) => "/{}".to_owned(),
                };
                let text: String = segments.iter().map(segment).collect();
                format!("={text}{}", if *below { "/*below" } else { "" })
            }
        }
    }

    /// Whether something may follow what the pattern names.
    #[must_use]
    pub fn is_prefix(&self) -> bool {
        matches!(
            self.pattern,
            PathPattern::Prefix(_) | PathPattern::Template { below: true, .. }
        )
    }
}

impl Default for PathMatch {
    /// Everything.
    fn default() -> PathMatch {
        PathMatch {
            pattern: PathPattern::Prefix(String::new()),
            regex: None,
            parameters: Vec::new(),
        }
    }
}

impl std::fmt::Display for PathMatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.pattern.fmt(f)
    }
}

/// The form a written path has once a request for it was normalised.
pub(crate) fn canonical(text: &str) -> Result<String, MatchFault> {
    let escaped: Cow<'_, str> = utf8_percent_encode(text, SPACE).into();
    let fault = |fault| MatchFault::Path {
        text: text.to_owned(),
        fault,
    };
    path::normalise(&escaped, Rules::MESH)
        .map(Cow::into_owned)
        .map_err(fault)
}

fn literal(text: &str) -> Result<String, MatchFault> {
    let mut normal = canonical(&format!("/{text}"))?;
    normal.remove(0);
    Ok(normal)
}

/// Authors may write spaces and non-ASCII letters (always escaped by this crate) as they are.
const SPACE: &AsciiSet = &AsciiSet::EMPTY.add(b' ');

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn template(below: bool) -> PathMatch {
        let segments = vec![
            Segment::Literal("order".into()),
            Segment::Parameter("id".into()),
            Segment::Literal("line".into()),
            Segment::Parameter("nr".into()),
        ];
        PathMatch::compile(&PathPattern::Template { segments, below }).unwrap()
    }

    #[test]
    fn parameters_are_ranges_of_the_path() {
        let path = "/order/17/line/2";
        let params = template(false).params(path);
        assert_eq!(params.text(path, 0), "17");
        assert_eq!(params.text(path, 1), "2");
        assert_eq!(params.text(path, 2), "");
    }

    #[test]
    fn a_prefix_knows_what_it_matched() {
        let below = template(true);
        assert_eq!(
            below.matched_bytes("/order/17/line/2/x/y"),
            "/order/17/line/2".len()
        );
        assert_eq!(
            below.matched_bytes("/order/17/line/2"),
            "/order/17/line/2".len()
        );
        let prefix = PathMatch::compile(&PathPattern::Prefix("/a".into())).unwrap();
        assert_eq!(prefix.matched_bytes("/a/b"), 2);
        assert_eq!(PathMatch::default().matched_bytes("/a/b"), 0);
    }

    #[test]
    fn literals_take_the_form_of_requests() {
        let exact = |text: &str| PathMatch::compile(&PathPattern::Exact(text.into()));
        assert_eq!(exact("/café x").unwrap().to_string(), "/caf%C3%A9%20x");
        assert_eq!(exact("/%61").unwrap().to_string(), "/a");
        assert!(exact("/a%2fb").is_err());
        assert!(exact("a").is_err());
    }
}
