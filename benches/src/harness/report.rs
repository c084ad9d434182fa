//! The results as Markdown.

use std::fmt::Write as _;

use crate::harness::goals::{Goal, evaluate};
use crate::harness::results::{
    IdleMemory, IdleResults, LeftOut, Pace, PeerResults, ReloadResults, Results, ScenarioResults,
    as_f64,
};
use crate::harness::rounds::by_reason;
use crate::harness::scenario::{Peer, Scenario};
use crate::harness::statistics::Summary;

/// The whole report. `plots` is the directory of the plots as links see it, such as `plots/`.
#[must_use]
pub fn report(results: &Results, plots: &str) -> String {
    let mut text = String::new();
    let out = &mut text;
    line(out, &format!("## {}: `make bench`", results.date));
    line(out, "");
    line(out, &introduction(results));
    line(out, "");
    line(out, &versions(results));
    line(out, "");
    line(
        out,
        &format!("![Processor time per request]({plots}cpu.svg)"),
    );
    line(out, "");
    goals_table(out, &evaluate(results));
    for scenario in &results.scenarios {
        scenario_section(out, scenario, plots);
    }
    if let Some(idle) = &results.idle {
        idle_section(out, idle);
    }
    if let Some(reload) = &results.reload {
        reload_section(out, reload, plots);
    }
    text
}

fn introduction(results: &Results) -> String {
    format!(
        "Every proxy has one thread on core 0; origin and load generator have core 1. All \
         run, one at a time is loaded, in {} interleaved rounds of {} s as fast as answers \
         come (CPU, requests/s) and {} s at one fixed rate (latencies, counted from the \
         moment when a request was to be sent, so waiting for a slow one counts). The rate is \
         half of what the slowest managed. CPU is utime + stime of all threads of the proxy ÷ \
         verified responses: median [least–greatest] of the rounds. Rounds in which more than \
         6 % of the time of a core was stolen by the host are dropped, counted and taken \
         again. Every response is verified (status, length, content); a round with any error \
         does not count and is shown. Access logs: nginx `combined`, buffered, to a file; \
         HAProxy `httplog` over UDP to a socket that nobody reads; Envoy's default format to \
         a file; Weir JSON to a file. The bare proxies have none, and neither routes, metrics \
         nor limits. TLS 1.3 has the same certificate (ECDSA P-256) and cipher suite \
         (TLS_AES_128_GCM_SHA256, X25519) for all. RSS is the sum over all processes of a \
         proxy.",
        results.rounds, results.seconds, results.seconds
    )
}

fn versions(results: &Results) -> String {
    let versions = results.versions.iter();
    let versions: Vec<String> = versions
        .map(|(name, version)| format!("{name} {version}"))
        .collect();
    format!(
        "`{}` on {}. {}.",
        results.command,
        results.machine,
        versions.join("; ")
    )
}

fn goals_table(out: &mut String, goals: &[Goal]) {
    let met = goals
        .iter()
        .filter(|goal| goal.is_met() == Some(true))
        .count();
    let missed = goals
        .iter()
        .filter(|goal| goal.is_met() == Some(false))
        .count();
    let missing = goals.len() - met - missed;
    line(out, "### Goals");
    line(out, "");
    line(
        out,
        &format!("{met} met, {missed} missed, {missing} not measured."),
    );
    line(out, "");
    line(out, "| goal | at most | measured | |");
    line(out, "|---|---|---|---|");
    for goal in goals {
        let verdict = match goal.is_met() {
            Some(true) => "met",
            Some(false) => "**missed**",
            None => "not measured",
        };
        let unit = if goal.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", goal.unit)
        };
        let decimals = if goal.unit.is_empty() { 2 } else { 1 };
        let measured = match goal.measured {
            Some(value) if value.is_finite() => format!("{}{unit}", ratio(value, goal.bound)),
            Some(_) => "failures".to_owned(),
            None => "–".to_owned(),
        };
        let bound = goal.bound;
        line(
            out,
            &format!(
                "| {} | {bound:.decimals$}{unit} | {measured} | {verdict} |",
                goal.text
            ),
        );
    }
    line(out, "");
}

/// Two decimals, and three where two would hide on which side of the bound it lies.
fn ratio(value: f64, bound: f64) -> String {
    let hidden = value > bound && format!("{value:.2}") == format!("{bound:.2}");
    if hidden {
        format!("{value:.3}")
    } else {
        format!("{value:.2}")
    }
}

