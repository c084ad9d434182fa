//! Parameters of an operation: where they stand, how they are written (`style`, `explode`), and
//! whether what stands there is what the schema says.

use std::borrow::Cow;

use http::{HeaderMap, HeaderName};
use jsonschema::Validator;
use percent_encoding::percent_decode_str;
use serde_json::Value;

use super::coerce::Coercion;
use super::said;
use crate::json;
use crate::refusal::{FieldFault, FieldPlace};
use crate::route::cookie_values;

/// A compiled parameter.
#[derive(Debug)]
pub(super) struct Parameter {
    pub(super) name: Box<str>,
    pub(super) place: Place,
    pub(super) required: bool,
    /// Whether `?flag=` is as good as a value.
    pub(super) allow_empty: bool,
    pub(super) style: Style,
    pub(super) explode: bool,
    pub(super) coercion: Coercion,
    /// `None` where every value will do.
    pub(super) validator: Option<Validator>,
}

/// Where a parameter stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Cookie,
    Header(HeaderName),
    /// With its place among the parameters of the template.
    Path(usize),
    Query,
}

/// How its value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    DeepObject,
    Form,
    /// As JSON: the parameter has `content`.
    Json,
    Label,
    Matrix,
    PipeDelimited,
    Simple,
    SpaceDelimited,
}

/// What parameters are read from.
#[derive(Debug)]
pub(super) struct Inputs<'r> {
    pub(super) captures: &'r [&'r str],
    /// Names decoded, values as they came.
    pub(super) query: Vec<(Cow<'r, str>, &'r str)>,
    pub(super) headers: &'r HeaderMap,
}

/// What a client wrote wrong about a parameter, beyond its schema.
type Wrong = &'static str;

impl<'r> Inputs<'r> {
    pub(super) fn of(
        captures: &'r [&'r str],
        query: Option<&'r str>,
        headers: &'r HeaderMap,
    ) -> Self {
        let pairs = query.unwrap_or_default().split('&');
        let pairs = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (lossy(name), value)
        });
        Inputs {
            captures,
            query: pairs.collect(),
            headers,
        }
    }

    fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'r str> + 'a {
        let pairs = self.query.iter();
        pairs
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| *value)
    }
}

impl Parameter {
    /// Whether a query parameter of this name belongs to it.
    pub(super) fn owns(&self, name: &str) -> bool {
        if self.place != Place::Query {
            return false;
        }
        match self.style {
            Style::DeepObject => self.property(name).is_some(),
            Style::Form if self.explode && self.coercion.is_object() => {
                self.coercion.properties().any(|known| known == name)
            }
            _ => *self.name == *name,
        }
    }

    /// Holds it against its schema.
    pub(super) fn check(&self, inputs: &Inputs<'_>, faults: &mut Vec<FieldFault>, max: usize) {
        let value = match self.read(inputs) {
            Ok(Some(value)) => value,
            Ok(None) if self.required => return self.blame("", "is missing", faults),
            Ok(None) => return,
            Err(wrong) => return self.blame("", wrong, faults),
        };
        if self.allow_empty && value == Value::String(String::new()) {
            return;
        }
        let Some(validator) = &self.validator else {
            return;
        };
        if validator.is_valid(&value) {
            return;
        }
        // `7` may have been meant as a text where both may stand.
        let scalar = !matches!(value, Value::Array(_) | Value::Object(_) | Value::String(_));
        if scalar && self.coercion.takes_text() {
            let text = match self.read_scalar(inputs) {
                Ok(Some(text)) => Value::String(text),
                _ => Value::Null,
            };
            if validator.is_valid(&text) {
                return;
            }
        }
        let left = max.saturating_sub(faults.len());
        for (pointer, said) in said::complaints(validator, &value, true, left) {
            self.blame(&pointer, &said, faults);
        }
    }

    fn blame(&self, pointer: &str, said: &str, faults: &mut Vec<FieldFault>) {
        let name = self.name.clone();
        let place = match self.place {
            Place::Cookie => FieldPlace::Cookie(name),
            Place::Header(_) => FieldPlace::Header(name),
            Place::Path(_) => FieldPlace::Path(name),
            Place::Query => FieldPlace::Query(name),
        };
        faults.push(FieldFault {
            place,
            pointer: pointer.into(),
            said: said.into(),
        });
    }

