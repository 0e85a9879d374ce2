//! The machine, and what a process holds.

use std::process::Command;

/// The memory of a process that is in RAM, in bytes.
pub fn resident(process: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the kernel says so");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1_024
}

pub fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

pub fn print() {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or(String::new(), |(_, value)| value.trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(0, |cores| cores.get());
    println!("processor  {} ({cores} cores)", field(&read("/proc/cpuinfo"), "model name"));
    println!("memory     {}", field(&read("/proc/meminfo"), "MemTotal"));
    println!("kernel     {}", read("/proc/sys/kernel/osrelease").trim());
    let folder = std::env::temp_dir();
    println!("files in   {}", folder.display());
    let version = Command::new("etcd").arg("--version").output();
    let version =
        version.map_or(String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned());
    println!("peer       etcd {}\n", field(&version, "etcd Version"));
}
