//! What a request, or a connection that is passed on, asks of its endpoint; found while the head of
//! the request is as it came.

use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};

use http::HeaderValue;
use weir_config::balance::Balance;

use super::Forward;
use crate::balance::{Asks, Chosen, session, table};
use crate::key::{KeyInputs, Subject};
use crate::note::{Note, Step};
use crate::snapshot::{Service, Snapshot, SubsetId};

/// The subset of its destination, the key that the service hashes, the session it has.
pub(crate) fn asks(
    service: &Service,
    subset: Option<SubsetId>,
    inputs: &KeyInputs<'_>,
    note: &mut impl Note,
) -> Asks {
    let key = service.hash_key.as_ref().and_then(|key| {
        let hash = hash(&service.balance, &key.of(inputs), inputs);
        if hash.is_none() {
            note.note(|| Step {
                area: "endpoint",
                said: "the key to hash is not there, or twice: in turn instead".to_owned(),
                at: service.at,
            });
        }
        hash
    });
    let sticky = service.sticky.as_ref();
    Asks {
        subset,
        key,
        session: sticky.and_then(|sticky| session::named(sticky, inputs.headers)),
    }
}

/// See [`super::stick`].
pub(super) fn stick(
    snapshot: &Snapshot,
    forward: &Forward,
    chosen: &Chosen,
    secure: bool,
) -> Option<HeaderValue> {
    let sticky = snapshot.service(forward.service).sticky.as_ref()?;
    if forward.asks.session == Some(chosen.member.session) {
        return None;
    }
    session::cookie(sticky, chosen.member.session, secure)
}

fn hash(balance: &Balance, subject: &Subject<'_>, inputs: &KeyInputs<'_>) -> Option<u64> {
    let bytes: &[u8] = match subject {
        // No request has an empty path: it is a connection that is passed on.
        Subject::Absent | Subject::Everybody | Subject::Path("") => return None,
        Subject::Claim(text) => text.as_bytes(),
        Subject::Client(network) => return Some(hash_address(balance, *network, inputs.client)),
        Subject::Cookie(bytes) | Subject::Header(bytes) => bytes,
        Subject::Path(text) | Subject::Peer(text) => text.as_bytes(),
        Subject::Query(bytes) => bytes,
    };
    Some(table::hash(balance, bytes))
}

/// By the text of the address, as nginx hashes `$remote_addr`; of an IPv6 address by its /64.
fn hash_address(balance: &Balance, network: u64, client: IpAddr) -> u64 {
    let address = match client.to_canonical() {
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::from_bits(u128::from(network) << 64)),
        four => four,
    };
    let mut text = [0; ADDRESS_CHARS_MAX];
    let mut rest = &mut text[..];
    // No address is longer.
    let _ = write!(rest, "{address}");
    let written = ADDRESS_CHARS_MAX - rest.len();
    table::hash(balance, &text[..written])
}

/// The longest text of an IP address.
const ADDRESS_CHARS_MAX: usize = 45;
