//! The service proxy of a node: plans and tables of both families, kept in step.

use netplan::addr::Family;
use netplan::model::{EndpointSlice, HostPort, Name, Node, Service};
use netplan::services::Planner;

use crate::conntrack::flush_stale_udp;
use crate::nft::{self, Table};

/// Programs the services of one node. It belongs to the network namespace of the thread that opened
/// it, and all of its work blocks.
///
/// Inputs are handed to the planners at once and reach the kernel with the next [`Proxy::sync`].
pub struct Proxy {
    sides: Vec<Side>,
}

struct Side {
    planner: Planner,
    table: Table,
    /// The kernel holds what the planner says that it has published.
    in_step: bool,
}

/// What a sync has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Synced {
    /// Operations in the tables.
    pub operations: usize,
    /// UDP flows that were cut.
    pub cut_flows: usize,
    /// Chains have gone out of use, which another sync, a second from now, will remove.
    pub sync_again: bool,
}

impl Proxy {
    /// Opens the tables of all families that the node has pods in. Nothing in the kernel changes
    /// before the first sync, so that a restart takes away no service while caches still fill.
    ///
    /// # Errors
    /// When the kernel has no nftables.
    pub fn open(node: &Node) -> Result<Proxy, nft::Error> {
        let has = |family: &Family| node.pod_cidrs.iter().any(|cidr| cidr.family() == *family);
        let open = |family| {
            let planner = Planner::new(family, node.clone());
            let table = Table::open(family, planner.any_address())?;
            Ok(Side { planner, table, in_step: false })
        };
        let sides = [Family::V4, Family::V6].into_iter().filter(has).map(open);
        Ok(Proxy { sides: sides.collect::<Result<_, nft::Error>>()? })
    }

    /// # Errors
    /// When a table must be opened anew, and cannot.
    pub fn set_node(&mut self, node: &Node) -> Result<(), nft::Error> {
        for side in &mut self.sides {
            let before = side.planner.any_address();
            side.planner.set_node(node.clone());
            // The fixed chains depend on it, so the table is laid out anew.
            if side.planner.any_address() != before {
                side.table = Table::open(side.planner.family(), side.planner.any_address())?;
                side.in_step = false;
            }
        }
        Ok(())
    }

    pub fn set_service(&mut self, name: &Name, service: Option<&Service>) {
        self.sides.iter_mut().for_each(|side| side.planner.set_service(name, service.cloned()));
    }

    /// A slice is known by its service and its own name; the family decides which table it concerns.
    pub fn set_slice(&mut self, service: &Name, slice_name: &str, slice: Option<&EndpointSlice>) {
        for side in &mut self.sides {
            let of_family = slice.filter(|slice| slice.family == side.planner.family());
            side.planner.set_slice(service, slice_name, of_family.cloned());
        }
    }

    pub fn set_host_ports(&mut self, pod: &Name, ports: &[HostPort]) {
        self.sides.iter_mut().for_each(|side| side.planner.set_host_ports(pod, ports.to_vec()));
    }

    /// The planner of one family, for health checks and diagnosis.
    pub fn planner(&self, family: Family) -> Option<&Planner> {
        self.sides.iter().map(|side| &side.planner).find(|planner| planner.family() == family)
    }

    /// Brings the kernel up to date. After a failure the next sync reads back what is there instead
    /// of trusting what should be.
    ///
    /// # Errors
    /// When the kernel refuses, or flows cannot be listed. Both families are tried all the same, and
    /// the first error is returned.
    pub fn sync(&mut self) -> Result<Synced, Error> {
        let mut total = Synced::default();
        let mut failed = None;
        for side in &mut self.sides {
            match side.sync() {
                Ok(synced) => {
                    total.operations += synced.operations;
                    total.cut_flows += synced.cut_flows;
                    total.sync_again |= synced.sync_again;
                }
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(total), Err)
    }

    /// Takes the tables away.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn remove(&mut self) -> Result<(), nft::Error> {
        for side in &mut self.sides {
            side.in_step = false;
            side.table.remove()?;
        }
        Ok(())
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("programming services")]
    Table(#[from] nft::Error),
    #[error("cutting stale UDP flows")]
    Flows(#[from] crate::netlink::Error),
}

impl Side {
    fn sync(&mut self) -> Result<Synced, Error> {
        let update = self.planner.commit();
        let was_in_step = std::mem::take(&mut self.in_step);
        if was_in_step {
            self.table.apply(&update.change)?;
        } else {
            self.table.adopt(self.planner.ruleset())?;
        }
        self.in_step = true;
        let mut synced = Synced {
            operations: update.change.len(),
            cut_flows: 0,
            sync_again: self.planner.has_idle_chains(),
        };
        // What changed before a restart or a failure is not known, so flows are looked through then.
        if update.stale_udp || !was_in_step {
            synced.cut_flows = flush_stale_udp(self.planner.family(), &self.planner.udp_services())?;
        }
        Ok(synced)
    }
}
