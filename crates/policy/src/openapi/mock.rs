//! Answers from the examples of an operation.

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use super::example;
use super::read::{DocumentFault, below, object, resolve};
use crate::json;
use crate::refusal::{Code, Refusal};

/// Says which operation an answer is an example of.
pub(crate) const MOCK_HEADER: HeaderName = HeaderName::from_static("weir-mock");

/// The examples of an operation.
#[derive(Debug)]
pub(super) struct Mocks {
    /// Those with a status first, ascending; then classes; then the default.
    responses: Vec<MockResponse>,
}

#[derive(Debug)]
struct MockResponse {
    answers: Answers,
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Empty for a response without a body.
    media: Vec<MockMedia>,
}

/// Which statuses a response of the document is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Answers {
    Status(u16),
    /// `2XX` as 2.
    Class(u16),
    Others,
}

#[derive(Debug)]
struct MockMedia {
    content_type: HeaderValue,
    /// In lower case, without parameters.
    essence: Box<str>,
    /// The first is the one that nobody asks for by name.
    examples: Vec<(Box<str>, Bytes)>,
}

/// What a client prefers.
#[derive(Debug, Default, PartialEq, Eq)]
struct Preference<'h> {
    code: Option<u16>,
    example: Option<&'h str>,
}

impl Mocks {
    /// Takes the examples of an operation; `bytes` is what is left for those of the document.
    pub(super) fn of(
        root: &Value,
        operation: &Value,
        pointer: &str,
        bytes: &mut usize,
    ) -> Result<Mocks, DocumentFault> {
        let mut responses = Vec::new();
        let pointer = below(pointer, "responses");
        let written = operation.get("responses").and_then(Value::as_object);
        for (status, response) in written.into_iter().flatten() {
            if status.starts_with("x-") {
                continue;
            }
            let pointer = below(&pointer, status);
            let answers = Answers::read(status)
                .ok_or_else(|| DocumentFault::new(&pointer, "this is no status"))?;
            let (response, pointer) = resolve(root, response, pointer)?;
            let response = object(response, &pointer)?;
            responses.push(MockResponse {
                answers,
                headers: headers(root, response),
                media: media(root, response, &pointer, bytes)?,
            });
        }
        responses.sort_by_key(|response| response.answers);
        Ok(Mocks { responses })
    }

    /// Whether a request without preferences gets an answer.
    pub(super) fn is_answerable(&self) -> bool {
        self.pick(None).is_some_and(|(response, _)| {
            let first = response.media.first();
            first.is_none_or(|media| !media.examples.is_empty())
        })
    }