fn scenario_section(out: &mut String, results: &ScenarioResults, plots: &str) {
    let scenario = results.scenario;
    line(
        out,
        &format!("### {} (`{}`)", scenario.title(), scenario.id()),
    );
    line(out, "");
    line(out, scenario.remarks());
    line(out, &format!("Load: `weir-load {}`.", results.load));
    if results.busy > BUSY_SAID {
        let percent = results.busy * 100.0;
        let warning = "other processes used so much of the two cores before it";
        line(out, &format!("**Disturbed:** {warning}: {percent:.0} %."));
    }
    if results.rate > 0.0 {
        line(
            out,
            &format!("Latencies at {} requests/s.", whole(results.rate)),
        );
    }
    line(out, "");
    let weir = results.cpu_us(Peer::Weir);
    let counted = results.peers.iter().any(|peer| peer.system_calls.is_some());
    let mut head =
        "| proxy | CPU µs per request | user | system | Weir ÷ it | requests/s | p50 µs \
                    | p99 µs | p99.9 µs | RSS MB at rest → after | switches per request |"
            .to_owned();
    let mut rule = "|---|---|---|---|---|---|---|---|---|---|---|".to_owned();
    if counted {
        head += " system calls per request |";
        rule += "---|";
    }
    line(out, &head);
    line(out, &rule);
    for peer in by_cpu(&results.peers) {
        let mut row = peer_row(peer, results.rate, weir);
        if counted {
            let calls = peer
                .system_calls
                .map_or("–".to_owned(), |calls| format!("{calls:.2}"));
            let _ = write!(row, " {calls} |");
        }
        line(out, &row);
    }
    line(out, "");
    notes(out, results);
    line(
        out,
        &format!("![Latencies]({plots}latency-{}.svg)", scenario.id()),
    );
    line(out, "");
}

fn by_cpu(peers: &[PeerResults]) -> Vec<&PeerResults> {
    let mut sorted: Vec<&PeerResults> = peers.iter().collect();
    let cpu = |peer: &PeerResults| peer.cpu_us().map_or(f64::INFINITY, |cpu| cpu.median);
    sorted.sort_by(|one, other| cpu(one).total_cmp(&cpu(other)));
    sorted
}

fn peer_row(peer: &PeerResults, rate: f64, weir: Option<f64>) -> String {
    let name = named(peer.peer);
    let cpu = peer.cpu_us();
    let median = |summary: Option<Summary>, decimals: usize| {
        summary.map_or("–".to_owned(), |it| format!("{:.decimals$}", it.median))
    };
    let spread = cpu.map_or("–".to_owned(), |cpu| {
        format!("{:.2} [{:.2}–{:.2}]", cpu.median, cpu.min, cpu.max)
    });
    let share = match (weir, cpu) {
        (Some(weir), Some(cpu)) => format!("{:.2}", weir / cpu.median),
        _ => "–".to_owned(),
    };
    let requests = peer
        .throughput()
        .map_or("–".to_owned(), |it| whole(it.median));
    let late = if peer.holds(rate) {
        ""
    } else {
        " (rate not held)"
    };
    format!(
        "| {name} | {spread} | {} | {} | {share} | {requests} | {}{late} | {} | {} | {} → {} | {} |",
        median(peer.user_us(), 2),
        median(peer.system_us(), 2),
        median(peer.latency(|it| it.p50), 0),
        median(peer.latency(|it| it.p99), 0),
        median(peer.latency(|it| it.p999), 0),
        megabytes(peer.resident_at_rest),
        megabytes(peer.resident_after),
        median(peer.switches(), 3),
    )
}

fn notes(out: &mut String, results: &ScenarioResults) {
    let dropped = results.peers.iter().filter(|peer| peer.disturbed() > 0);
    let dropped: Vec<String> = dropped
        .map(|peer| {
            format!(
                "{} of {} of {}",
                peer.disturbed(),
                peer.slices.len(),
                peer.peer.title()
            )
        })
        .collect();
    if !dropped.is_empty() {
        line(
            out,
            &format!("Slices dropped for stolen time: {}.", dropped.join(", ")),
        );
        line(out, "");
    }
    for peer in &results.peers {
        for slice in peer.invalid() {
            let pace = match slice.pace {
                Pace::Closed => "as fast as answers came",
                Pace::Rate => "at the rate",
            };
            let what = match slice.outcome.requests {
                0 => "no request was answered".to_owned(),
                requests => format!("{} in {requests} requests", slice.outcome.failures_text()),
            };
            let (name, round) = (peer.peer.title(), slice.round + 1);
            line(
                out,
                &format!("**Invalid:** {name}, round {round}, {pace}: {what}."),
            );
            line(out, "");
        }
    }
    left_out(out, &results.left_out);
}

