//! Heads of responses and trailers, read line by line and name by name: what the readers do, in its
//! simplest form. Both read the same foreign bytes here and must say the same at every step.
#![allow(clippy::unwrap_used, reason = "tests")]

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version};

use super::response::{Head, HeadReader, Length, ambiguity, trailers};
use super::{Bounds, Fault, is_value};

#[derive(Default)]
struct Reference {
    status: Option<(Version, StatusCode)>,
    ends: Vec<usize>,
}

impl Reference {
    fn read(&mut self, buffer: &mut BytesMut, bounds: &Bounds) -> Result<Option<Plain>, Fault> {
        loop {
            let bytes_max = match self.ends.first() {
                None => 8 * 1024,
                Some(status) => status + bounds.head_bytes_max + 2,
            };
            let begin = self.ends.last().copied().unwrap_or(0);
            let Some(length) = buffer[begin..].iter().position(|byte| *byte == b'\n') else {
                return match buffer.len() > bytes_max {
                    true => Err(Fault::TooLarge),
                    false => Ok(None),
                };
            };
            let end = begin + length + 1;
            if length == 0 || buffer[end - 2] != b'\r' {
                return Err(Fault::BareLineFeed);
            }
            if end > bytes_max {
                return Err(Fault::TooLarge);
            }
            if self.status.is_none() {
                self.status = Some(status_line(&buffer[..end - 2])?);
            } else if length == 1 {
                let bytes = buffer.split_to(end);
                return std::mem::take(self).head(&bytes, bounds).map(Some);
            }
            self.ends.push(end);
        }
    }

    fn head(self, bytes: &[u8], bounds: &Bounds) -> Result<Plain, Fault> {
        if self.ends.len() - 1 > bounds.fields_max {
            return Err(Fault::TooManyFields);
        }
        let (version, status) = self.status.unwrap();
        let (mut headers, mut kept) = (HeaderMap::new(), HeaderMap::new());
        for line in self.ends.windows(2) {
            let (name, value) = field(&bytes[line[0]..line[1] - 2])?;
            let noted = ["keep-alive", "close"].map(str::as_bytes);
            let said = value.as_bytes().to_ascii_lowercase();
            if name != CONNECTION || !noted.contains(&said.as_slice()) {
                kept.append(name.clone(), value.clone());
            }
            headers.append(name, value);
        }
        Ok(Plain {
            version,
            status,
            headers,
            kept,
        })
    }
}

struct Plain {
    version: Version,
    status: StatusCode,
    headers: HeaderMap,
    /// Those that are not only noted.
    kept: HeaderMap,
}

impl Plain {
    fn check(&self, head: &Head) {
        let plain = format!("{:?} {:?} {:?}", self.version, self.status, self.kept);
        let read = format!("{:?} {:?} {:?}", head.version, head.status, head.headers);
        assert_eq!(plain, read);
        let options = self.headers.get_all(CONNECTION).iter();
        let options = options.flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
        let options: Vec<_> = options
            .map(|it| it.trim_ascii().to_ascii_lowercase())
            .collect();
        let says = |option: &[u8]| options.iter().any(|it| it == option);
        let keeps = self.version == Version::HTTP_11 || says(b"keep-alive");
        assert_eq!(head.keeps_alive(), keeps && !says(b"close"), "{plain}");
        let mut lengths = self.headers.get_all(CONTENT_LENGTH).iter();
        let length = lengths.next_back().map(|value| {
            let digits = value.to_str().ok().filter(|it| !it.starts_with('+'));
            digits.and_then(|it| it.parse().ok().filter(|_| it.len() < 20))
        });
        let coded = self.headers.contains_key(TRANSFER_ENCODING);
        let expected = match (coded, length) {
            _ if ambiguity(&self.headers).is_some() => None,
            (true, _) => (self.version == Version::HTTP_11).then_some(Length::Chunked),
            (false, Some(length)) => length.map(Length::Bytes),
            (false, None) => Some(Length::UntilClose),
        };
        let none = self.status.is_informational() || [204, 304].contains(&self.status.as_u16());
        let expected = expected.map(|length| if none { Length::Bytes(0) } else { length });
        assert_eq!(head.length(&Method::GET).ok(), expected, "{plain}");
    }
}

fn plain_trailers(bytes: &[u8]) -> Result<HeaderMap, Fault> {
    let mut trailers = HeaderMap::new();
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        let Some(line) = line.strip_suffix(b"\n") else {
            break;
        };
        let line = line.strip_suffix(b"\r").ok_or(Fault::BareLineFeed)?;
        if !line.is_empty() {
            let (name, value) = field(line)?;
            trailers.append(name, value);
        }
    }
    Ok(trailers)
}

fn field(line: &[u8]) -> Result<(HeaderName, HeaderValue), Fault> {
    let colon = line.iter().position(|byte| *byte == b':');
    let colon = colon.ok_or(Fault::FieldName)?;
    let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| match line {
        [b' ' | b'\t', ..] => Fault::FoldedLine,
        _ if colon > 0 && matches!(line[colon - 1], b' ' | b'\t') => Fault::SpaceBeforeColon,
        _ => Fault::FieldName,
    })?;
    let mut value = &line[colon + 1..];
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    let value = HeaderValue::from_bytes(value).map_err(|_| Fault::FieldValue)?;
    Ok((name, value))
}

