//! What a group has used.

use std::path::Path;

/// Figures of one group. `None` is what the machine does not tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stats {
    pub cpu: CpuStats,
    pub memory: MemoryStats,
    pub io_pressure: Option<Pressure>,
    pub processes: Option<u64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct CpuStats {
    pub usage_nanoseconds: Option<u64>,
    pub pressure: Option<Pressure>,
}

/// In bytes, but for the faults.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MemoryStats {
    pub usage: Option<u64>,
    /// Usage without the file pages that the kernel would give up first.
    pub working_set: Option<u64>,
    pub rss: Option<u64>,
    pub faults: Option<u64>,
    pub major_faults: Option<u64>,
    pub limit: Option<u64>,
    pub swap: Option<u64>,
    pub swap_limit: Option<u64>,
    pub pressure: Option<Pressure>,
}

/// Pressure stall information: `some` and `full`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pressure {
    pub some: Stall,
    pub full: Stall,
}

/// Averages in percent, and the total in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Stall {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total: u64,
}

impl Pressure {
    pub(super) fn read(path: &Path) -> Option<Pressure> {
        Pressure::parse(&std::fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Pressure> {
        let line = |kind: &str| {
            let mut stall = Stall::default();
            for word in text.lines().find(|line| line.starts_with(kind))?.split(' ').skip(1) {
                let (key, value) = word.split_once('=')?;
                match key {
                    "avg10" => stall.avg10 = value.parse().ok()?,
                    "avg60" => stall.avg60 = value.parse().ok()?,
                    "avg300" => stall.avg300 = value.parse().ok()?,
                    "total" => stall.total = value.parse().ok()?,
                    _ => {}
                }
            }
            Some(stall)
        };
        Some(Pressure { some: line("some")?, full: line("full").unwrap_or_default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pressure_is_parsed() {
        let text = "some avg10=1.50 avg60=0.25 avg300=0.00 total=123\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let pressure = Pressure::parse(text).unwrap();
        assert_eq!(pressure.some, Stall { avg10: 1.5, avg60: 0.25, avg300: 0.0, total: 123 });
        assert_eq!(pressure.full.total, 7);
        assert_eq!(Pressure::parse("nonsense"), None);
    }
}
