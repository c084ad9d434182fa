//! Headers as HAProxy and others write them, byte by byte, and what is none.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::*;

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses {
        source: source.parse().unwrap(),
        destination: destination.parse().unwrap(),
    }
}

fn header(bytes: usize, addresses: Option<Addresses>) -> Result<Read, Fault> {
    Ok(Read::Header { bytes, addresses })
}

fn binary(command: u8, family: u8, block: &[u8]) -> Vec<u8> {
    let length = u16::try_from(block.len()).unwrap().to_be_bytes();
    [&V2_SIGNATURE[..], &[command, family], &length, block].concat()
}

#[test]
fn lines() {
    let v4 = addresses("192.0.2.1:56324", "198.51.100.7:443");
    let v6 = addresses("[2001:db8::1]:1", "[2001:db8::2]:65535");
    let table = [
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n",
            header(45, Some(v4)),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\nGET / HTTP/1.1\r\n",
            header(45, Some(v4)),
        ),
        (
            "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n",
            header(44, Some(v6)),
        ),
        ("PROXY UNKNOWN\r\n", header(15, None)),
        ("PROXY UNKNOWN ff:: whatever\r\n", header(29, None)),
        ("", Ok(Read::Incomplete)),
        ("PRO", Ok(Read::Incomplete)),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r",
            Ok(Read::Incomplete),
        ),
        ("GET / HTTP/1.1\r\n", Err(Fault::Absent)),
        ("PRI * HTTP/2.0\r\n", Err(Fault::Absent)),
        ("\u{16}\u{3}\u{1}", Err(Fault::Absent)),
        ("PROXY\r\n", Err(Fault::Line)),
        ("PROXY \r\n", Err(Fault::Line)),
        ("PROXYX TCP4\r\n", Err(Fault::Line)),
        (
            "PROXY TCP5 192.0.2.1 198.51.100.7 1 2\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY tcp4 192.0.2.1 198.51.100.7 1 2\r\n",
            Err(Fault::Line),
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1 2\n", Err(Fault::Line)),
        (
            "PROXY TCP4  192.0.2.1 198.51.100.7 1 2\r\n",
            Err(Fault::Line),
        ),
        ("PROXY TCP4 192.0.2.1 198.51.100.7 1\r\n", Err(Fault::Line)),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 1 2 3\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 1 65536\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 +1 2\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP4 192.0.2.1 198.51.100.7 01 2\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP4 192.0.2.01 198.51.100.7 1 2\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
            Err(Fault::Line),
        ),
        (
            "PROXY TCP6 192.0.2.1 198.51.100.7 1 2\r\n",
            Err(Fault::Line),
        ),
        ("PROXY UNKNOWNX\r\n", Err(Fault::Line)),
    ];
    for (text, expected) in table {
        assert_eq!(read(text.as_bytes()), expected, "{text:?}");
    }
}

#[test]
fn a_line_has_its_bound() {
    let at_most = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 16));
    assert_eq!(at_most.len(), LINE_BYTES_MAX);
    assert_eq!(read(at_most.as_bytes()), header(LINE_BYTES_MAX, None));
    let more = format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX - 15));
    assert_eq!(read(more.as_bytes()), Err(Fault::TooLong));
    let endless = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; LINE_BYTES_MAX - 15]].concat();
    assert_eq!(read(&endless), Ok(Read::Incomplete));
    assert_eq!(read(&[endless, vec![b'x']].concat()), Err(Fault::TooLong));
}

#[test]
fn binary_headers() {
    let v4 = [192, 0, 2, 1, 198, 51, 100, 7, 0xdc, 0x04, 0x01, 0xbb];
    let expected = Some(addresses("192.0.2.1:56324", "198.51.100.7:443"));
    assert_eq!(read(&binary(PROXY, TCP4, &v4)), header(28, expected));
    // What follows the addresses is skipped.
    let more = [&v4[..], &[0x04, 0x00, 0x01, 0x00]].concat();
    assert_eq!(read(&binary(PROXY, TCP4, &more)), header(32, expected));

    let mut v6 = [0; 36];
    v6[..16].copy_from_slice(&"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets());
    v6[16..32].copy_from_slice(&"2001:db8::2".parse::<Ipv6Addr>().unwrap().octets());
    v6[33] = 9;
    let expected = Some(addresses("[2001:db8::1]:9", "[2001:db8::2]:0"));
    assert_eq!(read(&binary(PROXY, TCP6, &v6)), header(52, expected));

    // A mapped address is the IPv4 address that it maps.
    let mapped: Ipv6Addr = "::ffff:192.0.2.1".parse().unwrap();
    v6[..16].copy_from_slice(&mapped.octets());
    let Ok(Read::Header {
        addresses: Some(found),
        ..
    }) = read(&binary(PROXY, TCP6, &v6))
    else {
        panic!()
    };
    assert_eq!(found.source.ip().to_string(), "192.0.2.1");

    // Health checks, and what is not TCP over IP.
    assert_eq!(read(&binary(LOCAL, UNSPECIFIED, &[])), header(16, None));
    assert_eq!(read(&binary(LOCAL, TCP4, &v4)), header(28, None));
    assert_eq!(read(&binary(LOCAL, 0xff, &[1])), header(17, None));
    assert_eq!(read(&binary(PROXY, UNSPECIFIED, &[])), header(16, None));
    assert_eq!(
        read(&binary(PROXY, UNIX_STREAM, &[0; 216])),
        header(232, None)
    );

    for (command, family, block) in [
        (PROXY, TCP4, &v4[..11]),
        (PROXY, TCP6, &v4[..]),
        // UDP, which no TCP connection is.
        (PROXY, 0x12, &v4[..]),
        (PROXY, 0x41, &v4[..]),
        // Version 1 and 3, and an unknown command.
        (0x11, TCP4, &v4[..]),
        (0x31, TCP4, &v4[..]),
        (0x22, TCP4, &v4[..]),
    ] {
        let bytes = binary(command, family, block);
        assert_eq!(read(&bytes), Err(Fault::Binary), "{command:x} {family:x}");
    }
}

#[test]
fn a_binary_header_has_its_bound() {
    let block = vec![0; PROXY_HEADER_BYTES_MAX - FIXED_BYTES];
    let at_most = binary(PROXY, TCP4, &block);
    assert!(matches!(
        read(&at_most),
        Ok(Read::Header {
            bytes: PROXY_HEADER_BYTES_MAX,
            ..
        })
    ));
    let more = binary(PROXY, TCP4, &[block, vec![0]].concat());
    assert_eq!(read(&more), Err(Fault::TooLong));
    // Said as soon as the length is known.
    assert_eq!(read(&more[..FIXED_BYTES]), Err(Fault::TooLong));
}

#[test]
fn what_is_written_is_read_from_any_beginning() {
    let table = [
        Some(addresses("192.0.2.1:56324", "198.51.100.7:443")),
        Some(addresses("[2001:db8::1]:1", "[2001:db8::2]:2")),
        Some(addresses("192.0.2.1:1", "[2001:db8::2]:2")),
        None,
    ];
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for addresses in table {
            let written = write(version, addresses.as_ref());
            assert_eq!(read(&written), header(written.len(), addresses));
            for cut in 0..written.len() {
                assert_eq!(read(&written[..cut]), Ok(Read::Incomplete), "{cut}");
            }
        }
    }
    let v4 = addresses("192.0.2.1:56324", "198.51.100.7:443");
    assert_eq!(
        write(ProxyProtocol::V1, Some(&v4)),
        b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n"
    );
    assert_eq!(write(ProxyProtocol::V1, None), b"PROXY UNKNOWN\r\n");
}
