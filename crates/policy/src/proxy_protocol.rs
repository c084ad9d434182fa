//! Headers of the PROXY protocol, versions 1 and 2 (`proxy-protocol.txt` of HAProxy): read from the
//! first bytes of a connection, and written for the next hop.
//!
//! For: bytes to addresses and back. Not for: sockets, deadlines, or who may send one; the engine
//! does that. The one idea: a header is read as strictly as the specification has it, since what
//! follows is believed to be the client's. A connection is never guessed to have none.

use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use weir_config::bounds::PROXY_HEADER_BYTES_MAX;
use weir_config::proxy_protocol::ProxyProtocol;

/// Both ends of a client's connection to the first proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// Where it connected to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// A header that takes so many bytes.
    Header {
        /// Its length.
        bytes: usize,
        /// Whose connection it is. `None`: the sender's own (`LOCAL`, as health checks are), or one
        /// that is not TCP over IP; the addresses of the connection itself hold.
        addresses: Option<Addresses>,
    },
    /// It may become a header.
    Incomplete,
}

/// Why the first bytes of a connection are no header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// They begin with something else.
    #[error("there is no PROXY protocol header")]
    Absent,
    /// A version 1 header is malformed.
    #[error("the line of text is malformed")]
    Line,
    /// A version 2 header is malformed.
    #[error("the binary header is malformed")]
    Binary,
    /// It is longer than is taken.
    #[error(
        "the header is longer than {PROXY_HEADER_BYTES_MAX} bytes, or {LINE_BYTES_MAX} of text"
    )]
    TooLong,
}

/// Reads the header that a connection begins with.
///
/// # Errors
/// It begins with none.
pub fn read(bytes: &[u8]) -> Result<Read, Fault> {
    if begins_alike(bytes, V2_SIGNATURE) {
        read_binary(bytes)
    } else if begins_alike(bytes, V1_SIGNATURE) {
        read_line(bytes)
    } else {
        Err(Fault::Absent)
    }
}

/// Whether these bytes begin with the signature, or may once there are more.
fn begins_alike(bytes: &[u8], signature: &[u8]) -> bool {
    let compared = bytes.len().min(signature.len());
    bytes[..compared] == signature[..compared]
}

/// Version 1: one line of at most 107 bytes.
fn read_line(bytes: &[u8]) -> Result<Read, Fault> {
    let Some(end) = bytes.iter().take(LINE_BYTES_MAX).position(|&b| b == b'\n') else {
        return match bytes.len() {
            LINE_BYTES_MAX.. => Err(Fault::TooLong),
            _ => Ok(Read::Incomplete),
        };
    };
    let line = bytes[..end].strip_suffix(b"\r").ok_or(Fault::Line)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault::Line)?;
    let rest = line.strip_prefix("PROXY ").ok_or(Fault::Line)?;
    let addresses = match rest.split_once(' ') {
        Some(("TCP4", rest)) => Some(line_addresses::<Ipv4Addr>(rest).ok_or(Fault::Line)?),
        Some(("TCP6", rest)) => Some(line_addresses::<Ipv6Addr>(rest).ok_or(Fault::Line)?),
        // Whatever follows is to be ignored.
        Some(("UNKNOWN", _)) => None,
        None if rest == "UNKNOWN" => None,
        _ => return Err(Fault::Line),
    };
    Ok(Read::Header {
        bytes: end + 1,
        addresses,
    })
}

/// `source destination source-port destination-port`, one space between each.
fn line_addresses<A: std::str::FromStr + Into<IpAddr>>(text: &str) -> Option<Addresses> {
    let mut parts = text.split(' ');
    let (source, destination) = (parts.next()?, parts.next()?);
    let (source_port, destination_port) = (port(parts.next()?)?, port(parts.next()?)?);
    if parts.next().is_some() {
        return None;
    }
    let address = |text: &str| text.parse::<A>().ok().map(Into::into);
    Some(Addresses {
        source: SocketAddr::new(address(source)?.to_canonical(), source_port),
        destination: SocketAddr::new(address(destination)?.to_canonical(), destination_port),
    })
}

/// Digits alone, and no zero in front of others.
fn port(text: &str) -> Option<u16> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let led_by_zero = text.len() > 1 && text.starts_with('0');
    (plain && !led_by_zero).then(|| text.parse().ok())?
}

/// Version 2: signature, command, family, length, addresses, and more that is skipped.
fn read_binary(bytes: &[u8]) -> Result<Read, Fault> {
    let Some((fixed, rest)) = bytes.split_at_checked(FIXED_BYTES) else {
        return Ok(Read::Incomplete);
    };
    let (command, family) = (fixed[12], fixed[13]);
    let length = usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if FIXED_BYTES + length > PROXY_HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(block) = rest.get(..length) else {
        return Ok(Read::Incomplete);
    };
    let addresses = match (command, family) {
        (LOCAL, _) => None,
        (PROXY, TCP4) => Some(v4_addresses(block).ok_or(Fault::Binary)?),
        (PROXY, TCP6) => Some(v6_addresses(block).ok_or(Fault::Binary)?),
        (PROXY, UNSPECIFIED | UNIX_STREAM) => None,
        _ => return Err(Fault::Binary),
    };
    Ok(Read::Header {
        bytes: FIXED_BYTES + length,
        addresses,
    })
}

