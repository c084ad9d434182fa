//! One look-up: which names are asked for, what is made of the answers, and what of the last one
//! stands where only a part was answered.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::{Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, RecordType};
use hickory_resolver::{Hosts, TokioResolver};
use weir_config::bounds::SRV_TARGETS_MAX;
use weir_config::endpoint::Endpoint;

use super::shares::{self, Target};
use crate::error::Error;

/// Hosts of SRV records that are looked up at the same time.
const TARGETS_AT_ONCE: usize = 16;
/// Aliases (CNAME) of a name of SRV records that are followed.
const ALIASES_MAX: usize = 4;
/// How long entries of the hosts file are used; it costs little to see that it has not changed.
const HOSTS_FILE_TTL: Duration = Duration::from_secs(5);

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Asked {
    /// A and AAAA records; the endpoints have this port.
    Addresses { port: u16 },
    /// SRV records.
    Services,
}

/// What is known after a look-up.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) ttl: Duration,
    /// Why a part of it is from the last answer.
    pub(super) incomplete: Option<Error>,
}

/// What the last look-up found, for those parts of the next that fail.
#[derive(Debug, Default)]
pub(super) struct Memory {
    hosts: HashMap<Name, Known>,
    /// Whether the name was ever found.
    found: bool,
}

/// The last addresses of a host.
#[derive(Debug, Clone, Default)]
struct Known {
    v4: Vec<IpAddr>,
    v6: Vec<IpAddr>,
}

/// What is known of a host after a look-up.
struct Host {
    addresses: Vec<IpAddr>,
    ttl: Duration,
    incomplete: Option<NetError>,
}

/// Why there are no records.
#[derive(Debug, Clone)]
enum Miss {
    /// The server says so: it has the name without such records, or (`named` is false) not even
    /// the name.
    Negative { named: bool },
    /// Nobody answered to the point.
    Failed(NetError),
}

/// Looks names up, completed and answered by the hosts file where the system would do so.
pub(super) struct Asker {
    resolver: Result<TokioResolver, NetError>,
    hosts: Hosts,
    search: Vec<Name>,
    ndots: usize,
}

impl Asker {
    /// Takes every name as it stands.
    pub(super) fn absolute(resolver: Result<TokioResolver, NetError>) -> Self {
        Self::completing(resolver, Vec::new(), 0, Hosts::default())
    }

    /// Tries these domains behind names that do not end with a dot; before the name itself where it
    /// has fewer than `ndots` dots.
    pub(super) fn completing(
        resolver: Result<TokioResolver, NetError>,
        search: Vec<Name>,
        ndots: usize,
        hosts: Hosts,
    ) -> Self {
        Self {
            resolver,
            hosts,
            search,
            ndots,
        }
    }

    /// Looks up `name`.
    ///
    /// # Errors
    /// Nothing is known now; what was known before stands.
    pub(super) async fn look_up(
        &self,
        name: &Name,
        asked: Asked,
        memory: &mut Memory,
    ) -> Result<Answer, Error> {
        let mut last = Miss::Negative { named: false };
        for candidate in candidates(name, &self.search, self.ndots) {
            let found = match asked {
                Asked::Addresses { port } => self.addresses(name, candidate, port, memory).await,
                Asked::Services => self.services(candidate, memory).await,
            };
            match found {
                Ok(Ok(answer)) => {
                    memory.found = true;
                    return Ok(answer);
                }
                Ok(Err(miss)) => {
                    // What fails here may be where it was found before: another domain's host of
                    // the same name is not meant.
                    let ends = memory.found && matches!(miss, Miss::Failed(_));
                    // A name without such records says more than a name that is not there.
                    if !matches!(miss, Miss::Negative { named: false }) {
                        last = miss;
                    }
                    if ends {
                        break;
                    }
                }
                Err(error) => return Err(error),
            }
        }
        let host = name.to_ascii();
        Err(match last {
            Miss::Failed(source) => Error::Dns { host, source },
            Miss::Negative { named } => Error::DnsNegative {
                host,
                lacks: match asked {
                    _ if !named => "there is no such name",
                    Asked::Addresses { .. } => "it has neither A nor AAAA records",
                    Asked::Services => "it has no SRV records that lead to an address",
                },
            },
        })
    }

