//! Reservations: one key for each address and port that is taken.
//!
//! A key is created by compare-and-swap before the service that holds it is written, so two servers over one store
//! never give a value twice. What a crash leaves behind is found when the server starts and every few minutes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::Duration;

use api::{Status, Value};
use base::clock::Wall;
use bytes::Bytes;
use grammar::time::Time;
use serde_json::json;
use store::{Put, Span, Stamp, WriteError};

use super::super::write::SCHEMA_EPOCH;
use super::super::{Registry, read_error};
use crate::catalog::Resource;
use crate::object;

/// Something of which there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Claim {
    Address(Ipv4Addr),
    Port(u16),
}

/// The service that a claim is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub namespace: String,
    pub name: String,
}

/// Why a claim was not made.
pub(super) enum Refusal {
    Taken,
    Failed(Status),
}

/// A claim without a service is left alone for so long: its service may be about to be written.
const GRACE: Duration = Duration::from_secs(60);

const PORTS: &str = "/registry/boga/nodeports";
const ADDRESSES: &str = "/registry/ipaddresses";
const MANAGER: &str = "ipallocator.k8s.io";

impl Claim {
    pub(super) fn key(self) -> String {
        match self {
            Claim::Address(ip) => format!("{ADDRESSES}/{ip}"),
            Claim::Port(port) => format!("{PORTS}/{port}"),
        }
    }

    fn parse(key: &str) -> Option<Claim> {
        let (folder, name) = key.rsplit_once('/')?;
        match folder {
            ADDRESSES => name.parse().ok().map(Claim::Address),
            PORTS => name.parse().ok().map(Claim::Port),
            _ => None,
        }
    }
}

fn addresses() -> Result<Resource, Status> {
    kinds::find("networking.k8s.io", "ipaddresses")
        .and_then(|kind| Resource::builtin(kind, "v1"))
        .ok_or_else(|| Status::internal("the kind IPAddress is not built in"))
}

impl Registry {
    /// Takes `claim` for `owner`, unless somebody has it.
    pub(super) async fn claim(&self, claim: Claim, owner: &Owner, dry_run: bool) -> Result<(), Refusal> {
        if dry_run {
            let taken = self.store.snapshot().get(&claim.key()).is_some();
            return if taken { Err(Refusal::Taken) } else { Ok(()) };
        }
        let put = self.record(claim, owner).map_err(Refusal::Failed)?;
        match self.store.create(put).await {
            Ok(_) => Ok(()),
            Err(WriteError::Exists { .. }) => Err(Refusal::Taken),
            Err(error) => Err(Refusal::Failed(Status::service_unavailable(error.to_string()))),
        }
    }

    /// What lies under a claim's key. An address is an object of the API.
    fn record(&self, claim: Claim, owner: &Owner) -> Result<Put, Status> {
        let now = Time { seconds: self.clock.wall().secs(), nanos: 0 }.to_string();
        match claim {
            Claim::Port(_) => {
                let record = json!({"namespace": owner.namespace, "name": owner.name, "taken": now});
                Ok(Put::new(claim.key(), Bytes::from(record.to_string())))
            }
            Claim::Address(ip) => {
                let resource = addresses()?;
                let mut tree = json!({
                    "apiVersion": resource.api_version,
                    "kind": "IPAddress",
                    "metadata": {
                        "name": ip.to_string(),
                        "uid": self.names.uid(),
                        "creationTimestamp": now,
                        "labels": {
                            "ipaddress.kubernetes.io/ip-family": "IPv4",
                            "ipaddress.kubernetes.io/managed-by": MANAGER,
                        },
                    },
                    "spec": {"parentRef": {
                        "group": "", "resource": "services", "namespace": owner.namespace, "name": owner.name,
                    }},
                });
                let value = object::to_bytes(&resource, &mut tree)?;
                let version = resource.stored_api_version.as_str().into();
                Ok(Put::new(claim.key(), value).stamped(Stamp { version, epoch: SCHEMA_EPOCH }))
            }
        }
    }

