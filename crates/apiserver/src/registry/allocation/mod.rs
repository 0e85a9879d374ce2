//! What a service gets from the cluster: addresses and ports, reserved before the service is written.
//!
//! A write reserves what its new state holds beyond the old one, and gives it back if it fails; once it has succeeded
//! it gives back what the old state held beyond the new one. A crash in between leaves a value taken, never double.

mod claims;
mod ranges;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use api::status::Qualified;
use api::{Status, Value};
use grammar::field::{Error, ErrorList};
use kinds::Node;
use serde_json::json;

use super::{Call, Registry};
use claims::{Claim, Owner, Refusal};
pub use ranges::{Cidr, Ranges};

/// What a write has reserved so far.
pub(super) struct Reserved {
    owner: Owner,
    claims: Vec<Claim>,
    dry_run: bool,
}

impl Registry {
    /// Fills in and reserves what `new` (of the stored version) needs.
    pub(super) async fn reserve(
        &self,
        call: &Call,
        new: &mut Value,
        old: Option<&Value>,
        dry_run: bool,
    ) -> Result<Option<Reserved>, Status> {
        if call.resource.kind.allocates.is_empty() || !call.info.subresource.is_empty() {
            return Ok(None);
        }
        adopt(new, old.unwrap_or(&Value::Null));
        families(new, old.unwrap_or(&Value::Null)).map_err(|errors| invalid(new, errors))?;
        let before = old.map(held).unwrap_or_default();
        let mut reserved = Reserved { owner: owner(new), claims: Vec::new(), dry_run };
        let filled = match self.addresses(new, &before, &mut reserved).await {
            Ok(()) => self.ports(new, &before, &mut reserved).await,
            refused => refused,
        };
        match filled {
            Ok(()) => Ok(Some(reserved)),
            Err(status) => {
                self.give_back(Some(reserved)).await;
                Err(status)
            }
        }
    }

    /// Ends a reservation whose write failed.
    pub(super) async fn give_back(&self, reserved: Option<Reserved>) {
        if let Some(reserved) = reserved.filter(|reserved| !reserved.dry_run) {
            self.release(reserved.claims, &reserved.owner).await;
        }
    }

    /// Gives back what `old` held and `new` does not. Without a new state that is everything.
    pub(super) async fn release_unheld(&self, call: &Call, old: &Value, new: Option<&Value>) {
        if call.resource.kind.allocates.is_empty() {
            return;
        }
        let kept = new.map(held).unwrap_or_default();
        self.release(held(old).difference(&kept).copied(), &owner(old)).await;
    }

    async fn addresses(
        &self,
        new: &mut Value,
        before: &BTreeSet<Claim>,
        reserved: &mut Reserved,
    ) -> Result<(), Status> {
        let spec = &new["spec"];
        if !needs_address(spec) || spec["clusterIP"] == "None" || spec["clusterIPs"][0] == "None" {
            return Ok(());
        }
        let given = spec["clusterIPs"][0].as_str().unwrap_or_default().to_owned();
        let refused = |new: &Value, why: String| {
            let root = Node::root(new);
            let error = root.child("spec").child("clusterIPs").invalid(why);
            invalid(new, error)
        };
        if given.is_empty() {
            let ip = self.any_address(reserved).await?;
            new["spec"]["clusterIP"] = ip.to_string().into();
            new["spec"]["clusterIPs"] = json!([ip.to_string()]);
            return Ok(());
        }
        // What is no address is for validation to tell.
        let Ok(ip) = given.parse::<Ipv4Addr>() else { return Ok(()) };
        if before.contains(&Claim::Address(ip)) {
            return Ok(());
        }
        let range = self.ranges.addresses;
        if !range.contains(ip) {
            let why = format!(
                "the provided IP ({ip}) is not in the valid range. The range of valid IPs is {range}"
            );
            return Err(refused(new, format!("failed to allocate IP {ip}: {why}")));
        }
        match self.take(Claim::Address(ip), reserved).await {
            Err(Refusal::Taken) => {
                Err(refused(new, format!("failed to allocate IP {ip}: provided IP is already allocated")))
            }
            Err(Refusal::Failed(status)) => Err(status),
            Ok(()) => Ok(()),
        }
    }

