//! `SCALE.md` and its plots.

use std::fmt::Write as _;

use super::control_plane::{Fleet, SERVICES, Sizes};
use super::fit::{Fit, digits, fit};
use super::series::{Grows, Point};
use crate::plot::{Axis, Lines, Scale, Series};

/// A file that belongs to the report.
#[derive(Debug, Clone)]
pub struct Plot {
    /// Its name.
    pub name: String,
    /// SVG.
    pub text: String,
}

/// A chapter with its plots.
#[derive(Debug, Clone, Default)]
pub struct Chapter {
    /// Markdown.
    pub text: String,
    /// The plots that it shows.
    pub plots: Vec<Plot>,
}

/// The middle of some numbers; 0 of none.
#[must_use]
pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => sorted[odd / 2],
        even => f64::midpoint(sorted[even / 2 - 1], sorted[even / 2]),
    }
}

/// The chapter of a series at the gateway.
#[must_use]
pub fn gateway(grows: Grows, points: &[Point]) -> Chapter {
    let name = grows.as_str();
    let mut chapter = Chapter::default();
    let text = &mut chapter.text;
    let _ = writeln!(text, "## Requests: {name}\n\n{}\n", grows.about());
    let _ = writeln!(
        text,
        "| {name} | instructions per request | CPU µs per request, median (spread) | RSS MB |\n\
         |---:|---:|---:|---:|"
    );
    for point in points {
        let instructions = point
            .instructions
            .map_or("–".to_owned(), |it| thousands(it.round() as u64));
        let resident = point.resident as f64 / MEGABYTE;
        let (size, timed) = (thousands(point.size as u64), timed(point));
        let _ = writeln!(
            text,
            "| {size} | {instructions} | {timed} | {resident:.1} |"
        );
    }
    if let Some(woken) = points.iter().find_map(|point| point.wake_ups.as_ref()) {
        let size = points.last().map_or(0, |point| point.size);
        let all: u64 = woken.iter().map(|(_, count)| count).sum();
        let threads: Vec<_> = woken
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        let threads = match threads.is_empty() {
            true => String::new(),
            false => format!(" ({})", threads.join(", ")),
        };
        let _ = writeln!(
            text,
            "\nAt rest, ten seconds after the last request, with {} {name} and 32 open \
             connections: {all} wake-ups in ten seconds{threads}.",
            thousands(size as u64)
        );
    }
    let counted = points
        .iter()
        .filter_map(|it| Some((it.size as f64, it.instructions?)));
    let measures = [
        (
            "instructions per request",
            "instructions",
            counted.collect(),
        ),
        ("CPU µs per request", "cpu", series(points, cpu)),
        (
            "RSS MB",
            "",
            series(points, |it| it.resident as f64 / MEGABYTE),
        ),
    ];
    let rows = measures.map(|(unit, file, points): (_, &str, Vec<(f64, f64)>)| Row {
        unit,
        points,
        file: (!file.is_empty()).then(|| format!("scale-{name}-{file}.svg")),
    });
    models(&mut chapter, name, &rows, grows.beyond());
    chapter
}

/// A document with a chapter put in the place of the one of the same name, or at its end.
#[must_use]
pub fn spliced(document: &str, name: &str, chapter: &str) -> String {
    let (begin, end) = (
        format!("<!-- {name}: begin -->\n"),
        format!("<!-- {name}: end -->\n"),
    );
    let found = document
        .split_once(&begin)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let chapter = chapter.trim_end();
    match found {
        Some((before, after)) => format!("{before}{begin}{chapter}\n{end}{after}"),
        None => format!("{}\n\n{begin}{chapter}\n{end}", document.trim_end()),
    }
}

fn cpu(point: &Point) -> f64 {
    median(point.cpu_us.iter().copied())
}

fn series(points: &[Point], of: impl Fn(&Point) -> f64) -> Vec<(f64, f64)> {
    points
        .iter()
        .map(|point| (point.size as f64, of(point)))
        .filter(|point| point.1 > 0.0)
        .collect()
}

fn timed(point: &Point) -> String {
    if point.cpu_us.is_empty() {
        return match point.disturbed {
            0 => "–".to_owned(),
            all => format!("all {all} disturbed"),
        };
    }
    let low = point.cpu_us.iter().copied().fold(f64::INFINITY, f64::min);
    let high = point.cpu_us.iter().copied().fold(0.0, f64::max);
    let dropped = match point.disturbed {
        0 => String::new(),
        some => format!(", {some} disturbed"),
    };
    format!("{:.1} ({low:.1}–{high:.1}{dropped})", cpu(point))
}

