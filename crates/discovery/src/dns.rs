//! `dns: host:port`: A and AAAA records, looked up again when their time to live has passed.
//!
//! A failed or empty look-up (no such name included) keeps the last answer: name servers lose zones
//! more often than services lose all their instances. Each watch has its own resolver, because a
//! resolver's tasks belong to the runtime that made it, and makes a new one after a failure, so
//! that a changed resolver configuration is noticed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use hickory_resolver::net::NetError;
use weir_config::endpoint::Endpoint;

use crate::address::split_address;
use crate::backoff::Backoff;
use crate::error::Error;
use crate::watch::{self, Publisher, Watch};

/// Answers are used for at least this long, whatever their time to live: zero would spin.
const TTL_MIN: Duration = Duration::from_secs(1);
/// Answers are used for at most this long: a long time to live must not pin dead addresses.
const TTL_MAX: Duration = Duration::from_secs(300);
/// Waits after failures.
const RETRY_FLOOR: Duration = Duration::from_secs(1);
const RETRY_CEILING: Duration = Duration::from_secs(60);
/// One try at one name server.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// Tries at each name server.
const TRIES: usize = 2;

/// Follows the addresses of `target`, which is `host:port`.
pub(crate) fn watch(target: &str) -> Watch {
    watch_with(target, system_resolver)
}

fn watch_with(
    target: &str,
    resolver: impl Fn() -> Result<TokioResolver, NetError> + Send + Sync + 'static,
) -> Watch {
    let Some((host, port)) = split_address(target) else {
        return Watch::failed(Error::Address {
            address: target.to_owned(),
        });
    };
    let host = host.to_owned();
    let (publisher, watch) = watch::channel(target.to_owned());
    publisher.run_while_watched(|publisher| follow(host, port, resolver, publisher));
    watch
}

fn system_resolver() -> Result<TokioResolver, NetError> {
    let mut builder = TokioResolver::builder_tokio()?;
    let options = builder.options_mut();
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.timeout = TRY_TIMEOUT;
    options.attempts = TRIES;
    // We ask only when the last answer has run out.
    options.cache_size = 0;
    builder.build()
}

async fn follow(
    host: String,
    port: u16,
    make_resolver: impl Fn() -> Result<TokioResolver, NetError>,
    publisher: Arc<Publisher>,
) {
    let mut resolver = None;
    let mut backoff = Backoff::new(RETRY_FLOOR, RETRY_CEILING);
    loop {
        let answer = match resolver.take().map_or_else(&make_resolver, Ok) {
            Ok(made) => look_up(&made, &host, port)
                .await
                .map(|answer| (answer, made)),
            Err(error) => Err(error),
        };
        let wait = match answer {
            Ok(((endpoints, ttl), kept)) => {
                publisher.publish(endpoints);
                backoff.reset();
                resolver = Some(kept);
                ttl
            }
            Err(source) => {
                publisher.fail(Error::Dns {
                    host: host.clone(),
                    source,
                });
                backoff.next(rand::random())
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// The endpoints behind `host`, sorted so that a rotated answer is no change, and how long to use
/// them.
async fn look_up(
    resolver: &TokioResolver,
    host: &str,
    port: u16,
) -> Result<(Vec<Endpoint>, Duration), NetError> {
    let answer = resolver.lookup_ip(host).await?;
    let mut addresses: Vec<_> = answer.iter().collect();
    if addresses.is_empty() {
        return Err(NetError::Message("the name has neither A nor AAAA records"));
    }
    addresses.sort_unstable();
    addresses.dedup();
    let endpoint = |ip| Endpoint::plain(std::net::SocketAddr::new(ip, port).to_string());
    let ttl = answer
        .valid_until()
        .saturating_duration_since(Instant::now());
    Ok((
        addresses.into_iter().map(endpoint).collect(),
        ttl.clamp(TTL_MIN, TTL_MAX),
    ))
}

#[cfg(test)]
mod tests;
