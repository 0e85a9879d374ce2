//! The chains of the table and the rules in each of them.

use std::fmt;

use super::sets::{Field, Set};
use super::{LOCAL_INDEX, Step};

/// Where a packet was addressed to, which decides the key its endpoints are found under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum At {
    /// An address of the service: the key begins with the address.
    Vip,
    /// A port of this node: the key is protocol and port.
    NodePort,
}

impl At {
    pub fn key(self) -> &'static [Field] {
        match self {
            At::Vip => &[Field::Destination, Field::Protocol, Field::DestinationPort],
            At::NodePort => &[Field::Protocol, Field::DestinationPort],
        }
    }

    pub fn endpoints(self) -> Set {
        match self {
            At::Vip => Set::Endpoints,
            At::NodePort => Set::NodePortEndpoints,
        }
    }

    pub fn sticky(self) -> Set {
        match self {
            At::Vip => Set::Sticky,
            At::NodePort => Set::StickyNodePorts,
        }
    }

    /// An endpoint may be good for one policy alone.
    pub fn live(self, scope: Scope) -> Set {
        match (self, scope) {
            (At::Vip, Scope::Cluster) => Set::Live,
            (At::NodePort, Scope::Cluster) => Set::LiveNodePorts,
            (At::Vip, Scope::Local) => Set::LiveHere,
            (At::NodePort, Scope::Local) => Set::LiveHereNodePorts,
        }
    }
}

/// Which endpoints a traffic policy leaves to choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    Cluster,
    Local,
}

impl Scope {
    pub fn first_index(self) -> u32 {
        match self {
            Scope::Cluster => 0,
            Scope::Local => LOCAL_INDEX,
        }
    }
}

/// A chain of the table. Those with parameters exist once for all services that need them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Chain {
    Base(BaseChain),
    Services,
    Masquerading,
    Firewall,
    ServedCheck,
    NodePortServedCheck,
    ClusterIpCheck,
    Reject,
    /// Translates to one of `count` endpoints; `sticky` seconds of affinity, zero for none.
    Balance {
        at: At,
        scope: Scope,
        count: u32,
        sticky: u32,
    },
    /// Traffic from outside under the Cluster policy: masqueraded, then balanced.
    External {
        at: At,
        count: u32,
        sticky: u32,
    },
    /// Traffic from outside under the Local policy. Pods and the node itself are not outside.
    ExternalLocal {
        at: At,
        cluster: u32,
        local: u32,
        sticky: u32,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BaseChain {
    FilterPreroutingEarly,
    FilterOutputEarly,
    FilterInput,
    FilterForward,
    FilterOutput,
    NatPrerouting,
    NatOutput,
    NatPostrouting,
}

pub const BASE_CHAINS: [BaseChain; 8] = [
    BaseChain::FilterPreroutingEarly,
    BaseChain::FilterOutputEarly,
    BaseChain::FilterInput,
    BaseChain::FilterForward,
    BaseChain::FilterOutput,
    BaseChain::NatPrerouting,
    BaseChain::NatOutput,
    BaseChain::NatPostrouting,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainKind {
    Filter,
    Nat,
}

/// The netfilter hooks, by the kernel's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Hook {
    Prerouting = 0,
    Input = 1,
    Forward = 2,
    Output = 3,
    Postrouting = 4,
}

/// The priority at which the kernel's own destination translation would run.
const DNAT: i32 = -100;
const FILTER: i32 = 0;
const SNAT: i32 = 100;

impl BaseChain {
    /// Source ranges are checked before translation, while the packet still names the service.
    pub fn attached(self) -> (ChainKind, Hook, i32) {
        match self {
            BaseChain::FilterPreroutingEarly => (ChainKind::Filter, Hook::Prerouting, DNAT - 10),
            BaseChain::FilterOutputEarly => (ChainKind::Filter, Hook::Output, DNAT - 10),
            BaseChain::FilterInput => (ChainKind::Filter, Hook::Input, FILTER),
            BaseChain::FilterForward => (ChainKind::Filter, Hook::Forward, FILTER),
            BaseChain::FilterOutput => (ChainKind::Filter, Hook::Output, FILTER),
            BaseChain::NatPrerouting => (ChainKind::Nat, Hook::Prerouting, DNAT),
            BaseChain::NatOutput => (ChainKind::Nat, Hook::Output, DNAT),
            BaseChain::NatPostrouting => (ChainKind::Nat, Hook::Postrouting, SNAT),
        }
    }

    fn name(self) -> &'static str {
        match self {
            BaseChain::FilterPreroutingEarly => "filter-prerouting-early",
            BaseChain::FilterOutputEarly => "filter-output-early",
            BaseChain::FilterInput => "filter-input",
            BaseChain::FilterForward => "filter-forward",
            BaseChain::FilterOutput => "filter-output",
            BaseChain::NatPrerouting => "nat-prerouting",
            BaseChain::NatOutput => "nat-output",
            BaseChain::NatPostrouting => "nat-postrouting",
        }
    }
}