/// The chapter of the control plane.
#[must_use]
pub fn control_plane(fleets: &[Fleet], sizes: Sizes) -> Chapter {
    let mut chapter = Chapter::default();
    let text = &mut chapter.text;
    let _ = writeln!(
        text,
        "## Control plane: proxies\n\nA real `weir-control-plane` on a real Consul agent. The \
         proxies are light ones in one process: each enrols (a certificate of its own), holds one \
         stream, answers each revision at once and reports its instance every 5 s, as a sidecar \
         does, but compiles nothing. They are spread over {SERVICES} services. Medians of five \
         changes (ten of memberships); processor time of the control plane alone, less what it \
         spends at rest; bytes are those of the streams before TLS.\n"
    );
    let _ = writeln!(
        text,
        "| proxies | join, CPU ms each | join, KB to all | join, memberships to all | at rest, CPU ms/s | Consul at rest, CPU ms/s | RSS MB | steal, worst |\n\
         |---:|---:|---:|---:|---:|---:|---:|---:|"
    );
    for fleet in fleets {
        let _ = writeln!(
            text,
            "| {} | {:.2} | {} | {} | {:.1} | {:.1} | {:.1} | {:.0} % |",
            thousands(fleet.proxies as u64),
            fleet.join_cpu_ms,
            thousands((fleet.join_bytes / 1e3).round() as u64),
            thousands(fleet.join_memberships.round() as u64),
            fleet.rest_cpu_ms,
            fleet.rest_consul_ms,
            fleet.resident as f64 / MEGABYTE,
            fleet.steal * 100.0
        );
    }
    type Of = fn(&Fleet) -> super::control_plane::Change;
    let changes: [(String, &str, Of); 3] = [
        (
            format!(
                "A document of 100 routes, {} bytes",
                thousands(sizes.small as u64)
            ),
            "small",
            |it| it.small,
        ),
        (
            format!(
                "A document of 1,000 routes, {} bytes",
                thousands(sizes.large as u64)
            ),
            "large",
            |it| it.large,
        ),
        (
            "An instance fails, or is well again".to_owned(),
            "membership",
            |it| it.membership,
        ),
    ];
    for (title, _, of) in &changes {
        let _ = writeln!(
            text,
            "\n{title}:\n\n| proxies | last proxy has it, ms | all have answered, ms | CPU ms | \
             KB for each proxy |\n|---:|---:|---:|---:|---:|"
        );
        for fleet in fleets {
            let change = of(fleet);
            let answered = match change.answered_ms {
                0.0 => "–".to_owned(),
                ms => format!("{ms:.1}"),
            };
            let _ = writeln!(
                text,
                "| {} | {:.1} | {answered} | {:.1} | {:.2} |",
                thousands(fleet.proxies as u64),
                change.last_ms,
                change.cpu_ms,
                change.bytes / fleet.proxies as f64 / 1e3
            );
        }
    }
    let points = |of: &dyn Fn(&Fleet) -> f64| -> Vec<(f64, f64)> {
        fleets
            .iter()
            .map(|fleet| (fleet.proxies as f64, of(fleet)))
            .filter(|point| point.1 > 0.0)
            .collect()
    };
    let mut rows = vec![
        Row {
            unit: "CPU ms for one more to join",
            points: points(&|it| it.join_cpu_ms),
            file: Some("scale-proxies-join.svg".to_owned()),
        },
        Row {
            unit: "CPU ms per second at rest",
            points: points(&|it| it.rest_cpu_ms),
            file: Some("scale-proxies-rest.svg".to_owned()),
        },
        Row {
            unit: "RSS MB",
            points: points(&|it| it.resident as f64 / MEGABYTE),
            file: None,
        },
    ];
    let units = [
        ["CPU ms, 100 routes", "last proxy ms, 100 routes"],
        ["CPU ms, 1,000 routes", "last proxy ms, 1,000 routes"],
        ["CPU ms, instance", "last proxy ms, instance"],
    ];
    for ((_, name, of), [cpu, last]) in changes.iter().zip(units) {
        rows.push(Row {
            unit: cpu,
            points: points(&|it| of(it).cpu_ms),
            file: Some(format!("scale-proxies-{name}.svg")),
        });
        rows.push(Row {
            unit: last,
            points: points(&|it| of(it).last_ms),
            file: None,
        });
    }
    models(&mut chapter, "proxies", &rows, &[10_000]);
    chapter
}

/// One measured quantity of a chapter.
struct Row {
    unit: &'static str,
    points: Vec<(f64, f64)>,
    /// Where it is plotted.
    file: Option<String>,
}

