//! Copies of requests for other services: which requests are copied.

use std::time::Duration;

use http::HeaderValue;
use weir_config::Position;
use weir_config::criticality::Criticality;
use weir_config::mirror::Mirror;
use weir_config::units::Percent;

use super::{Question, told};
use crate::balance::Asks;
use crate::moment::Moment;
use crate::note::{Note, Step};
use crate::pipeline::admit::{Brings, enter};
use crate::pipeline::{Admitted, Forward};
use crate::refusal::Refusal;
use crate::snapshot::{Destination, ServiceId, Snapshot};

/// Copies of the requests of a route.
#[derive(Debug)]
pub struct MirrorPlan {
    destination: Destination,
    share: u32,
    /// Bytes of the body that may wait for the copy.
    pub lag_bytes_max: u64,
    /// Longest that a copy may take.
    pub timeout: Duration,
    /// What marks the copy: value of `weir-mirrored`.
    pub mark: HeaderValue,
    at: Position,
}

impl MirrorPlan {
    /// The copies that go to a destination.
    pub(crate) fn new(mirror: &Mirror, destination: Destination, route: &str) -> MirrorPlan {
        // Names of routes have no control characters, so every one is a header value.
        let mark = HeaderValue::from_bytes(route.as_bytes());
        MirrorPlan {
            destination,
            share: mirror.share.0,
            lag_bytes_max: mirror.lag_bytes_max.0,
            timeout: mirror.timeout,
            mark: mark.unwrap_or(HeaderValue::from_static("unnamed")),
            at: mirror.at,
        }
    }

    /// The service that gets the copies.
    #[must_use]
    pub fn service(&self) -> ServiceId {
        self.destination.service
    }

    /// Takes a place for a copy at its service.
    ///
    /// # Errors
    /// What the service would refuse a request with; the copy is dropped then.
    pub fn enter(&self, snapshot: &Snapshot, at: Moment) -> Result<Forward, Refusal> {
        let brings = Brings {
            asks: Asks::of(&self.destination),
            call: None,
            class: Criticality::Sheddable,
        };
        enter(snapshot, &self.destination, brings, at, &mut ())
    }

    /// Whether the request of this draw is copied; `index` is the place among the route's mirrors.
    fn hits(&self, index: usize, admitted: &Admitted, draw: u64) -> bool {
        admitted.upgrade.is_none() && Question::Mirror(index).hits(draw, self.share)
    }
}

/// See [`crate::pipeline::copies`].
pub(crate) fn copies<'s>(
    snapshot: &'s Snapshot,
    admitted: &Admitted,
    draw: u64,
    note: &mut impl Note,
) -> impl Iterator<Item = &'s MirrorPlan> {
    let shaping = snapshot.route(admitted.route).shaping.as_deref();
    let mirrors = shaping.map_or(&[][..], |shaping| &shaping.mirrors);
    for (index, mirror) in mirrors.iter().enumerate() {
        note.note(|| {
            let service = &snapshot.service(mirror.destination.service).name;
            let said = format!("{} are copied to `{service}`", Percent(mirror.share));
            Step {
                area: "mirror",
                said: told(&said, mirror.hits(index, admitted, draw)),
                at: mirror.at,
            }
        });
    }
    let hits = move |(index, mirror): (usize, &'s MirrorPlan)| {
        mirror.hits(index, admitted, draw).then_some(mirror)
    };
    mirrors.iter().enumerate().filter_map(hits)
}