const VIP: &[Field] = &[Field::Destination, Field::Protocol, Field::DestinationPort];
const PORT: &[Field] = &[Field::Protocol, Field::DestinationPort];
const FLOW: &[Field] = &[Field::Source, Field::Destination, Field::Protocol, Field::DestinationPort];
const VIP_AND_SOURCE: &[Field] =
    &[Field::Destination, Field::Protocol, Field::DestinationPort, Field::Source];
const SOURCE: &[Field] = &[Field::Source];
const DESTINATION: &[Field] = &[Field::Destination];

impl Chain {
    /// The chains that are always there, each after those it leads to.
    pub fn fixed() -> impl Iterator<Item = Chain> {
        let plain = [
            Chain::Services,
            Chain::Masquerading,
            Chain::Firewall,
            Chain::Reject,
            Chain::ServedCheck,
            Chain::NodePortServedCheck,
            Chain::ClusterIpCheck,
        ];
        plain.into_iter().chain(BASE_CHAINS.into_iter().map(Chain::Base))
    }

    pub fn is_fixed(self) -> bool {
        !matches!(self, Chain::Balance { .. } | Chain::External { .. } | Chain::ExternalLocal { .. })
    }

    /// The chains that the rules of this one lead to.
    pub fn leads_to(self) -> impl Iterator<Item = Chain> {
        self.rules(true).into_iter().flatten().filter_map(|step| match step {
            Step::Jump(chain) | Step::Goto(chain) => Some(chain),
            _ => None,
        })
    }

    /// What the chain does. `any_address` says that every address of the node accepts node ports,
    /// and not only those in [`Set::NodePortAddresses`].
    pub fn rules(self, any_address: bool) -> Vec<Vec<Step>> {
        match self {
            Chain::Base(base) => base_rules(base),
            Chain::Services => services(any_address),
            Chain::Masquerading => vec![
                vec![Step::Marked, Step::Unmark, Step::Masquerade],
                vec![Step::Translated, Step::In(FLOW, Set::Hairpins), Step::Masquerade],
                vec![
                    Step::In(SOURCE, Set::PodCidrs),
                    Step::NotIn(DESTINATION, Set::NoMasquerade),
                    Step::Masquerade,
                ],
            ],
            Chain::Firewall => vec![vec![
                Step::In(VIP, Set::Restricted),
                Step::NotIn(VIP_AND_SOURCE, Set::AllowedSources),
                Step::Drop,
            ]],
            Chain::ServedCheck => vec![vec![Step::Dispatch(VIP, Set::Unserved)]],
            Chain::NodePortServedCheck => {
                vec![vec![accepts_node_ports(any_address), Step::Dispatch(PORT, Set::UnservedNodePorts)]]
            }
            Chain::ClusterIpCheck => vec![
                vec![Step::In(DESTINATION, Set::ClusterIps), Step::Reject],
                vec![Step::In(DESTINATION, Set::ServiceCidrs), Step::Drop],
            ],
            Chain::Reject => vec![vec![Step::Reject]],
            Chain::Balance { at, scope, count, sticky } => balance(at, scope, count, sticky),
            Chain::External { at, count, sticky } => {
                let onward = Chain::Balance { at, scope: Scope::Cluster, count, sticky };
                vec![vec![Step::Mark], vec![Step::Goto(onward)]]
            }
            Chain::ExternalLocal { at, cluster, local, sticky } => external_local(at, cluster, local, sticky),
        }
    }
}