    async fn ports(
        &self,
        new: &mut Value,
        before: &BTreeSet<Claim>,
        reserved: &mut Reserved,
    ) -> Result<(), Status> {
        let on_nodes = needs_node_ports(&new["spec"]);
        let automatic =
            new["spec"]["type"] != "LoadBalancer" || new["spec"]["allocateLoadBalancerNodePorts"] != false;
        let count = new["spec"]["ports"].as_array().map_or(0, Vec::len);
        // The same port for another protocol shares its node port.
        let mut by_port: BTreeMap<i64, i64> = BTreeMap::new();
        for at in (0..count).filter(|_| on_nodes) {
            let port = new["spec"]["ports"][at]["port"].as_i64().unwrap_or_default();
            let mut node_port = node_port(&new["spec"]["ports"][at]);
            if node_port != 0 {
                self.exact_port(new, at, node_port, before, reserved).await?;
            } else if let Some(shared) = by_port.get(&port) {
                node_port = *shared;
            } else if automatic {
                node_port = i64::from(self.any_port(reserved).await?);
            }
            if node_port != 0 {
                by_port.entry(port).or_insert(node_port);
                new["spec"]["ports"][at]["nodePort"] = node_port.into();
            }
        }
        if !needs_health_check(&new["spec"]) {
            return Ok(());
        }
        let wanted = new["spec"]["healthCheckNodePort"].as_i64().unwrap_or_default();
        let Some(port) = u16::try_from(wanted).ok().filter(|port| *port != 0) else {
            let port = self.any_port(reserved).await?;
            new["spec"]["healthCheckNodePort"] = port.into();
            return Ok(());
        };
        if before.contains(&Claim::Port(port)) {
            return Ok(());
        }
        let failed = |why: &str| {
            Status::internal(format_args!("failed to allocate requested HealthCheck NodePort {port}: {why}"))
        };
        if !self.ranges.ports.contains(&port) {
            return Err(failed(&self.outside()));
        }
        match self.take(Claim::Port(port), reserved).await {
            Err(Refusal::Taken) => Err(failed(PORT_TAKEN)),
            Err(Refusal::Failed(status)) => Err(status),
            Ok(()) => Ok(()),
        }
    }

    /// Takes the node port that the client named.
    async fn exact_port(
        &self,
        new: &Value,
        at: usize,
        wanted: i64,
        before: &BTreeSet<Claim>,
        reserved: &mut Reserved,
    ) -> Result<(), Status> {
        let refused = |why: &str| {
            let root = Node::root(new);
            let error = root.child("spec").child("ports").item(at).child("nodePort").invalid(why);
            invalid(new, error)
        };
        let Some(port) = u16::try_from(wanted).ok().filter(|port| self.ranges.ports.contains(port)) else {
            return Err(refused(&self.outside()));
        };
        let claim = Claim::Port(port);
        if before.contains(&claim) || reserved.claims.contains(&claim) {
            return Ok(());
        }
        match self.take(claim, reserved).await {
            Err(Refusal::Taken) => Err(refused(PORT_TAKEN)),
            Err(Refusal::Failed(status)) => Err(status),
            Ok(()) => Ok(()),
        }
    }

    fn outside(&self) -> String {
        let ports = &self.ranges.ports;
        format!(
            "provided port is not in the valid range. The range of valid ports is {}-{}",
            ports.start(),
            ports.end()
        )
    }

    async fn take(&self, claim: Claim, reserved: &mut Reserved) -> Result<(), Refusal> {
        self.claim(claim, &reserved.owner, reserved.dry_run).await?;
        reserved.claims.push(claim);
        Ok(())
    }

    async fn any_address(&self, reserved: &mut Reserved) -> Result<Ipv4Addr, Status> {
        let (usable, free) = (self.ranges.addresses.usable(), self.ranges.addresses.first_free());
        let make = |number: u32| Claim::Address(Ipv4Addr::from(number));
        let found = self.any(*usable.start(), free, *usable.end(), make, reserved).await?;
        found.map(Ipv4Addr::from).ok_or_else(|| {
            let name = &reserved.owner.name;
            Status::internal(format_args!("failed to allocate a serviceIP for Service {name:?}: {FULL}"))
        })
    }

