//! What the kernel says of processes and cores: time used, time stolen, memory, wake-ups.
//!
//! Figures of a proxy are those of its process and all below it (a master and its worker), with all
//! their threads. Texts are parsed by functions of their own, so that tests need no processes.

use std::fs;
use std::io;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::harness::results::as_f64;

/// Processor time, microseconds; the kernel counts in hundredths of a second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// In user space.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
}

impl Cpu {
    /// What was used since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            user_us: self.user_us.saturating_sub(before.user_us),
            system_us: self.system_us.saturating_sub(before.system_us),
        }
    }
}

/// Processor time of these processes and all below them: of the living, and of children that ended
/// and were waited for.
#[must_use]
pub fn cpu(roots: &[i32]) -> Cpu {
    let mut cpu = Cpu::default();
    for pid in trees(roots) {
        let Some(stat) = read(pid, "stat").and_then(|text| Stat::parse(&text)) else {
            continue;
        };
        cpu.user_us += stat.user_ticks * TICK_US;
        cpu.system_us += stat.system_ticks * TICK_US;
    }
    cpu
}

/// Resident memory of these processes and all below them, bytes. Pages that a master shares with
/// its worker count for both.
#[must_use]
pub fn resident_bytes(roots: &[i32]) -> u64 {
    let statuses = trees(roots)
        .into_iter()
        .filter_map(|pid| read(pid, "status"));
    statuses
        .filter_map(|text| field(&text, "VmRSS:"))
        .map(|kilobytes| kilobytes * 1024)
        .sum()
}

/// How often any thread of these processes, and of all below them, slept and was woken.
#[must_use]
pub fn voluntary_switches(roots: &[i32]) -> u64 {
    let mut switches = 0;
    for pid in trees(roots) {
        let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for task in tasks.flatten() {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            switches += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
    }
    switches
}

/// These processes and all below them that live now.
#[must_use]
pub fn trees(roots: &[i32]) -> Vec<i32> {
    let parents = parents().unwrap_or_default();
    let mut found = roots.to_vec();
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        let children = parents.iter().filter(|(_, of)| *of == parent);
        for (child, _) in children {
            if !found.contains(child) {
                found.push(*child);
            }
        }
        next += 1;
    }
    found
}

/// A moment, with the time that was stolen from each core until then.
pub struct StealClock {
    began: Instant,
    stolen: Vec<u64>,
}

impl StealClock {
    /// Now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
            stolen: stolen_now(),
        }
    }

    /// The share of the time since then that was stolen from the core that lost most, 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        worst_share(
            &self.stolen,
            &stolen_now(),
            self.began.elapsed().as_secs_f64(),
        )
    }
}

fn stolen_now() -> Vec<u64> {
    stolen_ticks(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

fn worst_share(before: &[u64], after: &[u64], seconds: f64) -> f64 {
    let lost = before
        .iter()
        .zip(after)
        .map(|(then, now)| now.saturating_sub(*then));
    let ticks = u32::try_from(lost.max().unwrap_or(0)).unwrap_or(u32::MAX);
    let seconds_lost = f64::from(ticks) / TICKS_PER_SECOND;
    if seconds > 0.0 {
        seconds_lost / seconds
    } else {
        0.0
    }
}

/// Stolen ticks of each core, from the text of `/proc/stat`.
fn stolen_ticks(text: &str) -> Vec<u64> {
    let cores = text.lines().filter(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        name.strip_prefix("cpu")
            .is_some_and(|core| core.parse::<u32>().is_ok())
    });
    cores
        .map(|line| {
            let stolen = line.split_whitespace().nth(STEAL_COLUMN);
            stolen.and_then(|ticks| ticks.parse().ok()).unwrap_or(0)
        })
        .collect()
}

/// Ticks in which the machine was busy, and all ticks, of all cores together.
#[must_use]
pub fn busy_and_all() -> (u64, u64) {
    parse_busy(&fs::read_to_string("/proc/stat").unwrap_or_default())
}

/// The share of the time between two readings in which the machine was busy, 0 to 1.
#[must_use]
pub fn busy_share(before: (u64, u64), after: (u64, u64)) -> f64 {
    let all = after.1.saturating_sub(before.1);
    let busy = after.0.saturating_sub(before.0);
    if all == 0 {
        return 0.0;
    }
    as_f64(busy) / as_f64(all)
}

fn parse_busy(text: &str) -> (u64, u64) {
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "));
    let ticks = line.unwrap_or_default().split_whitespace();
    // user nice system idle iowait irq softirq steal; guests are in user already.
    let ticks: Vec<u64> = ticks.take(8).map(|it| it.parse().unwrap_or(0)).collect();
    let all = ticks.iter().sum();
    let idle: u64 = ticks.iter().skip(3).take(2).sum();
    (all - idle, all)
}

/// How many cores the text of `/proc/stat` names.
#[must_use]
pub fn cores(stat: &str) -> usize {
    stolen_ticks(stat).len()
}

struct Stat {
    parent: i32,
    user_ticks: u64,
    system_ticks: u64,
}

impl Stat {
    /// From the text of `/proc/PID/stat`. The name in parentheses may hold spaces and parentheses.
    fn parse(text: &str) -> Option<Self> {
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |own: usize, of_children: usize| {
            let own: u64 = fields.get(own)?.parse().ok()?;
            let of_children: u64 = fields.get(of_children)?.parse().ok()?;
            Some(own + of_children)
        };
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            user_ticks: ticks(11, 13)?,
            system_ticks: ticks(12, 14)?,
        })
    }
}