fn base_rules(base: BaseChain) -> Vec<Vec<Step>> {
    let checked = |chain| vec![Step::NewConnection, Step::Jump(chain)];
    match base {
        BaseChain::FilterPreroutingEarly | BaseChain::FilterOutputEarly => vec![checked(Chain::Firewall)],
        BaseChain::FilterInput => vec![checked(Chain::NodePortServedCheck), checked(Chain::ServedCheck)],
        BaseChain::FilterForward | BaseChain::FilterOutput => {
            vec![checked(Chain::ServedCheck), checked(Chain::ClusterIpCheck)]
        }
        BaseChain::NatPrerouting | BaseChain::NatOutput => vec![vec![Step::Jump(Chain::Services)]],
        BaseChain::NatPostrouting => vec![vec![Step::Jump(Chain::Masquerading)]],
    }
}

/// Somebody outside may route the service range to any node; that node must see the replies.
fn services(any_address: bool) -> Vec<Vec<Step>> {
    let mut node_ports = vec![accepts_node_ports(any_address)];
    if any_address {
        node_ports.insert(0, Step::ToThisNode);
    }
    node_ports.push(Step::Dispatch(PORT, Set::NodePorts));
    vec![
        vec![Step::In(DESTINATION, Set::ClusterIps), Step::NotIn(SOURCE, Set::PodCidrs), Step::Mark],
        vec![Step::Dispatch(VIP, Set::Services)],
        node_ports,
    ]
}

fn accepts_node_ports(any_address: bool) -> Step {
    if any_address { Step::NotToLoopback } else { Step::In(DESTINATION, Set::NodePortAddresses) }
}

/// With affinity, a full memory must not lose the packet: the last rule balances without remembering.
fn balance(at: At, scope: Scope, count: u32, sticky: u32) -> Vec<Vec<Step>> {
    let first = scope.first_index();
    let forgetful = vec![Step::Balance { at, first, count, remember: None }];
    if sticky == 0 {
        return vec![forgetful];
    }
    vec![
        vec![Step::Resume { at, scope, remember: sticky }],
        vec![Step::Balance { at, first, count, remember: Some(sticky) }],
        forgetful,
    ]
}