fn v4_addresses(block: &[u8]) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<4>()?;
    let (destination, rest) = rest.split_first_chunk::<4>()?;
    let (source, destination) = (Ipv4Addr::from(*source), Ipv4Addr::from(*destination));
    with_ports(source.into(), destination.into(), rest)
}

fn v6_addresses(block: &[u8]) -> Option<Addresses> {
    let (source, rest) = block.split_first_chunk::<16>()?;
    let (destination, rest) = rest.split_first_chunk::<16>()?;
    let (source, destination) = (Ipv6Addr::from(*source), Ipv6Addr::from(*destination));
    with_ports(source.to_canonical(), destination.to_canonical(), rest)
}

fn with_ports(source: IpAddr, destination: IpAddr, ports: &[u8]) -> Option<Addresses> {
    let (source_port, rest) = ports.split_first_chunk::<2>()?;
    let (destination_port, _) = rest.split_first_chunk::<2>()?;
    Some(Addresses {
        source: SocketAddr::new(source, u16::from_be_bytes(*source_port)),
        destination: SocketAddr::new(destination, u16::from_be_bytes(*destination_port)),
    })
}

/// The header that begins a connection on behalf of a client; without addresses, one of our own
/// (`LOCAL`, in version 1 `UNKNOWN`).
#[must_use]
pub fn write(version: ProxyProtocol, addresses: Option<&Addresses>) -> Vec<u8> {
    let addresses = addresses.map(|addresses| alike(*addresses));
    match version {
        ProxyProtocol::V1 => write_line(addresses),
        ProxyProtocol::V2 => write_binary(addresses),
    }
}

/// Both addresses of one family: an IPv4 address beside an IPv6 one is written as the latter.
enum Alike {
    V4([Ipv4Addr; 2], [u16; 2]),
    V6([Ipv6Addr; 2], [u16; 2]),
}

fn alike(addresses: Addresses) -> Alike {
    let Addresses {
        source,
        destination,
    } = addresses;
    let ports = [source.port(), destination.port()];
    let ips = (source.ip().to_canonical(), destination.ip().to_canonical());
    let wide = |ip| match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    };
    match ips {
        (IpAddr::V4(source), IpAddr::V4(destination)) => Alike::V4([source, destination], ports),
        (source, destination) => Alike::V6([wide(source), wide(destination)], ports),
    }
}

fn write_line(addresses: Option<Alike>) -> Vec<u8> {
    let mut line = String::with_capacity(LINE_BYTES_MAX);
    // Writing into a text does not fail.
    let _ = match addresses {
        None => write!(line, "PROXY UNKNOWN\r\n"),
        Some(Alike::V4([from, to], [port, to_port])) => {
            write!(line, "PROXY TCP4 {from} {to} {port} {to_port}\r\n")
        }
        Some(Alike::V6([from, to], [port, to_port])) => {
            write!(line, "PROXY TCP6 {from} {to} {port} {to_port}\r\n")
        }
    };
    line.into_bytes()
}

fn write_binary(addresses: Option<Alike>) -> Vec<u8> {
    let mut header = Vec::with_capacity(FIXED_BYTES + 36);
    header.extend_from_slice(V2_SIGNATURE);
    let ports = match addresses {
        None => {
            header.extend_from_slice(&[LOCAL, UNSPECIFIED, 0, 0]);
            return header;
        }
        Some(Alike::V4(ips, ports)) => {
            header.extend_from_slice(&[PROXY, TCP4, 0, 12]);
            ips.iter().for_each(|ip| header.extend(ip.octets()));
            ports
        }
        Some(Alike::V6(ips, ports)) => {
            header.extend_from_slice(&[PROXY, TCP6, 0, 36]);
            ips.iter().for_each(|ip| header.extend(ip.octets()));
            ports
        }
    };
    ports
        .iter()
        .for_each(|port| header.extend(port.to_be_bytes()));
    header
}

const V1_SIGNATURE: &[u8] = b"PROXY";
/// Longest line of version 1, its end included.
const LINE_BYTES_MAX: usize = 107;
const V2_SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, command, family and length.
const FIXED_BYTES: usize = 16;
// Version 2 in the high half, the command in the low one.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
// Address family in the high half, transport in the low one.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;
const UNIX_STREAM: u8 = 0x31;

const _: () = assert!(PROXY_HEADER_BYTES_MAX >= FIXED_BYTES + 36 && PROXY_HEADER_BYTES_MAX >= 107);

#[cfg(test)]
mod tests;
