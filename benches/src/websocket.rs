//! The little of RFC 6455 that an echo needs: the upgrade's key, and frames.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A binary message in one frame.
pub const BINARY: u8 = 0x2;
/// The end of the connection.
pub const CLOSE: u8 = 0x8;
/// Rest of a message.
pub const CONTINUATION: u8 = 0x0;
/// Asks for a [`PONG`].
pub const PING: u8 = 0x9;
/// Answers a [`PING`].
pub const PONG: u8 = 0xa;
/// A text message in one frame.
pub const TEXT: u8 = 0x1;

/// The client's key: 16 bytes in Base64 (RFC 6455, 4.1; HAProxy refuses another length). Any will
/// do where no cache sits between.
pub const KEY: &str = "d2VpciBiZW5jaG1hcmsxNg==";

/// `Sec-WebSocket-Accept` for that key.
#[must_use]
pub fn accept(key: &[u8]) -> String {
    let mut context = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    context.update(key);
    context.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    STANDARD.encode(context.finish())
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHead {
    /// The message ends with this frame.
    pub is_final: bool,
    /// What it is.
    pub opcode: u8,
    /// How a client's payload is disguised.
    pub mask: Option<[u8; 4]>,
    /// Length of the payload, bytes.
    pub payload: u64,
    /// Its own length, bytes.
    pub length: usize,
}

impl FrameHead {
    /// Reads one; none when more bytes are needed.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&first, rest) = bytes.split_first()?;
        let (&second, rest) = rest.split_first()?;
        let (payload, rest, extended) = match second & 0x7f {
            126 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from(u16::from_be_bytes(*length)), rest, 2)
            }
            127 => {
                let (length, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*length), rest, 8)
            }
            short => (u64::from(short), rest, 0),
        };
        let is_masked = second & 0x80 != 0;
        let mask = if is_masked {
            Some(*rest.first_chunk()?)
        } else {
            None
        };
        Some(Self {
            is_final: first & 0x80 != 0,
            opcode: first & 0x0f,
            mask,
            payload,
            length: 2 + extended + if is_masked { 4 } else { 0 },
        })
    }
}

/// Appends a whole frame; a client's has a mask.
#[expect(
    clippy::cast_possible_truncation,
    reason = "each arm has checked the length"
)]
pub fn write_frame(opcode: u8, mask: Option<[u8; 4]>, payload: &[u8], into: &mut Vec<u8>) {
    into.push(0x80 | opcode);
    let masked = if mask.is_some() { 0x80 } else { 0 };
    match payload.len() {
        length @ 0..126 => into.push(masked | length as u8),
        length @ 126..65_536 => {
            into.push(masked | 126);
            into.extend_from_slice(&(length as u16).to_be_bytes());
        }
        length => {
            into.push(masked | 127);
            into.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    let start = into.len() + mask.map_or(0, |mask| mask.len());
    if let Some(mask) = mask {
        into.extend_from_slice(&mask);
    }
    into.extend_from_slice(payload);
    if let Some(mask) = mask {
        unmask(mask, 0, &mut into[start..]);
    }
}

/// Takes a mask off, or puts it on, from that place in the payload on.
pub fn unmask(mask: [u8; 4], from: usize, bytes: &mut [u8]) {
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte ^= mask[(from + index) % 4];
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::expect_used, reason = "tests")]

    use super::*;

    #[test]
    fn accept_is_that_of_the_standard() {
        assert_eq!(
            accept(b"dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn frames_of_every_length_are_read_as_written() {
        for length in [0, 1, 125, 126, 127, 65_535, 65_536] {
            for mask in [None, Some([1, 2, 3, 4])] {
                let payload: Vec<u8> = (0..=255).cycle().take(length).collect();
                let mut frame = Vec::new();
                write_frame(BINARY, mask, &payload, &mut frame);
                let head = FrameHead::parse(&frame).expect("it is whole");
                assert_eq!(head.payload, length as u64);
                assert_eq!((head.is_final, head.opcode), (true, BINARY));
                assert_eq!(head.mask, mask);
                let mut body = frame.split_off(head.length);
                if let Some(mask) = mask {
                    unmask(mask, 0, &mut body);
                }
                assert_eq!(body, payload);
                for cut in 0..frame.len() {
                    assert_eq!(FrameHead::parse(&frame[..cut]), None);
                }
            }
        }
    }
}
