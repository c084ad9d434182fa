//! Seeded simulation of an adaptive limit before a service with a fixed number of servers and one
//! queue.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use weir_config::criticality::Criticality;

use super::{Adaptive, AdaptivePlan, SAMPLES_MIN, State};
use crate::balance::random::mix;
use crate::moment::Moment;
use crate::resilience::criticality::within;

const PLAN: AdaptivePlan = AdaptivePlan { min: 10, max: 4096 };
const CLASSES: [Criticality; 3] = [
    Criticality::Critical,
    Criticality::Default,
    Criticality::Sheddable,
];

struct Random(u64);

impl Random {
    /// From 0 to 1, 0 excluded.
    fn share(&mut self) -> f64 {
        self.0 = mix(self.0);
        ((self.0 >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }
}

/// A service: so many servers, first come first served.
struct Service {
    servers: usize,
    serve_micros: f64,
    random: Random,
    now: u64,
    adaptive: Adaptive,
    /// When each busy server is free.
    busy: BinaryHeap<Reverse<u64>>,
    /// End and begin of what is in flight.
    in_flight: BinaryHeap<Reverse<(u64, u64)>>,
}

/// What came of a stretch of time.
#[derive(Debug, Default)]
struct Seen {
    answered: u64,
    took_micros: u64,
    /// By class: asked and shed.
    asked: [u64; 3],
    shed: [u64; 3],
}

impl Seen {
    fn shed_share(&self, class: usize) -> f64 {
        self.shed[class] as f64 / self.asked[class].max(1) as f64
    }

    fn mean_took(&self) -> f64 {
        self.took_micros as f64 / self.answered.max(1) as f64
    }
}

fn at(micros: u64) -> Moment {
    Moment {
        nanos: micros * 1_000,
        unix_seconds: 0,
    }
}

impl Service {
    fn new(seed: u64, servers: usize, serve_micros: f64) -> Service {
        Service {
            servers,
            serve_micros,
            random: Random(seed),
            now: 0,
            adaptive: Adaptive::default(),
            busy: BinaryHeap::new(),
            in_flight: BinaryHeap::new(),
        }
    }

    /// So many times what it can serve arrives, for so many seconds.
    fn run(&mut self, load: f64, seconds: u64) -> Seen {
        let mut seen = Seen::default();
        let until = self.now + seconds * 1_000_000;
        let per_arrival = self.serve_micros / self.servers as f64 / load;
        while self.now < until {
            self.now += (-self.random.share().ln() * per_arrival) as u64;
            self.answer(&mut seen);
            self.arrive(&mut seen);
            self.adaptive.check_invariants(PLAN);
        }
        seen
    }

    /// So many clients send their next request as soon as the last is answered, or a fifth of a
    /// second after it was shed.
    fn run_clients(&mut self, clients: u32, seconds: u64) -> Seen {
        let mut seen = Seen::default();
        let until = self.now + seconds * 1_000_000;
        let (mut waiting, mut shed) = (clients as usize, BinaryHeap::new());
        while self.now < until {
            self.now += 1_000;
            let before = self.in_flight.len();
            self.answer(&mut seen);
            waiting += before - self.in_flight.len();
            while shed.peek().is_some_and(|Reverse(again)| *again <= self.now) {
                shed.pop();
                waiting += 1;
            }
            for _ in 0..std::mem::take(&mut waiting) {
                let before = self.in_flight.len();
                self.arrive(&mut seen);
                if self.in_flight.len() == before {
                    shed.push(Reverse(self.now + 200_000));
                }
            }
        }
        seen
    }

    fn answer(&mut self, seen: &mut Seen) {
        while let Some(Reverse((end, began))) = self.in_flight.peek().copied()
            && end <= self.now
        {
            self.in_flight.pop();
            seen.answered += 1;
            seen.took_micros += end - began;
            let took = Duration::from_micros(end - began);
            self.adaptive.answer(PLAN, took, at(end));
        }
    }

    fn arrive(&mut self, seen: &mut Seen) {
        let class = (self.random.share() * 2.999) as usize;
        seen.asked[class] += 1;
        let limit = within(CLASSES[class], self.adaptive.limit(PLAN));
        if self.in_flight.len() >= limit as usize {
            seen.shed[class] += 1;
            return;
        }
        self.adaptive.enter(self.in_flight.len() as u32 + 1);
        while self.busy.len() > self.servers
            || self
                .busy
                .peek()
                .is_some_and(|Reverse(free)| *free <= self.now)
        {
            self.busy.pop();
        }
        // With all servers busy, it starts when the first is free.
        let start = match self.busy.len() == self.servers {
            true => self.busy.pop().map_or(self.now, |Reverse(free)| free),
            false => self.now,
        };
        // Between half and one and a half of the usual time.
        let serve = self.serve_micros * (0.5 + self.random.share());
        let end = start + serve as u64;
        self.busy.push(Reverse(end));
        self.in_flight.push(Reverse((end, self.now)));
    }
}

#[test]
fn the_limit_settles_where_the_service_is_busy_and_nobody_queues_long() {
    for seed in 1..=2 {
        for (servers, serve_micros, load) in [
            (20, 10_000.0, 2.0),
            (100, 10_000.0, 1.5),
            (100, 50_000.0, 4.0),
            (400, 20_000.0, 1.2),
        ] {
            let mut service = Service::new(seed, servers, serve_micros);
            service.run(load, 10);
            let seen = service.run(load, 30);
            let place = format!("seed {seed}, {servers} servers, load {load}: {seen:?}");
            let limit = f64::from(service.adaptive.limit(PLAN));
            assert!(limit >= 0.5 * servers as f64, "{limit}, {place}");
            assert!(limit <= 2.5 * servers as f64, "{limit}, {place}");
            let capacity = 30e6 / serve_micros * servers as f64;
            let used = seen.answered as f64 / capacity;
            assert!(used > 0.9, "{used} of its capacity, {place}");
            let slower = seen.mean_took() / serve_micros;
            assert!(slower < 2.0, "answers took {slower} times as long, {place}");
        }
    }
}

#[test]
fn the_least_critical_is_shed_first() {
    for seed in 1..=4 {
        let mut service = Service::new(seed, 100, 10_000.0);
        service.run(1.25, 10);
        let seen = service.run(1.25, 20);
        let [critical, default, sheddable] = [0, 1, 2].map(|class| seen.shed_share(class));
        let place = format!("seed {seed}: {critical} {default} {sheddable}");
        assert!(critical < 0.01, "{place}");
        assert!(default < sheddable / 2.0, "{place}");
        assert!(sheddable > 0.3, "{place}");
    }
}

#[test]
fn nothing_is_shed_while_the_service_keeps_up() {
    for seed in 1..=4 {
        let mut service = Service::new(seed, 200, 10_000.0);
        service.run(0.3, 5);
        let seen = service.run(0.8, 30);
        assert_eq!(seen.shed, [0; 3], "seed {seed}");
    }
}

/// A release that takes three times as long is a new baseline, not a queue for ever.
#[test]
fn a_service_that_became_slower_is_believed() {
    for seed in 1..=4 {
        let mut service = Service::new(seed, 100, 10_000.0);
        service.run(1.5, 15);
        service.serve_micros = 30_000.0;
        service.run(1.5, 25);
        let seen = service.run(1.5, 20);
        let used = seen.answered as f64 / (20e6 / 30_000.0 * 100.0);
        assert!(used > 0.85, "seed {seed}: {used} of its capacity");
    }
}

/// What is seen first is the queue of all the clients that were there before.
#[test]
fn a_limit_that_begins_in_an_overload_finds_out() {
    for seed in 1..=4 {
        for clients in [60, 90, 150, 600] {
            let mut service = Service::new(seed, 20, 100_000.0);
            service.run_clients(clients, 20);
            let seen = service.run_clients(clients, 20);
            let place = format!("seed {seed}, {clients} clients: {seen:?}");
            let slower = seen.mean_took() / 100_000.0;
            assert!(slower < 2.5, "answers took {slower} times as long, {place}");
            let used = seen.answered as f64 / (20.0 * 200.0);
            assert!(used > 0.85, "{used} of its capacity, {place}");
        }
    }
}

#[test]
fn an_overload_that_ends_leaves_no_trace() {
    let mut service = Service::new(3, 50, 10_000.0);
    service.run(3.0, 20);
    service.run(0.3, 2);
    assert_eq!(service.run(0.6, 10).shed, [0; 3]);
}

#[test]
fn one_window_follows_the_rules() {
    let state = |limit, baseline, queued| State {
        limit,
        baseline,
        queued,
    };
    let table = [
        // The first.
        (state(100, 0, 0), 800, 90, state(100, 800, 52)),
        // Quiet: the baseline follows, the limit stays.
        (state(100, 1_000, 3), 800, 24, state(100, 950, 0)),
        (state(100, 1_000, 3), 1_800, 10, state(100, 1_200, 0)),
        // No queue: a quarter more.
        (state(100, 1_000, 0), 1_000, 100, state(125, 1_000, 0)),
        (state(100, 1_000, 7), 1_100, 25, state(125, 1_000, 0)),
        (state(100, 1_000, 7), 800, 90, state(125, 950, 0)),
        (state(100, 1_000, 52), 1_000, 100, state(100, 1_000, 53)),
        // A queue: less, at most by half, and a root more.
        (state(100, 1_000, 0), 1_101, 25, state(110, 1_000, 1)),
        (state(100, 1_000, 1), 1_500, 90, state(110, 1_000, 2)),
        (state(100, 1_000, 1), 2_000, 90, state(85, 1_000, 2)),
        (state(100, 1_000, 1), 90_000, 90, state(60, 1_000, 2)),
        // The ends.
        (state(4_096, 1_000, 1), 1_000, 4_096, state(4_096, 1_000, 0)),
        (state(10, 1_000, 1), 9_000, 10, state(10, 1_000, 2)),
        // The measurement: one window to drain, one to measure.
        (state(90, 1_000, 59), 2_000, 90, state(77, 1_000, 60)),
        (state(90, 1_000, 60), 2_000, 50, state(90, 1_000, 61)),
        (state(90, 1_000, 61), 1_300, 50, state(90, 1_300, 0)),
        (state(90, 1_000, 61), 900, 50, state(90, 900, 0)),
        (state(90, 1_000, 61), 899, 50, state(90, 899, 52)),
    ];
    for (before, took, peak, expected) in table {
        assert_eq!(
            before.after(PLAN, took, peak),
            expected,
            "{before:?} {took}"
        );
    }
    assert_eq!(state(90, 1_000, 59).in_force(), 90);
    assert_eq!(state(90, 1_000, 60).in_force(), 30);
    assert_eq!(state(90, 1_000, 61).in_force(), 30);
}

#[test]
fn threads_close_each_window_once() {
    let adaptive = Adaptive::default();
    let plan = AdaptivePlan { min: 5, max: 500 };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for step in 0..50_000_u64 {
                    adaptive.enter((step % 300) as u32);
                    let took = Duration::from_micros(1_000 + step % 7);
                    adaptive.answer(plan, took, at(step * 100));
                    adaptive.check_invariants(plan);
                }
            });
        }
    });
    assert!(adaptive.baseline().unwrap() >= Duration::from_millis(1));
}

#[test]
fn few_answers_decide_nothing() {
    let adaptive = Adaptive::default();
    // The first window, which the first answers open, and the second, which counts.
    for step in 1..2 * SAMPLES_MIN {
        adaptive.answer(PLAN, Duration::from_secs(1), at(step * 1_000_000));
        assert_eq!(adaptive.baseline(), None);
    }
    adaptive.answer(
        PLAN,
        Duration::from_secs(1),
        at(2 * SAMPLES_MIN * 1_000_000),
    );
    assert_eq!(adaptive.baseline(), Some(Duration::from_secs(1)));
}
