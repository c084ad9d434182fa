//! A stream of HTTP/1: what is taken for a request, another parser takes for the same request, and
//! where the bytes are cut does not matter.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use weir_policy::framing::Bounds;
use weir_policy::framing::chunks::{Chunks, Read};
use weir_policy::framing::head::{Body, inspect};
use weir_policy::framing::request::{HeadReader, stand_in};

const BOUNDS: Bounds = Bounds {
    head_bytes_max: 1024,
    fields_max: 16,
    target_bytes_max: 256,
    trailer_bytes_max: 1024,
};

fuzz_target!(|data: (&[u8], usize)| {
    let (mut bytes, cut) = data;
    loop {
        let whole = inspect(bytes, &BOUNDS);
        let cut = cut.min(bytes.len());
        match inspect(&bytes[..cut], &BOUNDS) {
            Ok(None) => {}
            Ok(early) => assert_eq!(whole, Ok(early)),
            Err(_) => assert!(whole.is_err()),
        }
        if let Err(refused) = &whole {
            let _ = stand_in(bytes, refused);
        }
        let mut reader = HeadReader::default();
        assert_eq!(reader.find(bytes, &BOUNDS), whole);
        let Ok(Some(head)) = whole else { return };
        let mut fields = [httparse::EMPTY_HEADER; 17];
        let mut request = httparse::Request::new(&mut fields);
        let parsed = request.parse(bytes);
        assert_eq!(parsed, Ok(httparse::Status::Complete(head.bytes)));
        let target = request.path.expect("it is complete");
        // The request that is made of it is the one that the other parser reads.
        let (made, _) = reader
            .request(&Bytes::copy_from_slice(bytes), http::HeaderMap::new())
            .expect("within the bounds of these heads");
        assert_eq!(made.method().as_str(), request.method.expect("it is complete"));
        assert_eq!(Ok(made.uri()), http::Uri::try_from(target).as_ref().map_err(drop));
        let minor = u8::from(made.version() == http::Version::HTTP_11);
        assert_eq!(Some(minor), request.version);
        let count = made.headers().len();
        assert_eq!(count, request.headers.len());
        for field in request.headers.iter() {
            let mut values = made.headers().get_all(field.name).iter();
            assert!(values.any(|value| value.as_bytes() == field.value), "{field:?}");
        }
        bytes = &bytes[head.bytes..];
        match head.body {
            Body::Length(length) => {
                let Some(rest) = usize::try_from(length).ok().and_then(|to| bytes.get(to..)) else {
                    return;
                };
                bytes = rest;
            }
            Body::Chunked => match Chunks::default().read(bytes, &BOUNDS) {
                Read::Whole(read) => bytes = &bytes[read..],
                Read::Broken(read, _) => {
                    assert!(read < bytes.len());
                    return;
                }
                Read::All => return,
            },
        }
    }
});
