//! Active health checks of endpoints.

use std::time::Duration;

use crate::bounds::{HEALTH_INTERVAL_MIN, HEALTH_STREAK_MAX};
use crate::declare::{by_key, defaulted, empty, object, optional, place, variants};
use crate::decode::{Complaint, Decoder};
use crate::position::Position;
use crate::syntax::host::authority;
use crate::syntax::list;
use crate::syntax::path::target_path;
use crate::syntax::plain::{Only, whole};
use crate::syntax::text::any_text;
use crate::syntax::unit::duration;
use crate::yaml::Node;

object! {
    /// Active health checks: each endpoint is asked at intervals, over a connection of its own. One
    /// that fails is not chosen while enough others are fit (`outlier.panic`). Its path alone
    /// (`health: /healthz`) is a check by HTTP with all defaults.
    pub struct HealthCheck: Eq {
        short target_path() => |path, at| HealthCheck { at, ..HealthCheck::of(Probe::Http(path)) };
        check HealthCheck::check;
        /// What is asked.
        pub probe: Probe = by_key(),
        /// Host of a check by HTTP.
        pub host: Option<String> = optional(authority()).note("the endpoint's"),
        /// Statuses that pass.
        pub statuses: Vec<u16> = empty(list(whole(100, 599)).not_empty()).note("200 to 299"),
        /// Time between two checks of an endpoint, a tenth more or less.
        // Five seconds and three failures: out after about a quarter of a minute.
        pub interval: Duration = defaulted(duration(), INTERVAL),
        /// How long one check may take.
        pub timeout: Duration = defaulted(duration(), TIMEOUT),
        /// Failures in a row that make a fit endpoint unfit.
        pub fall: u32 = defaulted(whole(1, HEALTH_STREAK_MAX), FALL),
        /// Passes in a row that make an unfit endpoint fit.
        pub rise: u32 = defaulted(whole(1, HEALTH_STREAK_MAX), RISE),
        /// Where it was written.
        pub at: Position = place(),
    }
}

const INTERVAL: Duration = Duration::from_secs(5);
const TIMEOUT: Duration = Duration::from_secs(2);
// As HAProxy has them: slow to fall for one lost packet, slow to trust again.
const FALL: u32 = 3;
const RISE: u32 = 2;

variants! {
    /// What a health check asks.
    pub enum Probe: Eq {
        /// `grpc: name`: `grpc.health.v1.Health/Check` for that service (`""`: the whole server)
        /// says SERVING. For services of `protocol: http2`.
        Grpc(String) = "grpc", any_text() => Probe::Grpc,
        /// `http: /healthz`: a GET answers with a status that passes.
        Http(String) = "http", target_path() => Probe::Http,
        /// `tcp: true`: a connection is accepted.
        Tcp(()) = "tcp", Only(true) => Probe::Tcp,
    }
}

impl HealthCheck {
    /// With all defaults.
    pub fn of(probe: Probe) -> Self {
        HealthCheck {
            probe,
            host: None,
            statuses: Vec::new(),
            interval: INTERVAL,
            timeout: TIMEOUT,
            fall: FALL,
            rise: RISE,
            at: Position::default(),
        }
    }

    fn check(&self, node: &Node, decoder: &mut Decoder) {
        let mut complain = |key, complaint| {
            decoder.in_key(key, |decoder| decoder.report(node.at, complaint));
        };
        if self.interval < HEALTH_INTERVAL_MIN {
            let problem = format!("more than one check in {HEALTH_INTERVAL_MIN:?} is a load");
            complain("interval", Complaint::new(problem).hint("`5s` unless told"));
        }
        if self.timeout > self.interval {
            let complaint = Complaint::new("a check would still run when the next begins")
                .hint("lower `timeout` or raise `interval`");
            complain("timeout", complaint);
        }
        let by_http = matches!(self.probe, Probe::Http(_));
        if !by_http && (self.host.is_some() || !self.statuses.is_empty()) {
            let complaint = Complaint::new("`host` and `statuses` belong to a check by `http`")
                .hint("remove them, or write `http: /path`");
            complain("host", complaint);
        }
    }
}
