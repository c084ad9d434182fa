//! The goals, held against what was measured.

use serde::{Deserialize, Serialize};

use crate::harness::load::Latency;
use crate::harness::results::{PeerResults, Results, ScenarioResults};
use crate::harness::scenario::{Peer, Scenario};

/// A goal and what was measured.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Goal {
    /// What is wanted.
    pub text: String,
    /// What was measured; none where something that it needs was not.
    pub measured: Option<f64>,
    /// The most that meets it.
    pub bound: f64,
    /// What the two are counted in; empty for ratios.
    pub unit: &'static str,
}

impl Goal {
    fn ratio(text: impl Into<String>, measured: Option<f64>, bound: f64) -> Self {
        Self {
            text: text.into(),
            measured,
            bound,
            unit: "",
        }
    }

    /// Whether it is met; none where it was not measured.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        // The last digit that the report shows decides, not what is behind it.
        self.measured
            .map(|measured| (measured * 1e3).round() <= (self.bound * 1e3).round())
    }
}

/// Every goal.
#[must_use]
pub fn evaluate(results: &Results) -> Vec<Goal> {
    let mut goals = processor_goals(results);
    latency_goals(results, &mut goals);
    idle_goals(results, &mut goals);
    goals.push(reload_goal(results));
    goals
}

fn processor_goals(results: &Results) -> Vec<Goal> {
    let ratio = |scenario: Scenario, others: &[Peer]| {
        let scenario = results.scenario(scenario)?;
        let all = others.iter().map(|peer| scenario.cpu_us(*peer));
        let best = all
            .collect::<Option<Vec<f64>>>()?
            .into_iter()
            .fold(f64::INFINITY, f64::min);
        Some(scenario.cpu_us(Peer::Weir)? / best)
    };
    let both = [Peer::Haproxy, Peer::Nginx];
    let mut goals = vec![
        Goal::ratio(
            "h1: CPU ÷ the better of HAProxy and nginx",
            ratio(Scenario::H1, &both),
            0.95,
        ),
        Goal::ratio(
            "tls: CPU ÷ the better of HAProxy and nginx",
            ratio(Scenario::Tls, &both),
            0.75,
        ),
        Goal::ratio("h2: CPU ÷ HAProxy", ratio(Scenario::H2, &both[..1]), 1.0),
        Goal::ratio("h2: CPU ÷ nginx", ratio(Scenario::H2, &both[1..]), 0.70),
    ];
    for scenario in Scenario::ALL
        .into_iter()
        .filter(|scenario| scenario.is_in_rounds())
    {
        let text = match scenario {
            Scenario::Jwt => "jwt: CPU ÷ Envoy doing both".to_owned(),
            Scenario::Pair => "pair: CPU ÷ two Envoys".to_owned(),
            _ => format!("{}: CPU ÷ Envoy", scenario.id()),
        };
        goals.push(Goal::ratio(text, ratio(scenario, &[Peer::Envoy]), 0.33));
    }
    let bare = [
        (Peer::Pingora, 0.70),
        (Peer::Hyper, 1.10),
        (Peer::Epoll, 1.30),
    ];
    for (peer, bound) in bare {
        for scenario in [Scenario::H1, Scenario::Tls, Scenario::H2] {
            if peer.unable(scenario).is_none() {
                let text = format!("{}: CPU ÷ {}", scenario.id(), peer.title());
                goals.push(Goal::ratio(text, ratio(scenario, &[peer]), bound));
            }
        }
    }
    goals
}

fn latency_goals(results: &Results, goals: &mut Vec<Goal>) {
    for scenario in Scenario::ALL
        .into_iter()
        .filter(|scenario| scenario.is_in_rounds())
    {
        let measured = results.scenario(scenario);
        let against = |of: fn(&Latency) -> f64| measured.and_then(|it| latency_ratio(it, of));
        let id = scenario.id();
        let p50 = against(|latency| latency.p50);
        goals.push(Goal::ratio(format!("{id}: p50 ÷ the best other"), p50, 1.0));
        let p99 = against(|latency| latency.p99);
        goals.push(Goal::ratio(format!("{id}: p99 ÷ the best other"), p99, 1.0));
    }
}

