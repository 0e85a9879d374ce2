//! Statistics and metrics, read from the cgroups when they are asked for.

use std::sync::Arc;

use super::exec::in_network;
use super::sandboxes::own_network;
use super::{Container, Engine, Sandbox, info};
use crate::cgroup::{Pressure, Stats};
use crate::cri::{
    ContainerAttributes, ContainerMetrics, ContainerStats, CpuUsage, FilesystemIdentifier, FilesystemUsage,
    IoUsage, LinuxPodSandboxStats, MemoryUsage, Metric, MetricDescriptor, MetricType, NetworkInterfaceUsage,
    NetworkUsage, PodSandboxAttributes, PodSandboxMetrics, PodSandboxStats, ProcessUsage, PsiData, PsiStats,
    Result, SwapUsage, UInt64Value,
};

/// The interface that a pod's network is reached by.
const DEFAULT_INTERFACE: &str = "eth0";

fn value(value: Option<u64>) -> Option<UInt64Value> {
    value.map(|value| UInt64Value { value })
}

fn psi(pressure: Option<Pressure>) -> Option<PsiStats> {
    let data = |stall: crate::cgroup::Stall| PsiData {
        total: stall.total,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    };
    pressure.map(|pressure| PsiStats { full: Some(data(pressure.full)), some: Some(data(pressure.some)) })
}

fn cpu(stats: &Stats, timestamp: i64) -> CpuUsage {
    CpuUsage {
        timestamp,
        usage_core_nano_seconds: value(stats.cpu.usage_nanoseconds),
        // A rate needs two samples; the kubelet takes them itself.
        usage_nano_cores: None,
        psi: psi(stats.cpu.pressure.clone()),
    }
}

fn memory(stats: &Stats, timestamp: i64) -> MemoryUsage {
    let memory = &stats.memory;
    let available = memory.limit.zip(memory.working_set).map(|(limit, used)| limit.saturating_sub(used));
    MemoryUsage {
        timestamp,
        working_set_bytes: value(memory.working_set),
        available_bytes: value(available),
        usage_bytes: value(memory.usage),
        rss_bytes: value(memory.rss),
        page_faults: value(memory.faults),
        major_page_faults: value(memory.major_faults),
        psi: psi(memory.pressure.clone()),
    }
}

impl Engine {
    pub(super) async fn stats_of(&self, container: &Arc<Container>) -> Result<ContainerStats> {
        let (engine, container) = (self.clone(), container.clone());
        Engine::blocking(move || Ok(engine.read_stats(&container))).await
    }

    fn read_stats(&self, container: &Container) -> ContainerStats {
        let timestamp = self.now();
        let entry = info::container_entry(container);
        let record = container.record.lock().clone();
        let stats = self.0.cgroups.group(&record.cgroup).map(|group| group.stats()).unwrap_or_default();
        let images = &self.0.options.images;
        let written =
            record.holders.first().and_then(|owner| images.written_by(owner).ok()).unwrap_or_default();
        let swap_left =
            stats.memory.swap_limit.zip(stats.memory.swap).map(|(limit, used)| limit.saturating_sub(used));
        ContainerStats {
            attributes: Some(ContainerAttributes {
                id: entry.id,
                metadata: entry.metadata,
                labels: entry.labels,
                annotations: entry.annotations,
            }),
            cpu: Some(cpu(&stats, timestamp)),
            memory: Some(memory(&stats, timestamp)),
            writable_layer: Some(FilesystemUsage {
                timestamp,
                fs_id: Some(FilesystemIdentifier {
                    mountpoint: images.root().to_string_lossy().into_owned(),
                }),
                used_bytes: value(Some(written.bytes)),
                inodes_used: value(Some(written.inodes)),
            }),
            swap: Some(SwapUsage {
                timestamp,
                swap_available_bytes: value(swap_left),
                swap_usage_bytes: value(stats.memory.swap),
            }),
            io: Some(IoUsage { timestamp, psi: psi(stats.io_pressure) }),
        }
    }

    pub(super) async fn stats_of_sandbox(&self, sandbox: &Arc<Sandbox>) -> Result<PodSandboxStats> {
        let timestamp = self.now();
        let entry = info::sandbox_entry(sandbox);
        let config = sandbox.record.lock().config.clone().unwrap_or_default();
        let mut containers = Vec::new();
        for container in self.containers_of(&sandbox.id) {
            if container.state() == crate::cri::ContainerState::Running {
                containers.push(self.stats_of(&container).await?);
            }
        }
        let parent = config.linux.as_ref().map(|linux| linux.cgroup_parent.clone()).unwrap_or_default();
        let stats = self.0.cgroups.group(&parent).map(|group| group.stats()).unwrap_or_default();
        let network = match own_network(&config) {
            true => self.network_of(sandbox, timestamp).await,
            false => None,
        };
        Ok(PodSandboxStats {
            attributes: Some(PodSandboxAttributes {
                id: entry.id,
                metadata: entry.metadata,
                labels: entry.labels,
                annotations: entry.annotations,
            }),
            linux: Some(LinuxPodSandboxStats {
                cpu: Some(cpu(&stats, timestamp)),
                memory: Some(memory(&stats, timestamp)),
                network,
                process: Some(ProcessUsage { timestamp, process_count: value(stats.processes) }),
                containers,
                io: Some(IoUsage { timestamp, psi: psi(stats.io_pressure) }),
            }),
            windows: None,
        })
    }

