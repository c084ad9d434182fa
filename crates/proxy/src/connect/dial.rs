//! TCP to an endpoint: its addresses, and which of them answers first.
//!
//! An endpoint that is written as a host name is one endpoint with several addresses. They are
//! tried in turn with a head start for each, as RFC 8305 has it, so that an address or a whole
//! family that swallows packets costs a quarter of a second and not the request.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use smallvec::SmallVec;
use tokio::net::TcpStream;

use super::ConnectError;
use crate::pool::{Lane, Resolved};

type Addresses = SmallVec<[SocketAddr; 4]>;

/// A connection to the endpoint.
pub(super) async fn tcp(lane: &Lane) -> Result<TcpStream, ConnectError> {
    if let Some(address) = lane.socket {
        return connected(address).await.map_err(ConnectError::Tcp);
    }
    let addresses = resolve(lane).await?;
    let (winner, stream) = race(&addresses).await.map_err(ConnectError::Tcp)?;
    if winner != addresses[0] {
        remember(lane, winner);
    }
    Ok(stream)
}

/// Whether the endpoint accepts a connection.
pub(crate) async fn reach(lane: &Lane) -> Result<(), ConnectError> {
    tcp(lane).await.map(drop)
}

async fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// The first of these to accept, and the connection. The next one is tried when the last has had
/// its head start or has failed.
async fn race(addresses: &[SocketAddr]) -> io::Result<(SocketAddr, TcpStream)> {
    let mut waiting = addresses.iter().copied();
    let mut trying = FuturesUnordered::new();
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    loop {
        if let Some(address) = waiting.next() {
            trying.push(async move { (address, connected(address).await) });
        } else if trying.is_empty() {
            return Err(last);
        }
        tokio::select! {
            Some((address, result)) = trying.next() => match result {
                Ok(stream) => return Ok((address, stream)),
                Err(error) => last = error,
            },
            () = tokio::time::sleep(HEAD_START), if waiting.len() > 0 => {}
        }
    }
}

/// The address that answered is tried first from now on.
fn remember(lane: &Lane, winner: SocketAddr) {
    if let Some(known) = &mut *lane.resolved.borrow_mut() {
        prefer(&mut known.addresses, winner);
    }
}

fn prefer(addresses: &mut Addresses, first: SocketAddr) {
    if let Some(at) = addresses.iter().position(|address| *address == first) {
        addresses[..=at].rotate_right(1);
    }
}

/// The addresses of the endpoint's name. When nobody can tell them now, the last ones stand.
async fn resolve(lane: &Lane) -> Result<Addresses, ConnectError> {
    let known = lane.resolved.borrow().clone();
    if let Some(known) = &known
        && known.at.elapsed() < RESOLVED_TIME_MAX
    {
        return Ok(known.addresses.clone());
    }
    let found = tokio::net::lookup_host(&*lane.address).await;
    let mut addresses = match (found.map(Iterator::collect::<Vec<_>>), known.as_ref()) {
        (Ok(found), _) if !found.is_empty() => by_turns(found),
        (Err(error), Some(known)) => {
            tracing::debug!(host = &*lane.address, %error, "the last addresses stand");
            known.addresses.clone()
        }
        (Ok(_), Some(known)) => known.addresses.clone(),
        (Err(source), None) => {
            return Err(ConnectError::Resolve {
                host: lane.address.clone(),
                source,
            });
        }
        (Ok(none), None) => by_turns(none),
    };
    // What answered before is likely to answer again.
    if let Some(first) = known.and_then(|known| known.addresses.first().copied()) {
        prefer(&mut addresses, first);
    }
    lane.resolved.replace(Some(Resolved {
        at: Instant::now(),
        addresses: addresses.clone(),
    }));
    Ok(addresses)
}

/// At most so many as are tried, the families by turns, beginning with that of the first.
fn by_turns(found: Vec<SocketAddr>) -> Addresses {
    let first_is_v4 = found.first().is_some_and(SocketAddr::is_ipv4);
    let (first, second): (Vec<_>, Vec<_>) = found
        .into_iter()
        .partition(|address| address.is_ipv4() == first_is_v4);
    let (mut first, mut second) = (first.into_iter(), second.into_iter());
    let mut addresses = Addresses::new();
    loop {
        let pair = [first.next(), second.next()];
        if pair == [None; 2] || addresses.len() >= RESOLVED_ADDRESSES_MAX {
            addresses.truncate(RESOLVED_ADDRESSES_MAX);
            return addresses;
        }
        addresses.extend(pair.into_iter().flatten());
    }
}

/// How long an address may be silent before the next is tried as well (RFC 8305, section 8).
const HEAD_START: Duration = Duration::from_millis(250);
/// How long the addresses of a host name are believed.
const RESOLVED_TIME_MAX: Duration = Duration::from_secs(5);
const RESOLVED_ADDRESSES_MAX: usize = 16;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use tokio::net::{TcpListener, TcpSocket};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn families_take_turns_within_the_bound() {
        let found = ["[::1]:1", "[::2]:1", "10.0.0.1:1", "[::3]:1"].map(address);
        let expected = ["[::1]:1", "10.0.0.1:1", "[::2]:1", "[::3]:1"].map(address);
        assert_eq!(by_turns(found.to_vec()).as_slice(), expected);
        let many = |count: u16| (1..=count).map(|port| SocketAddr::from(([10, 0, 0, 1], port)));
        for (count, kept) in [(0, 0), (16, 16), (17, 16)] {
            assert_eq!(by_turns(many(count).collect()).len(), kept);
        }
    }

    #[test]
    fn what_answered_goes_first_and_the_others_keep_their_order() {
        let three = ["10.0.0.1:1", "10.0.0.2:1", "10.0.0.3:1"].map(address);
        let mut addresses = Addresses::from_slice(&three);
        prefer(&mut addresses, address("10.0.0.3:1"));
        let expected = ["10.0.0.3:1", "10.0.0.1:1", "10.0.0.2:1"].map(address);
        assert_eq!(addresses.as_slice(), expected);
        prefer(&mut addresses, address("10.0.0.9:1"));
        assert_eq!(addresses.as_slice(), expected);
    }

    #[tokio::test]
    async fn an_address_that_swallows_packets_does_not_stop_the_next() {
        // A full backlog: the system drops what else wants to connect.
        let silent = TcpSocket::new_v4().unwrap();
        silent.bind(address("127.0.0.1:0")).unwrap();
        let silent = silent.listen(1).unwrap();
        let full = silent.local_addr().unwrap();
        let mut held = Vec::new();
        let fills = async {
            loop {
                held.push(TcpStream::connect(full).await);
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(300), fills).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let open = listener.local_addr().unwrap();
        let refused = address("127.0.0.1:1");
        let all = [full, refused, open];
        let raced = tokio::time::timeout(Duration::from_secs(30), race(&all));
        assert_eq!(raced.await.unwrap().unwrap().0, open);
        assert!(race(&[refused]).await.is_err());
        assert!(race(&[]).await.is_err());
    }
}