fn left_out(out: &mut String, entries: &[LeftOut]) {
    for (reason, peers) in by_reason(entries) {
        let names: Vec<&str> = peers.into_iter().map(Peer::title).collect();
        line(out, &format!("Left out: {}: {reason}.", names.join(", ")));
        line(out, "");
    }
}

fn idle_section(out: &mut String, idle: &IdleResults) {
    heading(out, Scenario::Idle);
    line(
        out,
        "| proxy | KB per connection | KB per TLS connection | RSS MB at rest | with 2,000 | with \
         10,000 | with 2,000 over TLS | with 10,000 over TLS | wake-ups per second |",
    );
    line(out, "|---|---|---|---|---|---|---|---|---|");
    for entry in &idle.peers {
        let each = |memory: &Option<IdleMemory>| {
            let bytes = memory.as_ref().and_then(IdleMemory::bytes_per_connection);
            bytes.map_or("–".to_owned(), |bytes| format!("{:.1}", bytes / 1024.0))
        };
        let with = |memory: &Option<IdleMemory>, count| {
            let resident = memory.as_ref().and_then(|memory| memory.resident(count));
            resident.map_or("–".to_owned(), megabytes)
        };
        let at_rest = entry
            .plain
            .as_ref()
            .map_or("–".to_owned(), |it| megabytes(it.at_rest));
        let wake_ups = entry
            .wake_ups_per_second
            .map_or("–".to_owned(), |it| format!("{it:.1}"));
        let row = format!(
            "| {} | {} | {} | {at_rest} | {} | {} | {} | {} | {wake_ups} |",
            named(entry.peer),
            each(&entry.plain),
            each(&entry.tls),
            with(&entry.plain, 2_000),
            with(&entry.plain, 10_000),
            with(&entry.tls, 2_000),
            with(&entry.tls, 10_000),
        );
        line(out, &row);
    }
    line(out, "");
    left_out(out, &idle.left_out);
}

fn reload_section(out: &mut String, reload: &ReloadResults, plots: &str) {
    heading(out, Scenario::Reload);
    let rounds = reload.peers.iter().map(|entry| entry.rounds.len()).max();
    line(
        out,
        &format!(
            "{} reloads of each in each of {} interleaved rounds, at {} requests/s over 64 \
             connections; latencies are medians of the rounds.",
            reload.reloads,
            rounds.unwrap_or(0),
            whole(reload.rate)
        ),
    );
    line(out, "");
    line(
        out,
        "| proxy | p50 µs before → with | p99 | p99.9 | greatest | failures | connections opened | \
         ms until in force [least–greatest] |",
    );
    line(out, "|---|---|---|---|---|---|---|---|");
    for entry in &reload.peers {
        let (without, with) = (entry.before(), entry.during());
        let (before, during) = (&without.latency_us, &with.latency_us);
        let pair = |before: f64, during: f64| format!("{before:.0} → {during:.0}");
        let in_force = entry.rounds.iter().flat_map(|round| &round.in_force_ms);
        let in_force = Summary::of(in_force.copied()).map_or("–".to_owned(), |it| {
            format!("{:.0} [{:.0}–{:.0}]", it.median, it.min, it.max)
        });
        let failures = match with.failures() {
            0 => "0".to_owned(),
            _ => format!(
                "{} beside {} answers; {} of them on a connection that was closed while idle",
                with.failures_text(),
                whole(as_f64(with.requests)),
                with.closed_before_answer
            ),
        };
        let row = format!(
            "| {} | {} | {} | {} | {} | {failures} | {} | {in_force} |",
            named(entry.peer),
            pair(before.p50, during.p50),
            pair(before.p99, during.p99),
            pair(before.p999, during.p999),
            pair(before.max, during.max),
            with.connections_opened,
        );
        line(out, &row);
    }
    line(out, "");
    let stolen = reload
        .peers
        .iter()
        .flat_map(|entry| &entry.rounds)
        .map(|round| round.stolen)
        .fold(0.0, f64::max);
    line(
        out,
        &format!("Most time stolen from a core: {:.1} %.", stolen * 100.0),
    );
    line(out, "");
    left_out(out, &reload.left_out);
    line(out, &format!("![Reload]({plots}reload.svg)"));
    line(out, "");
}

fn heading(out: &mut String, scenario: Scenario) {
    line(
        out,
        &format!("### {} (`{}`)", scenario.title(), scenario.id()),
    );
    line(out, "");
    line(out, scenario.remarks());
    line(out, "");
}