/// Weir's latency at the fixed rate by the best of those that held the rate.
fn latency_ratio(scenario: &ScenarioResults, of: fn(&Latency) -> f64) -> Option<f64> {
    let median = |results: &PeerResults| Some(results.latency(of)?.median);
    let others = scenario
        .peers
        .iter()
        .filter(|results| !results.peer.is_weir());
    let held = others.filter(|results| results.holds(scenario.rate));
    let best = held.filter_map(median).fold(f64::INFINITY, f64::min);
    best.is_finite().then_some(())?;
    Some(median(scenario.peer(Peer::Weir)?)? / best)
}

fn idle_goals(results: &Results, goals: &mut Vec<Goal>) {
    let weir = results.idle.as_ref().and_then(|idle| {
        let found = idle.peers.iter().find(|entry| entry.peer == Peer::Weir);
        found.cloned()
    });
    let kilobytes = |memory: Option<&crate::harness::results::IdleMemory>| {
        Some(memory?.bytes_per_connection()? / 1024.0)
    };
    let plain = weir
        .as_ref()
        .and_then(|weir| kilobytes(weir.plain.as_ref()));
    let tls = weir.as_ref().and_then(|weir| kilobytes(weir.tls.as_ref()));
    let wake_ups = weir.as_ref().and_then(|weir| weir.wake_ups_per_second);
    let counted = |text: &str, measured, bound, unit| Goal {
        text: text.to_owned(),
        measured,
        bound,
        unit,
    };
    goals.extend([
        counted(
            "idle: memory of a connection in clear text",
            plain,
            2.0,
            "KB",
        ),
        counted("idle: memory of a connection over TLS", tls, 14.0, "KB"),
        counted("idle: wake-ups of an idle process", wake_ups, 0.0, "/s"),
    ]);
}

/// No step: reloads leave p99 where it was, and nothing fails.
fn reload_goal(results: &Results) -> Goal {
    let text = "reload: p99 with reloads ÷ p99 without; no failure";
    let weir = results.reload.as_ref().and_then(|reload| {
        let found = reload.peers.iter().find(|entry| entry.peer == Peer::Weir);
        found.cloned()
    });
    let measured = weir.map(|weir| {
        let (before, during) = (weir.before(), weir.during());
        if during.failures() > 0 || during.requests == 0 {
            return f64::INFINITY;
        }
        during.latency_us.p99 / before.latency_us.p99
    });
    Goal::ratio(text, measured, RELOAD_STEP_MAX)
}

