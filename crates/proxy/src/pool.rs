//! Connections to endpoints, kept by each worker for itself.
//!
//! A [`Lane`] holds the connections to one endpoint: idle HTTP/1.1 senders, the most recently used
//! on top, and shared HTTP/2 connections. An exchange takes a [`Line`] from it and gives it back
//! at the end of the response's body. Lanes are keyed by what makes connections interchangeable
//! (address, connection class, identity), so they survive every reload that does not touch that. A
//! lane that nothing in force leads to is retired: its idle connections close at once, the others
//! when the exchange on them ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

mod lane;
mod line;

pub(crate) use lane::{Lane, LaneKey, OpenConnection, Opening, Resolved, Turn, Wait};
pub(crate) use line::{H1Line, H2Line, Line};

/// All lanes of one worker.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    lanes: RefCell<HashMap<LaneKey, Rc<Lane>, foldhash::fast::RandomState>>,
    /// Counts calls of [`Pool::retire_unused`].
    round: Cell<u64>,
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

    /// Retires and forgets every lane that is not in use. `each_in_use` calls what it is given with
    /// those that are; who holds a lane beyond that is an exchange that will end.
    pub(crate) fn retire_unused(&self, each_in_use: impl FnOnce(&dyn Fn(&Lane))) {
        let round = self.round.get() + 1;
        self.round.set(round);
        each_in_use(&|lane| lane.mark(round));
        self.lanes.borrow_mut().retain(|_, lane| {
            let used = lane.is_marked(round);
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