    /// The answer to a request.
    pub(super) fn answer(
        &self,
        operation: &str,
        request: &HeaderMap,
        prefers: bool,
    ) -> Result<Response<Bytes>, Refusal> {
        let preference = match prefers {
            true => Preference::of(request),
            false => Preference::default(),
        };
        let none = |said: String| Refusal::new(Code::MockNoExample).with_detail(said);
        let (response, status) =
            self.pick(preference.code)
                .ok_or_else(|| match preference.code {
                    Some(code) => none(format!("`{operation}` has no response {code}")),
                    None => none(format!("`{operation}` has no response")),
                })?;
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = status;
        if !response.media.is_empty() {
            let media = response.acceptable(request)?;
            let named = |name: &str| media.examples.iter().find(|(known, _)| **known == *name);
            let example = match preference.example {
                Some(name) => named(name).ok_or_else(|| {
                    let known: Vec<_> = media.examples.iter().map(|(it, _)| &**it).collect();
                    let known = known.join("`, `");
                    none(format!(
                        "{status} of `{operation}` has other examples: `{known}`"
                    ))
                })?,
                None => media.examples.first().ok_or_else(|| {
                    let kind = &media.essence;
                    none(format!(
                        "{status} of `{operation}` has no example of type `{kind}`"
                    ))
                })?,
            };
            *answer.body_mut() = example.1.clone();
            let content_type = media.content_type.clone();
            answer.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        for (name, value) in &response.headers {
            answer.headers_mut().insert(name, value.clone());
        }
        let name = HeaderValue::from_str(operation);
        let name = name.unwrap_or_else(|_| HeaderValue::from_static("true"));
        answer.headers_mut().insert(MOCK_HEADER, name);
        Ok(answer)
    }

    /// The response for a status, or the one for whoever prefers none.
    fn pick(&self, code: Option<u16>) -> Option<(&MockResponse, StatusCode)> {
        let find = |wanted: &dyn Fn(Answers) -> bool| {
            self.responses
                .iter()
                .find(|response| wanted(response.answers))
        };
        let (response, status) = match code {
            Some(code) => {
                let response = find(&|it| it == Answers::Status(code))
                    .or_else(|| find(&|it| it == Answers::Class(code / 100)))
                    .or_else(|| find(&|it| it == Answers::Others))?;
                (response, code)
            }
            None => {
                let success = |it| matches!(it, Answers::Status(200..=299) | Answers::Class(2));
                let response = find(&success)
                    .or_else(|| find(&|it| it == Answers::Others))
                    .or_else(|| self.responses.first())?;
                let status = match response.answers {
                    Answers::Status(status) => status,
                    Answers::Class(class) => class * 100,
                    Answers::Others => 200,
                };
                (response, status)
            }
        };
        // An informational answer would leave the client waiting for another one.
        let status = StatusCode::from_u16(status).ok()?;
        (!status.is_informational()).then_some((response, status))
    }
}

impl MockResponse {
    /// The media type that the client likes best; among equals, the first with an example.
    fn acceptable(&self, request: &HeaderMap) -> Result<&MockMedia, Refusal> {
        let ranges = ranges(request);
        if ranges.is_empty() {
            let with_example = self.media.iter().find(|media| !media.examples.is_empty());
            return with_example
                .or(self.media.first())
                .ok_or_else(|| Code::MockNoExample.into());
        }
        let mut best: Option<(&MockMedia, (u16, bool))> = None;
        for media in &self.media {
            let worth = (quality(&ranges, &media.essence), !media.examples.is_empty());
            if worth.0 > 0 && best.is_none_or(|(_, known)| worth > known) {
                best = Some((media, worth));
            }
        }
        best.map(|(media, _)| media).ok_or_else(|| {
            let known: Vec<_> = self.media.iter().map(|media| &*media.essence).collect();
            let detail = format!("there is `{}`", known.join("`, `"));
            Refusal::new(Code::MockUnacceptable).with_detail(detail)
        })
    }
}

impl Answers {
    fn read(text: &str) -> Option<Answers> {
        if text == "default" {
            return Some(Answers::Others);
        }
        let class = text.strip_suffix("XX").or_else(|| text.strip_suffix("xx"));
        if let Some(class) = class {
            let class = class.parse().ok()?;
            return (1..=5).contains(&class).then_some(Answers::Class(class));
        }
        let status = text.parse().ok()?;
        (100..=599)
            .contains(&status)
            .then_some(Answers::Status(status))
    }
}

impl<'h> Preference<'h> {
    /// Of `Prefer` (RFC 7240): `code=404, example=name`, also with `;` between.
    fn of(headers: &'h HeaderMap) -> Self {
        let mut found = Preference::default();
        let fields = headers.get_all("prefer").iter();
        let texts = fields.filter_map(|field| field.to_str().ok());
        for part in texts.flat_map(|text| text.split([',', ';'])) {
            let Some((name, value)) = part.split_once('=') else {
                continue;
            };
            let value = value.trim().trim_matches('"');
            match name.trim() {
                name if name.eq_ignore_ascii_case("code") && found.code.is_none() => {
                    found.code = value.parse().ok().filter(|code| (200..=599).contains(code));
                }
                name if name.eq_ignore_ascii_case("example") && found.example.is_none() => {
                    found.example = Some(value).filter(|name| !name.is_empty());
                }
                _ => {}
            }
        }
        found
    }
}

/// Media ranges that a client accepts, with their worth in thousandths.
fn ranges(request: &HeaderMap) -> Vec<(String, u16)> {
    let fields = request.get_all(ACCEPT).iter();
    let texts = fields.filter_map(|field| field.to_str().ok());
    let parts = texts.flat_map(|text| text.split(','));
    let read = parts.filter_map(|part| {
        let mut pieces = part.split(';');
        let range = pieces.next()?.trim().to_ascii_lowercase();
        let quality = pieces.find_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            let q: f32 = name
                .trim()
                .eq_ignore_ascii_case("q")
                .then(|| value.trim().parse().ok())??;
            Some((q.clamp(0.0, 1.0) * 1000.0) as u16)
        });
        (!range.is_empty()).then_some((range, quality.unwrap_or(1000)))
    });
    read.take(RANGES_MAX).collect()
}