/// Up to a quarter more is no step: p99 of two runs without reloads is not the same either.
const RELOAD_STEP_MAX: f64 = 1.25;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Goal, evaluate};
    use crate::harness::load::{Latency, Outcome};
    use crate::harness::results::tests::{peer, slice};
    use crate::harness::results::{
        IdleMemory, IdlePeer, IdleResults, Pace, ReloadPeer, ReloadResults, ReloadRound, Results,
        ScenarioResults,
    };
    use crate::harness::scenario::{Peer, Scenario};

    fn found(goals: &[Goal], text: &str) -> Goal {
        let goal = goals.iter().find(|goal| goal.text == text);
        goal.unwrap_or_else(|| panic!("no goal {text}")).clone()
    }

    fn h1(weir_us: u64, nginx_us: u64, haproxy_us: u64) -> Results {
        let of = |it, us| {
            peer(
                it,
                vec![
                    slice(0, Pace::Closed, 0.0, us),
                    slice(0, Pace::Rate, 0.0, us),
                ],
            )
        };
        let scenario = ScenarioResults {
            scenario: Scenario::H1,
            load: String::new(),
            rate: 1000.0,
            busy: 0.0,
            peers: vec![
                of(Peer::Weir, weir_us),
                of(Peer::Nginx, nginx_us),
                of(Peer::Haproxy, haproxy_us),
            ],
            left_out: Vec::new(),
        };
        Results {
            scenarios: vec![scenario],
            ..Results::default()
        }
    }

    #[test]
    fn the_better_peer_counts() {
        let text = "h1: CPU ÷ the better of HAProxy and nginx";
        let missed = found(&evaluate(&h1(20, 18, 25)), text);
        assert!((missed.measured.unwrap() - 20.0 / 18.0).abs() < 1e-9);
        assert_eq!(missed.is_met(), Some(false));
        let met = found(&evaluate(&h1(19, 20, 25)), text);
        assert_eq!(met.is_met(), Some(true), "at the bound: {met:?}");
    }

    #[test]
    fn what_was_not_measured_is_neither_met_nor_missed() {
        let goals = evaluate(&h1(20, 18, 25));
        assert_eq!(found(&goals, "h1: CPU ÷ Envoy").is_met(), None);
        assert_eq!(found(&goals, "h2: CPU ÷ HAProxy").is_met(), None);
        assert_eq!(
            found(&goals, "idle: wake-ups of an idle process").is_met(),
            None
        );
        let only_nginx = {
            let mut results = h1(20, 18, 25);
            results.scenarios[0]
                .peers
                .retain(|it| it.peer != Peer::Haproxy);
            results
        };
        let text = "h1: CPU ÷ the better of HAProxy and nginx";
        assert_eq!(found(&evaluate(&only_nginx), text).is_met(), None);
    }

    #[test]
    fn a_peer_that_does_not_hold_the_rate_is_no_measure_of_latency() {
        let mut results = h1(20, 18, 25);
        let nginx = &mut results.scenarios[0].peers[1];
        nginx.slices[1].outcome.latency_us.p50 = 1.0;
        let text = "h1: p50 ÷ the best other";
        assert_eq!(found(&evaluate(&results), text).is_met(), Some(false));
        results.scenarios[0].peers[1].slices[1].outcome.rate = 10.0;
        assert_eq!(found(&evaluate(&results), text).is_met(), Some(true));
    }

    #[test]
    fn idle_memory_and_wake_ups() {
        let memory = |bytes: u64| {
            Some(IdleMemory {
                at_rest: 0,
                with: vec![(1_000, bytes * 1_000)],
            })
        };
        let weir = IdlePeer {
            peer: Peer::Weir,
            wake_ups_per_second: Some(0.0),
            plain: memory(2_048),
            tls: memory(14_400),
        };
        let idle = IdleResults {
            peers: vec![weir],
            left_out: Vec::new(),
        };
        let goals = evaluate(&Results {
            idle: Some(idle),
            ..Results::default()
        });
        let met = |text| found(&goals, text).is_met();
        assert_eq!(
            met("idle: memory of a connection in clear text"),
            Some(true)
        );
        assert_eq!(met("idle: memory of a connection over TLS"), Some(false));
        assert_eq!(met("idle: wake-ups of an idle process"), Some(true));
    }

    #[test]
    fn a_failure_during_a_reload_misses_the_goal_whatever_p99_says() {
        let outcome = |p99, failures| Outcome {
            requests: 100,
            errors: [("io".to_owned(), failures)].into(),
            latency_us: Latency {
                p99,
                ..Latency::default()
            },
            ..Outcome::default()
        };
        let with = |during| {
            let round = |before, during| ReloadRound {
                before,
                during,
                in_force_ms: Vec::new(),
                stolen: 0.0,
            };
            let rounds = vec![
                round(outcome(100.0, 0), outcome(100.0, 0)),
                round(outcome(100.0, 0), during),
                round(outcome(9_000.0, 0), outcome(9_000.0, 0)),
            ];
            let weir = ReloadPeer {
                peer: Peer::Weir,
                rounds,
            };
            let reload = ReloadResults {
                peers: vec![weir],
                ..ReloadResults::default()
            };
            let results = Results {
                reload: Some(reload),
                ..Results::default()
            };
            evaluate(&results).last().unwrap().is_met()
        };
        assert_eq!(with(outcome(125.0, 0)), Some(true));
        assert_eq!(with(outcome(126.0, 0)), Some(false));
        assert_eq!(with(outcome(90.0, 1)), Some(false));
    }
}
