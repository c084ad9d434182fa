//! Connections to endpoints, kept by each worker for itself.
//!
//! A [`Lane`] holds the connections to one endpoint: idle HTTP/1.1 senders, the most recently used
//! on top, and shared HTTP/2 connections. An exchange takes a [`Line`] from it and gives it back
//! at the end of the response's body. Lanes are keyed by what makes connections interchangeable
//! (address, connection class, identity), so they survive every reload that does not touch that.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

mod lane;
mod line;

pub(crate) use lane::{Lane, LaneKey, OpenConnection, Opening, Resolved, Turn, Wait};
pub(crate) use line::{H1Line, Line, Shared};

/// All lanes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    lanes: RefCell<HashMap<LaneKey, Rc<Lane>, foldhash::fast::RandomState>>,
}

impl Pool {
    /// The lane of this key.
    pub(crate) fn lane(&self, key: LaneKey) -> Rc<Lane> {
        let mut lanes = self.lanes.borrow_mut();
        if let Some(lane) = lanes.get(&key) {
            return Rc::clone(lane);
        }
        let lane = Rc::new(Lane::new(&key));
        lanes.insert(key, Rc::clone(&lane));
        lane
    }

    /// Forgets lanes that nothing refers to any more; their idle connections close.
    pub(crate) fn retain_used(&self) {
        self.lanes.borrow_mut().retain(|_, lane| {
            let used = Rc::strong_count(lane) > 1 + lane.open();
            if !used {
                lane.retire();
            }
            used
        });
    }

    /// Closes connections that have been idle for too long. Says whether idle ones are left.
    pub(crate) fn sweep(&self, now: u64) -> bool {
        let lanes: Vec<_> = self.lanes.borrow().values().cloned().collect();
        // Not short-circuiting: every lane is to be swept.
        lanes
            .iter()
            .fold(false, |left, lane| lane.sweep(now) | left)
    }
}
