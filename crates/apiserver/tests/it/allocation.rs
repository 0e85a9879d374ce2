//! Addresses and ports of services.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use crate::rig::Rig;

const SERVICES: &str = "/api/v1/namespaces/default/services";
const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";

fn service(name: &str, spec: Value) -> Value {
    let mut object =
        json!({"metadata": {"name": name}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}});
    for (key, value) in spec.as_object().into_iter().flatten() {
        object["spec"][key] = value.clone();
    }
    object
}

async fn addresses(rig: &Rig) -> BTreeSet<String> {
    let list = rig.get(ADDRESSES).await.ok();
    let items = list["items"].as_array().expect("items").iter();
    items.map(|item| item["metadata"]["name"].as_str().expect("a name").to_owned()).collect()
}

fn ip(service: &Value) -> String {
    service["spec"]["clusterIP"].as_str().expect("an address").to_owned()
}

#[tokio::test]
async fn conf_40_addresses_come_and_go_with_the_type() {
    let rig = Rig::new().await;
    let made = rig.post(SERVICES, &service("a", json!({}))).await.ok();
    assert_eq!(made["spec"]["clusterIPs"], json!([ip(&made)]));
    assert_eq!(
        (&made["spec"]["ipFamilies"], &made["spec"]["ipFamilyPolicy"]),
        (&json!(["IPv4"]), &json!("SingleStack"))
    );
    assert_eq!(made["spec"]["ports"][0].get("name"), None);
    assert_eq!(addresses(&rig).await, [ip(&made)].into());

    // The address's object says whose it is.
    let record = rig.get(&format!("{ADDRESSES}/{}", ip(&made))).await.ok();
    assert_eq!(
        record["spec"]["parentRef"],
        json!({"resource": "services", "namespace": "default", "name": "a"})
    );

    let target = format!("{SERVICES}/a");
    let external = json!({"spec": {"type": "ExternalName", "externalName": "example.com"}});
    let changed = rig.patch("merge", &target, &external).await.ok();
    assert_eq!((changed["spec"].get("clusterIP"), addresses(&rig).await.len()), (None, 0));
    let back = json!({"spec": {"type": "ClusterIP", "externalName": null}});
    let back = rig.patch("merge", &target, &back).await.ok();
    assert_eq!(addresses(&rig).await, [ip(&back)].into());
    rig.delete(&target, &Value::Null).await.ok();
    assert_eq!(addresses(&rig).await.len(), 0);

    let headless = rig.post(SERVICES, &service("h", json!({"clusterIP": "None"}))).await.ok();
    assert_eq!((&headless["spec"]["clusterIPs"], addresses(&rig).await.len()), (&json!(["None"]), 0));
}

#[tokio::test]
async fn conf_40_node_ports_come_and_go_with_the_type() {
    let rig = Rig::new().await;
    let made = rig.post(SERVICES, &service("a", json!({"type": "NodePort"}))).await.ok();
    let port = made["spec"]["ports"][0]["nodePort"].as_i64().expect("a port");
    assert!((30_086..=32_767).contains(&port), "{port}");
    let taken = service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": port}]}));
    rig.post(SERVICES, &taken).await.refused(
        422,
        "Invalid",
        &format!("Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: {port}: provided port is already allocated"),
    );
    // What the refused service had reserved beside it is free again.
    assert_eq!(addresses(&rig).await.len(), 1);
    let outside = service("b", json!({"type": "NodePort", "ports": [{"port": 80, "nodePort": 80}]}));
    rig.post(SERVICES, &outside).await.refused(
        422,
        "Invalid",
        "Service \"b\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
    );
    let plain =
        rig.patch("merge", &format!("{SERVICES}/a"), &json!({"spec": {"type": "ClusterIP"}})).await.ok();
    assert_eq!((plain["spec"]["ports"][0].get("nodePort"), ip(&plain)), (None, ip(&made)));
    rig.post(SERVICES, &taken).await.ok();

    // One port of two protocols is one node port.
    let ports = json!([{"name": "t", "port": 53}, {"name": "u", "port": 53, "protocol": "UDP"}]);
    let both = rig.post(SERVICES, &service("dns", json!({"type": "NodePort", "ports": ports}))).await.ok();
    assert_eq!(both["spec"]["ports"][0]["nodePort"], both["spec"]["ports"][1]["nodePort"]);

    let local = json!({"type": "LoadBalancer", "externalTrafficPolicy": "Local"});
    let balanced = rig.post(SERVICES, &service("lb", local)).await.ok();
    assert!(balanced["spec"]["healthCheckNodePort"].as_i64().is_some_and(|port| port >= 30_000));
}