    async fn any_port(&self, reserved: &mut Reserved) -> Result<u16, Status> {
        let (first, last) = (*self.ranges.ports.start(), *self.ranges.ports.end());
        let make = |number: u32| Claim::Port(number as u16);
        let free = self.ranges.first_free_port();
        let found = self.any(first.into(), free.into(), last.into(), make, reserved).await?;
        found
            .map(|port| port as u16)
            .ok_or_else(|| Status::internal(format_args!("failed to allocate a nodePort: {FULL}")))
    }

    /// Takes any free value between `free` and `last`, from a random one on; below `free` only when those are gone.
    async fn any(
        &self,
        first: u32,
        free: u32,
        last: u32,
        make: impl Fn(u32) -> Claim,
        reserved: &mut Reserved,
    ) -> Result<Option<u32>, Status> {
        let free = free.min(last);
        let start = free + self.names.below(u64::from(last - free) + 1) as u32;
        let snapshot = self.store.snapshot();
        for number in (start..=last).chain(free..start).chain(first..free) {
            let claim = make(number);
            if reserved.claims.contains(&claim) || snapshot.get(&claim.key()).is_some() {
                continue;
            }
            match self.take(claim, reserved).await {
                Ok(()) => return Ok(Some(number)),
                Err(Refusal::Taken) => {}
                Err(Refusal::Failed(status)) => return Err(status),
            }
        }
        Ok(None)
    }
}

const PORT_TAKEN: &str = "provided port is already allocated";
const FULL: &str = "range is full";

/// What a service's state holds.
fn held(service: &Value) -> BTreeSet<Claim> {
    let spec = &service["spec"];
    let mut held = BTreeSet::new();
    if needs_address(spec) {
        let ips = spec["clusterIPs"].as_array().into_iter().flatten().filter_map(Value::as_str);
        held.extend(ips.filter_map(|ip| ip.parse().ok()).map(Claim::Address));
    }
    let ports = spec["ports"].as_array().into_iter().flatten().map(node_port);
    let health = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    let numbers = ports.chain([health]).filter_map(|port| u16::try_from(port).ok());
    held.extend(numbers.filter(|port| *port != 0).map(Claim::Port));
    held
}

fn owner(service: &Value) -> Owner {
    let text = |key: &str| service["metadata"][key].as_str().unwrap_or_default().to_owned();
    Owner { namespace: text("namespace"), name: text("name") }
}

fn node_port(port: &Value) -> i64 {
    port["nodePort"].as_i64().unwrap_or_default()
}

fn needs_address(spec: &Value) -> bool {
    spec.is_object() && spec["type"] != "ExternalName"
}

fn needs_node_ports(spec: &Value) -> bool {
    spec["type"] == "NodePort" || spec["type"] == "LoadBalancer"
}

fn needs_health_check(spec: &Value) -> bool {
    spec["type"] == "LoadBalancer" && spec["externalTrafficPolicy"] == "Local"
}

