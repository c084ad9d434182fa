//! Everything that was measured, as `results.json` has it, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::harness::load::{Latency, Outcome};
use crate::harness::procfs::Cpu;
use crate::harness::scenario::{Peer, Scenario};
use crate::harness::statistics::Summary;

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// When it began, `2026-11-21 15:04 UTC`.
    pub date: String,
    /// The command line.
    pub command: String,
    /// Processor, cores and kernel.
    pub machine: String,
    /// What was measured, by name.
    pub versions: BTreeMap<String, String>,
    /// How many rounds were asked for.
    pub rounds: usize,
    /// Length of a slice, seconds.
    pub seconds: f64,
    /// Scenarios in rounds of load, in the order they were run.
    pub scenarios: Vec<ScenarioResults>,
    /// Idle connections and processes.
    pub idle: Option<IdleResults>,
    /// Reloads under load.
    pub reload: Option<ReloadResults>,
}

/// A scenario in rounds of load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ScenarioResults {
    /// Which one.
    pub scenario: Scenario,
    /// What `weir-load` was told, beside where and how fast.
    #[serde(default)]
    pub load: String,
    /// The fixed rate, requests per second: half of what the slowest managed.
    pub rate: f64,
    /// Share of all cores that was busy before the first load, 0 to 1; all proxies ran.
    pub busy: f64,
    /// What those that took part did.
    pub peers: Vec<PeerResults>,
    /// Those that did not.
    pub left_out: Vec<LeftOut>,
}

/// Who did not take part, and why.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LeftOut {
    /// Who.
    pub peer: Peer,
    /// Why.
    pub reason: String,
}

/// What a proxy did in a scenario.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PeerResults {
    /// Which proxy.
    pub peer: Peer,
    /// Resident memory before any load, bytes.
    pub resident_at_rest: u64,
    /// Resident memory after all rounds, bytes.
    pub resident_after: u64,
    /// System calls per request, where they were counted.
    pub system_calls: Option<f64>,
    /// All slices, the disturbed and invalid ones too.
    pub slices: Vec<Slice>,
}

/// One run of the load generator against one proxy.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Slice {
    /// The round, from 0.
    pub round: usize,
    /// How it was loaded.
    pub pace: Pace,
    /// Share of its time that was stolen from the worse of the two cores.
    pub stolen: f64,
    /// Processor time of the proxy in it.
    pub cpu: Cpu,
    /// Voluntary context switches of the proxy in it.
    pub switches: u64,
    /// What the load generator found.
    pub outcome: Outcome,
}

/// How a proxy was loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pace {
    /// As fast as answers come.
    Closed,
    /// At the fixed rate.
    Rate,
}

impl Slice {
    /// Too much time was stolen: it says nothing.
    #[must_use]
    pub fn is_disturbed(&self) -> bool {
        self.stolen > STOLEN_MAX
    }

    /// Something failed, or nothing came.
    #[must_use]
    pub fn is_invalid(&self) -> bool {
        self.outcome.failures() > 0 || self.outcome.requests == 0
    }

    /// It counts.
    #[must_use]
    pub fn is_good(&self) -> bool {
        !self.is_disturbed() && !self.is_invalid()
    }

    fn per_request(&self, amount: u64) -> f64 {
        as_f64(amount) / as_f64(self.outcome.requests)
    }
}

impl PeerResults {
    /// Processor time per request, µs.
    #[must_use]
    pub fn cpu_us(&self) -> Option<Summary> {
        self.closed(|slice| slice.per_request(slice.cpu.user_us + slice.cpu.system_us))
    }

    /// Of it in user space.
    #[must_use]
    pub fn user_us(&self) -> Option<Summary> {
        self.closed(|slice| slice.per_request(slice.cpu.user_us))
    }

    /// Of it in the kernel.
    #[must_use]
    pub fn system_us(&self) -> Option<Summary> {
        self.closed(|slice| slice.per_request(slice.cpu.system_us))
    }

    /// Requests per second, as fast as answers came.
    #[must_use]
    pub fn throughput(&self) -> Option<Summary> {
        self.closed(|slice| slice.outcome.rate)
    }

