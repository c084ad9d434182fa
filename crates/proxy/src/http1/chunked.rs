//! A chunked body as it is read off a connection.

use bytes::{Buf, Bytes, BytesMut};
use http_body::Frame;
use weir_policy::framing::chunks::{Chunks, Piece};
use weir_policy::framing::response::trailers;
use weir_policy::framing::{Bounds, Fault};

use super::input::Input;

/// How far a chunked body was read.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    chunks: Chunks,
    trailers: Vec<u8>,
}

/// What comes next of one.
#[derive(Debug)]
pub(crate) enum Part {
    /// A piece of its data.
    Data(Bytes),
    /// Its end, with the trailers that it has.
    End(Option<Frame<Bytes>>),
    /// More has to be read.
    More,
}

impl Chunked {
    /// Takes the next part off what was read; `take` takes a piece of data.
    ///
    /// # Errors
    /// It is no chunked body.
    pub(crate) fn take(
        &mut self,
        input: &mut Input,
        bounds: &Bounds,
        take: fn(&mut Input, usize) -> Bytes,
    ) -> Result<Part, Fault> {
        match self.step(&input.bytes, bounds) {
            Piece::Data { skip, length } => {
                input.bytes.advance(skip);
                Ok(Part::Data(take(input, length)))
            }
            Piece::More => {
                input.bytes.clear();
                Ok(Part::More)
            }
            Piece::End(count) => {
                input.bytes.advance(count);
                self.trailers().map(Part::End)
            }
            Piece::Broken(_, fault) => Err(fault),
        }
    }

    /// Drops what was read of it; whether that was all.
    ///
    /// # Errors
    /// It is no chunked body.
    pub(crate) fn forget(&mut self, input: &mut Input, bounds: &Bounds) -> Result<bool, Fault> {
        loop {
            match self.take(input, bounds, Input::take)? {
                Part::Data(_) => {}
                Part::End(_) => return Ok(true),
                Part::More => return Ok(false),
            }
        }
    }

    /// Whether what was read goes on with the end of the body, without trailers; takes it then.
    pub(crate) fn ends(&self, read: &mut BytesMut, bounds: &Bounds) -> bool {
        if !read.starts_with(LAST) {
            return false;
        }
        let mut after = Self {
            chunks: self.chunks,
            trailers: Vec::new(),
        };
        let ends = after.step(LAST, bounds) == Piece::End(LAST.len());
        if ends {
            read.advance(LAST.len());
        }
        ends
    }

    fn step(&mut self, bytes: &[u8], bounds: &Bounds) -> Piece {
        let trailers = &mut self.trailers;
        self.chunks.piece(bytes, bounds, |byte| trailers.push(byte))
    }

    /// The trailers that have come, if any.
    fn trailers(&mut self) -> Result<Option<Frame<Bytes>>, Fault> {
        let bytes = Bytes::from(std::mem::take(&mut self.trailers));
        let trailers = trailers(&bytes)?;
        Ok((!trailers.is_empty()).then(|| Frame::trailers(trailers)))
    }
}

/// Between the data of the last chunk and the end of a body without trailers.
const LAST: &[u8] = b"\r\n0\r\n\r\n";
