//! What the doctor finds, in namespaces where it is known.

use network::doctor::{Severity, examine, foreign_forward_drops, settings};

use crate::lab::Host;

#[test]
fn this_kernel_can_do_everything() {
    let host = Host::new();
    let problems: Vec<_> =
        host.run(examine).into_iter().filter(|finding| finding.severity == Severity::Problem).collect();
    assert_eq!(problems, []);
    assert_eq!(host.command("nft", "list ruleset"), "", "checks leave nothing behind");
    assert!(!host.ip("link").contains("boga"));
}

#[test]
fn what_is_in_the_way_is_named() {
    let host = Host::new();
    host.command("nft", "add table ip other");
    host.command("nft", "add chain ip other FORWARD { type filter hook forward priority 0; policy drop; }");
    let found = host.run(foreign_forward_drops);
    assert_eq!(found.iter().map(|f| f.name).collect::<Vec<_>>(), ["forward-drop"]);
    assert!(found[0].message.starts_with("chain ip other FORWARD drops"), "{}", found[0].message);
    host.run(|| network::links::set_sysctl("net/ipv4/conf/all/rp_filter", "1")).unwrap();
    host.run(|| network::links::set_sysctl("net/ipv4/ip_forward", "0")).unwrap();
    let names: Vec<_> = host.run(settings).iter().map(|finding| finding.name).collect();
    assert!(names.contains(&"rp-filter") && names.contains(&"ip-forward"), "{names:?}");
}
