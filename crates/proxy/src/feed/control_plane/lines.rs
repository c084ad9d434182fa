//! A body cut into lines of bounded length.

use bytes::{Bytes, BytesMut};
use http_body::Body;
use http_body_util::BodyExt as _;

/// Why there is no further line.
#[derive(Debug, thiserror::Error)]
pub(super) enum LinesError {
    /// The body broke off.
    #[error(transparent)]
    Body(#[from] hyper::Error),
    /// A line is longer than any of ours.
    #[error("a line is longer than {0} bytes")]
    TooLong(usize),
}

/// The lines of a body.
#[derive(Debug)]
pub(super) struct Lines<B> {
    body: B,
    buffer: BytesMut,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
    bytes_max: usize,
}

impl<B> Lines<B>
where
    B: Body<Data = Bytes> + Unpin,
    LinesError: From<B::Error>,
{
    pub(super) fn new(body: B, bytes_max: usize) -> Self {
        Self {
            body,
            buffer: BytesMut::new(),
            searched: 0,
            bytes_max,
        }
    }

    /// The next line without its end; `None` when the body has ended. What follows the last line
    /// end was cut off and is no line. Cancel safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, LinesError> {
        loop {
            let fresh = self.buffer.get(self.searched..).unwrap_or_default();
            if let Some(at) = fresh.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(self.searched + at);
                let _end = self.buffer.split_to(1);
                self.searched = 0;
                return Ok(Some(line.freeze()));
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > self.bytes_max {
                return Err(LinesError::TooLong(self.bytes_max));
            }
            let Some(frame) = self.body.frame().await else {
                return Ok(None);
            };
            if let Ok(data) = frame?.into_data() {
                self.buffer.extend_from_slice(&data);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

    use std::convert::Infallible;

    use futures_util::stream;
    use http_body::Frame;
    use http_body_util::StreamBody;

    use super::*;

    impl From<Infallible> for LinesError {
        fn from(never: Infallible) -> Self {
            match never {}
        }
    }

    fn lines(
        parts: &[&'static str],
        bytes_max: usize,
    ) -> Lines<impl Body<Data = Bytes, Error = Infallible> + Unpin> {
        let frames: Vec<_> = parts
            .iter()
            .map(|part| Ok(Frame::data(Bytes::from_static(part.as_bytes()))))
            .collect();
        Lines::new(StreamBody::new(stream::iter(frames)), bytes_max)
    }

    #[tokio::test]
    async fn lines_are_put_together_and_cut_apart() {
        let mut lines = lines(&["a", "b\nc\n", "\n", "d"], 10);
        for expected in ["ab", "c", ""] {
            assert_eq!(lines.next().await.unwrap().unwrap(), expected);
        }
        assert!(lines.next().await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_line_without_end_is_given_up() {
        let mut lines = lines(&["ok\n", "12345", "678901"], 10);
        assert_eq!(lines.next().await.unwrap().unwrap(), "ok");
        assert!(matches!(lines.next().await, Err(LinesError::TooLong(10))));
    }
}