    fn read(&self, inputs: &Inputs<'_>) -> Result<Option<Value>, Wrong> {
        if self.style == Style::Json {
            let Some(text) = self.read_scalar(inputs)? else {
                return Ok(None);
            };
            let parsed = json::parse(text.as_bytes());
            return parsed.map(Some).map_err(|_| "must be JSON");
        }
        if self.coercion.is_array() {
            let items = self.read_items(inputs)?;
            return Ok(items.map(|items| self.coercion.array(items)));
        }
        if self.coercion.is_object() {
            let pairs = self.read_pairs(inputs)?;
            return Ok(pairs.map(|pairs| self.coercion.object(pairs)));
        }
        let text = self.read_scalar(inputs)?;
        Ok(text.map(|text| self.coercion.scalar(text)))
    }

    /// The one text that stands there, undecoded.
    fn raw<'r>(&self, inputs: &Inputs<'r>) -> Result<Option<Cow<'r, str>>, Wrong> {
        match &self.place {
            Place::Query => only(inputs.values(&self.name).map(Cow::Borrowed)),
            Place::Path(index) => {
                let Some(text) = inputs.captures.get(*index) else {
                    return Ok(None);
                };
                self.unprefixed(text).map(|text| Some(Cow::Borrowed(text)))
            }
            Place::Header(name) => {
                let fields = inputs.headers.get_all(name).iter();
                only_ok(fields.map(|field| utf8(field.as_bytes()).map(Cow::Borrowed)))
            }
            Place::Cookie => {
                let values = cookie_values(inputs.headers, &self.name);
                only_ok(values.map(|value| utf8(value).map(|text| Cow::Owned(text.to_owned()))))
            }
        }
    }

    /// A text of a path without what its style puts before it.
    fn unprefixed<'t>(&self, text: &'t str) -> Result<&'t str, Wrong> {
        let rest = match self.style {
            Style::Label => text.strip_prefix('.'),
            Style::Matrix => {
                let rest = text.strip_prefix(';');
                // An exploded object names its properties instead.
                let object = self.explode && self.coercion.is_object();
                let named = |rest: &'t str| rest.strip_prefix(&*self.name)?.strip_prefix('=');
                rest.and_then(|rest| if object { Some(rest) } else { named(rest) })
            }
            _ => Some(text),
        };
        rest.ok_or("is not written in the style of this parameter")
    }

    fn read_scalar(&self, inputs: &Inputs<'_>) -> Result<Option<String>, Wrong> {
        let raw = self.raw(inputs)?;
        raw.map(|raw| self.decoded(&raw)).transpose()
    }

    fn read_items(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<String>>, Wrong> {
        if let Place::Header(name) = &self.place {
            // Several fields of a list are one list.
            let mut items = Vec::new();
            for field in inputs.headers.get_all(name) {
                let text = utf8(field.as_bytes())?;
                items.extend(text.split(',').map(|item| item.trim().to_owned()));
            }
            return Ok(Some(items).filter(|_| inputs.headers.contains_key(name)));
        }
        if self.place == Place::Query && self.explode {
            let values: Vec<_> = inputs.values(&self.name).collect();
            let items: Result<Vec<_>, _> = values.iter().map(|raw| self.decoded(raw)).collect();
            return items.map(|items| Some(items).filter(|items| !items.is_empty()));
        }
        if self.place == Place::Cookie && self.explode {
            let values = cookie_values(inputs.headers, &self.name);
            let items: Result<Vec<_>, _> =
                values.map(|value| utf8(value).map(str::to_owned)).collect();
            return items.map(|items| Some(items).filter(|items| !items.is_empty()));
        }
        let Some(raw) = self.raw(inputs)? else {
            return Ok(None);
        };
        let parts: Vec<String> = match (self.style, self.explode) {
            (Style::Label, true) => raw.split('.').map(str::to_owned).collect(),
            (Style::Matrix, true) => {
                let parts = raw.split(';').enumerate().map(|(index, part)| {
                    let named = part.strip_prefix(&*self.name);
                    match (index, named.and_then(|part| part.strip_prefix('='))) {
                        (0, _) => Ok(part.to_owned()),
                        (_, Some(part)) => Ok(part.to_owned()),
                        (_, None) => Err("is not written in the style of this parameter"),
                    }
                });
                parts.collect::<Result<_, _>>()?
            }
            (Style::SpaceDelimited, _) => {
                let spaced = raw.replace("%20", " ").replace('+', " ");
                spaced.split(' ').map(str::to_owned).collect()
            }
            (Style::PipeDelimited, _) => {
                let piped = raw.replace("%7C", "|").replace("%7c", "|");
                piped.split('|').map(str::to_owned).collect()
            }
            _ => raw.split(',').map(str::to_owned).collect(),
        };
        let items: Result<Vec<_>, _> = parts.iter().map(|part| self.decoded(part)).collect();
        items.map(Some)
    }

    fn read_pairs(&self, inputs: &Inputs<'_>) -> Result<Option<Vec<(String, String)>>, Wrong> {
        let in_query = self.place == Place::Query
            && (self.style == Style::DeepObject || (self.style == Style::Form && self.explode));
        if in_query {
            let mut pairs = Vec::new();
            for (name, raw) in &inputs.query {
                let property = match self.style {
                    Style::DeepObject => self.property(name),
                    _ => Some(&**name).filter(|name| self.owns(name)),
                };
                if let Some(property) = property {
                    pairs.push((property.to_owned(), self.decoded(raw)?));
                }
            }
            return Ok(Some(pairs).filter(|pairs| !pairs.is_empty()));
        }
        let Some(raw) = self.raw(inputs)? else {
            return Ok(None);
        };
        let delimiter = match (self.style, self.explode) {
            (Style::Label, true) => '.',
            (Style::Matrix, true) => ';',
            _ => ',',
        };
        let parts: Vec<&str> = raw.split(delimiter).collect();
        let mut pairs = Vec::with_capacity(parts.len());
        if self.explode {
            for part in parts {
                let (name, value) = part.split_once('=').ok_or("must be `name=value` pairs")?;
                pairs.push((self.decoded(name)?, self.decoded(value)?));
            }
        } else {
            for pair in parts.chunks(2) {
                let [name, value] = pair else {
                    return Err("must have a value for each name");
                };
                pairs.push((self.decoded(name)?, self.decoded(value)?));
            }
        }
        Ok(Some(pairs))
    }

    /// `a` of `name[a]`.
    fn property<'n>(&self, name: &'n str) -> Option<&'n str> {
        name.strip_prefix(&*self.name)?
            .strip_prefix('[')?
            .strip_suffix(']')
    }

    fn decoded(&self, raw: &str) -> Result<String, Wrong> {
        match self.place {
            Place::Query => form_text(raw),
            Place::Path(_) => unescaped(raw),
            Place::Cookie | Place::Header(_) => Ok(raw.to_owned()),
        }
    }
}

