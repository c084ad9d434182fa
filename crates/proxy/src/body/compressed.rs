//! A response body that is compressed as it streams.
//!
//! What the endpoint has sent leaves when nothing more is there at the moment, so that a slow
//! stream is not held back for the sake of a better ratio. Memory is bounded by the codings'
//! windows: 256 KiB for gzip, about 1 MiB for Brotli and Zstandard, per response.

use std::io::{self, Write};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use brotli::enc::BrotliEncoderParams;
use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame};
use weir_config::compress::{Effort, Encoding};
use weir_policy::compress::Coding;

use super::Reply;
use super::reply::ReplyError;
use crate::worker::Worker;

/// A body on its way through an encoder.
#[derive(Debug)]
pub(crate) struct Compressed {
    inner: Reply,
    worker: Rc<Worker>,
    encoding: Encoding,
    input_bytes: u64,
    output_bytes: u64,
    /// `None` once it has ended; an error is told when the body is first asked for.
    encoder: Option<io::Result<Encoder>>,
    /// Whether the encoder holds bytes that have not left.
    holds: bool,
    /// Trailers, which come after the last data.
    last: Option<Frame<Bytes>>,
}

impl Compressed {
    /// Compresses `inner`.
    pub(crate) fn new(inner: Reply, coding: Coding, worker: &Rc<Worker>) -> Box<Self> {
        Box::new(Self {
            inner,
            worker: Rc::clone(worker),
            encoding: coding.encoding,
            input_bytes: 0,
            output_bytes: 0,
            encoder: Some(Encoder::new(coding)),
            holds: false,
            last: None,
        })
    }

    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ReplyError>>> {
        loop {
            let encoder = match &mut self.encoder {
                None => return Poll::Ready(self.last.take().map(Ok)),
                Some(Ok(encoder)) => encoder,
                Some(Err(_)) => return Poll::Ready(self.fail()),
            };
            let output = match Pin::new(&mut self.inner).poll_frame(cx) {
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Some(Err(error))),
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => {
                        self.holds = true;
                        self.input_bytes += data.len() as u64;
                        encoder.write(&data)
                    }
                    Err(trailers) => {
                        self.last = Some(trailers);
                        self.finish()
                    }
                },
                Poll::Ready(None) => self.finish(),
                Poll::Pending if self.holds => {
                    self.holds = false;
                    encoder.flush()
                }
                Poll::Pending => return Poll::Pending,
            };
            match output {
                Ok(output) if output.is_empty() => {}
                Ok(output) => {
                    self.output_bytes += output.len() as u64;
                    return Poll::Ready(Some(Ok(Frame::data(output))));
                }
                Err(error) => return Poll::Ready(Some(Err(ReplyError::Encoder(error)))),
            }
        }
    }

    pub(super) fn is_end_stream(&self) -> bool {
        self.encoder.is_none() && self.last.is_none()
    }

    fn finish(&mut self) -> io::Result<Bytes> {
        match self.encoder.take() {
            None => Ok(Bytes::new()),
            Some(encoder) => encoder?.finish(),
        }
    }

    /// Tells why there is no encoder.
    fn fail(&mut self) -> Option<Result<Frame<Bytes>, ReplyError>> {
        let error = self.encoder.take()?.err()?;
        Some(Err(ReplyError::Encoder(error)))
    }
}

impl Drop for Compressed {
    fn drop(&mut self) {
        let (worker, encoding) = (&self.worker, self.encoding.as_str());
        worker
            .metrics
            .compressed(worker.index, encoding, self.input_bytes, self.output_bytes);
    }
}

