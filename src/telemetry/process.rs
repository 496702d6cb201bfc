//! What the process itself uses, under the names that every Prometheus client has for it.

use metrics::{Unit, describe_gauge, gauge};

/// Clock ticks per second in `/proc`: fixed at 100 by Linux' interface to programs.
const TICKS: f64 = 100.0;

pub fn describe() {
    describe_gauge!("process_resident_memory_bytes", Unit::Bytes, "Memory in use.");
    describe_gauge!("process_open_fds", "Open file descriptors.");
    describe_gauge!("process_start_time_seconds", Unit::Seconds, "Start of the process, Unix time.");
}

/// Sets the gauges from `/proc`; where there is none, they stay away.
pub fn set() {
    if let Some(bytes) = resident_bytes() {
        gauge!("process_resident_memory_bytes").set(bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        // One of them is the folder just opened.
        let count = u64::try_from(open.count().saturating_sub(1)).unwrap_or(u64::MAX);
        gauge!("process_open_fds").set(crate::num::float(count));
    }
    if let Some(seconds) = started_at() {
        gauge!("process_start_time_seconds").set(seconds);
    }
}

fn resident_bytes() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

fn started_at() -> Option<f64> {
    let system = std::fs::read_to_string("/proc/stat").ok()?;
    let booted: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let own = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The name in parentheses may hold anything; the 22nd field is the 20th after it.
    let (_, fields) = own.rsplit_once(')')?;
    let ticks: f64 = fields.split_whitespace().nth(19)?.parse().ok()?;
    Some(booted + ticks / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_uses_memory_and_has_begun() {
        assert!(resident_bytes().unwrap() > 1e6);
        let now = crate::time::Clock::system().now().seconds_f64();
        let age = now - started_at().unwrap();
        assert!((-2.0..3600.0).contains(&age), "{age}");
    }
}
