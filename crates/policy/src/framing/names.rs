//! Names of fields that are often sent, found in the bytes of a line without a copy in lower case.
//!
//! A line is read eight bytes at a time up to its colon, and what stands before the colon is
//! compared whole with the usual names of its length. That needs no check of its bytes before:
//! whatever equals a usual name is one. Not for: other names, which are checked byte by byte and
//! made by [`HeaderName::from_bytes`].

use std::num::NonZeroU8;

use http::HeaderName;

use super::ONES;

/// One of the usual names, by its place in their list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Usual(NonZeroU8);

impl Usual {
    pub(super) const CONNECTION: Usual = Usual::named("connection");
    pub(super) const CONTENT_LENGTH: Usual = Usual::named("content-length");
    pub(super) const EXPECT: Usual = Usual::named("expect");
    pub(super) const TE: Usual = Usual::named("te");
    pub(super) const TRANSFER_ENCODING: Usual = Usual::named("transfer-encoding");
    pub(super) const UPGRADE: Usual = Usual::named("upgrade");

    /// The usual name, a colon behind it, that some bytes begin with.
    #[inline]
    pub(super) fn at_start(bytes: &[u8]) -> Option<Usual> {
        match bytes.first_chunk() {
            Some(line) => Usual::in_line(line),
            None => Usual::in_line(&padded(bytes)),
        }
    }

    fn in_line(line: &[u8; LINE_BYTES]) -> Option<Usual> {
        let words = line.as_chunks().0;
        let first = u64::from_le_bytes(words[0]);
        if let Some((bytes, last)) = last(first) {
            return Usual::find(bytes, |key| key[0] == last);
        }
        let second = u64::from_le_bytes(words[1]);
        if let Some((bytes, last)) = last(second) {
            let first = lower(first);
            let is = |key: &Key| key[1] == last && key[0] == first;
            return Usual::find(WORD_BYTES + bytes, is);
        }
        Usual::in_long([words[0], words[1], words[2], words[3]])
    }

    #[inline(never)]
    fn in_long(words: [[u8; WORD_BYTES]; WORDS]) -> Option<Usual> {
        let words = words.map(u64::from_le_bytes);
        let (full, (bytes, last)) =
            (2..WORDS).find_map(|index| Some((index, last(words[index])?)))?;
        let is = |key: &Key| {
            let mut before = key.iter().zip(&words).take(full);
            key[full] == last && before.all(|(key, word)| *key == lower(*word))
        };
        Usual::find(full * WORD_BYTES + bytes, is)
    }

    /// The one of so many bytes that is meant.
    #[inline(always)]
    fn find(bytes: usize, is: impl Fn(&Key) -> bool) -> Option<Usual> {
        let mut of_length = STARTS[bytes]..STARTS[bytes + 1];
        let index = of_length.find(|index| is(&KEYS[usize::from(*index)]))?;
        NonZeroU8::new(index).map(Usual)
    }

    /// Its bytes.
    pub(super) fn length(self) -> usize {
        usize::from(LENGTHS[usize::from(self.0.get())])
    }

    /// As everybody else writes it.
    pub(super) fn name(self) -> &'static HeaderName {
        &NAMES[usize::from(self.0.get()) - 1]
    }

    const fn named(text: &str) -> Usual {
        let mut index = 1;
        while index < TEXTS.len() {
            let (one, other) = (&KEYS[index], &key(text));
            let mut word = 0;
            while word < WORDS && one[word] == other[word] {
                word += 1;
            }
            // There are fewer than 256.
            if word == WORDS
                && let Some(index) = NonZeroU8::new(index as u8)
            {
                return Usual(index);
            }
            index += 1;
        }
        panic!("not in the list");
    }
}

/// Makes lower-case letters of capital ones; of no other byte a letter, a digit or a hyphen. Those
/// are the bytes of usual names: letters have bit 0x40, and with it differ in bit 0x20 only from
/// their capitals; digits and hyphens do not have it and stay as they are.
const fn lower(word: u64) -> u64 {
    word | ((word & (ONES * 0x40)) >> 1)
}

/// The bytes before the first colon of a word: how many, and they themselves in lower case.
#[inline(always)]
fn last(word: u64) -> Option<(usize, u64)> {
    let other = word ^ (ONES * COLON);
    // A borrow may raise a false alarm, but only above a true one.
    let colon = other.wrapping_sub(ONES) & !other & (ONES * 0x80);
    let below = (colon ^ colon.wrapping_sub(1)) >> 8;
    (colon != 0).then(|| (colon.trailing_zeros() as usize / 8, lower(word & below)))
}

/// The first bytes of a line that has fewer, zeros behind them.
#[cold]
fn padded(bytes: &[u8]) -> [u8; LINE_BYTES] {
    let mut line = [0; LINE_BYTES];
    line[..bytes.len()].copy_from_slice(bytes);
    line
}

/// The bytes of a name, zeros behind them.
type Key = [u64; WORDS];

const fn key(text: &str) -> Key {
    let bytes = text.as_bytes();
    assert!(bytes.len() < LINE_BYTES, "a name is too long");
    let mut key = [0; WORDS];
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        assert!(matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'));
        key[at / WORD_BYTES] |= (byte as u64) << (at % WORD_BYTES * 8);
        at += 1;
    }
    key
}

const WORD_BYTES: usize = size_of::<u64>();
/// So many words hold a name and its colon.
const WORDS: usize = 4;
const LINE_BYTES: usize = WORDS * WORD_BYTES;
const COLON: u64 = b':' as u64;