    async fn addresses(
        &self,
        written: &Name,
        name: Name,
        port: u16,
        memory: &mut Memory,
    ) -> Result<Result<Answer, Miss>, Error> {
        let known = memory.hosts.get(&name).cloned().unwrap_or_default();
        let (known, host) = match self.in_hosts_file(written) {
            Some(host) => (Known::default(), Ok(host)),
            None => self.host(&name, known).await,
        };
        let host = match host {
            Ok(host) => host,
            Err(miss) => return Ok(Err(miss)),
        };
        memory.hosts = HashMap::from([(name.clone(), known)]);
        let mut addresses: Vec<SocketAddr> = host
            .addresses
            .into_iter()
            .map(|ip| SocketAddr::new(ip, port))
            .collect();
        // Sorted, so that a rotated answer is no change.
        addresses.sort_unstable();
        addresses.dedup();
        let endpoint = |address: SocketAddr| Endpoint::plain(address.to_string());
        Ok(Ok(Answer {
            endpoints: addresses.into_iter().map(endpoint).collect(),
            ttl: host.ttl,
            incomplete: host.incomplete.map(|source| Error::Dns {
                host: name.to_ascii(),
                source,
            }),
        }))
    }

    /// The hosts file knows the name as it was written, or not at all.
    fn in_hosts_file(&self, name: &Name) -> Option<Host> {
        let of = |kind| {
            let found = self
                .hosts
                .lookup_static_host(&Query::query(name.clone(), kind));
            found.as_ref().map(ips).unwrap_or_default()
        };
        let mut addresses = of(RecordType::A);
        addresses.extend(of(RecordType::AAAA));
        (!addresses.is_empty()).then_some(Host {
            addresses,
            ttl: HOSTS_FILE_TTL,
            incomplete: None,
        })
    }

    /// The addresses of a host. A family that fails while the other is answered keeps its last
    /// addresses; one that is answered with nothing has none.
    async fn host(&self, name: &Name, known: Known) -> (Known, Result<Host, Miss>) {
        let (v4, v6) = tokio::join!(
            self.records(name, RecordType::A),
            self.records(name, RecordType::AAAA)
        );
        let family = |found: Result<Lookup, Miss>| found.map(|lookup| (ips(&lookup), ttl(&lookup)));
        merge(family(v4), family(v6), known)
    }

    async fn services(
        &self,
        name: Name,
        memory: &mut Memory,
    ) -> Result<Result<Answer, Miss>, Error> {
        let lookup = match self.service_records(name.clone()).await {
            Ok(lookup) => lookup,
            Err(miss) => return Ok(Err(miss)),
        };
        // A root as the target says that the service is not there (RFC 2782).
        let records: Vec<&SRV> = (lookup.answers().iter())
            .filter_map(|record| match &record.data {
                RData::SRV(srv) if !srv.target.is_root() && srv.port != 0 => Some(srv),
                _ => None,
            })
            .collect();
        let mut names: Vec<Name> = records.iter().map(|srv| srv.target.clone()).collect();
        names.sort_unstable();
        names.dedup();
        if names.len() > SRV_TARGETS_MAX {
            return Err(Error::DnsTargets {
                name: name.to_ascii(),
                count: names.len(),
            });
        }
        let mut known = std::mem::take(&mut memory.hosts);
        let looked_up: Vec<_> = stream::iter(names)
            .map(|target| {
                let known = known.remove(&target).unwrap_or_default();
                let told = additional(&lookup, &target);
                async move {
                    let (known, host) = match told {
                        Some(host) => (Known::of(&host.addresses), Ok(host)),
                        None => self.host(&target, known).await,
                    };
                    (target, known, host)
                }
            })
            .buffer_unordered(TARGETS_AT_ONCE)
            .collect()
            .await;

        let mut least = ttl(&lookup);
        let mut incomplete = None;
        let mut addresses = HashMap::new();
        for (target, known, host) in looked_up {
            let failed = |source| Error::Dns {
                host: target.to_ascii(),
                source,
            };
            match host {
                Ok(host) => {
                    least = least.min(host.ttl);
                    incomplete = incomplete.or(host.incomplete.map(failed));
                    addresses.insert(target.clone(), host.addresses);
                }
                // The target is gone, its record not yet.
                Err(Miss::Negative { .. }) => continue,
                Err(Miss::Failed(source)) => {
                    incomplete = incomplete.or(Some(failed(source)));
                    let kept = known.v4.iter().chain(&known.v6).copied().collect();
                    addresses.insert(target.clone(), kept);
                }
            }
            memory.hosts.insert(target, known);
        }
        let target = |srv: &&SRV| Target {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            addresses: addresses.get(&srv.target).cloned().unwrap_or_default(),
        };
        let targets: Vec<Target> = records.iter().map(target).collect();
        let endpoints = shares::endpoints(&targets);
        match (endpoints.is_empty(), incomplete) {
            (true, Some(error)) => Err(error),
            (true, None) => Ok(Err(Miss::Negative { named: true })),
            (false, incomplete) => Ok(Ok(Answer {
                endpoints,
                ttl: least,
                incomplete,
            })),
        }
    }