    /// Voluntary context switches per request, as fast as answers came.
    #[must_use]
    pub fn switches(&self) -> Option<Summary> {
        self.closed(|slice| slice.per_request(slice.switches))
    }

    /// A latency at the fixed rate, µs.
    #[must_use]
    pub fn latency(&self, of: impl Fn(&Latency) -> f64) -> Option<Summary> {
        self.at(Pace::Rate, |slice| of(&slice.outcome.latency_us))
    }

    /// Whether it managed the fixed rate (97 % of it, in the median).
    #[must_use]
    pub fn holds(&self, rate: f64) -> bool {
        let reached = self.at(Pace::Rate, |slice| slice.outcome.rate);
        reached.is_none_or(|reached| reached.median >= rate * RATE_HELD)
    }

    /// How many slices were dropped because time was stolen.
    #[must_use]
    pub fn disturbed(&self) -> usize {
        self.slices
            .iter()
            .filter(|slice| slice.is_disturbed())
            .count()
    }

    /// The undisturbed slices in which something failed.
    pub fn invalid(&self) -> impl Iterator<Item = &Slice> {
        let undisturbed = self.slices.iter().filter(|slice| !slice.is_disturbed());
        undisturbed.filter(|slice| slice.is_invalid())
    }

    fn closed(&self, of: impl Fn(&Slice) -> f64) -> Option<Summary> {
        self.at(Pace::Closed, of)
    }

    fn at(&self, pace: Pace, of: impl Fn(&Slice) -> f64) -> Option<Summary> {
        let good = self
            .slices
            .iter()
            .filter(|it| it.pace == pace && it.is_good());
        Summary::of(good.map(of))
    }
}

impl ScenarioResults {
    /// What that proxy did.
    #[must_use]
    pub fn peer(&self, peer: Peer) -> Option<&PeerResults> {
        self.peers.iter().find(|results| results.peer == peer)
    }

    /// Median processor time per request of that proxy, µs.
    #[must_use]
    pub fn cpu_us(&self, peer: Peer) -> Option<f64> {
        Some(self.peer(peer)?.cpu_us()?.median)
    }
}

impl Results {
    /// A scenario in rounds of load, if it was run.
    #[must_use]
    pub fn scenario(&self, scenario: Scenario) -> Option<&ScenarioResults> {
        self.scenarios
            .iter()
            .find(|results| results.scenario == scenario)
    }
}

/// Idle connections and processes.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct IdleResults {
    /// What each proxy took.
    pub peers: Vec<IdlePeer>,
    /// Those that did not take part in any of it.
    pub left_out: Vec<LeftOut>,
}

/// What a proxy takes while nothing happens.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdlePeer {
    /// Which proxy.
    pub peer: Peer,
    /// Voluntary context switches per second without connections.
    pub wake_ups_per_second: Option<f64>,
    /// In clear text.
    pub plain: Option<IdleMemory>,
    /// Over TLS.
    pub tls: Option<IdleMemory>,
}

/// Resident memory, bytes.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IdleMemory {
    /// Without connections.
    pub at_rest: u64,
    /// With so many idle connections.
    pub with: Vec<(usize, u64)>,
}

impl IdleMemory {
    /// Bytes that each of the most connections takes.
    #[must_use]
    pub fn bytes_per_connection(&self) -> Option<f64> {
        let (count, resident) = self.with.last()?;
        let grown = as_f64(resident.saturating_sub(self.at_rest));
        Some(grown / as_f64(u64::try_from(*count).ok()?))
    }

    /// Resident memory with that many connections.
    #[must_use]
    pub fn resident(&self, connections: usize) -> Option<u64> {
        let found = self.with.iter().find(|(count, _)| *count == connections);
        found.map(|(_, resident)| *resident)
    }
}

/// Reloads under load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReloadResults {
    /// Requests per second.
    pub rate: f64,
    /// How many reloads were made of each in each round.
    pub reloads: u32,
    /// What happened to requests.
    pub peers: Vec<ReloadPeer>,
    /// Those that did not take part.
    pub left_out: Vec<LeftOut>,
}

/// Requests without and with reloads.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadPeer {
    /// Which proxy.
    pub peer: Peer,
    /// Both, as often as they were measured.
    pub rounds: Vec<ReloadRound>,
}

