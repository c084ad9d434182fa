//! gRPC-Web on its way to and from a service that speaks gRPC (`PROTOCOL-WEB.md`): the trailers of
//! a response travel as the last frame of its body, and in the text form everything is Base64.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::{BufMut, Bytes, BytesMut};
use http::HeaderMap;

/// Decodes a body that comes in Base64, in pieces of any size. Clients may pad each message by
/// itself, so padding may stand anywhere.
#[derive(Debug, Default)]
pub(crate) struct Decoder {
    /// What does not make a group of four yet.
    rest: Vec<u8>,
}

/// What came is not Base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the body is not Base64")]
pub struct NotBase64;

impl Decoder {
    /// Decodes as much as there is.
    ///
    /// # Errors
    /// When it is no Base64.
    pub(crate) fn decode(&mut self, data: &[u8]) -> Result<Bytes, NotBase64> {
        self.rest.extend_from_slice(data);
        let whole = self.rest.len() / GROUP * GROUP;
        let mut groups = &self.rest[..whole];
        let mut decoded = Vec::with_capacity(whole / GROUP * 3);
        while !groups.is_empty() {
            let padded = groups.iter().position(|byte| *byte == b'=');
            let end = padded.map_or(groups.len(), |at| (at / GROUP + 1) * GROUP);
            BASE64_STANDARD
                .decode_vec(&groups[..end], &mut decoded)
                .map_err(|_| NotBase64)?;
            groups = &groups[end..];
        }
        self.rest.drain(..whole);
        Ok(decoded.into())
    }

    /// Says whether it ended where it may.
    ///
    /// # Errors
    /// In the middle of a group.
    pub(crate) fn finish(&self) -> Result<(), NotBase64> {
        match self.rest.is_empty() {
            true => Ok(()),
            false => Err(NotBase64),
        }
    }
}

/// Trailers as a frame of the body.
pub(crate) fn trailers_frame(trailers: &HeaderMap) -> Bytes {
    let line_bytes = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        name.as_str().len() + value.len() + SEPARATORS_BYTES
    };
    let length: usize = trailers.iter().map(line_bytes).sum();
    let mut frame = BytesMut::with_capacity(FRAME_HEAD_BYTES + length);
    frame.put_u8(TRAILERS_FLAG);
    // Trailers are bounded as header sections are.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    for (name, value) in trailers {
        frame.put_slice(name.as_str().as_bytes());
        frame.put_slice(b": ");
        frame.put_slice(value.as_bytes());
        frame.put_slice(b"\r\n");
    }
    frame.freeze()
}

/// A piece of a body in Base64, padded by itself: what a client has, it can decode.
pub(crate) fn encoded(data: &[u8]) -> Bytes {
    BASE64_STANDARD.encode(data).into()
}

const GROUP: usize = 4;
/// `: ` and the end of the line.
const SEPARATORS_BYTES: usize = 4;
/// A flag and a length.
const FRAME_HEAD_BYTES: usize = 5;
const TRAILERS_FLAG: u8 = 0x80;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use http::{HeaderName, HeaderValue};

    use super::*;

    #[test]
    fn base64_in_any_pieces_with_padding_anywhere() {
        let (one, two) = (
            b"\0\0\0\0\x02hi".as_slice(),
            b"\0\0\0\0\x05world".as_slice(),
        );
        let text = [encoded(one), encoded(two)].concat();
        for size in 1..=text.len() {
            let mut decoder = Decoder::default();
            let pieces: Vec<_> = text
                .chunks(size)
                .map(|piece| decoder.decode(piece).unwrap())
                .collect();
            assert_eq!(pieces.concat(), [one, two].concat(), "in pieces of {size}");
            assert_eq!(decoder.finish(), Ok(()));
        }
    }

    #[test]
    fn what_is_no_base64_is_said_so() {
        for text in ["####", "AA=A", "=AAA", "A===", "AAA\n"] {
            let decoded = Decoder::default().decode(text.as_bytes());
            assert_eq!(decoded, Err(NotBase64), "{text:?}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.decode(b"AAAAAA").unwrap(), [0_u8; 3].as_slice());
        assert_eq!(decoder.finish(), Err(NotBase64));
    }

    #[test]
    fn trailers_are_a_frame() {
        let mut trailers = HeaderMap::new();
        trailers.insert(HeaderName::from_static("grpc-status"), HeaderValue::from(0));
        trailers.insert(
            HeaderName::from_static("x-a"),
            HeaderValue::from_static("b c"),
        );
        let frame = trailers_frame(&trailers);
        assert_eq!(
            frame,
            b"\x80\0\0\0\x1agrpc-status: 0\r\nx-a: b c\r\n".as_slice()
        );
        assert_eq!(
            trailers_frame(&HeaderMap::new()),
            b"\x80\0\0\0\0".as_slice()
        );
    }
}
