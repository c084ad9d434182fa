//! Writes one JSON object into a byte buffer: no allocation, valid for any bytes.

use std::io::Write;
use std::net::IpAddr;

use crate::address_text::AddressText;

/// Bytes of a value that are kept; what is longer ends in `…`.
pub(super) const FIELD_BYTES_MAX: usize = 1024;

pub(super) struct JsonLine<'a> {
    out: &'a mut Vec<u8>,
}

/// A key as it stands in the line. Its length is known where it is written, so that copying it is
/// a few moves.
macro_rules! key {
    ($name:literal) => {
        concat!("\"", $name, "\":").as_bytes()
    };
}
pub(super) use key;

impl<'a> JsonLine<'a> {
    pub(super) fn begin(out: &'a mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out }
    }

    /// A value that is known to need no escape: hexadecimal digits, a word of our own.
    #[inline(always)]
    pub(super) fn raw_text(&mut self, key: &'static [u8], value: &[u8]) {
        debug_assert!(value.iter().all(is_plain));
        self.out.extend_from_slice(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value);
        self.out.extend_from_slice(b"\",");
    }

    #[inline(always)]
    pub(super) fn text(&mut self, key: &'static [u8], value: &[u8]) {
        self.out.extend_from_slice(key);
        self.string(value);
    }

    #[inline(always)]
    pub(super) fn optional_text(&mut self, key: &'static [u8], value: Option<&[u8]>) {
        if let Some(value) = value {
            self.text(key, value);
        }
    }

    #[inline(always)]
    pub(super) fn address(&mut self, key: &'static [u8], value: IpAddr) {
        self.raw_text(key, AddressText::from(value).as_bytes());
    }

    #[inline(always)]
    pub(super) fn number(&mut self, key: &'static [u8], value: u64) {
        self.out.extend_from_slice(key);
        self.digits(value);
    }

    fn string(&mut self, value: &[u8]) {
        let kept = bounded(value);
        self.out.reserve(kept.len() + 3);
        self.out.push(b'"');
        escape(self.out, kept);
        if kept.len() < value.len() {
            self.out.extend_from_slice("…".as_bytes());
        }
        self.out.extend_from_slice(b"\",");
    }

    fn digits(&mut self, value: u64) {
        // Most numbers of a line are small.
        match value {
            0..10 => self.out.push(b'0' + value as u8),
            _ => self
                .out
                .extend_from_slice(itoa::Buffer::new().format(value).as_bytes()),
        }
        self.out.push(b',');
    }

    /// Closes the object and the line. It relies on at least one value before.
    pub(super) fn end(self) {
        debug_assert_eq!(self.out.last(), Some(&b','));
        self.out.pop();
        self.out.extend_from_slice(b"}\n");
    }
}

/// The part of a value that is kept, not cut inside of a character.
fn bounded(value: &[u8]) -> &[u8] {
    let Some(mut kept) = value.get(..FIELD_BYTES_MAX) else {
        return value;
    };
    let starts_inside = |byte: Option<&u8>| byte.is_some_and(|byte| byte & 0xc0 == 0x80);
    // A character has at most three bytes after its first.
    for _ in 0..3 {
        if starts_inside(value.get(kept.len())) {
            kept = &kept[..kept.len() - 1];
        }
    }
    kept
}

fn escape(out: &mut Vec<u8>, value: &[u8]) {
    // Nearly every value. Without an early end the compiler looks at many bytes at once, which is
    // worth it from some length on.
    let plain = match value.len() {
        0..SHORT_BYTES => value.iter().all(is_plain),
        _ => value.iter().fold(true, |all, byte| all & is_plain(byte)),
    };
    if plain {
        out.extend_from_slice(value);
        return;
    }
    if std::str::from_utf8(value).is_ok() {
        return escape_valid(out, value);
    }
    for chunk in value.utf8_chunks() {
        escape_valid(out, chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[inline(always)]
fn is_plain(byte: &u8) -> bool {
    (0x20..0x7f).contains(byte) & (*byte != b'"') & (*byte != b'\\')
}

/// Escapes what is valid UTF-8, copying runs of plain bytes at once.
fn escape_valid(out: &mut Vec<u8>, mut value: &[u8]) {
    while let Some(at) = value.iter().position(|byte| ESCAPED[usize::from(*byte)]) {
        out.extend_from_slice(&value[..at]);
        let mut taken = 1;
        match &value[at..] {
            [b'"', ..] => out.extend_from_slice(b"\\\""),
            [b'\\', ..] => out.extend_from_slice(b"\\\\"),
            [C1_FIRST_BYTE, second @ 0x80..=0x9f, ..] => {
                escape_code(out, *second);
                taken = 2;
            }
            // Another character that begins alike, such as a non-breaking space.
            [C1_FIRST_BYTE, ..] => out.push(C1_FIRST_BYTE),
            [control, ..] => escape_code(out, *control),
            [] => {}
        }
        value = &value[at + taken..];
    }
    out.extend_from_slice(value);
}

fn escape_code(out: &mut Vec<u8>, code: u8) {
    // Writing into a Vec does not fail.
    let _ = write!(out, "\\u{code:04x}");
}

/// Below it one byte after the other is faster.
const SHORT_BYTES: usize = 16;

/// First byte in UTF-8 of the control characters U+0080 to U+009F.
const C1_FIRST_BYTE: u8 = 0xc2;

/// Quote, backslash, and every control character, because terminals act on them.
const ESCAPED: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 0x20 {
        table[byte] = true;
        byte += 1;
    }
    table[0x7f] = true;
    table[C1_FIRST_BYTE as usize] = true;
    table[b'"' as usize] = true;
    table[b'\\' as usize] = true;
    table
};
