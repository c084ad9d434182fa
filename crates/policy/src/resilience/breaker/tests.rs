//! Seeded simulation of the breaker against a model that keeps everything it saw.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use weir_config::balance::Balance;
use weir_config::criticality::Criticality;
use weir_config::resilience::Breaker;
use weir_config::units::Percent;

use super::{BreakerState, Came};
use crate::balance::random::mix;
use crate::live::{Event, sample};
use crate::moment::Moment;
use crate::pipeline::Permit;
use crate::snapshot::Service;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = mix(self.0);
        self.0 % bound
    }
}

/// What a breaker must do, written the long way.
struct Model {
    settings: Breaker,
    state: BreakerState,
    /// Failures in a row while closed.
    row: u32,
    open_until: u64,
    out: u32,
    succeeded: u32,
    era: u64,
}

impl Model {
    fn enter(&mut self, now: u64) -> Option<(u64, bool)> {
        if self.state == BreakerState::Open && now >= self.open_until {
            (self.state, self.out, self.succeeded) = (BreakerState::HalfOpen, 0, 0);
            self.era += 1;
        }
        match self.state {
            BreakerState::Closed => Some((self.era, false)),
            BreakerState::Open => None,
            BreakerState::HalfOpen => {
                let room = self.out + self.succeeded < self.settings.probes;
                self.out += u32::from(room);
                room.then_some((self.era, true))
            }
        }
    }

    fn settle(&mut self, era: u64, came: Came, now: u64) {
        if era != self.era {
            return;
        }
        match self.state {
            BreakerState::Closed => {
                self.row = if came.failed { self.row + 1 } else { 0 };
                // The share that counts as too slow is next to nothing.
                if came.slow || self.row >= self.settings.consecutive {
                    self.open(now);
                }
            }
            BreakerState::HalfOpen if came.failed || came.slow => self.open(now),
            BreakerState::HalfOpen => {
                self.out -= 1;
                self.succeeded += 1;
                if self.succeeded == self.settings.probes {
                    (self.state, self.row) = (BreakerState::Closed, 0);
                    self.era += 1;
                }
            }
            BreakerState::Open => unreachable!("nobody is let through while open"),
        }
    }

    fn abandon(&mut self, era: u64, probe: bool) {
        if probe && era == self.era {
            self.out -= 1;
        }
    }

    fn open(&mut self, now: u64) {
        self.state = BreakerState::Open;
        self.open_until = now + self.settings.open.as_millis() as u64;
        self.era += 1;
    }
}

fn service(settings: &Breaker) -> Service {
    Service {
        breaker: Some(settings.clone()),
        ..sample::service(Balance::RoundRobin)
    }
}

fn settle(service: &Service, permit: &Permit, failed: bool, at: Moment) {
    let slow = false;
    came(service, permit, Came { failed, slow }, at);
}

fn came(service: &Service, permit: &Permit, came: Came, at: Moment) {
    let breaker = service.breaker.as_ref().unwrap();
    let live = &service.live;
    live.breaker
        .settle(breaker, live.owner(None), &permit.consent, came, at);
}

