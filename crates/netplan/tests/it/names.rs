//! Questions to the zone.

use std::sync::Arc;

use netplan::addr::{Family, Protocol};
use netplan::dns::{Data, Kind, Lookup, Zone};
use netplan::model::{Endpoint, EndpointPort, EndpointSlice, Name, Service, ServicePort, Slices};

use crate::world::ip;

fn zone() -> Zone {
    let ranges = vec!["10.96.0.0/16".parse().unwrap(), "10.42.0.0/16".parse().unwrap()];
    let mut zone = Zone::new("cluster.local.", vec![ip("10.96.0.10")], ranges);
    let port = |name: &str, protocol, port| ServicePort { name: name.into(), protocol, port, node_port: 0 };
    let web = Service {
        cluster_ips: vec![ip("10.96.0.50"), ip("fd00:96::50")],
        ports: vec![port("http", Protocol::Tcp, 80), port("dns", Protocol::Udp, 53)],
        ..Service::default()
    };
    zone.set_service(&Name::new("shop", "web"), Some(&web), &Slices::new());

    let headless =
        Service { headless: true, ports: vec![port("peer", Protocol::Tcp, 7000)], ..Service::default() };
    let slice = |endpoints: Vec<Endpoint>| {
        let ports = vec![EndpointPort { name: "peer".into(), protocol: Protocol::Tcp, port: 7001 }];
        let service = Name::new("shop", "db");
        Slices::from([(Arc::from("db-1"), EndpointSlice { service, family: Family::V4, ports, endpoints })])
    };
    let named = Endpoint { hostname: Some("db-0".into()), ..Endpoint::ready(ip("10.42.0.7")) };
    let unready = Endpoint { ready: false, ..Endpoint::ready(ip("10.42.0.9")) };
    let endpoints = vec![named, Endpoint::ready(ip("10.42.1.8")), unready];
    zone.set_service(&Name::new("shop", "db"), Some(&headless), &slice(endpoints.clone()));
    let early = Service { publish_not_ready: true, ..headless.clone() };
    zone.set_service(&Name::new("shop", "early"), Some(&early), &slice(endpoints));
    zone.set_service(&Name::new("shop", "empty"), Some(&headless), &Slices::new());
    let alias = Service { external_name: Some("example.org.".into()), ..Service::default() };
    zone.set_service(&Name::new("shop", "alias"), Some(&alias), &Slices::new());
    zone.set_namespace("bare", true);
    zone
}

/// An answer in one line: records by type and value, then additional ones after a bar.
fn show(lookup: &Lookup) -> String {
    let data = |data: &Data| match data {
        Data::Address(ip) => ip.to_string(),
        Data::Srv { priority, weight, port, target } => format!("{priority} {weight} {port} {target}"),
        Data::Ptr(name) | Data::Cname(name) | Data::Txt(name) | Data::Ns(name) => name.clone(),
        Data::Soa { primary, .. } => primary.clone(),
    };
    match lookup {
        Lookup::NoData => "nodata".into(),
        Lookup::NoName => "nxdomain".into(),
        Lookup::NotOurs => "elsewhere".into(),
        Lookup::Found { answers, additional } => {
            let answers: Vec<String> = answers.iter().map(|record| data(&record.data)).collect();
            let more: Vec<String> =
                additional.iter().map(|record| format!("{}={}", record.name, data(&record.data))).collect();
            let bar = if more.is_empty() { "" } else { " | " };
            format!("{}{bar}{}", answers.join(", "), more.join(", "))
        }
    }
}

