//! `dns:`: endpoints by A and AAAA records, or by SRV records, looked up again when their time to
//! live has passed.
//!
//! A failed or empty look-up (no such name included) keeps the last answer: name servers lose zones
//! more often than services lose all their instances. What fails in part (one family of addresses,
//! one target of SRV records) keeps its part. Each watch has its own resolver, because a resolver's
//! tasks belong to the runtime that made it; it is made anew after a failure and when the system's
//! files have changed.

mod ask;
mod place;
mod shares;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::net::NetError;
use hickory_resolver::proto::rr::Name;
use weir_config::dns::{Dns, DnsTarget};
use weir_config::endpoint::Endpoint;

use self::ask::{Answer, Asked, Memory};
use self::place::Place;
use crate::address::split_address;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::watch::{self, Publisher, Watch};

/// Answers are used for at least this long, whatever their time to live: zero would spin.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Answers are used for at most this long: a long time to live must not pin dead addresses.
const TTL_MAX: Duration = Duration::from_secs(300);
/// The last part of the time to live, over which proxies spread their next look-ups.
const TTL_SPREAD: f64 = 0.1;
/// Waits after failures.
const RETRY_FLOOR: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(30);
/// A whole look-up, with all its name servers, search domains and targets.
const LOOKUP_TIME_MAX: Duration = Duration::from_secs(15);

/// Follows the endpoints that `dns` names.
pub(crate) fn watch(dns: &Dns) -> Watch {
    watch_at(dns, Place::of(dns))
}

fn watch_at(dns: &Dns, place: Place) -> Watch {
    let unusable = || Error::Address {
        address: dns.name().to_owned(),
    };
    let (publisher, watch) = watch::channel(dns.to_string());
    let (host, asked) = match &dns.target {
        DnsTarget::Address(target) => {
            let Some((host, port)) = split_address(&target.value) else {
                return Watch::failed(unusable());
            };
            if let Ok(ip) = host.parse::<IpAddr>() {
                // Nobody needs to be asked.
                publisher.publish(vec![Endpoint::plain(SocketAddr::new(ip, port).to_string())]);
                return watch;
            }
            (host, Asked::Addresses { port })
        }
        DnsTarget::Srv(name) => (name.value.as_str(), Asked::Services),
    };
    let Ok(name) = Name::from_ascii(host) else {
        return Watch::failed(unusable());
    };
    publisher.run_while_watched(|publisher| follow(name, asked, place, publisher));
    watch
}

async fn follow(name: Name, asked: Asked, mut place: Place, publisher: Arc<Publisher>) {
    let mut memory = Memory::default();
    let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
    loop {
        let asker = place.asker().await;
        let looked_up = asker.look_up(&name, asked, &mut memory);
        let wait = match tokio::time::timeout(LOOKUP_TIME_MAX, looked_up).await {
            Ok(Ok(Answer {
                endpoints,
                ttl,
                incomplete: None,
            })) => {
                publisher.publish(endpoints);
                backoff.reset();
                spread(ttl, rand::random())
            }
            Ok(Ok(Answer {
                endpoints,
                ttl,
                incomplete: Some(error),
            })) => {
                publisher.publish_incomplete(endpoints, error);
                place.start_over();
                backoff.next(rand::random()).min(ttl.max(TTL_MIN))
            }
            Ok(Err(error)) => {
                publisher.fail(error);
                place.start_over();
                backoff.next(rand::random())
            }
            Err(_) => {
                publisher.fail(Error::Dns {
                    host: name.to_ascii(),
                    source: NetError::Timeout,
                });
                place.start_over();
                backoff.next(rand::random())
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// How long an answer is used; `chance` in `0.0..1.0`.
fn spread(ttl: Duration, chance: f64) -> Duration {
    let whole = ttl.clamp(TTL_MIN, TTL_MAX);
    whole
        .mul_f64(1.0 - TTL_SPREAD * chance.clamp(0.0, 1.0))
        .max(TTL_MIN)
}

#[cfg(test)]
mod tests;
