//! The client's address: the connection's other side, or what trusted proxies say was behind it.

use std::net::IpAddr;

use http::HeaderMap;

use crate::rewrite;
use crate::snapshot::Snapshot;

/// Walks the forwarding fields from the right while the address that vouches is trusted. The first
/// address that is not a trusted proxy is the client; what stands left of it is hearsay.
pub(super) fn client(snapshot: &Snapshot, remote: IpAddr, headers: &HeaderMap) -> IpAddr {
    let mut client = remote.to_canonical();
    if snapshot.trusted_proxies.is_empty() {
        return client;
    }
    let mut hops = rewrite::hops(headers, snapshot.forwarded);
    while snapshot.trusts(client) {
        let Some(hop) = hops.next().flatten() else {
            break;
        };
        client = hop;
    }
    client
}
