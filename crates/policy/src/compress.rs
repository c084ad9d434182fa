//! Whether a response is compressed, and how.
//!
//! For: choosing the coding from what the client accepts (RFC 9110, 12.5.3), and what the head of
//! the response says then. Not for: compressing; that is the engine's. The one idea: the coding is
//! chosen when the request comes; whether it is used, when the head of the response is there.

use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
    CONTENT_TYPE, ETAG, VARY,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use weir_config::compress::{Compress, Effort, Encoding};
use weir_config::units::Size;

use crate::rewrite::has_token;

/// Compression as one route or listener has it.
#[derive(Debug)]
pub struct CompressPlan {
    encodings: Vec<Encoding>,
    types: Vec<MediaRange>,
    bytes_min: u64,
    effort: Effort,
}

/// What a route says about compression.
#[derive(Debug, Default)]
pub enum RouteCompress {
    /// Nothing: its listener decides.
    #[default]
    Listener,
    /// That there is none.
    Off,
    /// How.
    On(CompressPlan),
}

/// A coding to compress a response with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Coding {
    /// What is written to `Content-Encoding`.
    pub encoding: Encoding,
    /// How much work goes into it.
    pub effort: Effort,
}

#[derive(Debug)]
struct MediaRange {
    kind: Box<str>,
    subtype: Subtype,
}

#[derive(Debug)]
enum Subtype {
    Any,
    Exact(Box<str>),
    /// With its `+`.
    Suffix(Box<str>),
}

impl CompressPlan {
    /// What was written; `None` where compression is off.
    #[must_use]
    pub fn compile(written: &Compress) -> Option<CompressPlan> {
        let Size(bytes_min) = written.bytes_min;
        written.enabled.then(|| CompressPlan {
            encodings: written.encodings.clone(),
            types: written
                .types
                .iter()
                .map(|text| MediaRange::of(text))
                .collect(),
            bytes_min,
            effort: written.effort,
        })
    }

    /// The coding that this client likes best; among equals the first of the plan. `None`: it
    /// accepts none of them.
    #[must_use]
    pub fn negotiate(&self, request: &HeaderMap) -> Option<Coding> {
        let mut best: Option<(u16, Encoding)> = None;
        for &encoding in &self.encodings {
            let weight = accepted_weight(request, encoding);
            if weight > best.map_or(0, |(weight, _)| weight) {
                best = Some((weight, encoding));
            }
        }
        let (_, encoding) = best?;
        Some(Coding {
            encoding,
            effort: self.effort,
        })
    }

    /// Decides about a response with a body of `bytes` (`None`: not known yet) and writes into its
    /// head what follows. Says `Vary` wherever another client might get another coding, so that no
    /// cache mixes them up.
    #[must_use]
    pub fn decide(
        &self,
        wanted: Option<Coding>,
        status: StatusCode,
        headers: &mut HeaderMap,
        bytes: Option<u64>,
    ) -> Option<Coding> {
        let whole = status.is_success()
            && !matches!(status, StatusCode::NO_CONTENT | StatusCode::PARTIAL_CONTENT)
            || status.is_client_error()
            || status.is_server_error();
        if !whole
            || bytes.is_some_and(|bytes| bytes < self.bytes_min.max(1))
            || headers.contains_key(CONTENT_ENCODING)
            || headers.contains_key(CONTENT_RANGE)
            || !self.is_of_type(headers)
            || has_token(headers, &CACHE_CONTROL, "no-transform")
        {
            return None;
        }
        if !has_token(headers, &VARY, "accept-encoding") && !has_token(headers, &VARY, "*") {
            headers.append(VARY, HeaderValue::from_static("accept-encoding"));
        }
        let coding = wanted?;
        headers.insert(
            CONTENT_ENCODING,
            HeaderValue::from_static(coding.encoding.as_str()),
        );
        headers.remove(CONTENT_LENGTH);
        headers.remove(ACCEPT_RANGES);
        weaken_etag(headers);
        Some(coding)
    }

