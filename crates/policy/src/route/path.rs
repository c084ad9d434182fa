//! Path normalisation: one form of a path, made before routing, that policy and service both see.
//!
//! Most bypasses of path rules come from two parties reading one path differently. So every path is
//! brought to one form (RFC 3986 section 6.2.2: unreserved characters decoded, other escapes in
//! upper case, dot segments resolved), and what has no safe single form is refused: encoded
//! slashes and backslashes, encoded control bytes, raw bytes that no path may hold, dot segments
//! with parameters (`..;`), and anything that climbs above the root. A path that is already normal,
//! which is nearly every one, is recognised by one scan and not copied.

use std::borrow::Cow;

use weir_config::edge_rules::{DotSegments, EmptySegments, EncodedSlash, Paths};

/// What a listener does about what not everybody reads alike; the rest is the same for all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// `.` and `..`.
    pub dot_segments: DotSegments,
    /// `//`.
    pub empty_segments: EmptySegments,
    /// `%2F`.
    pub encoded_slash: EncodedSlash,
}

impl Rules {
    /// At the edge, unless the document says otherwise.
    pub const EDGE: Rules = Rules {
        dot_segments: DotSegments::Resolve,
        empty_segments: EmptySegments::Merge,
        encoded_slash: EncodedSlash::Reject,
    };
    /// In the mesh, where the application's path is its own business.
    pub const MESH: Rules = Rules {
        empty_segments: EmptySegments::Keep,
        ..Rules::EDGE
    };
}

impl From<&Paths> for Rules {
    fn from(paths: &Paths) -> Rules {
        Rules {
            dot_segments: paths.dot_segments,
            empty_segments: paths.empty_segments,
            encoded_slash: paths.encoded_slash,
        }
    }
}

/// Why a path was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathFault {
    /// `..` leads above `/`.
    #[error("it leaves the root with `..`")]
    AboveRoot,
    /// `.` or `..`, where the listener takes none, or beside an encoded slash.
    #[error("it holds a `.` or `..` segment")]
    DotSegment,
    /// `%00` to `%1F`, or `%7F`.
    #[error("it holds an encoded control byte")]
    EncodedControl,
    /// `%2F` or `%5C`.
    #[error("it holds an encoded slash or backslash")]
    EncodedSlash,
    /// `%` without two hexadecimal digits.
    #[error("it holds an escape that is not `%` and two hexadecimal digits")]
    InvalidEscape,
    /// It does not begin with `/`.
    #[error("it does not begin with `/`")]
    NotOrigin,
    /// `.;x` or `..;x`: some servers read them as dot segments, others do not.
    #[error("it holds a dot segment with parameters")]
    ParameterisedDots,
    /// A control byte, space, backslash, `#` or non-ASCII byte.
    #[error("it holds a byte that must be escaped")]
    RawByte,
}

/// Brings a raw path (no query) to its normal form; borrowed when it is that already.
///
/// # Errors
/// Why it has no safe normal form.
pub fn normalise(raw: &str, rules: Rules) -> Result<Cow<'_, str>, PathFault> {
    let bytes = raw.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathFault::NotOrigin);
    }
    if is_normal(bytes, rules) {
        return Ok(Cow::Borrowed(raw));
    }
    let normal = rebuild(bytes, rules)?;
    // The scan may have been too careful, for instance about a segment that begins with a dot.
    Ok(if normal == raw {
        Cow::Borrowed(raw)
    } else {
        Cow::Owned(normal)
    })
}

/// One pass that recognises a path needing no work. May say no to a normal path, never yes to
/// another.
fn is_normal(bytes: &[u8], rules: Rules) -> bool {
    let mut previous = 0;
    let mut rest = bytes.iter();
    while let Some(&byte) = rest.next() {
        match CLASS[byte as usize] {
            PLAIN => {}
            DOT if previous != b'/' => {}
            SLASH if previous != b'/' || rules.empty_segments == EmptySegments::Keep => {}
            ESCAPE => {
                let (Some(&high), Some(&low)) = (rest.next(), rest.next()) else {
                    return false;
                };
                if !is_kept_escape(high, low) {
                    return false;
                }
            }
            _ => return false,
        }
        previous = byte;
    }
    true
}

/// Whether an escape stays as it is: upper case, and of nothing that is decoded or refused.
fn is_kept_escape(high: u8, low: u8) -> bool {
    let upper = |digit: u8| matches!(digit, b'0'..=b'9' | b'A'..=b'F');
    let (true, Some(high), Some(low)) = (upper(high) && upper(low), hex(high), hex(low)) else {
        return false;
    };
    let byte = high << 4 | low;
    !(byte < 0x20 || matches!(byte, b'/' | b'\\' | 0x7F) || is_unreserved(byte))
}

