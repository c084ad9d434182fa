//! Who is there, as one worker sees it: compiled members of each service and the lanes to them.
//!
//! A worker compiles its own [`Members`], so that reference counts are not shared between cores.
//! Endpoints told by [`Engine::set_members`](crate::Engine::set_members) are kept by service name
//! over installs; services whose endpoints are written in the document need nobody to tell them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use weir_config::endpoint::Endpoint;
use weir_config::service::Source;
use weir_policy::balance::{Chosen, Member, Members};
use weir_policy::snapshot::{Service, Snapshot};

use crate::clock;
use crate::pool::{Lane, LaneKey, Pool};

/// Endpoints by service name, as told last.
pub(crate) type Roster = HashMap<String, Arc<[Endpoint]>>;

/// The members of one service and the lane to each.
#[derive(Debug)]
pub(crate) struct Seats {
    pub(crate) members: Members,
    lanes: HashMap<*const Member, Rc<Lane>, foldhash::fast::RandomState>,
}

impl Seats {
    /// Compiles the members of a service.
    pub(crate) fn compile(service: &Service, endpoints: &[Endpoint], pool: &Pool) -> Rc<Self> {
        let members = Members::compile(service, endpoints, clock::now());
        let lane = |member: &Arc<Member>| {
            let key = LaneKey {
                address: member.endpoint.address.as_str().into(),
                class: service.connection_class,
                identity: member.endpoint.identity.as_deref().map(Into::into),
                http2: LaneKey::speaks(service.protocol),
                single_use: service.proxy_protocol.is_some() && member.endpoint.identity.is_none(),
            };
            (Arc::as_ptr(member), pool.lane(key))
        };
        // The pointers stay good: `members` holds what they point to as long as this lives.
        let lanes = members.endpoints.iter().map(lane).collect();
        Rc::new(Self { members, lanes })
    }

    /// The lane to the endpoint that was chosen.
    pub(crate) fn lane(&self, chosen: &Chosen) -> Option<&Rc<Lane>> {
        self.lane_of(&chosen.member)
    }

    /// Every lane, in no order.
    pub(crate) fn lanes(&self) -> impl Iterator<Item = &Rc<Lane>> {
        self.lanes.values()
    }

    /// The lane to a member.
    pub(crate) fn lane_of(&self, member: &Arc<Member>) -> Option<&Rc<Lane>> {
        self.lanes.get(&Arc::as_ptr(member))
    }
}

/// The seats of every service of a snapshot, by service id.
pub(crate) fn seats(snapshot: &Snapshot, roster: &Roster, pool: &Pool) -> Vec<Rc<Seats>> {
    snapshot
        .services
        .iter()
        .map(|service| seats_of(service, roster, pool))
        .collect()
}

/// The seats of one service.
pub(crate) fn seats_of(service: &Service, roster: &Roster, pool: &Pool) -> Rc<Seats> {
    match (&service.source, roster.get(&*service.name)) {
        (Source::Endpoints(endpoints), _) => {
            let endpoints: Vec<_> = endpoints
                .iter()
                .map(|endpoint| endpoint.value.clone())
                .collect();
            Seats::compile(service, &endpoints, pool)
        }
        (_, Some(endpoints)) => Seats::compile(service, endpoints, pool),
        (_, None) => Seats::compile(service, &[], pool),
    }
}