    fn is_of_type(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes) else {
            return false;
        };
        let end = value.iter().position(|byte| matches!(byte, b';' | b' '));
        let essence = &value[..end.unwrap_or(value.len())];
        self.types.iter().any(|range| range.contains(essence))
    }
}

impl RouteCompress {
    /// What was written on a route.
    #[must_use]
    pub fn compile(written: Option<&Compress>) -> RouteCompress {
        match written.map(CompressPlan::compile) {
            None => RouteCompress::Listener,
            Some(None) => RouteCompress::Off,
            Some(Some(plan)) => RouteCompress::On(plan),
        }
    }
}

impl MediaRange {
    fn of(text: &str) -> MediaRange {
        let (kind, subtype) = text.split_once('/').unwrap_or((text, "*"));
        let subtype = match subtype.strip_prefix('*') {
            Some("") => Subtype::Any,
            Some(suffix) => Subtype::Suffix(suffix.into()),
            None => Subtype::Exact(subtype.into()),
        };
        MediaRange {
            kind: kind.into(),
            subtype,
        }
    }

    fn contains(&self, essence: &[u8]) -> bool {
        let Some(slash) = essence.iter().position(|&byte| byte == b'/') else {
            return false;
        };
        let (kind, subtype) = (&essence[..slash], &essence[slash + 1..]);
        kind.eq_ignore_ascii_case(self.kind.as_bytes())
            && match &self.subtype {
                Subtype::Any => !subtype.is_empty(),
                Subtype::Exact(exact) => subtype.eq_ignore_ascii_case(exact.as_bytes()),
                Subtype::Suffix(suffix) => subtype
                    .len()
                    .checked_sub(suffix.len())
                    .is_some_and(|at| subtype[at..].eq_ignore_ascii_case(suffix.as_bytes())),
            }
    }
}

/// How much the client likes a coding, thousandths; 0: not at all. What is not named and has no
/// `*` to stand for it is not accepted.
fn accepted_weight(request: &HeaderMap, encoding: Encoding) -> u16 {
    let mut any = 0;
    for value in request.get_all(ACCEPT_ENCODING) {
        let Ok(text) = value.to_str() else { continue };
        for item in text.split(',') {
            let mut parts = item.split(';');
            let name = parts.next().unwrap_or_default().trim();
            let named = name.eq_ignore_ascii_case(encoding.as_str())
                || (encoding == Encoding::Gzip && name.eq_ignore_ascii_case("x-gzip"));
            if named || name == "*" {
                let weight = parts.find_map(weight_of).unwrap_or(1_000);
                if named {
                    return weight;
                }
                any = weight;
            }
        }
    }
    any
}

/// `q=0.25`, thousandths; what is not a weight by RFC 9110, 12.4.2 counts as 0.
fn weight_of(parameter: &str) -> Option<u16> {
    let (name, value) = parameter.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value = value.trim();
    let (whole, fraction) = value.split_once('.').unwrap_or((value, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(0);
    }
    let thousandths = fraction
        .bytes()
        .chain(std::iter::repeat(b'0'))
        .take(3)
        .fold(0, |sum, digit| sum * 10 + u16::from(digit - b'0'));
    Some(match (whole, thousandths) {
        ("0", thousandths) => thousandths,
        ("1", 0) => 1_000,
        _ => 0,
    })
}

/// Another coding is another representation of the same thing: equal in meaning, not byte by byte.
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(etag) = headers.get(ETAG) else {
        return;
    };
    if etag.as_bytes().starts_with(b"W/") {
        return;
    }
    match HeaderValue::from_bytes(&[b"W/", etag.as_bytes()].concat()) {
        Ok(weak) => headers.insert(ETAG, weak),
        Err(_) => headers.remove(ETAG),
    };
}

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests;
