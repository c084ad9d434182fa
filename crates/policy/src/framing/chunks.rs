//! A chunked body, byte by byte where it is not data (RFC 9112, section 7.1).
//!
//! Sizes are hexadecimal digits and nothing else, lines end with CRLF, extensions are ignored up to
//! a bound, and trailer fields obey the rules of header fields.

use super::{Bounds, Fault, TOKEN, is_value};

/// How far a chunked body has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    at: At,
    /// Size of the chunk that is read, or what is missing of its data.
    left: u64,
    /// Digits of the size, then bytes of the extension.
    count: u32,
    fields: u32,
    trailer_bytes: u32,
    /// Bytes of extensions that no data has made up for.
    extension_bytes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Size,
    Extension,
    SizeEnd,
    Data,
    DataReturn,
    DataEnd,
    /// At the start of a trailer field, or of the last line.
    Trailer,
    TrailerName,
    TrailerValue,
    TrailerEnd,
    LastEnd,
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks {
            at: At::Size,
            left: 0,
            count: 0,
            fields: 0,
            trailer_bytes: 0,
            extension_bytes: 0,
        }
    }
}

/// How much of some bytes belongs to a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All of them, and there is more to come.
    All,
    /// So many; the body ends with them.
    Whole(usize),
    /// So many are in order, the next one is not.
    Broken(usize, Fault),
}

/// The next piece of a body among some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// Behind `skip` bytes that are no data come `length` bytes of it.
    Data {
        /// Bytes in front that are no data.
        skip: usize,
        /// Bytes of data; at least one.
        length: usize,
    },
    /// All of them are no data, and there is more to come.
    More,
    /// So many are no data; the body ends with them.
    End(usize),
    /// So many are in order, the next one is not.
    Broken(usize, Fault),
}

impl Chunks {
    /// Reads on to the end of the bytes or of the body.
    pub fn read(&mut self, bytes: &[u8], bounds: &Bounds) -> Read {
        let mut at = 0;
        loop {
            match self.piece(&bytes[at..], bounds, |_| {}) {
                Piece::Data { skip, length } => at += skip + length,
                Piece::More => return Read::All,
                Piece::End(count) => return Read::Whole(at + count),
                Piece::Broken(count, fault) => return Read::Broken(at + count, fault),
            }
        }
    }

    /// Reads on to the end of a piece of data; every byte of the trailer section is told.
    pub fn piece(&mut self, bytes: &[u8], bounds: &Bounds, mut trailer: impl FnMut(u8)) -> Piece {
        for (at, &byte) in bytes.iter().enumerate() {
            if self.at == At::Data {
                let here = (bytes.len() - at) as u64;
                let taken = here.min(self.left);
                self.left -= taken;
                if self.left == 0 {
                    self.at = At::DataReturn;
                }
                // Not more than there are bytes.
                let length = taken as usize;
                return Piece::Data { skip: at, length };
            }
            if self.is_trailer() {
                trailer(byte);
            }
            match self.step(byte, bounds) {
                Ok(false) => {}
                Ok(true) => return Piece::End(at + 1),
                Err(fault) => return Piece::Broken(at, fault),
            }
        }
        Piece::More
    }

    fn is_trailer(&self) -> bool {
        matches!(
            self.at,
            At::Trailer | At::TrailerName | At::TrailerValue | At::TrailerEnd | At::LastEnd
        )
    }

    /// One byte that is not data; true at the end of the body.
    fn step(&mut self, byte: u8, bounds: &Bounds) -> Result<bool, Fault> {
        self.at = match self.at {
            At::Size => self.size(byte)?,
            At::Extension => match byte {
                b'\r' => At::SizeEnd,
                _ if !is_value(byte) => return Err(Fault::ChunkExtension),
                _ if self.count == EXTENSION_BYTES_MAX => {
                    return Err(Fault::ChunkExtensionTooLong);
                }
                _ if self.extension_bytes == EXTENSIONS_BYTES_MAX => {
                    return Err(Fault::ChunkExtensionsTooLarge);
                }
                _ => {
                    self.count += 1;
                    self.extension_bytes += 1;
                    At::Extension
                }
            },
            At::SizeEnd => match (byte, self.left) {
                (b'\n', 0) => At::Trailer,
                (b'\n', bytes) => {
                    let paid = u32::try_from(bytes.saturating_mul(2)).unwrap_or(u32::MAX);
                    self.extension_bytes = self.extension_bytes.saturating_sub(paid);
                    At::Data
                }
                _ => return Err(Fault::LoneCarriageReturn),
            },
            // `read` takes data itself.
            At::Data | At::DataReturn => match byte {
                b'\r' => At::DataEnd,
                _ => return Err(Fault::ChunkEnd),
            },
            At::DataEnd => match byte {
                b'\n' => {
                    (self.left, self.count) = (0, 0);
                    At::Size
                }
                _ => return Err(Fault::ChunkEnd),
            },
            At::LastEnd => match byte {
                b'\n' => return Ok(true),
                _ => return Err(Fault::Trailer),
            },
            _ => self.trailer(byte, bounds)?,
        };
        Ok(false)
    }

    fn size(&mut self, byte: u8) -> Result<At, Fault> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            b'\r' if self.count > 0 => return Ok(At::SizeEnd),
            b';' if self.count > 0 => {
                self.count = 0;
                return Ok(At::Extension);
            }
            _ => return Err(Fault::ChunkSize),
        };
        if self.count == SIZE_DIGITS_MAX {
            return Err(Fault::ChunkSize);
        }
        self.count += 1;
        // Sixteen digits fit.
        self.left = self.left << 4 | u64::from(digit);
        Ok(At::Size)
    }

    fn trailer(&mut self, byte: u8, bounds: &Bounds) -> Result<At, Fault> {
        let next = match self.at {
            At::Trailer if byte == b'\r' => return Ok(At::LastEnd),
            At::Trailer if TOKEN[usize::from(byte)] => {
                self.fields += 1;
                if self.fields as usize > bounds.fields_max {
                    return Err(Fault::TrailersTooMany);
                }
                At::TrailerName
            }
            At::TrailerName if byte == b':' => At::TrailerValue,
            At::TrailerName if TOKEN[usize::from(byte)] => At::TrailerName,
            At::TrailerValue if byte == b'\r' => At::TrailerEnd,
            At::TrailerValue if is_value(byte) => At::TrailerValue,
            At::TrailerEnd if byte == b'\n' => At::Trailer,
            _ => return Err(Fault::Trailer),
        };
        self.trailer_bytes = self.trailer_bytes.saturating_add(1);
        if self.trailer_bytes as usize > bounds.trailer_bytes_max {
            return Err(Fault::TrailersTooLarge);
        }
        Ok(next)
    }
}

/// Sixteen digits fit 64 bits.
const SIZE_DIGITS_MAX: u32 = 16;
/// Bytes of the extension of one chunk: a signature of a cloud's upload has 81.
const EXTENSION_BYTES_MAX: u32 = 256;
/// Bytes of all extensions of a body, beyond two for each byte of data (RFC 9112, section 7.1.1,
/// asks for a bound of the total): tiny chunks with long extensions make a small body of a large
/// request.
const EXTENSIONS_BYTES_MAX: u32 = 16 * 1024;
