//! Tests with real packets. Each runs in network namespaces of its own, which are threads that have
//! left the machine's; they need root, as the network itself does.

mod cluster;
mod lab;
mod links;
mod machine;
mod names;
mod plugins;
mod services;
