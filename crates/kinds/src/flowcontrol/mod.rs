//! `flowcontrol.apiserver.k8s.io`: whose requests wait for whose.

mod conditions;
pub mod flow_schema;
mod mandatory;
pub mod priority_level_configuration;

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
