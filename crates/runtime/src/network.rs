//! What the engine asks of whoever runs the pod network.

use std::net::IpAddr;
use std::path::Path;

use crate::cri::PodSandboxConfig;

/// A sandbox as the network sees it.
#[derive(Clone, Copy)]
pub struct Attachment<'a> {
    pub sandbox: &'a str,
    /// The sandbox's network namespace, bound to a file.
    pub netns: &'a Path,
    pub config: &'a PodSandboxConfig,
}

/// The network of pods. Sandboxes on the host's network never come here.
#[tonic::async_trait]
pub trait PodNetwork: Send + Sync + 'static {
    /// Connects a sandbox. The first address is the pod's primary one.
    async fn attach(&self, pod: Attachment<'_>) -> Result<Vec<IpAddr>, String>;

    /// Disconnects it. The namespace may be gone already; being asked twice is harmless.
    async fn detach(&self, pod: Attachment<'_>) -> Result<(), String>;

    /// Whether pods can be connected, and if not, why.
    async fn ready(&self) -> Result<(), String> {
        Ok(())
    }

    /// The range of addresses for this node's pods, when the kubelet hears of it.
    async fn configure(&self, _pod_cidr: &str) -> Result<(), String> {
        Ok(())
    }
}

/// No network: sandboxes have a loopback interface and nothing else.
pub struct Loopback;

#[tonic::async_trait]
impl PodNetwork for Loopback {
    async fn attach(&self, _: Attachment<'_>) -> Result<Vec<IpAddr>, String> {
        Ok(Vec::new())
    }

    async fn detach(&self, _: Attachment<'_>) -> Result<(), String> {
        Ok(())
    }
}