#[test]
fn simulation_agrees_with_the_model() {
    for seed in 0..300 {
        let mut random = Random(seed);
        let slowing = seed % 2 == 0;
        let settings = Breaker {
            consecutive: 1 + random.below(4) as u32,
            probes: 1 + random.below(3) as u32,
            open: Duration::from_millis(1 + random.below(50)),
            slow_after: slowing.then_some(Duration::from_secs(1)),
            slow_ratio: Percent(1),
            volume_min: 1,
            ..sample::breaker()
        };
        let service = service(&settings);
        let mut model = Model {
            settings: settings.clone(),
            state: BreakerState::Closed,
            row: 0,
            open_until: 0,
            out: 0,
            succeeded: 0,
            era: 0,
        };
        let mut under_way: VecDeque<(Permit, u64, bool)> = VecDeque::new();
        let (mut told, mut transitions) = (BreakerState::Closed, 0);
        let mut now = 0;
        let failing = 1 + random.below(9);
        for step in 0..400 {
            now += random.below(8);
            let place = format!("seed {seed}, step {step}");
            match random.below(3) {
                0 => {
                    let expected = model.enter(now);
                    let entered =
                        service
                            .live
                            .enter(&service, Criticality::Default, sample::moment(now));
                    assert_eq!(entered.is_ok(), expected.is_some(), "{place}");
                    if let (Ok(permit), Some((era, probe))) = (entered, expected) {
                        under_way.push_back((permit, era, probe));
                    }
                }
                1 => {
                    let Some((permit, era, probe)) = under_way.pop_front() else {
                        continue;
                    };
                    if random.below(8) == 0 {
                        model.abandon(era, probe);
                    } else {
                        let failed = random.below(10) < failing;
                        let slow = slowing && random.below(12) == 0;
                        let what = Came { failed, slow };
                        came(&service, &permit, what, sample::moment(now));
                        model.settle(era, what, now);
                    }
                }
                _ => under_way.rotate_left(usize::from(under_way.len() > 1)),
            }
            service.live.breaker.check_invariants(&settings);
            assert_eq!(service.live.breaker.state(), model.state, "{place}");
            // Each transition was told, once, in order.
            for event in service.live.news().take() {
                let Event::Breaker {
                    endpoint: None,
                    state,
                } = event
                else {
                    panic!("{event:?}, {place}");
                };
                told = state;
                transitions += 1;
            }
            assert_eq!((told, transitions), (model.state, model.era), "{place}");
        }
        drop(under_way);
        assert_eq!(service.live.in_flight(), 0, "seed {seed}");
    }
}

/// Threads that enter, succeed, fail and leave: the bound of probes holds, and nothing is lost.
#[test]
fn threads_keep_the_invariants() {
    let settings = Breaker {
        consecutive: 2,
        probes: 2,
        open: Duration::from_millis(1),
        ratio: Some(Percent(60_000)),
        ..sample::breaker()
    };
    let service = Arc::new(service(&settings));
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (service, settings) = (&service, &settings);
            scope.spawn(move || {
                let mut random = Random(thread);
                for step in 0..5_000 {
                    let at = sample::moment(step / 4);
                    if let Ok(permit) = service.live.enter(service, Criticality::Default, at)
                        && random.below(5) > 0
                    {
                        let failed = random.below(2) == 0;
                        settle(service, &permit, failed, at);
                    }
                    service.live.breaker.check_invariants(settings);
                }
            });
        }
    });
    assert_eq!(service.live.in_flight(), 0);
    assert!(service.live.breakers_opened() > 0);
}

#[test]
fn later_attempts_of_a_probe_do_not_count_twice() {
    let settings = Breaker {
        consecutive: 1,
        probes: 2,
        ..sample::breaker()
    };
    let service = service(&settings);
    let breaker = &service.live.breaker;
    let enter = |now| {
        service
            .live
            .enter(&service, Criticality::Default, sample::moment(now))
    };
    let failing = enter(0).unwrap();
    settle(&service, &failing, true, sample::moment(0));
    let probe = enter(5_000).unwrap();
    settle(&service, &probe, false, sample::moment(5_000));
    settle(&service, &probe, false, sample::moment(5_001));
    assert_eq!(
        breaker.state(),
        BreakerState::HalfOpen,
        "one probe is one probe"
    );
    let second = enter(5_002).unwrap();
    assert!(enter(5_003).is_err());
    settle(&service, &second, false, sample::moment(5_004));
    assert_eq!(breaker.state(), BreakerState::Closed);
    settle(&service, &failing, true, sample::moment(5_005));
    assert_eq!(
        breaker.state(),
        BreakerState::Closed,
        "an old generation says nothing"
    );
}