fn rebuild(bytes: &[u8], rules: Rules) -> Result<String, PathFault> {
    // Only the few characters that should have been escaped grow, so this rarely reallocates.
    let mut out: Vec<u8> = Vec::with_capacity(bytes.len() + 8);
    let mut segments = bytes[1..].split(|&byte| byte == b'/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        let start = out.len();
        out.push(b'/');
        append_segment(segment, rules, &mut out)?;
        match &out[start + 1..] {
            b"." | b".." if rules.dot_segments == DotSegments::Reject => {
                return Err(PathFault::DotSegment);
            }
            b"." => {
                out.truncate(start);
                if last {
                    out.push(b'/');
                }
            }
            b".." => {
                out.truncate(start);
                let parent = out.iter().rposition(|&byte| byte == b'/');
                out.truncate(parent.ok_or(PathFault::AboveRoot)?);
                if last {
                    out.push(b'/');
                }
            }
            b"" if !last && rules.empty_segments == EmptySegments::Merge => out.truncate(start),
            [b'.', b';', ..] | [b'.', b'.', b';', ..] => return Err(PathFault::ParameterisedDots),
            normal if has_hidden_dots(normal) => return Err(PathFault::DotSegment),
            _ => {}
        }
    }
    // Only ASCII was pushed: raw non-ASCII bytes are refused, escapes of them stay escapes.
    String::from_utf8(out).map_err(|_| PathFault::RawByte)
}

/// Whether a kept `%2F` has a dot segment beside it, for whoever takes it for a slash.
fn has_hidden_dots(segment: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(segment) else {
        return false;
    };
    let dots = |piece: &str| matches!(piece.split(';').next(), Some("." | ".."));
    text.contains("%2F") && text.split("%2F").any(dots)
}

/// Appends one segment in normal form, dots and all.
fn append_segment(segment: &[u8], rules: Rules, out: &mut Vec<u8>) -> Result<(), PathFault> {
    let mut rest = segment.iter();
    while let Some(&byte) = rest.next() {
        match CLASS[byte as usize] {
            ESCAPE => {
                let high = rest.next().and_then(|&digit| hex(digit));
                let low = rest.next().and_then(|&digit| hex(digit));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(PathFault::InvalidEscape);
                };
                append_escape(high << 4 | low, rules, out)?;
            }
            QUOTE => escape(byte, out),
            FORBIDDEN => return Err(PathFault::RawByte),
            _ => out.push(byte),
        }
    }
    Ok(())
}

