//! Gets and lists.

use serde_json::{Value, json};

use crate::rig::{CONFIG_MAPS, DEPLOYMENTS, PODS, Rig, config_map, named, pod, revision};

async fn five() -> Rig {
    let rig = Rig::new().await;
    for name in ["a", "b", "c", "d", "e"] {
        rig.post(CONFIG_MAPS, &config_map(name)).await.ok();
    }
    rig
}

fn names(list: &Value) -> Vec<&str> {
    list["items"].as_array().expect("items").iter().map(named).collect()
}

#[tokio::test]
async fn conf_01_one_revision_for_the_whole_store() {
    let rig = Rig::new().await;
    let first = revision(&rig.post(CONFIG_MAPS, &config_map("a")).await.ok());
    let second = revision(&rig.post(PODS, &pod("p")).await.ok());
    let third = revision(&rig.post(CONFIG_MAPS, &config_map("b")).await.ok());
    assert!(first < second && second < third);
    // A list carries the store's revision even where its own items are older, or where it has none.
    for path in [PODS, DEPLOYMENTS] {
        assert_eq!(revision(&rig.get(path).await.ok()), third, "{path}");
    }
}

#[tokio::test]
async fn conf_06_a_future_revision_times_out() {
    let rig = Rig::new().await;
    let current = revision(&rig.get(CONFIG_MAPS).await.ok());
    let status = rig.get(&format!("{CONFIG_MAPS}?resourceVersion=99999")).await.refused(
        504,
        "Timeout",
        &format!("Timeout: Too large resource version: 99999, current: {current}"),
    );
    assert_eq!(status["details"]["retryAfterSeconds"], 1);
    assert_eq!(
        status["details"]["causes"],
        json!([{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}])
    );
}

#[tokio::test]
async fn conf_07_an_expired_revision_is_gone() {
    let rig = five().await;
    let old = revision(&rig.get(CONFIG_MAPS).await.ok());
    rig.post(CONFIG_MAPS, &config_map("f")).await.ok();
    rig.stack.registry.store.compact(old + 1);
    rig.get(&format!("{CONFIG_MAPS}?resourceVersion={old}&resourceVersionMatch=Exact")).await.refused(
        410,
        "Expired",
        "The resourceVersion for the provided list is too old.",
    );
    let mut watch = rig.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={}", old - 2)).await;
    let event = watch.next().await.expect("an error event");
    assert_eq!(
        (&event["type"], &event["object"]["code"], &event["object"]["reason"]),
        (&json!("ERROR"), &json!(410), &json!("Expired"))
    );
    assert_eq!(watch.next().await, None);
}

#[tokio::test]
async fn conf_08_an_expired_token_offers_an_inconsistent_rest() {
    let rig = five().await;
    let page = rig.get(&format!("{CONFIG_MAPS}?limit=2")).await.ok();
    assert_eq!(names(&page), ["a", "b"]);
    let token = page["metadata"]["continue"].as_str().expect("a token").to_owned();
    rig.post(CONFIG_MAPS, &config_map("cc")).await.ok();
    rig.stack.registry.store.compact(revision(&page) + 1);

    let status = rig.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.json();
    assert_eq!((&status["code"], &status["reason"]), (&json!(410), &json!("Expired")));
    let token = status["metadata"]["continue"].as_str().expect("a new token");
    let rest = rig.get(&format!("{CONFIG_MAPS}?continue={token}")).await.ok();
    assert_eq!(names(&rest), ["c", "cc", "d", "e"]);

    let garbage = rig.get(&format!("{CONFIG_MAPS}?continue=garbage")).await;
    assert_eq!((garbage.code, garbage.json()["reason"].clone()), (400, json!("BadRequest")));
}

#[tokio::test]
async fn conf_09_pages_keep_the_first_ones_revision() {
    let rig = five().await;
    let first = rig.get(&format!("{CONFIG_MAPS}?limit=2")).await.ok();
    assert_eq!(first["metadata"]["remainingItemCount"], 3);
    rig.post(CONFIG_MAPS, &config_map("bb")).await.ok();
    let token = first["metadata"]["continue"].as_str().expect("a token");
    let second = rig.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!((names(&second), revision(&second)), (vec!["c", "d"], revision(&first)));
    assert_eq!(second["metadata"]["remainingItemCount"], 1);
    let token = second["metadata"]["continue"].as_str().expect("a token");
    let third = rig.get(&format!("{CONFIG_MAPS}?limit=2&continue={token}")).await.ok();
    assert_eq!((names(&third), third["metadata"].get("continue")), (vec!["e"], None));

    // With a selector nobody knows how many remain.
    let selected = rig.get(&format!("{CONFIG_MAPS}?limit=2&labelSelector=!absent")).await.ok();
    assert!(selected["metadata"]["continue"].is_string());
    assert_eq!(selected["metadata"].get("remainingItemCount"), None);
}

