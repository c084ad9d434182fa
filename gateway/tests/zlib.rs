//! The stand-in for zlib-ng (`gateway/zlib`) compresses and decompresses as its user expects.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{Read as _, Write as _};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

#[test]
fn what_goes_in_comes_out() {
    let text: Vec<u8> = (0..100_000_u32)
        .flat_map(|number| (number % 251).to_le_bytes())
        .collect();
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&text).unwrap();
    let packed = encoder.finish().unwrap();
    assert!(packed.len() < text.len() / 10);
    let mut back = Vec::new();
    GzDecoder::new(packed.as_slice())
        .read_to_end(&mut back)
        .unwrap();
    assert!(back == text);
    let mut cut = Vec::new();
    assert!(
        GzDecoder::new(&packed[..packed.len() / 2])
            .read_to_end(&mut cut)
            .is_err()
    );
}