/// What a client gives for a media type: by the most exact range that has it.
fn quality(ranges: &[(String, u16)], essence: &str) -> u16 {
    let exactness = |range: &str| match range.strip_suffix("/*") {
        Some("*") => Some(0),
        Some(family) => {
            let rest = essence.strip_prefix(family)?;
            rest.starts_with('/').then_some(1)
        }
        None => (range == essence).then_some(2),
    };
    let fitting = ranges
        .iter()
        .filter_map(|(range, worth)| Some((exactness(range)?, *worth)));
    fitting.max().map_or(0, |(_, worth)| worth)
}

/// Header fields of a response that have an example.
fn headers(root: &Value, response: &Map<String, Value>) -> Vec<(HeaderName, HeaderValue)> {
    let written = response.get("headers").and_then(Value::as_object);
    let read = written.into_iter().flatten().filter_map(|(name, header)| {
        let name = HeaderName::try_from(name.as_str()).ok()?;
        // The answer has its own.
        if [CONTENT_TYPE, CONTENT_LENGTH, TRANSFER_ENCODING, MOCK_HEADER].contains(&name) {
            return None;
        }
        let (header, _) = resolve(root, header, String::new()).ok()?;
        let named = || {
            given(root, header.get("examples")?)
                .next()
                .map(|(_, it)| it.clone())
        };
        let value = header
            .get("example")
            .cloned()
            .or_else(named)
            .or_else(|| example::of_schema(root, header.get("schema")?))?;
        let text = match value {
            Value::String(text) => text,
            Value::Number(_) | Value::Bool(_) => value.to_string(),
            _ => return None,
        };
        Some((name, HeaderValue::try_from(text).ok()?))
    });
    read.collect()
}

fn media(
    root: &Value,
    response: &Map<String, Value>,
    pointer: &str,
    bytes: &mut usize,
) -> Result<Vec<MockMedia>, DocumentFault> {
    let mut media = Vec::new();
    let content = response.get("content").and_then(Value::as_object);
    for (kind, written) in content.into_iter().flatten() {
        let pointer = below(&below(pointer, "content"), kind);
        let (written, pointer) = resolve(root, written, pointer)?;
        let essence = json::essence(kind.as_bytes()).to_ascii_lowercase();
        let essence = String::from_utf8_lossy(&essence).into_owned();
        // A range is no type that an answer could have.
        let exact = if essence.contains('*') {
            "application/json"
        } else {
            kind.as_str()
        };
        let content_type = HeaderValue::from_str(exact)
            .map_err(|_| DocumentFault::new(&pointer, "this is no media type"))?;
        let is_json = json::is_json(exact.as_bytes());
        let own = written.get("example").map(|example| ("", example));
        let named = written.get("examples").into_iter();
        let named = named.flat_map(|examples| given(root, examples));
        let mut values: Vec<_> = own.into_iter().chain(named).collect();
        let made = written.get("schema").filter(|_| values.is_empty());
        let made = made.and_then(|schema| example::of_schema(root, schema));
        values.extend(made.as_ref().map(|example| ("", example)));
        let mut examples: Vec<(Box<str>, Bytes)> = Vec::with_capacity(values.len());
        for (name, value) in values {
            let text = match value {
                Value::String(text) if !is_json => text.clone(),
                value => value.to_string(),
            };
            let Some(left) = bytes.checked_sub(text.len()) else {
                let problem = "the examples have more bytes than are kept";
                return Err(DocumentFault::new(&pointer, problem)
                    .hint("refer to large examples from fewer responses"));
            };
            *bytes = left;
            examples.push((name.into(), text.into()));
        }
        media.push(MockMedia {
            content_type,
            essence: if essence.contains('*') {
                exact.into()
            } else {
                essence.into()
            },
            examples,
        });
    }
    Ok(media)
}

/// Examples by name, those that lie elsewhere left out.
fn given<'a>(root: &'a Value, examples: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value)> {
    let named = examples.as_object().into_iter().flatten();
    named.filter_map(|(name, example)| {
        let (example, _) = resolve(root, example, String::new()).ok()?;
        Some((name.as_str(), example.get("value")?))
    })
}

/// Most media ranges of an `Accept` that are looked at.
const RANGES_MAX: usize = 32;
/// Most bytes of the examples of one document.
pub(super) const EXAMPLE_BYTES_MAX: usize = 32 * 1024 * 1024;