#[test]
fn answers() {
    let zone = zone();
    let check = |name: &str, kind: Kind, want: &str| {
        assert_eq!(show(&zone.lookup(name, kind)), want, "{name} {kind:?}");
    };
    check("web.shop.svc.cluster.local", Kind::A, "10.96.0.50");
    check("web.shop.svc.cluster.local.", Kind::Aaaa, "fd00:96::50");
    check("WEB.Shop.svc.CLUSTER.local", Kind::A, "10.96.0.50");
    check("web.shop.svc.cluster.local", Kind::Other, "nodata");
    check("web.other.svc.cluster.local", Kind::A, "nxdomain");
    check("no.shop.svc.cluster.local", Kind::A, "nxdomain");
    check("x.web.shop.svc.cluster.local", Kind::A, "nxdomain");

    let web = "web.shop.svc.cluster.local";
    let both = format!("{web}=10.96.0.50, {web}=fd00:96::50");
    check("_http._tcp.web.shop.svc.cluster.local", Kind::Srv, &format!("0 100 80 {web} | {both}"));
    check("web.shop.svc.cluster.local", Kind::Srv, &format!("0 50 53 {web}, 0 50 80 {web} | {both}"));
    check("_http._udp.web.shop.svc.cluster.local", Kind::Srv, "nxdomain");
    check("_http._tcp.web.shop.svc.cluster.local", Kind::A, "nodata");
    check("_tcp.web.shop.svc.cluster.local", Kind::A, "nodata");
    check("http._tcp.web.shop.svc.cluster.local", Kind::Srv, "nxdomain");

    check("db.shop.svc.cluster.local", Kind::A, "10.42.0.7, 10.42.1.8");
    check("early.shop.svc.cluster.local", Kind::A, "10.42.0.7, 10.42.0.9, 10.42.1.8");
    check("empty.shop.svc.cluster.local", Kind::A, "nodata");
    check("db.shop.svc.cluster.local", Kind::Aaaa, "nodata");
    check("db-0.db.shop.svc.cluster.local", Kind::A, "10.42.0.7");
    check("10-42-1-8.db.shop.svc.cluster.local", Kind::A, "10.42.1.8");
    check("10-42-0-9.db.shop.svc.cluster.local", Kind::A, "nxdomain");
    let db = "db.shop.svc.cluster.local";
    let want = format!(
        "0 50 7001 10-42-1-8.{db}, 0 50 7001 db-0.{db} | db-0.{db}=10.42.0.7, 10-42-1-8.{db}=10.42.1.8"
    );
    check("_peer._tcp.db.shop.svc.cluster.local", Kind::Srv, &want);

    check("alias.shop.svc.cluster.local", Kind::A, "example.org");
    check("alias.shop.svc.cluster.local", Kind::Cname, "example.org");

    check("10-42-0-7.shop.pod.cluster.local", Kind::A, "10.42.0.7");
    check("10-42-0-7.bare.pod.cluster.local", Kind::A, "10.42.0.7");
    check("10-42-0-7.none.pod.cluster.local", Kind::A, "nxdomain");
    check("fd00--7.shop.pod.cluster.local", Kind::Aaaa, "fd00::7");
    check("fd00--7.shop.pod.cluster.local", Kind::A, "nodata");
    check("web-0.shop.pod.cluster.local", Kind::A, "nxdomain");

    check("50.0.96.10.in-addr.arpa", Kind::Ptr, "web.shop.svc.cluster.local");
    let early = "db-0.db.shop.svc.cluster.local, db-0.early.shop.svc.cluster.local";
    check("7.0.42.10.in-addr.arpa", Kind::Ptr, early);
    check("51.0.96.10.in-addr.arpa", Kind::Ptr, "nxdomain");
    check("1.1.168.192.in-addr.arpa", Kind::Ptr, "elsewhere");
    check("0.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.0.d.f.ip6.arpa", Kind::Ptr, web);
    check("50.0.96.10.in-addr.arpa", Kind::A, "nodata");
    check("96.10.in-addr.arpa", Kind::Ptr, "elsewhere");

    check("dns-version.cluster.local", Kind::Txt, "1.1.0");
    check("cluster.local", Kind::Soa, "ns.dns.cluster.local");
    check("cluster.local", Kind::Ns, "ns.dns.cluster.local | ns.dns.cluster.local=10.96.0.10");
    check("cluster.local", Kind::A, "nodata");
    check("ns.dns.cluster.local", Kind::A, "10.96.0.10");
    for inner in ["svc", "pod", "shop.svc", "bare.svc", "shop.pod"] {
        check(&format!("{inner}.cluster.local"), Kind::A, "nodata");
    }
    check("none.svc.cluster.local", Kind::A, "nxdomain");
    for other in ["example.org", "xcluster.local", "local", ""] {
        check(other, Kind::A, "elsewhere");
    }
}

#[test]
fn what_goes_leaves_nothing() {
    let mut zone = zone();
    for service in ["web", "db", "early", "empty", "alias"] {
        zone.set_service(&Name::new("shop", service), None, &Slices::new());
    }
    for (name, kind) in [
        ("web.shop.svc.cluster.local", Kind::A),
        ("shop.svc.cluster.local", Kind::A),
        ("50.0.96.10.in-addr.arpa", Kind::Ptr),
        ("7.0.42.10.in-addr.arpa", Kind::Ptr),
    ] {
        assert_eq!(zone.lookup(name, kind), Lookup::NoName, "{name}");
    }
}

#[test]
fn no_name_breaks_the_zone() {
    let zone = zone();
    bolero::check!().with_type::<(String, bool)>().for_each(|(name, inside)| {
        let name = if *inside { format!("{name}.shop.svc.cluster.local") } else { name.clone() };
        for kind in [Kind::A, Kind::Srv, Kind::Ptr, Kind::Any] {
            zone.lookup(&name, kind);
        }
    });
}