    /// Gives back what `owner` had. A failure leaves the value taken until the next repair, never given twice.
    pub(super) async fn release(&self, claims: impl IntoIterator<Item = Claim>, owner: &Owner) {
        for claim in claims {
            let snapshot = self.store.snapshot();
            let Some(entry) = snapshot.get(&claim.key()) else { continue };
            if holder(claim, &entry.value).is_none_or(|(holder, _)| holder != *owner) {
                continue;
            }
            if let Err(error) = self.store.delete(&claim.key(), Some(entry.modified)).await {
                tracing::warn!(key = claim.key(), %error, "a reservation was not given back");
            }
        }
    }

    /// Brings the reservations in line with the services: what a service holds is taken, and what nobody holds free.
    pub async fn repair_allocations(&self) -> Result<(), Status> {
        let snapshot = self.store.latest().await.map_err(read_error)?;
        let services = kinds::find("", "services")
            .and_then(|kind| Resource::builtin(kind, "v1"))
            .ok_or_else(|| Status::internal("the kind Service is not built in"))?;
        let mut held: BTreeMap<Claim, Owner> = BTreeMap::new();
        for entry in snapshot.range(&Span::folder(&services.folder("")), None) {
            let tree = object::stored_tree(&services, &entry.value, None)?;
            let owner = super::owner(&tree);
            for claim in super::held(&tree) {
                if let Some(other) = held.insert(claim, owner.clone()) {
                    tracing::error!(
                        key = claim.key(),
                        ?owner,
                        ?other,
                        "two services hold one value; recreate one of them"
                    );
                }
            }
        }
        let now = self.clock.wall();
        let mut taken = BTreeSet::new();
        for folder in [ADDRESSES, PORTS] {
            for entry in snapshot.range(&Span::folder(&format!("{folder}/")), None) {
                let Some(claim) = Claim::parse(&entry.key) else { continue };
                let Some((holder, since)) = holder(claim, &entry.value) else { continue };
                let young = now.since(since) < GRACE;
                if young || held.get(&claim) == Some(&holder) {
                    taken.insert(claim);
                    continue;
                }
                tracing::info!(key = %entry.key, ?holder, "a reservation without a service is given back");
                if let Err(error) = self.store.delete(&entry.key, Some(entry.modified)).await {
                    tracing::warn!(key = %entry.key, %error, "a reservation was not given back");
                }
            }
        }
        for (claim, owner) in held.into_iter().filter(|(claim, _)| !taken.contains(claim)) {
            tracing::info!(key = claim.key(), ?owner, "a service's value is reserved again");
            match self.claim(claim, &owner, false).await {
                Ok(()) | Err(Refusal::Taken) => {}
                Err(Refusal::Failed(status)) => return Err(status),
            }
        }
        Ok(())
    }
}

/// Whose a reservation is, and since when; nothing for addresses that somebody else manages.
fn holder(claim: Claim, value: &[u8]) -> Option<(Owner, Wall)> {
    let text = |tree: &Value, key: &str| tree[key].as_str().unwrap_or_default().to_owned();
    let (owner, since) = match claim {
        Claim::Port(_) => {
            let record: Value = serde_json::from_slice(value).ok()?;
            (record.clone(), text(&record, "taken"))
        }
        Claim::Address(_) => {
            let tree = object::stored_tree(&addresses().ok()?, value, None).ok()?;
            let meta = &tree["metadata"];
            (meta["labels"]["ipaddress.kubernetes.io/managed-by"] == MANAGER).then_some(())?;
            (tree["spec"]["parentRef"].clone(), text(meta, "creationTimestamp"))
        }
    };
    let since = Time::parse(&since).map_or(Wall::default(), |time| Wall::from_secs(time.seconds));
    Some((Owner { namespace: text(&owner, "namespace"), name: text(&owner, "name") }, since))
}