fn models(chapter: &mut Chapter, name: &str, rows: &[Row], beyond: &[usize]) {
    let fitted: Vec<(&Row, Fit)> = rows
        .iter()
        .filter_map(|row| Some((row, fit(&row.points)?)))
        .filter(|(row, _)| row.points.len() > 2)
        .collect();
    if fitted.is_empty() {
        return;
    }
    let text = &mut chapter.text;
    let heads: String = beyond
        .iter()
        .map(|size| format!(" at {} |", thousands(*size as u64)))
        .collect();
    let lines = "---:|".repeat(beyond.len());
    let _ = writeln!(
        text,
        "\n| model, n = {name} | | largest residual | last point, predicted without it |{heads}\n\
         |---|---|---:|---:|{lines}"
    );
    for (row, fit) in &fitted {
        let last = fit.last_predicted.map_or("–".to_owned(), |ratio| {
            format!("{:+.0} %", (ratio - 1.0) * 100.0)
        });
        let beyond: String = beyond
            .iter()
            .map(|size| format!(" {} |", digits(fit.model.at(*size as f64))))
            .collect();
        let _ = writeln!(
            text,
            "| {} | {} | {:.0} % | {last} |{beyond}",
            row.unit,
            fit.model,
            fit.residual_max * 100.0
        );
    }
    text.push('\n');
    for (row, fit) in &fitted {
        if let Some(file) = &row.file {
            let _ = writeln!(text, "![{}](plots/{file})", row.unit);
            let text = plot(name, row, fit, beyond);
            let name = file.clone();
            chapter.plots.push(Plot { name, text });
        }
    }
}

fn plot(name: &str, row: &Row, fit: &Fit, beyond: &[usize]) -> String {
    let first = row.points.first().map_or(1.0, |point| point.0);
    let last = beyond
        .last()
        .map_or(0.0, |size| *size as f64)
        .max(row.points.last().map_or(1.0, |point| point.0));
    let steps = 60;
    let model = (0..=steps).map(|step| {
        let size = first * (last / first).powf(f64::from(step) / f64::from(steps));
        (size, fit.model.at(size))
    });
    let points: Vec<f64> = row.points.iter().map(|point| point.1).collect();
    let (low, high) = (
        points.iter().copied().fold(f64::INFINITY, f64::min),
        points.iter().copied().fold(0.0, f64::max),
    );
    let lines = Lines {
        title: format!("{} over {name}", row.unit),
        x: Axis {
            title: name.to_owned(),
            scale: Scale::Logarithmic,
        },
        y: Axis {
            title: row.unit.to_owned(),
            scale: match high / low > 10.0 {
                true => Scale::Logarithmic,
                false => Scale::Linear,
            },
        },
        series: vec![
            Series {
                name: "measured".to_owned(),
                points: row.points.clone(),
                model: false,
            },
            Series {
                name: fit.model.to_string(),
                points: model.collect(),
                model: true,
            },
        ],
    };
    lines.to_svg()
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (nr, digit) in digits.chars().enumerate() {
        if nr > 0 && (digits.len() - nr).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

const MEGABYTE: f64 = 1e6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle() {
        assert!((median([3.0, 1.0, 2.0].into_iter()) - 2.0).abs() < 1e-9);
        assert!((median([4.0, 1.0, 2.0, 3.0].into_iter()) - 2.5).abs() < 1e-9);
        assert!(median(std::iter::empty()).abs() < 1e-9);
    }

    #[test]
    fn chapters_take_the_place_of_their_predecessors() {
        let one = spliced("# Scale\n", "a", "first\n");
        assert_eq!(
            one,
            "# Scale\n\n<!-- a: begin -->\nfirst\n<!-- a: end -->\n"
        );
        let two = spliced(&one, "b", "second");
        let again = spliced(&two, "a", "third");
        assert_eq!(again, two.replace("first", "third"));
    }

    #[test]
    fn numbers_are_grouped() {
        assert_eq!(thousands(0), "0");
        assert_eq!(thousands(999), "999");
        assert_eq!(thousands(1_234_567), "1,234,567");
    }

    #[test]
    fn a_chapter_has_tables_models_and_plots() {
        let point = |size: usize, disturbed| Point {
            size,
            instructions: Some(1_500.0 + size as f64),
            cpu_us: vec![20.0, 21.0, 22.0],
            disturbed,
            resident: 20_000_000,
            wake_ups: (size == 1_000).then(|| vec![("main".to_owned(), 2)]),
        };
        let points = [point(10, 0), point(100, 1), point(500, 0), point(1_000, 0)];
        let chapter = gateway(Grows::Routes, &points);
        for part in [
            "| 100 | 1,600 | 21.0 (20.0–22.0, 1 disturbed) | 20.0 |",
            "| instructions per request | 1500 + 1.000 · n | 0 % | +0 % | 51500 |",
            "| CPU µs per request | 21.00 | 0 % | +0 % | 21.00 |",
            "2 wake-ups in ten seconds (main 2)",
            "](plots/scale-routes-instructions.svg)",
        ] {
            assert!(chapter.text.contains(part), "{part}:\n{}", chapter.text);
        }
        assert_eq!(chapter.plots.len(), 2);
    }

    #[test]
    fn two_points_make_no_model() {
        let points = [1, 2].map(|size| Point {
            size,
            instructions: None,
            cpu_us: Vec::new(),
            disturbed: 3,
            resident: 0,
            wake_ups: None,
        });
        let chapter = gateway(Grows::Cores, &points);
        assert!(chapter.text.contains("| 1 | – | all 3 disturbed | 0.0 |"));
        assert!(!chapter.text.contains("model"));
    }
}
