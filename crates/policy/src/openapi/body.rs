//! Bodies of an operation: which media types it takes, and what their schema says.

use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use jsonschema::Validator;

use super::coerce::Coercion;
use super::parameter::form_text;
use super::said;
use crate::json;
use crate::refusal::{Code, FieldFault, FieldPlace, Refusal};

/// What an operation says about the body of its requests.
#[derive(Debug)]
pub(super) struct BodyRule {
    pub(super) required: bool,
    /// The most exact first.
    pub(super) media: Vec<Media>,
}

/// One media type, or a range of them.
#[derive(Debug)]
pub(super) struct Media {
    /// In lower case, without parameters.
    pub(super) range: Box<str>,
    pub(super) check: MediaCheck,
}

/// How a body of a type is checked.
#[derive(Debug)]
pub(super) enum MediaCheck {
    /// A form, as the object that its schema speaks of.
    Form(Coercion, Validator),
    /// JSON.
    Json(Validator),
    /// Its type is all that is looked at.
    Not,
}

/// A form's type.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

impl BodyRule {
    /// Which of the media types the body of a request has whose head this is; `None` for a request
    /// without a body.
    pub(super) fn media_of(
        &self,
        headers: &HeaderMap,
        has_body: bool,
    ) -> Result<Option<usize>, Refusal> {
        if !has_body {
            return match self.required {
                false => Ok(None),
                true => Err(refused("", "is missing")),
            };
        }
        let written = headers
            .get(CONTENT_TYPE)
            .map_or(&b""[..], |it| it.as_bytes());
        let kind = json::essence(written).to_ascii_lowercase();
        let found = self.media.iter().position(|media| media.takes(&kind));
        let unsupported =
            |said: String| Err(Refusal::new(Code::OpenapiMediaType).with_detail(said));
        let Some(index) = found else {
            let ranges: Vec<_> = self
                .media
                .iter()
                .map(|it| format!("`{}`", it.range))
                .collect();
            return unsupported(format!("the body must be of type {}", ranges.join(" or ")));
        };
        if !matches!(self.media[index].check, MediaCheck::Not) && is_encoded(headers) {
            let said = "an encoded body cannot be checked: send it without `content-encoding`";
            return unsupported(said.to_owned());
        }
        Ok(Some(index))
    }

    /// Whether bodies of a media type are held against a schema.
    pub(super) fn checks(&self, media: usize) -> bool {
        let media = self.media.get(media);
        media.is_some_and(|media| !matches!(media.check, MediaCheck::Not))
    }

    /// Holds a body against the schema of its media type.
    pub(super) fn check(&self, media: usize, body: &[u8]) -> Result<(), Refusal> {
        let Some(media) = self.media.get(media) else {
            return Ok(());
        };
        let (value, validator) = match &media.check {
            MediaCheck::Not => return Ok(()),
            // It was announced, and came to nothing.
            MediaCheck::Json(_) if body.is_empty() && !self.required => return Ok(()),
            MediaCheck::Json(_) if body.is_empty() => return Err(refused("", "is missing")),
            MediaCheck::Json(validator) => {
                let parsed = json::parse(body);
                (parsed.map_err(|said| refused("", &said))?, validator)
            }
            MediaCheck::Form(coercion, validator) => {
                let pairs = form(body).map_err(|said| refused("", said))?;
                (coercion.object(pairs), validator)
            }
        };
        if validator.is_valid(&value) {
            return Ok(());
        }
        // Finding every error of a long list of wrong items takes long; the first is found at once.
        let all = body.len() <= ALL_ERRORS_BYTES_MAX;
        let complaints = said::complaints(validator, &value, all, ERRORS_MAX);
        let faults = complaints.into_iter().map(|(pointer, said)| FieldFault {
            place: FieldPlace::Body,
            pointer: pointer.into(),
            said: said.into(),
        });
        Err(Refusal::new(Code::OpenapiBody).with_fields(faults.collect()))
    }
}

impl Media {
    /// `kind` is in lower case.
    fn takes(&self, kind: &[u8]) -> bool {
        match self.range.strip_suffix("/*") {
            Some("*") => true,
            Some(family) => kind
                .strip_prefix(family.as_bytes())
                .is_some_and(|rest| rest.first() == Some(&b'/')),
            None => kind == self.range.as_bytes(),
        }
    }

    /// The most exact sorts first.
    pub(super) fn rank(&self) -> u8 {
        match self.range.strip_suffix("/*") {
            None => 0,
            Some("*") => 2,
            Some(_) => 1,
        }
    }
}

/// Whether a body is compressed or the like.
pub(crate) fn is_encoded(headers: &HeaderMap) -> bool {
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    codings.any(|coding| !coding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn refused(pointer: &str, said: &str) -> Refusal {
    let fault = FieldFault {
        place: FieldPlace::Body,
        pointer: pointer.into(),
        said: said.into(),
    };
    Refusal::new(Code::OpenapiBody).with_fields(vec![fault])
}

fn form(body: &[u8]) -> Result<Vec<(String, String)>, &'static str> {
    let text = std::str::from_utf8(body).map_err(|_| "is not UTF-8")?;
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    let read = pairs.map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        Ok((form_text(name)?, form_text(value)?))
    });
    read.collect()
}

/// Largest body of which every error is looked for, bytes; of a larger one only the first.
const ALL_ERRORS_BYTES_MAX: usize = 16 * 1024;
/// Most errors that are told.
pub(super) const ERRORS_MAX: usize = 10;