#[tokio::test]
async fn conf_31_field_selectors_are_fixed_for_each_kind() {
    let rig = Rig::new().await;
    let bad = rig.get(&format!("{PODS}?fieldSelector=spec.unknown%3Dx")).await;
    assert_eq!(bad.code, 400);
    assert!(
        bad.json()["message"]
            .as_str()
            .expect("a message")
            .contains("field label not supported: spec.unknown")
    );
    let check = async |path: &str, fields: &[&str]| {
        for field in fields {
            let target = format!("{path}?fieldSelector={field}%3Dx");
            assert_eq!(rig.get(&target).await.code, 200, "{target}");
        }
    };
    check(
        "/api/v1/pods",
        &[
            "metadata.name",
            "metadata.namespace",
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ],
    )
    .await;
    check("/api/v1/nodes", &["metadata.name", "spec.unschedulable"]).await;
    check(
        "/api/v1/events",
        &[
            "involvedObject.kind",
            "involvedObject.namespace",
            "involvedObject.name",
            "involvedObject.uid",
            "involvedObject.apiVersion",
            "involvedObject.resourceVersion",
            "involvedObject.fieldPath",
            "reason",
            "reportingComponent",
            "source",
            "type",
        ],
    )
    .await;
    check("/api/v1/secrets", &["type"]).await;
    check("/api/v1/namespaces", &["status.phase"]).await;
    check("/api/v1/services", &["spec.clusterIP", "spec.type"]).await;
    check("/api/v1/replicationcontrollers", &["status.replicas"]).await;
    check("/apis/apps/v1/replicasets", &["status.replicas"]).await;
    check("/apis/batch/v1/jobs", &["status.successful"]).await;
}

#[tokio::test]
async fn conf_36_tables_and_metadata() {
    let rig = Rig::new().await;
    rig.post(PODS, &pod("p")).await.ok();
    let table = |include: &str| format!("{PODS}?includeObject={include}");
    let accept = [("accept", "application/json;as=Table;v=v1;g=meta.k8s.io")];
    let shown = rig.call("GET", &table("Metadata"), &accept, "").await.ok();
    let columns: Vec<&Value> =
        shown["columnDefinitions"].as_array().expect("columns").iter().map(|c| &c["name"]).collect();
    assert_eq!(columns[..5], ["Name", "Ready", "Status", "Restarts", "Age"].map(Value::from).each_ref()[..]);
    assert_eq!(shown["rows"][0]["cells"][0], "p");
    assert_eq!(shown["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    assert_eq!(rig.call("GET", &table("None"), &accept, "").await.ok()["rows"][0]["object"], Value::Null);
    assert_eq!(rig.call("GET", &table("Object"), &accept, "").await.ok()["rows"][0]["object"]["kind"], "Pod");

    let accept = [("accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")];
    let list = rig.call("GET", PODS, &accept, "").await.ok();
    assert_eq!(list["kind"], "PartialObjectMetadataList");
    assert_eq!((named(&list["items"][0]), list["items"][0].get("spec")), ("p", None));

    // Columns come with the first event alone.
    let mut watch =
        rig.watch_as(&format!("{PODS}?watch=1"), "application/json;as=Table;v=v1;g=meta.k8s.io").await;
    assert!(watch.next().await.expect("an event")["object"]["columnDefinitions"].is_array());
    rig.post(PODS, &pod("q")).await.ok();
    assert_eq!(watch.next().await.expect("an event")["object"]["columnDefinitions"], Value::Null);

    // A form that no kind has is not acceptable.
    let other = [("accept", "application/json;as=Chair;v=v1;g=meta.k8s.io")];
    assert_eq!(rig.call("GET", PODS, &other, "").await.code, 406);
}