/// One of the codings, writing into a buffer of its own.
enum Encoder {
    Brotli(Box<brotli::CompressorWriter<Output>>),
    Gzip(Box<flate2::write::GzEncoder<Output>>),
    Zstd(Box<zstd::stream::write::Encoder<'static, Output>>),
}

/// Where encoders write.
#[derive(Debug, Default)]
struct Output(BytesMut);

impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Encoder {
    fn new(coding: Coding) -> io::Result<Self> {
        let level = |fast, balanced, small| match coding.effort {
            Effort::Balanced => balanced,
            Effort::Fast => fast,
            Effort::Small => small,
        };
        Ok(match coding.encoding {
            Encoding::Brotli => {
                let params = BrotliEncoderParams {
                    quality: level(1, 5, 8),
                    lgwin: BROTLI_WINDOW_BITS,
                    ..BrotliEncoderParams::default()
                };
                let output = Output::default();
                let writer = brotli::CompressorWriter::with_params(output, STAGING_BYTES, &params);
                Encoder::Brotli(Box::new(writer))
            }
            Encoding::Gzip => {
                let level = flate2::Compression::new(level(1, 6, 9) as u32);
                Encoder::Gzip(Box::new(flate2::write::GzEncoder::new(
                    Output::default(),
                    level,
                )))
            }
            Encoding::Zstd => {
                let mut writer =
                    zstd::stream::write::Encoder::new(Output::default(), level(1, 3, 9))?;
                writer.window_log(ZSTD_WINDOW_BITS)?;
                Encoder::Zstd(Box::new(writer))
            }
        })
    }

    /// Takes data in; gives what came out so far, often nothing.
    fn write(&mut self, data: &[u8]) -> io::Result<Bytes> {
        self.writer().write_all(data)?;
        Ok(self.taken())
    }

    /// Gives out everything that was taken in.
    fn flush(&mut self) -> io::Result<Bytes> {
        self.writer().flush()?;
        Ok(self.taken())
    }

    fn finish(self) -> io::Result<Bytes> {
        let output = match self {
            Encoder::Brotli(writer) => writer.into_inner(),
            Encoder::Gzip(writer) => writer.finish()?,
            Encoder::Zstd(writer) => writer.finish()?,
        };
        Ok(output.0.freeze())
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Encoder::Brotli(writer) => writer,
            Encoder::Gzip(writer) => writer,
            Encoder::Zstd(writer) => writer,
        }
    }

    fn taken(&mut self) -> Bytes {
        let output = match self {
            // Only ever called after a write, so the writer holds its output.
            Encoder::Brotli(writer) => writer.get_mut(),
            Encoder::Gzip(writer) => writer.get_mut(),
            Encoder::Zstd(writer) => writer.get_mut(),
        };
        output.0.split().freeze()
    }
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Encoder::Brotli(_) => "Brotli",
            Encoder::Gzip(_) => "Gzip",
            Encoder::Zstd(_) => "Zstd",
        })
    }
}

/// A window of 512 KiB: what content made on request repeats is closer than that.
const BROTLI_WINDOW_BITS: i32 = 19;
/// A window of 512 KiB; RFC 8878 lets receivers refuse more than 8 MiB.
const ZSTD_WINDOW_BITS: u32 = 19;
/// Brotli collects its output in pieces of this size.
const STAGING_BYTES: usize = 4096;

#[cfg(test)]
#[allow(clippy::expect_used, reason = "tests")]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn decoded(encoding: Encoding, bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match encoding {
            Encoding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain),
            Encoding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain),
            Encoding::Zstd => zstd::stream::read::Decoder::new(bytes)
                .and_then(|mut decoder| decoder.read_to_end(&mut plain)),
        }
        .expect("what was encoded can be decoded");
        plain
    }

    #[test]
    fn what_is_written_comes_out_again_whatever_the_pieces() {
        let text: Vec<u8> = (0..200_000_u32)
            .flat_map(|number| (number % 977).to_le_bytes())
            .collect();
        for encoding in [Encoding::Brotli, Encoding::Gzip, Encoding::Zstd] {
            for effort in [Effort::Fast, Effort::Balanced, Effort::Small] {
                let mut encoder = Encoder::new(Coding { encoding, effort }).expect("memory");
                let mut out = Vec::new();
                for piece in text.chunks(7_919) {
                    out.extend_from_slice(&encoder.write(piece).expect("it is memory"));
                }
                out.extend_from_slice(&encoder.finish().expect("it is memory"));
                assert!(out.len() * 2 < text.len(), "{encoding:?} {}", out.len());
                assert_eq!(decoded(encoding, &out), text, "{encoding:?} {effort:?}");
            }
        }
    }

    #[test]
    fn a_flush_gives_out_everything_so_far() {
        for encoding in [Encoding::Gzip, Encoding::Zstd, Encoding::Brotli] {
            let effort = Effort::Balanced;
            let mut encoder = Encoder::new(Coding { encoding, effort }).expect("memory");
            let mut out = encoder.write(b"first").expect("it is memory").to_vec();
            out.extend_from_slice(&encoder.flush().expect("it is memory"));
            let mut plain = [0; 5];
            match encoding {
                Encoding::Brotli => brotli::Decompressor::new(&out[..], 64).read_exact(&mut plain),
                Encoding::Gzip => flate2::read::GzDecoder::new(&out[..]).read_exact(&mut plain),
                Encoding::Zstd => zstd::stream::read::Decoder::new(&out[..])
                    .and_then(|mut decoder| decoder.read_exact(&mut plain)),
            }
            .expect("five bytes were flushed");
            assert_eq!(&plain, b"first", "{encoding:?}");
        }
    }
}
