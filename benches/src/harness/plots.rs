//! The results as plots.

use crate::harness::load::Latency;
use crate::harness::results::{PeerResults, ReloadResults, Results, ScenarioResults};
use crate::harness::scenario::Peer;
use crate::plot::{Axis, Bar, Bars, Group, Lines, Scale, Series};

/// Every plot with its file name.
#[must_use]
pub fn plots(results: &Results) -> Vec<(String, String)> {
    let mut plots = vec![("cpu.svg".to_owned(), cpu(results).to_svg())];
    for scenario in &results.scenarios {
        let name = format!("latency-{}.svg", scenario.scenario.id());
        plots.push((name, latencies(scenario).to_svg()));
    }
    if let Some(reload) = &results.reload {
        plots.push(("reload.svg".to_owned(), reloads(reload).to_svg()));
    }
    plots
}

fn cpu(results: &Results) -> Bars {
    let groups = results.scenarios.iter().map(|scenario| Group {
        name: scenario.scenario.title().to_owned(),
        bars: scenario.peers.iter().filter_map(cpu_bar).collect(),
    });
    Bars {
        title: format!("Processor time per request, {}", results.date),
        measure: "µs of user and system time of the proxy, median, least and greatest; less is \
                  better"
            .to_owned(),
        groups: groups.collect(),
    }
}

fn cpu_bar(results: &PeerResults) -> Option<Bar> {
    let cpu = results.cpu_us()?;
    Some(Bar {
        label: results.peer.title().to_owned(),
        value: cpu.median,
        spread: Some((cpu.min, cpu.max)),
        highlight: results.peer == Peer::Weir,
    })
}

/// Latency over the share of requests that took longer: 50 %, 10 %, 1 %, 0.1 %.
fn latencies(scenario: &ScenarioResults) -> Lines {
    let series = scenario.peers.iter().map(|peer| {
        let at =
            |of: fn(&Latency) -> f64, slower: f64| Some((1.0 / slower, peer.latency(of)?.median));
        let points = [
            at(|it| it.p50, 0.5),
            at(|it| it.p90, 0.1),
            at(|it| it.p99, 0.01),
            at(|it| it.p999, 0.001),
        ];
        Series {
            name: peer.peer.title().to_owned(),
            points: points.into_iter().flatten().collect(),
            model: false,
        }
    });
    Lines {
        title: format!(
            "{}: latency at {:.0} requests/s",
            scenario.scenario.title(),
            scenario.rate
        ),
        x: Axis {
            title: "one of so many requests takes longer (2: p50, 10: p90, 100: p99, 1000: p99.9)"
                .to_owned(),
            scale: Scale::Logarithmic,
        },
        y: Axis {
            title: "latency, µs".to_owned(),
            scale: Scale::Logarithmic,
        },
        series: series.collect(),
    }
}

fn reloads(reload: &ReloadResults) -> Bars {
    let group = |name: &str, of: fn(&Latency) -> f64| {
        let bars = reload.peers.iter().flat_map(|entry| {
            let bar = |label: &str, value: f64| Bar {
                label: format!("{} {label}", entry.peer.title()),
                value,
                spread: None,
                highlight: entry.peer == Peer::Weir,
            };
            [
                bar("before", of(&entry.before().latency_us)),
                bar("with", of(&entry.during().latency_us)),
            ]
        });
        Group {
            name: name.to_owned(),
            bars: bars.collect(),
        }
    };
    Bars {
        title: "10,000 routes: latency before and with reloads".to_owned(),
        measure: format!("µs at {:.0} requests/s; less is better", reload.rate),
        groups: vec![group("p99", |it| it.p99), group("p99.9", |it| it.p999)],
    }
}