fn named(peer: Peer) -> String {
    match peer {
        Peer::Weir => "**Weir**".to_owned(),
        other => other.title().to_owned(),
    }
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1}", as_f64(bytes) / (1024.0 * 1024.0))
}

/// A whole number with commas between thousands.
fn whole(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Less than this share of the machine is what proxies and kernel do while idle.
const BUSY_SAID: f64 = 0.05;

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{ratio, report, whole};
    use crate::harness::load::{Latency, Outcome};
    use crate::harness::results::tests::{peer, slice};
    use crate::harness::results::{
        IdleMemory, IdlePeer, IdleResults, LeftOut, Pace, ReloadPeer, ReloadResults, ReloadRound,
        Results, ScenarioResults,
    };
    use crate::harness::scenario::{Peer, Scenario};

    /// Everything that can be in a report, once.
    fn results() -> Results {
        let mut failed = slice(1, Pace::Rate, 0.0, 1);
        failed.outcome.errors.insert("status".to_owned(), 3);
        let mut late = slice(0, Pace::Rate, 0.0, 1);
        late.outcome.rate = 500.0;
        let weir = vec![
            slice(0, Pace::Closed, 0.0, 20),
            slice(0, Pace::Rate, 0.0, 30),
            slice(1, Pace::Closed, 0.2, 90),
            slice(1, Pace::Closed, 0.0, 22),
            failed,
        ];
        let nginx = vec![slice(0, Pace::Closed, 0.0, 18), late];
        let left = |peer, reason: &str| LeftOut {
            peer,
            reason: reason.to_owned(),
        };
        let scenario = ScenarioResults {
            scenario: Scenario::H1,
            load: "--protocol h1 --path /1k".to_owned(),
            rate: 1000.0,
            busy: 0.25,
            peers: vec![peer(Peer::Weir, weir), peer(Peer::Nginx, nginx)],
            left_out: vec![left(Peer::Envoy, "did not start: no such file")],
        };
        let memory = |each: u64| IdleMemory {
            at_rest: 16 << 20,
            with: vec![
                (2_000, (16 << 20) + 2_000 * each),
                (10_000, (16 << 20) + 10_000 * each),
            ],
        };
        let idle = IdlePeer {
            peer: Peer::Weir,
            wake_ups_per_second: Some(0.0),
            plain: Some(memory(2_048)),
            tls: None,
        };
        let outcome = |p99| Outcome {
            requests: 1000,
            latency_us: Latency {
                p50: 90.0,
                p99,
                p999: 500.0,
                max: 900.0,
                ..Latency::default()
            },
            connections_opened: 64,
            ..Outcome::default()
        };
        let round = |before, during, in_force_ms| ReloadRound {
            before: outcome(before),
            during: outcome(during),
            in_force_ms,
            stolen: 0.01,
        };
        let rounds = vec![
            round(200.0, 220.0, vec![30.0, 40.0]),
            round(7_000.0, 230.0, vec![35.0]),
            round(190.0, 210.0, Vec::new()),
        ];
        let reload = ReloadPeer {
            peer: Peer::Weir,
            rounds,
        };
        Results {
            date: "2026-11-21 15:04 UTC".to_owned(),
            command: "weir-bench --rounds 2".to_owned(),
            machine: "a machine".to_owned(),
            versions: [("nginx".to_owned(), "1.22.1".to_owned())].into(),
            rounds: 2,
            seconds: 2.0,
            scenarios: vec![scenario],
            idle: Some(IdleResults {
                peers: vec![idle],
                left_out: vec![left(Peer::Epoll, "idle connections: closed")],
            }),
            reload: Some(ReloadResults {
                rate: 1000.0,
                reloads: 3,
                peers: vec![reload],
                left_out: vec![left(Peer::Hyper, "has no routes")],
            }),
        }
    }

    /// `WEIR_UPDATE=1` writes the expected text anew.
    #[test]
    fn the_report_of_everything() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/report.md");
        let text = report(&results(), "plots/");
        if std::env::var_os("WEIR_UPDATE").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(path).unwrap());
    }

    #[test]
    fn what_lies_past_the_bound_is_seen_to() {
        assert_eq!(ratio(0.9512, 0.95), "0.951");
        assert_eq!(ratio(0.9488, 0.95), "0.95");
        assert_eq!(ratio(1.2, 0.95), "1.20");
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(whole(999.4), "999");
        assert_eq!(whole(1_000.0), "1,000");
        assert_eq!(whole(1_234_567.0), "1,234,567");
    }
}
