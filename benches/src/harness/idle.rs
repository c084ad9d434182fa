//! What idle connections and idle processes cost.

use std::time::Duration;

use anyhow::Result;

use crate::harness::load::{Background, Load};
use crate::harness::peers::Running;
use crate::harness::process::pause;
use crate::harness::procfs;
use crate::harness::results::{IdleMemory, IdlePeer, IdleResults, LeftOut, as_f64};
use crate::harness::rounds::{load_arguments, start_all};
use crate::harness::scenario::{Peer, Scenario};
use crate::harness::stage::Stage;

/// Numbers of connections that are held.
pub const CONNECTIONS: [usize; 2] = [2_000, 10_000];

/// Measures memory in clear text and over TLS, and wake-ups.
///
/// # Errors
/// On Ctrl-C. A proxy that fails is left out.
pub fn run(peers: &[Peer], stage: &Stage) -> Result<IdleResults> {
    let mut results = IdleResults::default();
    for scenario in [Scenario::Idle, Scenario::Tls] {
        let (running, left_out) = start_all(scenario, peers, stage)?;
        eprint!(
            "  {}:",
            if scenario.is_tls() {
                "TLS"
            } else {
                "clear text"
            }
        );
        if scenario == Scenario::Idle {
            results.left_out = left_out;
            let rates = wake_ups(&running)?;
            for (proxy, rate) in running.iter().zip(rates) {
                let wake_ups_per_second = Some(rate);
                let peer = proxy.peer;
                results.peers.push(IdlePeer {
                    peer,
                    wake_ups_per_second,
                    plain: None,
                    tls: None,
                });
            }
        }
        for (peer, memory) in memory(scenario, running, stage)? {
            let Some(entry) = results.peers.iter_mut().find(|entry| entry.peer == peer) else {
                continue;
            };
            match memory {
                Ok(memory) if scenario.is_tls() => entry.tls = Some(memory),
                Ok(memory) => entry.plain = Some(memory),
                Err(reason) => results.left_out.push(LeftOut { peer, reason }),
            }
        }
        eprintln!();
    }
    Ok(results)
}

/// Voluntary context switches per second of each, a minute after its last request.
fn wake_ups(running: &[Running]) -> Result<Vec<f64>> {
    pause(REST)?;
    let counts = || -> Vec<u64> {
        running
            .iter()
            .map(|proxy| procfs::voluntary_switches(&proxy.roots()))
            .collect()
    };
    let before = counts();
    pause(WATCH)?;
    let after = counts();
    let pairs = before.into_iter().zip(after);
    Ok(pairs
        .map(|(before, after)| as_f64(after.saturating_sub(before)) / WATCH.as_secs_f64())
        .collect())
}

type Memory = Vec<(Peer, Result<IdleMemory, String>)>;

/// All proxies hold their connections at the same time; they settle together.
fn memory(scenario: Scenario, running: Vec<Running>, stage: &Stage) -> Result<Memory> {
    let mut arguments = load_arguments(Scenario::Idle, stage)?;
    if scenario.is_tls() {
        let authority = stage.tls.authority.display().to_string();
        let tls = ["--tls", "--ca", &authority, "--server-name", "localhost"];
        arguments.extend(tls.map(str::to_owned));
    }
    let mut holders: Vec<Holder> = running
        .into_iter()
        .map(|proxy| Holder {
            load: Load::of(
                &stage.tools.load,
                &stage.path("load.log"),
                proxy.address,
                &arguments,
            ),
            memory: Ok(IdleMemory {
                at_rest: proxy.resident_at_rest,
                with: Vec::new(),
            }),
            proxy,
            held: Vec::new(),
        })
        .collect();
    let mut open = 0;
    for count in CONNECTIONS {
        for holder in &mut holders {
            holder.hold(count - open)?;
        }
        open = count;
        pause(SETTLE)?;
        for holder in &mut holders {
            holder.read(count);
        }
    }
    Ok(holders
        .into_iter()
        .map(|holder| (holder.proxy.peer, holder.memory))
        .collect())
}

struct Holder {
    load: Load,
    memory: Result<IdleMemory, String>,
    // Dropped before the proxy, so that it sees its clients leave.
    held: Vec<Background>,
    proxy: Running,
}

impl Holder {
    fn hold(&mut self, count: usize) -> Result<()> {
        if self.memory.is_err() {
            return Ok(());
        }
        eprint!(" {}", self.proxy.peer.id());
        match self.load.hold(count) {
            Ok(background) => self.held.push(background),
            Err(error) => {
                pause(Duration::ZERO)?;
                eprint!(" ({error:#})");
                self.memory = Err(format!("idle connections: {error:#}"));
            }
        }
        Ok(())
    }

    fn read(&mut self, count: usize) {
        let resident = self.proxy.resident_bytes();
        if let Ok(memory) = &mut self.memory {
            memory.with.push((count, resident));
        }
    }
}

/// Until the timers of the last request are over: connections to a service are given up after some
/// tens of seconds.
const REST: Duration = Duration::from_secs(60);
/// Until buffers of idle connections are given back: Weir's after three seconds.
const SETTLE: Duration = Duration::from_secs(10);
const WATCH: Duration = Duration::from_secs(10);
