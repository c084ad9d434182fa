//! Heads of responses: where the bytes are cut does not matter, and of what another parser takes
//! for a head exactly those are refused that hold a line feed alone.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_policy::framing::response::HeadLines;

fuzz_target!(|data: (&[u8], usize)| {
    let (bytes, cut) = data;
    let read = |pieces: [&[u8]; 2]| {
        let mut lines = HeadLines::default();
        lines.expect();
        pieces.into_iter().try_for_each(|piece| lines.read(piece))
    };
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    assert_eq!(read([first, second]), read([bytes, b""]));
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    if let Ok(httparse::Status::Complete(end)) = response.parse(bytes) {
        let head = &bytes[..end];
        let is_bare = |at: usize| head[at] == b'\n' && (at == 0 || head[at - 1] != b'\r');
        assert_eq!(read([head, b""]).is_err(), (0..end).any(is_bare));
    }
});