/// Every process that lives now, with its parent.
fn parents() -> io::Result<Vec<(i32, i32)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")?.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if let Some(stat) = read(pid, "stat").and_then(|text| Stat::parse(&text)) {
            found.push((pid, stat.parent));
        }
    }
    Ok(found)
}

fn read(pid: i32, file: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{file}")).ok()
}

/// The number behind a name in `/proc/PID/status`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// `USER_HZ`, which is 100 on every architecture that Weir is built for (proc(5)).
const TICKS_PER_SECOND: f64 = 100.0;
const TICK_US: u64 = 10_000;
/// In a line `cpuN user nice system idle iowait irq softirq steal …`.
const STEAL_COLUMN: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::{
        Cpu, Stat, busy_share, cpu, field, parse_busy, resident_bytes, stolen_ticks, trees,
        worst_share,
    };

    #[test]
    fn a_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194560 1 0 0 0 150 25 3 2 20 0 4 0 1 2 3";
        let stat = Stat::parse(text).unwrap();
        assert_eq!(stat.parent, 7);
        assert_eq!((stat.user_ticks, stat.system_ticks), (153, 27));
        assert!(Stat::parse("42 (cut off) S 7").is_none());
        assert!(Stat::parse("").is_none());
    }

    #[test]
    fn cores_are_read_and_their_sum_is_not() {
        let text = "cpu  9 9 9 9 9 9 9 30 0 0\ncpu0 1 1 1 1 1 1 1 10 0 0\n\
                    cpu1 1 1 1 1 1 1 1 20 0 0\nintr 5\n";
        assert_eq!(stolen_ticks(text), [10, 20]);
        assert!(stolen_ticks("").is_empty());
    }

    #[test]
    fn the_core_that_lost_most_decides() {
        // 12 hundredths of a second in two seconds.
        let share = worst_share(&[10, 20], &[13, 32], 2.0);
        assert!((share - 0.06).abs() < 1e-9, "{share}");
        assert!(worst_share(&[10], &[10], 0.0).abs() < 1e-9);
    }

    #[test]
    fn busy_is_all_but_idle_and_waiting() {
        let text = "cpu  10 1 20 60 5 1 1 2 7 7\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
        assert_eq!(parse_busy(text), (35, 100));
        assert!((busy_share((0, 0), (35, 100)) - 0.35).abs() < 1e-9);
        assert!(busy_share((1, 1), (1, 1)).abs() < 1e-9);
        assert_eq!(parse_busy(""), (0, 0));
    }

    #[test]
    fn status_fields_have_units_behind_them() {
        let text = "Name:\tx\nVmRSS:\t    1234 kB\nvoluntary_ctxt_switches:\t17\n\
                    nonvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(text, "VmRSS:"), Some(1234));
        assert_eq!(field(text, "voluntary_ctxt_switches:"), Some(17));
        assert_eq!(field(text, "VmSwap:"), None);
    }

    #[test]
    fn this_process_has_memory_and_a_tree() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident_bytes(&[own]) > 100_000);
        assert_eq!(trees(&[own])[0], own);
        let used = cpu(&[own]);
        assert_eq!(used.since(used), Cpu::default());
    }
}