    /// SRV records. The resolver follows aliases of hosts, not those of services.
    async fn service_records(&self, mut name: Name) -> Result<Lookup, Miss> {
        for _ in 0..ALIASES_MAX {
            let miss = match self.records(&name, RecordType::SRV).await {
                Ok(lookup) => return Ok(lookup),
                Err(miss @ Miss::Failed(_)) => return Err(miss),
                Err(miss) => miss,
            };
            let alias = match self.records(&name, RecordType::CNAME).await {
                Ok(lookup) => lookup
                    .answers()
                    .iter()
                    .find_map(|record| match &record.data {
                        RData::CNAME(alias) => Some(alias.0.clone()),
                        _ => None,
                    }),
                Err(Miss::Negative { .. }) => None,
                Err(failed) => return Err(failed),
            };
            name = alias.ok_or(miss)?;
        }
        Err(Miss::Negative { named: true })
    }

    async fn records(&self, name: &Name, kind: RecordType) -> Result<Lookup, Miss> {
        let resolver = match &self.resolver {
            Ok(resolver) => resolver,
            Err(error) => return Err(Miss::Failed(error.clone())),
        };
        match resolver.lookup(name.clone(), kind).await {
            Ok(lookup) if lookup.answers().iter().any(|it| it.record_type() == kind) => Ok(lookup),
            Ok(_) => Err(Miss::Negative { named: true }),
            Err(NetError::Dns(DnsError::NoRecordsFound(none))) => match none.response_code {
                ResponseCode::NXDomain => Err(Miss::Negative { named: false }),
                ResponseCode::NoError => Err(Miss::Negative { named: true }),
                _ => Err(Miss::Failed(none.into())),
            },
            Err(error) => Err(Miss::Failed(error)),
        }
    }
}

impl Known {
    fn of(addresses: &[IpAddr]) -> Self {
        let (v4, v6) = addresses.iter().partition(|ip| ip.is_ipv4());
        Known { v4, v6 }
    }
}

type Family = Result<(Vec<IpAddr>, Duration), Miss>;

/// Both families together, and what to remember.
fn merge(v4: Family, v6: Family, mut known: Known) -> (Known, Result<Host, Miss>) {
    if let (Err(first), Err(second)) = (&v4, &v6) {
        let miss = match (first, second) {
            (Miss::Failed(_), _) => first.clone(),
            (_, Miss::Failed(_)) => second.clone(),
            (Miss::Negative { named: one }, Miss::Negative { named: other }) => Miss::Negative {
                named: *one || *other,
            },
        };
        return (known, Err(miss));
    }
    let mut least = Duration::MAX;
    let mut incomplete = None;
    for (found, known) in [(v4, &mut known.v4), (v6, &mut known.v6)] {
        match found {
            Ok((addresses, ttl)) => {
                *known = addresses;
                least = least.min(ttl);
            }
            Err(Miss::Negative { .. }) => known.clear(),
            // Where the family never had an address, nothing is missed.
            Err(Miss::Failed(error)) if !known.is_empty() => incomplete = Some(error),
            Err(Miss::Failed(error)) => tracing::debug!(%error, "one family is not answered"),
        }
    }
    let addresses = known.v4.iter().chain(&known.v6).copied().collect();
    let host = Host {
        addresses,
        ttl: least,
        incomplete,
    };
    (known, Ok(host))
}

/// The names that are asked for in turn until one is found.
fn candidates(name: &Name, search: &[Name], ndots: usize) -> Vec<Name> {
    let mut whole = name.clone();
    whole.set_fqdn(true);
    if name.is_fqdn() {
        return vec![whole];
    }
    // A longer name than names may be is passed over, as the system does.
    let completed = search
        .iter()
        .filter_map(|domain| name.clone().append_domain(domain).ok());
    let dots = usize::from(name.num_labels()).saturating_sub(1);
    let mut names: Vec<Name> = Vec::with_capacity(search.len() + 1);
    if dots >= ndots {
        names.push(whole.clone());
    }
    names.extend(completed);
    if dots < ndots {
        names.push(whole);
    }
    for name in &mut names {
        name.set_fqdn(true);
    }
    names
}

/// What the server told about a target beside what it was asked for.
fn additional(lookup: &Lookup, target: &Name) -> Option<Host> {
    let of_target = || {
        let records = lookup.additionals().iter();
        records.filter(|record| record.name == *target && record.data.ip_addr().is_some())
    };
    let ttl = of_target().map(|record| record.ttl).min()?;
    Some(Host {
        addresses: of_target().filter_map(|it| it.data.ip_addr()).collect(),
        ttl: Duration::from_secs(ttl.into()),
        incomplete: None,
    })
}

fn ips(lookup: &Lookup) -> Vec<IpAddr> {
    let records = lookup.answers().iter();
    records.filter_map(|record| record.data.ip_addr()).collect()
}

/// The shortest time to live of what was answered, aliases included.
fn ttl(lookup: &Lookup) -> Duration {
    let least = lookup.answers().iter().map(|record| record.ttl).min();
    Duration::from_secs(least.unwrap_or(0).into())
}

#[cfg(test)]
mod tests;
