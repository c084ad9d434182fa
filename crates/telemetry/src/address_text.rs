//! The text of an address, for lines and fields that are made for every request.
//!
//! `Display` of the standard library costs over a thousand instructions for one IPv4 address; this
//! takes some thirty. IPv6 goes through it still.

use std::io::{Cursor, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address as text, on the stack.
#[derive(Debug, Clone, Copy)]
pub struct AddressText {
    bytes: [u8; BYTES_MAX],
    length: usize,
}

impl AddressText {
    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }

    fn empty() -> Self {
        Self {
            bytes: [0; BYTES_MAX],
            length: 0,
        }
    }

    /// What is longer than any address is cut off.
    fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte;
            self.length += 1;
        }
    }

    fn v4(&mut self, address: Ipv4Addr) {
        let [first, rest @ ..] = address.octets();
        self.octet(first);
        for octet in rest {
            self.push(b'.');
            self.octet(octet);
        }
    }

    fn octet(&mut self, octet: u8) {
        if octet >= 100 {
            self.push(b'0' + octet / 100);
        }
        if octet >= 10 {
            self.push(b'0' + octet / 10 % 10);
        }
        self.push(b'0' + octet % 10);
    }

    fn v6(&mut self, address: Ipv6Addr) {
        let mut cursor = Cursor::new(&mut self.bytes[..]);
        // Every address fits.
        let _ = write!(cursor, "{address}");
        self.length = usize::try_from(cursor.position()).unwrap_or_default();
    }
}

impl From<IpAddr> for AddressText {
    fn from(address: IpAddr) -> Self {
        let mut text = Self::empty();
        match address {
            IpAddr::V4(address) => text.v4(address),
            IpAddr::V6(address) => text.v6(address),
        }
        text
    }
}

/// The longest: an IPv6 address that ends in an IPv4 address.
const BYTES_MAX: usize = 45;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_that_of_the_standard_library() {
        let octets = [0, 1, 9, 10, 19, 99, 100, 109, 199, 200, 255];
        for first in octets {
            for last in octets {
                let segment = u16::from_be_bytes([first, last]);
                let v4 = IpAddr::from([first, last, 0, last]);
                for address in [v4, IpAddr::from([segment, 0, 0, segment, 1, 0, 0, segment])] {
                    let text = AddressText::from(address);
                    assert_eq!(text.as_bytes(), address.to_string().as_bytes());
                }
            }
        }
    }

    #[test]
    fn the_longest_address_fits() {
        for segments in [[0xffff; 8], [0, 0, 0, 0, 0, 0xffff, 0xffff, 0xffff]] {
            let longest = IpAddr::V6(Ipv6Addr::from(segments));
            let text = AddressText::from(longest);
            assert_eq!(text.as_bytes(), longest.to_string().as_bytes());
        }
    }
}