/// Takes over what an update leaves out and the service has, and brings the two ways to name an address together.
fn adopt(new: &mut Value, old: &Value) {
    let (spec, before) = (&mut new["spec"], &old["spec"]);
    let blank = |value: &Value| value.as_str().is_none_or(str::is_empty);
    let empty = |value: &Value| value.as_array().is_none_or(Vec::is_empty);
    if needs_address(before) && needs_address(spec) {
        if blank(&spec["clusterIP"]) && !blank(&before["clusterIP"]) {
            spec["clusterIP"] = before["clusterIP"].clone();
        }
        if empty(&spec["clusterIPs"]) && !empty(&before["clusterIPs"]) {
            spec["clusterIPs"] = before["clusterIPs"].clone();
        }
    }
    // Naming the one address alone names the list too.
    let same_list = !before.is_null() && spec["clusterIPs"] == before["clusterIPs"];
    let changed = spec["clusterIP"] != before["clusterIP"];
    if !blank(&spec["clusterIP"]) && (empty(&spec["clusterIPs"]) || (same_list && changed)) {
        spec["clusterIPs"] = json!([spec["clusterIP"]]);
    }
    if needs_node_ports(before) && needs_node_ports(spec) {
        let ports = |spec: &Value| spec["ports"].as_array().cloned().unwrap_or_default();
        let (old_ports, new_ports) = (ports(before), ports(spec));
        let kept = |number: i64| new_ports.iter().any(|port| node_port(port) == number);
        for port in spec["ports"].as_array_mut().into_iter().flatten().filter(|port| node_port(port) == 0) {
            let known = old_ports.iter().rfind(|old| old["name"] == port["name"]).map_or(0, node_port);
            if known != 0 && !kept(known) {
                port["nodePort"] = known.into();
            }
        }
    }
    let health = before["healthCheckNodePort"].as_i64().unwrap_or_default();
    let wanted = spec["healthCheckNodePort"].as_i64().unwrap_or_default();
    if needs_health_check(before) && needs_health_check(spec) && wanted == 0 && health != 0 {
        spec["healthCheckNodePort"] = health.into();
    }
}

/// Chooses IP families on a cluster whose services have IPv4 addresses alone.
fn families(new: &mut Value, old: &Value) -> Result<(), ErrorList> {
    if !needs_address(&new["spec"]) {
        return Ok(());
    }
    let old_policy = old["spec"]["ipFamilyPolicy"].clone();
    let spec = &mut new["spec"];
    let selectorless =
        spec["clusterIP"] == "None" && spec["selector"].as_object().is_none_or(|s| s.is_empty());
    if !spec["ipFamilyPolicy"].is_string() {
        spec["ipFamilyPolicy"] = match (old_policy.is_string(), selectorless) {
            (true, _) => old_policy,
            (false, true) => "RequireDualStack".into(),
            (false, false) => "SingleStack".into(),
        };
    }
    let single = spec["ipFamilyPolicy"] == "SingleStack";
    let count = |list: &Value| list.as_array().map_or(0, Vec::len);
    if selectorless {
        if count(&spec["ipFamilies"]) == 0 {
            spec["ipFamilies"] = json!(["IPv4"]);
        }
        if let Some(list) = spec["ipFamilies"].as_array_mut().filter(|list| list.len() == 1 && !single) {
            let other = if list[0] == "IPv4" { "IPv6" } else { "IPv4" };
            list.push(other.into());
        }
        return Ok(());
    }
    let root = Node::root(new);
    let spec = root.child("spec");
    let mut errors = ErrorList::new();
    let policy = spec.child("ipFamilyPolicy");
    if single && count(&spec.value()["clusterIPs"]) == 2 {
        errors.push(policy.invalid(
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified",
        ));
    }
    if single && count(&spec.value()["ipFamilies"]) == 2 {
        errors.push(policy.invalid(
            "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified",
        ));
    }
    let ips = spec.child("clusterIPs");
    for ip in ips.items().filter(|ip| ip.str().contains(':')) {
        errors.push(ip.invalid("IPv6 is not configured on this cluster"));
    }
    if policy.str() == "RequireDualStack" {
        errors.push(policy.invalid("this cluster is not configured for dual-stack services"));
    }
    for family in spec.child("ipFamilies").items().filter(|family| family.str() == "IPv6") {
        errors.push(family.invalid("not configured on this cluster"));
    }
    if !errors.is_empty() {
        return Err(errors);
    }
    if count(&new["spec"]["ipFamilies"]) == 0 {
        new["spec"]["ipFamilies"] = json!(["IPv4"]);
    }
    Ok(())
}

fn invalid(service: &Value, errors: impl Into<Errors>) -> Status {
    let name = service["metadata"]["name"].as_str().unwrap_or_default();
    Status::invalid(Qualified::new("", "Service"), name, &errors.into().0)
}

/// One error or several.
struct Errors(ErrorList);

impl From<Error> for Errors {
    fn from(error: Error) -> Errors {
        Errors(vec![error].into_iter().collect())
    }
}

impl From<ErrorList> for Errors {
    fn from(errors: ErrorList) -> Errors {
        Errors(errors)
    }
}