/// The one of its kind; two of a parameter that is no list are read one way here and another there.
fn only<'t>(mut texts: impl Iterator<Item = Cow<'t, str>>) -> Result<Option<Cow<'t, str>>, Wrong> {
    let first = texts.next();
    match texts.next() {
        None => Ok(first),
        Some(_) => Err(TWICE),
    }
}

fn only_ok<'t>(
    mut texts: impl Iterator<Item = Result<Cow<'t, str>, Wrong>>,
) -> Result<Option<Cow<'t, str>>, Wrong> {
    let first = texts.next().transpose()?;
    match texts.next() {
        None => Ok(first),
        Some(_) => Err(TWICE),
    }
}

fn utf8(bytes: &[u8]) -> Result<&str, Wrong> {
    std::str::from_utf8(bytes).map_err(|_| NOT_TEXT)
}

fn unescaped(raw: &str) -> Result<String, Wrong> {
    let text = percent_decode_str(raw).decode_utf8();
    text.map(Cow::into_owned).map_err(|_| NOT_TEXT)
}

/// A text of a query or form.
pub(super) fn form_text(raw: &str) -> Result<String, Wrong> {
    match raw.contains('+') {
        true => unescaped(&raw.replace('+', " ")),
        false => unescaped(raw),
    }
}

/// A name of a query parameter: one that is no text is the name of nothing.
fn lossy(raw: &str) -> Cow<'_, str> {
    if !raw.contains(['+', '%']) {
        return Cow::Borrowed(raw);
    }
    let spaced = raw.replace('+', " ");
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    Cow::Owned(decoded.into_owned())
}

const TWICE: Wrong = "is given more than once";
const NOT_TEXT: Wrong = "is not UTF-8";
