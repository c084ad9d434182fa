//! CPU, memory, descriptors and start time of this process, read from `/proc` at each scrape.
//!
//! A value that cannot be read is left out; a scrape never fails for it.

use std::fs;

use prometheus::proto::{Metric, MetricFamily};

use crate::family::{Cell, counter_sample, gauge_sample, metric_family};
use crate::names::{self, Named};
use crate::sharded::{Counter, Gauge};

pub(crate) fn collect() -> Vec<MetricFamily> {
    let stat = fs::read_to_string("/proc/self/stat")
        .ok()
        .and_then(|text| parse_stat(&text));
    let cpu_seconds = stat
        .as_ref()
        .map(|stat| stat.cpu_ticks as f64 / TICKS_PER_SECOND);
    let started = stat
        .as_ref()
        .zip(boot_time())
        .map(|(stat, boot)| boot + stat.start_ticks as f64 / TICKS_PER_SECOND);
    [
        family::<Counter>(names::PROCESS_CPU_SECONDS, cpu_seconds.map(counter_sample)),
        family::<Gauge>(names::PROCESS_OPEN_FDS, open_fds().map(gauge_sample)),
        family::<Gauge>(names::PROCESS_MAX_FDS, max_fds().map(gauge_sample)),
        family::<Gauge>(
            names::PROCESS_RESIDENT_MEMORY,
            resident_bytes().map(gauge_sample),
        ),
        family::<Gauge>(names::PROCESS_START_TIME, started.map(gauge_sample)),
        family::<Gauge>(
            names::PROCESS_THREADS,
            stat.map(|stat| gauge_sample(stat.threads as f64)),
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

fn family<T: Cell>(named: Named<T>, sample: Option<Metric>) -> Option<MetricFamily> {
    Some(metric_family(
        named.name,
        named.help,
        T::KIND,
        vec![sample?],
    ))
}

#[derive(Debug, Eq, PartialEq)]
struct Stat {
    cpu_ticks: u64,
    threads: u64,
    start_ticks: u64,
}

/// Reads fields 14, 15, 20 and 22 of proc_pid_stat(5). The name of the program (field 2) may hold
/// spaces and brackets, so counting starts behind the last closing bracket.
fn parse_stat(text: &str) -> Option<Stat> {
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
    // `rest` begins with field 3.
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_ticks: field(14)? + field(15)?,
        threads: field(20)?,
        start_ticks: field(22)?,
    })
}

fn boot_time() -> Option<f64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("btime "))?
        .trim()
        .parse()
        .ok()
}

fn resident_bytes() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: f64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0)
}

fn open_fds() -> Option<f64> {
    // The directory being read is one of the descriptors it lists.
    Some(
        fs::read_dir("/proc/self/fd")
            .ok()?
            .count()
            .saturating_sub(1) as f64,
    )
}

fn max_fds() -> Option<f64> {
    let text = fs::read_to_string("/proc/self/limits").ok()?;
    let limits = text
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    limits.split_ascii_whitespace().next()?.parse().ok()
}

/// USER_HZ, which Linux fixes at 100 in what it shows to programs on every platform Weir runs on.
const TICKS_PER_SECOND: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_name_with_brackets_does_not_shift_fields() {
        let text = "42 (a ) b) S 1 42 42 0 -1 4194560 1 0 0 0 150 50 0 0 20 0 7 0 12345 1 2 3";
        let stat = Stat {
            cpu_ticks: 200,
            threads: 7,
            start_ticks: 12_345,
        };
        assert_eq!(parse_stat(text), Some(stat));
        assert_eq!(parse_stat("42 (a"), None);
        assert_eq!(parse_stat("42 (a) S 1"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_own_process_is_described() {
        let families = collect();
        assert_eq!(families.len(), 6);
        let resident = families
            .iter()
            .find(|f| f.name() == names::PROCESS_RESIDENT_MEMORY.name);
        let bytes = resident.map(|family| family.get_metric()[0].get_gauge().get_value());
        assert!(bytes.is_some_and(|bytes| bytes > 1e5), "{bytes:?}");
    }
}