    async fn network_of(&self, sandbox: &Sandbox, timestamp: i64) -> Option<NetworkUsage> {
        let read = || std::fs::read_to_string("/proc/thread-self/net/dev").unwrap_or_default();
        let text = in_network(Some(sandbox.netns()), read).await.ok()?;
        let mut interfaces = interfaces(&text);
        let default = interfaces.iter().position(|interface| interface.name == DEFAULT_INTERFACE);
        let default_interface = default.map(|index| interfaces.remove(index));
        Some(NetworkUsage { timestamp, default_interface, interfaces })
    }

    pub(super) async fn metrics(&self) -> Result<Vec<PodSandboxMetrics>> {
        let sandboxes: Vec<_> = self.0.tables.lock().sandboxes.values().cloned().collect();
        let mut metrics = Vec::new();
        for sandbox in sandboxes {
            let stats = self.stats_of_sandbox(&sandbox).await?;
            let linux = stats.linux.unwrap_or_default();
            let pod = Sample {
                cpu: linux.cpu,
                memory: linux.memory,
                labels: vec![sandbox.id.clone(), String::new()],
            };
            let container_metrics = linux
                .containers
                .into_iter()
                .map(|container| {
                    let id = container.attributes.map(|attributes| attributes.id).unwrap_or_default();
                    let labels = vec![sandbox.id.clone(), id.clone()];
                    let sample = Sample { cpu: container.cpu, memory: container.memory, labels };
                    ContainerMetrics { container_id: id, metrics: sample.metrics() }
                })
                .collect();
            metrics.push(PodSandboxMetrics {
                pod_sandbox_id: sandbox.id.clone(),
                metrics: pod.metrics(),
                container_metrics,
            });
        }
        Ok(metrics)
    }
}

/// The metrics: name, help, kind, and how the value is taken.
const METRICS: &[(&str, &str, MetricType, fn(&Sample) -> Option<UInt64Value>)] = &[
    ("container_cpu_usage_nanoseconds_total", "Processor time used.", MetricType::Counter, |sample| {
        sample.cpu.as_ref()?.usage_core_nano_seconds
    }),
    ("container_memory_usage_bytes", "Memory in use, page cache included.", MetricType::Gauge, |sample| {
        sample.memory.as_ref()?.usage_bytes
    }),
    (
        "container_memory_working_set_bytes",
        "Memory that is not easily given up.",
        MetricType::Gauge,
        |sample| sample.memory.as_ref()?.working_set_bytes,
    ),
    ("container_memory_rss", "Anonymous memory.", MetricType::Gauge, |sample| {
        sample.memory.as_ref()?.rss_bytes
    }),
    ("container_memory_failures_total", "Page faults.", MetricType::Counter, |sample| {
        sample.memory.as_ref()?.page_faults
    }),
];

struct Sample {
    cpu: Option<CpuUsage>,
    memory: Option<MemoryUsage>,
    labels: Vec<String>,
}

impl Sample {
    fn metrics(&self) -> Vec<Metric> {
        let timestamp = self.cpu.as_ref().map_or(0, |cpu| cpu.timestamp);
        METRICS
            .iter()
            .map(|(name, _, kind, take)| Metric {
                name: (*name).to_owned(),
                timestamp,
                metric_type: (*kind).into(),
                label_values: self.labels.clone(),
                value: take(self),
            })
            .collect()
    }
}

pub(super) fn descriptors() -> Vec<MetricDescriptor> {
    METRICS
        .iter()
        .map(|(name, help, ..)| MetricDescriptor {
            name: (*name).to_owned(),
            help: (*help).to_owned(),
            label_keys: vec!["pod_sandbox_id".to_owned(), "container_id".to_owned()],
        })
        .collect()
}

/// The counters of /proc/net/dev, without the loopback's.
fn interfaces(text: &str) -> Vec<NetworkInterfaceUsage> {
    text.lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, counters)| (name.trim(), counters))
        .filter(|(name, _)| *name != "lo")
        .filter_map(|(name, counters)| {
            let numbers: Vec<u64> =
                counters.split_whitespace().filter_map(|number| number.parse().ok()).collect();
            let at = |index: usize| value(numbers.get(index).copied());
            (numbers.len() >= 16).then(|| NetworkInterfaceUsage {
                name: name.to_owned(),
                rx_bytes: at(0),
                rx_errors: at(2),
                tx_bytes: at(8),
                tx_errors: at(10),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interfaces_are_counted() {
        let text = "Inter-|   Receive |  Transmit\n face |bytes packets|bytes\n    lo: 5 5 0 0 0 0 0 0 5 5 0 0 0 0 0 0\n\
                    eth0: 100 2 3 0 0 0 0 0 200 4 5 0 0 0 0 0\n";
        let found = interfaces(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (&*found[0].name, found[0].rx_bytes, found[0].rx_errors),
            ("eth0", value(Some(100)), value(Some(3)))
        );
        assert_eq!((found[0].tx_bytes, found[0].tx_errors), (value(Some(200)), value(Some(5))));
    }
}
