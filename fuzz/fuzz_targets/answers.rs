//! Heads of responses: where the bytes are cut does not matter, and what is taken for a head is the
//! same head to another parser.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use weir_policy::framing::response::{Head, HeadReader};
use weir_policy::framing::{Bounds, Fault};

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 1024,
    fields_max: 32,
    target_bytes_max: 0,
    trailer_bytes_max: 1024,
};

/// The head, if there is one, and the bytes behind it.
fn read(pieces: [&[u8]; 2]) -> Result<Option<(Head, Vec<u8>)>, Fault> {
    let (mut reader, mut buffer) = (HeadReader::default(), BytesMut::new());
    let mut head = None;
    for piece in pieces {
        buffer.extend_from_slice(piece);
        if head.is_none() {
            head = reader.read(&mut buffer, &BOUNDS, Default::default)?;
        }
    }
    Ok(head.map(|head| (head, buffer.to_vec())))
}

fuzz_target!(|data: (&[u8], usize)| {
    let (bytes, cut) = data;
    let (first, second) = bytes.split_at(cut.min(bytes.len()));
    let (cut, whole) = (read([first, second]), read([bytes, b""]));
    assert_eq!(format!("{cut:?}"), format!("{whole:?}"));
    let Ok(Some((head, rest))) = whole else {
        return;
    };
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut fields);
    let parsed = response.parse(bytes);
    assert_eq!(
        parsed,
        Ok(httparse::Status::Complete(bytes.len() - rest.len()))
    );
    assert_eq!(response.code, Some(head.status.as_u16()));
    assert_eq!(response.headers.len(), head.headers.len());
    for field in response.headers {
        let mut values = head.headers.get_all(field.name).iter();
        assert!(values.any(|value| value.as_bytes() == field.value));
    }
});