/// Requests without and with reloads, one behind the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ReloadRound {
    /// Without.
    pub before: Outcome,
    /// With.
    pub during: Outcome,
    /// Milliseconds from the change until it was seen in an answer, for each reload.
    pub in_force_ms: Vec<f64>,
    /// Larger share of time that was stolen in the two.
    pub stolen: f64,
}

impl ReloadPeer {
    /// All rounds without reloads; latencies are medians of theirs.
    #[must_use]
    pub fn before(&self) -> Outcome {
        Outcome::together(self.rounds.iter().map(|round| &round.before))
    }

    /// All rounds with reloads; latencies are medians of theirs.
    #[must_use]
    pub fn during(&self) -> Outcome {
        Outcome::together(self.rounds.iter().map(|round| &round.during))
    }
}

/// Counts of what happens in minutes are exact in an `f64`.
#[expect(clippy::cast_precision_loss, reason = "below 2^53")]
#[must_use]
pub fn as_f64(count: u64) -> f64 {
    count as f64
}

/// A slice is dropped when a larger share of it was stolen from either core.
pub const STOLEN_MAX: f64 = 0.06;
const RATE_HELD: f64 = 0.97;

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{Cpu, IdleMemory, Latency, Outcome, Pace, Peer, PeerResults, Slice};

    pub fn slice(round: usize, pace: Pace, stolen: f64, cpu_us: u64) -> Slice {
        Slice {
            round,
            pace,
            stolen,
            cpu: Cpu {
                user_us: cpu_us * 250,
                system_us: cpu_us * 750,
            },
            switches: 100,
            outcome: Outcome {
                requests: 1000,
                seconds: 1.0,
                rate: 1000.0,
                latency_us: Latency {
                    p50: 100.0,
                    p90: 150.0,
                    p99: 200.0,
                    p999: 300.0,
                    max: 900.0,
                    mean: 110.0,
                },
                ..Outcome::default()
            },
        }
    }

    pub fn peer(peer: Peer, slices: Vec<Slice>) -> PeerResults {
        PeerResults {
            peer,
            resident_at_rest: 10_000_000,
            resident_after: 12_000_000,
            system_calls: None,
            slices,
        }
    }

    #[test]
    fn disturbed_and_failed_slices_do_not_count_but_are_counted() {
        let mut failed = slice(3, Pace::Closed, 0.0, 1);
        failed.outcome.errors.insert("body".to_owned(), 1);
        let results = peer(
            Peer::Weir,
            vec![
                slice(0, Pace::Closed, 0.0, 20),
                slice(1, Pace::Closed, 0.060, 22),
                slice(2, Pace::Closed, 0.061, 90),
                failed,
                slice(0, Pace::Rate, 0.0, 90),
            ],
        );
        let cpu = results.cpu_us().unwrap();
        assert_eq!((cpu.median, cpu.min, cpu.max), (21.0, 20.0, 22.0));
        assert!((results.user_us().unwrap().median - 5.25).abs() < 1e-9);
        assert_eq!(results.disturbed(), 1);
        assert_eq!(results.invalid().count(), 1);
        assert!((results.latency(|it| it.p99).unwrap().median - 200.0).abs() < 1e-9);
    }

    #[test]
    fn a_slice_without_requests_is_invalid() {
        let mut empty = slice(0, Pace::Closed, 0.0, 1);
        empty.outcome.requests = 0;
        assert!(empty.is_invalid() && !empty.is_good());
    }

    #[test]
    fn a_rate_is_held_at_97_percent_and_not_below() {
        let mut slow = slice(0, Pace::Rate, 0.0, 1);
        slow.outcome.rate = 970.0;
        let results = peer(Peer::Weir, vec![slow]);
        assert!(results.holds(1000.0));
        assert!(!results.holds(1001.0));
    }

    #[test]
    fn memory_per_connection_is_what_has_grown() {
        let memory = IdleMemory {
            at_rest: 1_000,
            with: vec![(10, 9_000), (100, 21_000)],
        };
        assert!((memory.bytes_per_connection().unwrap() - 200.0).abs() < 1e-9);
        assert_eq!(memory.resident(10), Some(9_000));
        assert_eq!(memory.resident(11), None);
    }
}