macro_rules! names {
    ($($text:literal,)+) => {
        /// The place of the empty one stands for none.
        const TEXTS: [&str; 1 + [$($text),+].len()] = ["", $($text),+];
        static NAMES: [HeaderName; TEXTS.len() - 1] = [$(HeaderName::from_static($text)),+];
    };
}

// Short ones first; among those of one length, the most usual ones.
names! {
    "te",
    "via", "age", "dnt",
    "date", "host", "etag", "vary", "link", "from",
    "range", "allow",
    "accept", "cookie", "server", "origin", "expect", "pragma",
    "expires", "referer", "upgrade", "alt-svc", "trailer",
    "location", "if-match", "if-range",
    "forwarded", "x-real-ip", "sec-ch-ua",
    "connection", "user-agent", "set-cookie", "keep-alive", "tracestate",
    "traceparent", "retry-after", "grpc-status",
    "content-type", "x-request-id", "grpc-message", "x-powered-by", "grpc-timeout",
    "cache-control", "last-modified", "accept-ranges", "if-none-match", "authorization",
    "content-range",
    "content-length", "sec-fetch-site", "sec-fetch-mode", "sec-fetch-dest", "sec-fetch-user",
    "accept-charset",
    "accept-encoding", "accept-language", "x-forwarded-for", "x-frame-options",
    "referrer-policy",
    "content-encoding", "x-forwarded-host", "x-forwarded-port", "content-language",
    "content-location", "sec-ch-ua-mobile", "www-authenticate", "x-xss-protection",
    "x-correlation-id", "proxy-connection",
    "transfer-encoding", "x-forwarded-proto", "if-modified-since", "sec-websocket-key",
    "x-ratelimit-reset", "x-ratelimit-limit",
    "sec-ch-ua-platform",
    "content-disposition", "if-unmodified-since", "proxy-authorization",
    "sec-websocket-accept",
    "x-ratelimit-remaining", "sec-websocket-version",
    "x-content-type-options", "sec-websocket-protocol", "access-control-max-age",
    "content-security-policy",
    "sec-websocket-extensions",
    "strict-transport-security", "upgrade-insecure-requests",
    "access-control-allow-origin",
    "access-control-allow-headers", "access-control-allow-methods",
    "access-control-request-method", "access-control-expose-headers",
    "access-control-request-headers",
}

static KEYS: [Key; TEXTS.len()] = {
    let mut keys = [[0; WORDS]; TEXTS.len()];
    let mut index = 0;
    while index < TEXTS.len() {
        keys[index] = key(TEXTS[index]);
        index += 1;
    }
    keys
};

static LENGTHS: [u8; TEXTS.len()] = {
    let mut lengths = [0; TEXTS.len()];
    let mut index = 0;
    while index < TEXTS.len() {
        // Shorter than a line.
        lengths[index] = TEXTS[index].len() as u8;
        index += 1;
    }
    lengths
};

/// Where the names of each length begin.
static STARTS: [u8; LINE_BYTES + 1] = {
    let mut starts = [0; LINE_BYTES + 1];
    let (mut length, mut index) = (0, 0);
    while length < starts.len() {
        while index < TEXTS.len() && TEXTS[index].len() < length {
            assert!(index == 0 || TEXTS[index - 1].len() <= TEXTS[index].len());
            index += 1;
        }
        // There are fewer than 256.
        starts[length] = index as u8;
        length += 1;
    }
    assert!(index == TEXTS.len() && index < 256);
    starts
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn usual_names_are_found_in_any_case_and_whatever_follows() {
        for text in &TEXTS[1..] {
            let mixed = text.char_indices().map(|(at, byte)| match at % 2 {
                0 => byte.to_ascii_uppercase(),
                _ => byte,
            });
            let mixed: String = mixed.collect();
            for name in [*text, &text.to_ascii_uppercase(), &mixed] {
                for behind in (0..40).map(|bytes| ": a\r\n\0:\u{e9}".repeat(bytes)) {
                    for behind in [&behind[..], behind.get(..1).unwrap_or(":")] {
                        let line = format!("{name}:{behind}");
                        let usual = Usual::at_start(line.as_bytes()).unwrap();
                        assert_eq!((usual.name().as_str(), usual.length()), (*text, text.len()));
                    }
                }
                assert_eq!(Usual::at_start(name.as_bytes()), None);
            }
        }
    }

    #[test]
    fn what_differs_in_one_byte_is_another_name() {
        for text in &TEXTS[1..] {
            let line = format!("{text}: and something behind it, longer than all names");
            for at in 0..=text.len() {
                for byte in 0..=u8::MAX {
                    let mut line = line.clone().into_bytes();
                    line[at] = byte;
                    let end = line.iter().position(|byte| *byte == b':').unwrap_or(0);
                    let name = line[..end].to_ascii_lowercase();
                    let expected = TEXTS[1..].iter().find(|text| text.as_bytes() == name);
                    let found = Usual::at_start(&line).map(Usual::name);
                    let found = found.map(HeaderName::as_str);
                    assert_eq!(found, expected.copied(), "{}", line.escape_ascii());
                }
            }
        }
    }

    #[test]
    fn whatever_begins_with_zeros_or_a_colon_is_none() {
        for line in ["", ":", ": a", "\0:", "\0\0\0\0\0\0\0\0: a", "te"] {
            assert_eq!(Usual::at_start(line.as_bytes()), None, "{line:?}");
        }
    }
}