fn status_line(line: &[u8]) -> Result<(Version, StatusCode), Fault> {
    let version = match line {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', ..] => Version::HTTP_11,
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'0', ..] => Version::HTTP_10,
        [b'H', b'T', b'T', b'P', b'/', _, _, _, ..] => return Err(Fault::Version),
        _ => return Err(Fault::StatusLine),
    };
    let code = match &line[8..] {
        [b' ', code @ ..] if code.len() == 3 => code,
        [b' ', a, b, c, b' ', reason @ ..] if reason.iter().all(|byte| is_value(*byte)) => {
            &[*a, *b, *c]
        }
        _ => return Err(Fault::StatusLine),
    };
    let status = StatusCode::from_bytes(code).map_err(|_| Fault::StatusLine)?;
    Ok((version, status))
}

/// Numbers that look like chance, the same in each run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn of<'a, T: ?Sized>(&mut self, all: &[&'a T]) -> &'a T {
        all[self.below(all.len())]
    }

    fn fields(&mut self, out: &mut Vec<u8>) {
        for _ in 0..self.below(6) {
            let name: &str = self.of(&[
                "Content-Length",
                "transfer-encoding",
                "CONNECTION",
                "Date",
                "TE",
                "ETag",
                "x-own",
                "X-Forwarded-Proto",
                "Access-Control-Request-Headers",
                "access-control-allow-credentials",
                "a-name-that-nobody-else-has-ever-thought-of",
                "content-longest",
                "date_",
                "",
                " x",
                "x ",
                "(",
            ]);
            let value: &str = self.of(&[
                "",
                " ",
                "  \t ",
                " 7",
                "12",
                " 7, 7",
                " chunked",
                " gzip, chunked",
                " keep-alive",
                " Keep-Alive",
                " x , close\t",
                "\tSat, 21 Nov 2026 12:00:00 GMT",
                " a\tlonger\tvalue with\u{e9} more than one word  ",
                " \"691ed0fe-400\" ",
            ]);
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(self.of(&[":", ":", ":", ":", ":", ":", ""]).as_bytes());
            out.extend_from_slice(value.as_bytes());
            let ends = ["\r\n"; 30];
            let ends = [&ends[..], &["\n", "\r", "\r\r\n"]].concat();
            out.extend_from_slice(self.of(&ends).as_bytes());
        }
        out.extend_from_slice(b"\r\n");
    }

    /// Changes some bytes to those that matter, or in one bit.
    fn mutate(&mut self, bytes: &mut [u8]) {
        for _ in 0..self.below(8).saturating_sub(4) {
            let at = self.below(bytes.len());
            bytes[at] = match self.below(2) {
                0 => bytes[at] ^ (1 << self.below(8)),
                _ => *self.of(&[&b'\r', &b'\n', &b':', &b' ', &b'\t', &0, &0x7F, &b'_']),
            };
        }
    }
}

#[test]
fn heads_of_responses_are_read_as_by_the_reference() {
    let mut chance = Chance(0x5EED_0FAC);
    let mut heads = 0;
    for round in 0..ROUNDS {
        let mut bytes = Vec::new();
        for _ in 0..=chance.below(2) {
            let line: &str = chance.of(&[
                "HTTP/1.1 200 OK\r\n",
                "HTTP/1.1 200 OK\r\n",
                "HTTP/1.0 200\r\n",
                "HTTP/1.1 103 Early Hints\r\n",
                "HTTP/1.1 304 \r\n",
                "HTTP/2.0 200 OK\r\n",
            ]);
            bytes.extend_from_slice(line.as_bytes());
            chance.fields(&mut bytes);
        }
        chance.mutate(&mut bytes);
        let bounds = Bounds {
            head_bytes_max: 20 + chance.below(300),
            fields_max: chance.below(8),
            target_bytes_max: 0,
            trailer_bytes_max: 0,
        };
        let (mut reader, mut reference) = (HeadReader::default(), Reference::default());
        let (mut buffer, mut plain) = (BytesMut::new(), BytesMut::new());
        let mut rest = &bytes[..];
        'pieces: while !rest.is_empty() {
            let sizes = [1, 9, 80, 1000];
            let size = 1 + chance.below(sizes[round % sizes.len()]);
            let (piece, next) = rest.split_at(size.min(rest.len()));
            rest = next;
            buffer.extend_from_slice(piece);
            plain.extend_from_slice(piece);
            loop {
                let read = reader.read(&mut buffer, &bounds, HeaderMap::new);
                let expected = reference.read(&mut plain, &bounds);
                match (read, expected) {
                    (Ok(Some(head)), Ok(Some(expected))) => expected.check(&head),
                    (Ok(None), Ok(None)) => break,
                    (Err(fault), Err(expected)) => {
                        assert_eq!(fault, expected, "{:?}", bytes.escape_ascii().to_string());
                        break 'pieces;
                    }
                    (read, expected) => panic!(
                        "{:?} and not {:?} of {}",
                        read.map(|head| head.is_some()),
                        expected.map(|head| head.is_some()),
                        bytes.escape_ascii()
                    ),
                }
                heads += 1;
                assert_eq!(buffer, plain);
            }
        }
    }
    // Not all are refused.
    assert!(heads > ROUNDS / 10, "{heads}");
}

#[test]
fn trailers_are_read_as_by_the_reference() {
    let mut chance = Chance(0x7A11_E125);
    for _ in 0..ROUNDS {
        let mut bytes = Vec::new();
        chance.fields(&mut bytes);
        chance.mutate(&mut bytes);
        let expected = format!("{:?}", plain_trailers(&bytes));
        let read = trailers(&Bytes::copy_from_slice(&bytes));
        assert_eq!(format!("{read:?}"), expected, "{}", bytes.escape_ascii());
    }
}

const ROUNDS: usize = 30_000;