/// Pods and this node reach external addresses as if through the load balancer and back: under
/// neither policy. Without local endpoints everybody else falls through to the filter's drop.
fn external_local(at: At, cluster: u32, local: u32, sticky: u32) -> Vec<Vec<Step>> {
    let mut rules = Vec::new();
    if cluster > 0 {
        let everywhere = Chain::Balance { at, scope: Scope::Cluster, count: cluster, sticky };
        rules.push(vec![Step::In(SOURCE, Set::PodCidrs), Step::Goto(everywhere)]);
        rules.push(vec![Step::FromThisNode, Step::Mark]);
        rules.push(vec![Step::FromThisNode, Step::Goto(everywhere)]);
    }
    if local > 0 {
        rules.push(vec![Step::Goto(Chain::Balance { at, scope: Scope::Local, count: local, sticky })]);
    }
    rules
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |at: &At| match at {
            At::Vip => "vip",
            At::NodePort => "port",
        };
        let (name, sticky) = match self {
            Chain::Base(base) => (base.name().to_owned(), 0),
            Chain::Services => ("services".to_owned(), 0),
            Chain::Masquerading => ("masquerading".to_owned(), 0),
            Chain::Firewall => ("firewall".to_owned(), 0),
            Chain::ServedCheck => ("served-check".to_owned(), 0),
            Chain::NodePortServedCheck => ("node-port-served-check".to_owned(), 0),
            Chain::ClusterIpCheck => ("cluster-ip-check".to_owned(), 0),
            Chain::Reject => ("reject".to_owned(), 0),
            Chain::Balance { at: a, scope: Scope::Cluster, count, sticky } => {
                (format!("lb-{}-{count}", at(a)), *sticky)
            }
            Chain::Balance { at: a, scope: Scope::Local, count, sticky } => {
                (format!("lb-{}-local-{count}", at(a)), *sticky)
            }
            Chain::External { at: a, count, sticky } => (format!("external-{}-{count}", at(a)), *sticky),
            Chain::ExternalLocal { at: a, cluster, local, sticky } => {
                (format!("external-{}-{cluster}-local-{local}", at(a)), *sticky)
            }
        };
        f.write_str(&name)?;
        if sticky > 0 { write!(f, "-sticky-{sticky}") } else { Ok(()) }
    }
}

impl std::str::FromStr for Chain {
    type Err = ();

    /// The inverse of `Display`, for chains read back from the kernel.
    fn from_str(name: &str) -> Result<Chain, ()> {
        if let Some(fixed) = Chain::fixed().find(|chain| chain.to_string() == name) {
            return Ok(fixed);
        }
        let words: Vec<&str> = name.split('-').collect();
        let (words, sticky) = match words.as_slice() {
            [rest @ .., "sticky", seconds] => (rest, seconds.parse().map_err(drop)?),
            all => (all, 0),
        };
        let at = |word: &str| match word {
            "vip" => Ok(At::Vip),
            "port" => Ok(At::NodePort),
            _ => Err(()),
        };
        let number = |word: &str| word.parse::<u32>().map_err(drop);
        let chain = match words {
            ["lb", a, "local", n] => {
                Chain::Balance { at: at(a)?, scope: Scope::Local, count: number(n)?, sticky }
            }
            ["lb", a, n] => Chain::Balance { at: at(a)?, scope: Scope::Cluster, count: number(n)?, sticky },
            ["external", a, c, "local", l] => {
                Chain::ExternalLocal { at: at(a)?, cluster: number(c)?, local: number(l)?, sticky }
            }
            ["external", a, n] => Chain::External { at: at(a)?, count: number(n)?, sticky },
            _ => return Err(()),
        };
        // A spelling that we would not write ourselves, such as "lb-vip-03", is not ours.
        if chain.to_string() == name { Ok(chain) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back() {
        let mut chains: Vec<Chain> = Chain::fixed().collect();
        for at in [At::Vip, At::NodePort] {
            for sticky in [0, 10_800] {
                for scope in [Scope::Cluster, Scope::Local] {
                    chains.push(Chain::Balance { at, scope, count: 7, sticky });
                }
                chains.push(Chain::External { at, count: 3, sticky });
                chains.push(Chain::ExternalLocal { at, cluster: 3, local: 0, sticky });
            }
        }
        for chain in chains {
            assert_eq!(chain.to_string().parse(), Ok(chain), "{chain}");
        }
        for foreign in ["", "lb", "lb-vip-", "lb-vip-03", "lb-vip-1-sticky-0", "external-vip-x", "mine"] {
            assert_eq!(foreign.parse::<Chain>(), Err(()), "{foreign}");
        }
    }

    #[test]
    fn fixed_chains_come_after_what_they_lead_to() {
        let mut seen = Vec::new();
        for chain in Chain::fixed() {
            assert!(chain.leads_to().all(|next| seen.contains(&next)), "{chain}");
            seen.push(chain);
        }
    }
}
