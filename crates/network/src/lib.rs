//! The network of one node, made what the plan says.
//!
//! [`proxy`] keeps the services of a node programmed, by [`nft`] and [`conntrack`]; [`links`] makes the
//! wires of pods and between nodes, [`dns`] answers names, [`cni`] runs plugins that the user has
//! configured, [`doctor`] says what on this machine stands in the way. What should be is decided in
//! `netplan`; nothing here decides.
//!
//! All kernel work goes over netlink ([`netlink`]) with blocking sockets, which belong to the network
//! namespace of the thread that opened them. [`netns`] runs work in another one.

pub mod cni;
pub mod conntrack;
pub mod dns;
pub mod doctor;
pub mod links;
pub mod netlink;
pub mod netns;
pub mod nft;
pub mod proxy;
