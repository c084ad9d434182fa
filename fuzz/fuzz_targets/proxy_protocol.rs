//! PROXY headers of a peer: more bytes never change what was decided on fewer, a header never takes
//! more than it may, and what it says survives being written in either version.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weir_config::bounds::PROXY_HEADER_BYTES_MAX;
use weir_config::proxy_protocol::ProxyProtocol;
use weir_policy::proxy_protocol::{Read, read, write};

fuzz_target!(|raw: &[u8]| {
    let whole = read(raw);
    for cut in 0..raw.len().min(256) {
        match read(&raw[..cut]) {
            Ok(Read::Incomplete) => {}
            decided => assert_eq!(decided, whole, "at {cut}"),
        }
    }
    let Ok(Read::Header { bytes, addresses }) = whole else {
        assert!(whole.is_err() || raw.len() < PROXY_HEADER_BYTES_MAX);
        return;
    };
    assert!(bytes <= raw.len() && bytes <= PROXY_HEADER_BYTES_MAX);
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let written = write(version, addresses.as_ref());
        let again = Ok(Read::Header {
            bytes: written.len(),
            addresses,
        });
        assert_eq!(read(&written), again);
    }
});