#[tokio::test]
async fn an_address_that_is_taken_or_elsewhere_is_refused() {
    let rig = Rig::new().await;
    rig.post(SERVICES, &service("a", json!({"clusterIP": "10.96.0.10"}))).await.ok();
    let check = async |ip: &str, why: &str| {
        rig.post(SERVICES, &service("b", json!({"clusterIP": ip}))).await.refused(
            422,
            "Invalid",
            &format!("Service \"b\" is invalid: spec.clusterIPs: Invalid value: [{ip:?}]: failed to allocate IP {ip}: {why}"),
        );
    };
    check("10.96.0.10", "provided IP is already allocated").await;
    let range = "The range of valid IPs is 10.96.0.0/12";
    check("10.0.0.1", &format!("the provided IP (10.0.0.1) is not in the valid range. {range}")).await;
    let before = addresses(&rig).await;
    rig.post(&format!("{SERVICES}?dryRun=All"), &service("b", json!({}))).await.ok();
    assert_eq!(addresses(&rig).await, before);
    // An update that leaves the address out keeps it.
    let kept = rig.put(&format!("{SERVICES}/a"), &service("a", json!({}))).await.ok();
    assert_eq!(ip(&kept), "10.96.0.10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conf_40_a_small_range_is_given_out_once_and_to_its_end() {
    let rig = Arc::new(Rig::with_addresses("10.0.0.0/28").await);
    let mut tasks = Vec::new();
    for at in 0..20 {
        let rig = rig.clone();
        tasks.push(tokio::spawn(
            async move { rig.post(SERVICES, &service(&format!("s{at}"), json!({}))).await },
        ));
    }
    let (mut given, mut full) = (Vec::new(), 0);
    for task in tasks {
        let answer = task.await.expect("an answer");
        match answer.code {
            201 => given.push(ip(&answer.json())),
            _ => full += 1,
        }
    }
    let distinct: BTreeSet<String> = given.iter().cloned().collect();
    assert_eq!((given.len(), full), (14, 6));
    assert_eq!((distinct.clone(), distinct.len()), (addresses(&rig).await, 14));
}

#[tokio::test]
async fn what_a_crash_leaves_is_repaired() {
    let rig = Rig::new().await;
    let made = rig.post(SERVICES, &service("a", json!({"type": "NodePort"}))).await.ok();
    let port = made["spec"]["ports"][0]["nodePort"].as_i64().expect("a port");
    let store = &rig.stack.registry.store;
    // The service's record is lost, and another stands for a service that never was.
    store.delete(&format!("/registry/ipaddresses/{}", ip(&made)), None).await.expect("it is there");
    let orphan = json!({"namespace": "default", "name": "gone", "taken": "2023-11-14T22:13:20Z"}).to_string();
    store.create(store::Put::new("/registry/boga/nodeports/30000", orphan)).await.expect("it is free");
    let young = rig.restart().await;
    assert_eq!(addresses(&young).await, [ip(&made)].into());
    let kept = young.stack.registry.store.snapshot();
    assert!(kept.get("/registry/boga/nodeports/30000").is_some(), "its service may be about to be written");
    young.clock.advance(Duration::from_secs(61));
    young.stack.registry.repair_allocations().await.expect("a repair");
    let after = young.stack.registry.store.snapshot();
    assert!(after.get("/registry/boga/nodeports/30000").is_none());
    assert!(after.get(&format!("/registry/boga/nodeports/{port}")).is_some());
}

#[tokio::test]
async fn the_server_has_a_service_of_its_own() {
    let rig = Rig::new().await;
    for address in ["192.0.2.1:6443", "192.0.2.2:6443"] {
        let address = address.parse().expect("an address");
        apiserver::bootstrap::advertise(&rig.stack, address).await.expect("it is advertised");
    }
    assert_eq!(ip(&rig.get(&format!("{SERVICES}/kubernetes")).await.ok()), "10.96.0.1");
    let slice = rig.get("/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes").await.ok();
    assert_eq!(slice["endpoints"][0]["addresses"], json!(["192.0.2.2"]));
}