fn append_escape(byte: u8, rules: Rules, out: &mut Vec<u8>) -> Result<(), PathFault> {
    match byte {
        b'/' if rules.encoded_slash == EncodedSlash::Keep => {
            escape(byte, out);
            Ok(())
        }
        b'/' | b'\\' => Err(PathFault::EncodedSlash),
        0..=0x1F | 0x7F => Err(PathFault::EncodedControl),
        _ if is_unreserved(byte) => {
            out.push(byte);
            Ok(())
        }
        _ => {
            escape(byte, out);
            Ok(())
        }
    }
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn escape(byte: u8, out: &mut Vec<u8>) {
    out.push(b'%');
    out.push(UPPER_HEX[usize::from(byte >> 4)]);
    out.push(UPPER_HEX[usize::from(byte & 15)]);
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

const UPPER_HEX: &[u8; 16] = b"0123456789ABCDEF";

/// Stands for itself.
const PLAIN: u8 = 0;
/// Matters at the start of a segment.
const DOT: u8 = 1;
/// Divides segments.
const SLASH: u8 = 2;
/// Starts an escape.
const ESCAPE: u8 = 3;
/// May not stand raw in a path by RFC 3986, but browsers and tools send it; escaped here, so that
/// both spellings are one.
const QUOTE: u8 = 4;
/// Refused.
const FORBIDDEN: u8 = 5;

const CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [PLAIN; 256];
    let mut byte = 0;
    while byte < 256 {
        // The range check above the cast makes it lossless.
        table[byte] = match byte as u8 {
            0..=0x20 | 0x7F..=0xFF | b'\\' | b'#' | b'?' => FORBIDDEN,
            b'"' | b'<' | b'>' | b'^' | b'`' | b'{' | b'|' | b'}' => QUOTE,
            b'%' => ESCAPE,
            b'.' => DOT,
            b'/' => SLASH,
            _ => PLAIN,
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use super::*;

    fn edge(raw: &str) -> Result<String, PathFault> {
        normalise(raw, Rules::EDGE).map(Cow::into_owned)
    }

    #[test]
    fn a_normal_path_is_not_copied() {
        for path in [
            "/",
            "/a",
            "/a/b.c/d-e_f~g/",
            "/a;v=1/b",
            "/a:b@c!$&'()*+,=",
            "/a/b..c",
            "/x.",
        ] {
            let normal = normalise(path, Rules::EDGE).unwrap();
            assert!(
                matches!(normal, Cow::Borrowed(same) if same == path),
                "{path}"
            );
        }
    }

    #[test]
    fn equivalent_paths_become_one() {
        let table = [
            ("/%61dmin", "/admin"),
            ("/a%2Db%5fc%7E", "/a-b_c~"),
            ("/caf%c3%a9", "/caf%C3%A9"),
            ("//", "/"),
            ("//a///b", "/a/b"),
            ("/a//", "/a/"),
            ("/a/./b", "/a/b"),
            ("/a/.", "/a/"),
            ("/a/../b", "/b"),
            ("/a/..", "/"),
            ("/a/b/../../c", "/c"),
            ("/a//../b", "/b"),
            ("/.hidden", "/.hidden"),
            ("/...", "/..."),
            ("/public/%2e%2e/admin", "/admin"),
            ("/public/%2E./admin", "/admin"),
            ("/a/%2e/b", "/a/b"),
            ("/a%20b", "/a%20b"),
            ("/%3f%23", "/%3F%23"),
            ("/a|b", "/a%7Cb"),
            ("/{x}", "/%7Bx%7D"),
            // A second layer of escapes is data: it is neither decoded nor interpreted.
            ("/%252e%252e/x", "/%252e%252e/x"),
            ("/%252Fx", "/%252Fx"),
            // Overlong UTF-8 for `/` and `.`: stays what it is, bytes without meaning.
            ("/%c0%af%c0%ae", "/%C0%AF%C0%AE"),
        ];
        for (raw, normal) in table {
            assert_eq!(edge(raw).as_deref(), Ok(normal), "{raw}");
        }
    }

    #[test]
    fn attacks_are_refused() {
        let table = [
            ("", PathFault::NotOrigin),
            ("*", PathFault::NotOrigin),
            ("a/b", PathFault::NotOrigin),
            ("http://host/a", PathFault::NotOrigin),
            ("/..", PathFault::AboveRoot),
            ("/../etc/passwd", PathFault::AboveRoot),
            ("/a/../../etc", PathFault::AboveRoot),
            ("/%2e%2e/etc", PathFault::AboveRoot),
            ("/.%2E/%2e./x", PathFault::AboveRoot),
            ("/a%2fb", PathFault::EncodedSlash),
            ("/a%2Fb", PathFault::EncodedSlash),
            ("/..%2fadmin", PathFault::EncodedSlash),
            ("/a%5cb", PathFault::EncodedSlash),
            ("/a\\b", PathFault::RawByte),
            ("/..\\..\\x", PathFault::RawByte),
            ("/a%00.png", PathFault::EncodedControl),
            ("/a%0d%0aSet-Cookie:x", PathFault::EncodedControl),
            ("/a%7f", PathFault::EncodedControl),
            ("/a\u{0}", PathFault::RawByte),
            ("/a\r\nX: y", PathFault::RawByte),
            ("/a b", PathFault::RawByte),
            ("/caf\u{e9}", PathFault::RawByte),
            ("/a#b", PathFault::RawByte),
            ("/a%", PathFault::InvalidEscape),
            ("/a%2", PathFault::InvalidEscape),
            ("/a%zz", PathFault::InvalidEscape),
            ("/a%2/b", PathFault::InvalidEscape),
            ("/a%u002f", PathFault::InvalidEscape),
            ("/public/..;/admin", PathFault::ParameterisedDots),
            ("/public/..;a=b/admin", PathFault::ParameterisedDots),
            ("/public/%2e%2e;/admin", PathFault::ParameterisedDots),
            ("/public/.;/admin", PathFault::ParameterisedDots),
        ];
        for (raw, fault) in table {
            assert_eq!(edge(raw), Err(fault), "{raw:?}");
            assert_eq!(
                normalise(raw, Rules::MESH),
                Err(fault),
                "{raw:?} in the mesh"
            );
        }
    }

    #[test]
    fn an_empty_segment_is_a_level_only_where_it_is_kept() {
        assert_eq!(edge("//../x"), Err(PathFault::AboveRoot));
        assert_eq!(normalise("//../x", Rules::MESH).as_deref(), Ok("/x"));
    }

    #[test]
    fn the_mesh_keeps_empty_segments() {
        let table = [
            ("//", "//"),
            ("/a//b", "/a//b"),
            ("/a//../b", "/a/b"),
            ("/a//.", "/a//"),
            ("/%61//", "/a//"),
        ];
        for (raw, normal) in table {
            assert_eq!(normalise(raw, Rules::MESH).as_deref(), Ok(normal), "{raw}");
        }
    }
}
