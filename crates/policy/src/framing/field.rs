//! One field of a header or trailer section: a line that is there whole and in order.
//!
//! What is wrong with a line that is not, the reader of the section says: a request and a response
//! are refused in different words.

use std::ops::Range;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::names::Usual;
use super::{Fault, ONES, TOKEN, is_value};

/// Where a field stands in a section; the value without white space around it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Field {
    name: (u32, u32),
    value: (u32, u32),
    /// Its name, if that is a usual one.
    pub(super) usual: Option<Usual>,
}

impl Field {
    /// The field that begins at a place of a section, and where the next line begins. `None` when
    /// it is not there whole or not in order.
    #[inline(always)]
    pub(super) fn at(section: &[u8], begin: usize) -> Option<(Field, usize)> {
        if section.len() > PLACE_MAX {
            return None;
        }
        let line = section.get(begin..)?;
        let (usual, name_bytes) = match Usual::at_start(line) {
            Some(usual) => (Some(usual), usual.length()),
            None => (None, name_length(line)?),
        };
        let begin_of_value = name_bytes + 1;
        let end = begin_of_value + value_length(&line[begin_of_value..])?;
        if !line[end..].starts_with(LINE_END) {
            return None;
        }
        // Nearly all have one space in front, and that is all. What follows may be the end of the
        // line, what is before it the colon.
        let (mut from, mut to) = (begin_of_value, end);
        from += usize::from(line[from] == b' ');
        if line[from] <= b' ' || line[to - 1] <= b' ' {
            (from, to) = trimmed(line, begin_of_value, end);
        }
        // No place is beyond the section.
        let field = Field {
            name: (begin as u32, (begin + name_bytes) as u32),
            value: ((begin + from) as u32, (begin + to) as u32),
            usual,
        };
        Some((field, begin + end + LINE_END.len()))
    }

    /// Puts it behind the others; `section` is where it was found.
    #[inline(always)]
    pub(super) fn append(self, section: &Bytes, fields: &mut HeaderMap) -> Result<(), Fault> {
        let value = HeaderValue::from_maybe_shared(section.slice(range(self.value)))
            .map_err(|_| Fault::FieldValue)?;
        let appended = match self.usual {
            Some(usual) => fields.try_append(usual.name(), value),
            None => {
                let name = &section[range(self.name)];
                let name = HeaderName::from_bytes(name).map_err(|_| Fault::FieldName)?;
                fields.try_append(name, value)
            }
        };
        appended.map(|_| ()).map_err(|_| Fault::TooManyFields)
    }

    /// Whether a [`HeaderName`] can be so long.
    pub(super) fn can_be_named(self) -> bool {
        self.usual.is_some() || range(self.name).len() <= NAME_BYTES_MAX
    }

    /// The bytes of its value, in the section where it was found.
    pub(super) fn value(self, section: &[u8]) -> &[u8] {
        &section[range(self.value)]
    }
}

/// What `Connection` says of the connection (RFC 9112, section 9.3).
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Options {
    pub(super) closes: bool,
    pub(super) keeps_alive: bool,
}

impl Options {
    /// Whether a value says nothing but one of the two.
    pub(super) fn is_single(value: &[u8]) -> bool {
        value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
    }

    pub(super) fn note(&mut self, value: &[u8]) {
        // Nearly all say this.
        if value == b"keep-alive" {
            self.keeps_alive = true;
            return;
        }
        for option in value.split(|byte| *byte == b',') {
            let option = option.trim_ascii();
            self.closes |= option.eq_ignore_ascii_case(b"close");
            self.keeps_alive |= option.eq_ignore_ascii_case(b"keep-alive");
        }
    }
}

fn range((from, to): (u32, u32)) -> Range<usize> {
    from as usize..to as usize
}

fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t')
}

/// Where a value begins and ends without white space around it.
#[cold]
fn trimmed(line: &[u8], mut from: usize, mut to: usize) -> (usize, usize) {
    while from < to && is_white(line[from]) {
        from += 1;
    }
    while from < to && is_white(line[to - 1]) {
        to -= 1;
    }
    (from, to)
}

/// Bytes of the name that a line begins with, a colon behind it.
fn name_length(line: &[u8]) -> Option<usize> {
    let end = line.iter().position(|&byte| !TOKEN[usize::from(byte)])?;
    (end > 0 && line[end] == b':').then_some(end)
}

/// Bytes of a value up to the first that ends or breaks it; `None` when there is no such byte.
#[inline(never)]
pub(super) fn value_length(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(word) = bytes[at..].first_chunk() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let other = word ^ (ONES * 0x7F);
        let delete = other.wrapping_sub(ONES) & !other;
        // Borrows may raise false alarms, but only above a true one.
        let alarm = (control | delete) & (ONES * 0x80);
        if alarm == 0 {
            at += size_of_val(&word);
            continue;
        }
        at += alarm.trailing_zeros() as usize / 8;
        if bytes[at] != b'\t' {
            return Some(at);
        }
        at += 1;
    }
    let found = bytes[at..].iter().position(|&byte| !is_value(byte));
    found.map(|found| at + found)
}

/// Longest name that a [`HeaderName`] can be, bytes.
pub(super) const NAME_BYTES_MAX: usize = u16::MAX as usize;
/// Most bytes of a section that has fields; every bound is far below.
const PLACE_MAX: usize = u32::MAX as usize;
/// What ends a line.
pub(super) const LINE_END: &[u8; 2] = b"\r\n";
