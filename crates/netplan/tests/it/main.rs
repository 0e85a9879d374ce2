//! Tests across the modules: packets through planned tables, changes against fresh plans, and names.

mod changes;
mod convert;
mod names;
mod packets;
mod world;
