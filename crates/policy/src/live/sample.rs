//! A service as tests of this crate start from, with the language's defaults.

use std::sync::Arc;
use std::time::Duration;

use weir_config::Position;
use weir_config::balance::Balance;
use weir_config::criticality::Criticality;
use weir_config::endpoint::Endpoint;
use weir_config::resilience::{Breaker, BreakerScope, Outlier, Retry, Timeouts};
use weir_config::service::{Protocol, Source};
use weir_config::units::{Percent, Ratio};

use crate::balance::{Asks, Members};
use crate::key::RequestKey;
use crate::live::ServiceLive;
use crate::moment::Moment;
use crate::pipeline::Forward;
use crate::refusal::Refusal;
use crate::resilience::{RetryPlan, TimeoutPlan};
use crate::snapshot::{Service, ServiceId};

pub(crate) fn service(balance: Balance) -> Service {
    Service {
        name: "users".into(),
        source: Source::Endpoints(Vec::new()),
        hash_key: balance.key().map(RequestKey::compile),
        balance,
        sticky: None,
        slow_start: None,
        zone: None,
        overprovisioning: Ratio(1_400),
        subsets: Vec::new(),
        protocol: Protocol::Http1,
        tls: None,
        proxy_protocol: None,
        connection_class: 0,
        connections_max: 1024,
        pending_max: 1024,
        requests_max: 4096,
        adaptive: None,
        breaker: None,
        health: None,
        outlier: outlier(),
        timeouts: TimeoutPlan::resolve(&Timeouts::default(), &Timeouts::default()),
        live: Arc::new(ServiceLive::default()),
        at: Position::default(),
    }
}

pub(crate) fn outlier() -> Outlier {
    Outlier {
        enabled: true,
        consecutive: 5,
        failure_share: None,
        volume_min: 20,
        window: Duration::from_secs(10),
        ejection: Duration::from_secs(30),
        ejection_max: Duration::from_secs(300),
        share_max: Percent(50_000),
        panic: Percent(50_000),
        at: Position::default(),
    }
}

pub(crate) fn breaker() -> Breaker {
    Breaker {
        consecutive: 5,
        ratio: None,
        volume_min: 20,
        window: Duration::from_secs(10),
        slow_after: None,
        slow_ratio: Percent(50_000),
        open: Duration::from_secs(5),
        probes: 1,
        scope: BreakerScope::Service,
        at: Position::default(),
    }
}

/// Endpoints `10.0.0.1:80`, `10.0.0.2:80`, … with these weights.
pub(crate) fn members(service: &Service, weights: &[u32]) -> Members {
    let endpoints: Vec<Endpoint> = weights
        .iter()
        .enumerate()
        .map(|(index, weight)| Endpoint {
            weight: *weight,
            ..Endpoint::plain(format!("10.0.{}.{}:80", index / 250, index % 250 + 1))
        })
        .collect();
    Members::compile(service, &endpoints, moment(0))
}

/// A request on its way.
pub(crate) fn forward(service: &Service, at: Moment) -> Result<Forward, Refusal> {
    Ok(Forward {
        service: ServiceId(0),
        asks: Asks::default(),
        timeouts: service.timeouts,
        retry: RetryPlan::resolve(&Retry::default(), &Retry::default()),
        response_bytes_max: u64::MAX,
        call: None,
        permit: service.live.enter(service, Criticality::Default, at)?,
    })
}

pub(crate) fn moment(millis: u64) -> Moment {
    Moment {
        nanos: millis * 1_000_000,
        unix_seconds: 1_800_000_000 + millis / 1000,
    }
}
