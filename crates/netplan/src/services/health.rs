//! The answers on health check node ports, by which load balancers find nodes with endpoints.

/// What one health check node port answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    pub port: u16,
    /// Distinct addresses of ready endpoints on this node.
    pub local_endpoints: usize,
}

impl HealthCheck {
    pub fn status(&self, proxy_healthy: bool) -> u16 {
        if self.local_endpoints > 0 && proxy_healthy { 200 } else { 503 }
    }
}

/// The JSON that upstream's service proxy answers, to the space.
pub fn health_body(namespace: &str, name: &str, local_endpoints: usize, proxy_healthy: bool) -> String {
    format!(
        "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{namespace}\",\n\t\t\"name\": \"{name}\"\n\t}},\n\t\
         \"localEndpoints\": {local_endpoints},\n\t\"serviceProxyHealthy\": {proxy_healthy}\n}}"
    )
}
