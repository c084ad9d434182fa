//! Reloads of 10,000 routes under load.

use std::time::Duration;

use anyhow::Result;

use crate::harness::load::Load;
use crate::harness::peers::Running;
use crate::harness::process::pause;
use crate::harness::procfs::StealClock;
use crate::harness::results::{LeftOut, ReloadPeer, ReloadResults, ReloadRound};
use crate::harness::rounds::{load_arguments, start_all};
use crate::harness::scenario::{Peer, Scenario};
use crate::harness::stage::Stage;
use crate::harness::statistics::two_digits;

/// Measures latency at a fixed rate without and with reloads, in interleaved rounds.
///
/// # Errors
/// On Ctrl-C. A proxy that fails is left out.
pub fn run(peers: &[Peer], stage: &Stage, rounds: usize) -> Result<ReloadResults> {
    let (running, mut left_out) = start_all(Scenario::Reload, peers, stage)?;
    let arguments = load_arguments(Scenario::Reload, stage)?;
    let mut loaded = Vec::new();
    for proxy in running {
        let log = stage.path("load.log");
        let load = Load::of(&stage.tools.load, &log, proxy.address, &arguments);
        match load.closed(1.0) {
            Ok(outcome) if outcome.failures() == 0 => loaded.push((proxy, load, outcome.rate)),
            Ok(outcome) => {
                let (peer, reason) = (proxy.peer, outcome.failures_text());
                left_out.push(LeftOut { peer, reason });
            }
            Err(error) => {
                pause(Duration::ZERO)?;
                let (peer, reason) = (proxy.peer, format!("{error:#}"));
                left_out.push(LeftOut { peer, reason });
            }
        }
    }
    let slowest = loaded
        .iter()
        .map(|(_, _, rate)| *rate)
        .fold(f64::INFINITY, f64::min);
    let rate = if slowest.is_finite() {
        two_digits(slowest / 2.0).min(RATE_MAX)
    } else {
        0.0
    };
    let mut results = ReloadResults {
        rate,
        reloads: RELOADS,
        peers: Vec::new(),
        left_out,
    };
    let mut measured: Vec<_> = loaded.iter().map(|_| Ok(Vec::new())).collect();
    for round in 0..rounds {
        eprintln!("  round {}:", round + 1);
        for ((proxy, load, _), measured) in loaded.iter_mut().zip(&mut measured) {
            let Ok(before) = measured else { continue };
            eprint!("    {}:", proxy.peer.title());
            match measure(proxy, load, rate, stage, round) {
                Ok(round) => before.push(round),
                Err(error) => {
                    pause(Duration::ZERO)?;
                    eprint!(" {error:#}");
                    *measured = Err(format!("{error:#}"));
                }
            }
            eprintln!();
        }
    }
    for ((proxy, ..), measured) in loaded.iter().zip(measured) {
        let peer = proxy.peer;
        match measured {
            Ok(rounds) => results.peers.push(ReloadPeer { peer, rounds }),
            Err(reason) => results.left_out.push(LeftOut { peer, reason }),
        }
    }
    Ok(results)
}

fn measure(
    proxy: &mut Running,
    load: &Load,
    rate: f64,
    stage: &Stage,
    round: usize,
) -> Result<ReloadRound> {
    let first = RELOADS * u32::try_from(round)? + 1;
    let generations = first..first + RELOADS;
    for generation in generations.clone() {
        proxy.write_reload(stage, generation)?;
    }
    let steal = StealClock::start();
    let before = load.at_rate(rate, BEFORE_SECONDS)?;
    let mut stolen = steal.share();
    let background = load.at_rate_in_background(rate, DURING_SECONDS_MAX)?;
    pause(Duration::from_millis(800))?;
    let steal = StealClock::start();
    let mut in_force_ms = Vec::new();
    for generation in generations {
        let took = proxy.reload(stage, generation)?;
        in_force_ms.push(took.as_secs_f64() * 1e3);
        eprint!(" {:.0}", took.as_secs_f64() * 1e3);
        pause(INTERVAL.saturating_sub(took))?;
    }
    stolen = stolen.max(steal.share());
    let during = background.finish()?;
    proxy.check_runs()?;
    Ok(ReloadRound {
        before,
        during,
        in_force_ms,
        stolen,
    })
}

/// How many reloads are made in a round.
const RELOADS: u32 = 20;
/// From one reload to the next, unless it takes longer.
const INTERVAL: Duration = Duration::from_millis(400);
const BEFORE_SECONDS: f64 = 8.0;
/// Twenty reloads of three seconds each would still fit.
const DURING_SECONDS_MAX: f64 = 60.0;
const RATE_MAX: f64 = 4_000.0;
