//! Deletes, and the life of namespaces.

use serde_json::{Value, json};

use crate::rig::{CONFIG_MAPS, DEPLOYMENTS, PODS, Rig, config_map, deployment, named, pod};

const NONE: Value = Value::Null;

fn finalizers(object: &Value) -> Vec<&str> {
    object["metadata"]["finalizers"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

#[tokio::test]
async fn conf_14_finalizers_hold_what_is_deleted() {
    let rig = Rig::new().await;
    let mut object = config_map("held");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    rig.post(CONFIG_MAPS, &object).await.ok();
    let target = format!("{CONFIG_MAPS}/held");
    let answer = rig.delete(&target, &NONE).await;
    assert_eq!(answer.code, 200);
    let deleted = answer.json();
    assert_eq!(deleted["kind"], "ConfigMap");
    assert_eq!(deleted["metadata"]["deletionTimestamp"], "2023-11-14T22:13:20Z");
    assert_eq!(deleted["metadata"]["deletionGracePeriodSeconds"], 0);
    // Deleting it again changes nothing.
    let again = rig.delete(&target, &NONE).await.ok();
    assert_eq!(again["metadata"]["resourceVersion"], deleted["metadata"]["resourceVersion"]);
    // The last finalizer takes the object with it.
    rig.patch("merge", &target, &json!({"metadata": {"finalizers": null}})).await.ok();
    rig.get(&target).await.refused(404, "NotFound", "configmaps \"held\" not found");
}

#[tokio::test]
async fn conf_15_no_new_finalizers_on_the_way_out() {
    let rig = Rig::new().await;
    let mut object = config_map("held");
    object["metadata"]["finalizers"] = json!(["example.com/hold"]);
    rig.post(CONFIG_MAPS, &object).await.ok();
    let target = format!("{CONFIG_MAPS}/held");
    rig.delete(&target, &NONE).await.ok();
    let patch = json!({"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}});
    rig.patch("merge", &target, &patch).await.refused(
        422,
        "Invalid",
        "ConfigMap \"held\" is invalid: metadata.finalizers: Forbidden: no new finalizers can be added if the object is being deleted, found new finalizers []string{\"example.com/more\"}",
    );
}

#[tokio::test]
async fn conf_16_two_ways_to_say_orphan_are_one_too_many() {
    let rig = Rig::new().await;
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let options = json!({"orphanDependents": true, "propagationPolicy": "Orphan"});
    rig.delete(&format!("{CONFIG_MAPS}/a"), &options).await.refused(
        422,
        "Invalid",
        "DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Invalid value: \"Orphan\": orphanDependents and deletionPropagation cannot be both set",
    );
}

#[tokio::test]
async fn conf_17_foreground_and_orphan_are_finalizers() {
    let rig = Rig::new().await;
    let check = async |policy: &str, want: &[&str]| {
        rig.post(DEPLOYMENTS, &deployment(&policy.to_lowercase())).await.ok();
        let target = format!("{DEPLOYMENTS}/{}", policy.to_lowercase());
        let answer = rig.delete(&target, &json!({"propagationPolicy": policy})).await.ok();
        if want.is_empty() {
            assert_eq!((&answer["kind"], &answer["status"]), (&json!("Status"), &json!("Success")));
            assert_eq!(rig.get(&target).await.code, 404);
        } else {
            let live = rig.get(&target).await.ok();
            assert_eq!(finalizers(&live), want, "{policy}");
            assert!(live["metadata"]["deletionTimestamp"].is_string());
        }
    };
    check("Foreground", &["foregroundDeletion"]).await;
    check("Orphan", &["orphan"]).await;
    check("Background", &[]).await;
}

#[tokio::test]
async fn conf_18_a_scheduled_pod_is_finished_by_its_kubelet() {
    let rig = Rig::new().await;
    rig.post(PODS, &pod("free")).await.ok();
    let gone = rig.delete(&format!("{PODS}/free"), &NONE).await.ok();
    assert_eq!(named(&gone), "free");
    assert_eq!(rig.get(&format!("{PODS}/free")).await.code, 404);

    let mut bound = pod("bound");
    bound["spec"]["nodeName"] = "node".into();
    let bound = rig.post(PODS, &bound).await.ok();
    let target = format!("{PODS}/bound");
    let going = rig.delete(&target, &NONE).await.ok();
    assert_eq!(going["metadata"]["deletionGracePeriodSeconds"], 30);
    assert_eq!(going["metadata"]["deletionTimestamp"], "2023-11-14T22:13:50Z");

    let uid = going["metadata"]["uid"].as_str().expect("a uid");
    assert_eq!(bound["metadata"]["uid"], uid);
    let other = json!({"gracePeriodSeconds": 0, "preconditions": {"uid": "other"}});
    let refused = rig.delete(&target, &other).await;
    assert_eq!((refused.code, refused.json()["reason"].clone()), (409, json!("Conflict")));
    rig.delete(&target, &json!({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})).await.ok();
    assert_eq!(rig.get(&target).await.code, 404);
}

#[tokio::test]
async fn conf_19_deleting_a_collection_tells_what_went() {
    let rig = Rig::new().await;
    for (name, color) in [("a", "red"), ("b", "blue"), ("c", "red")] {
        let mut object = config_map(name);
        object["metadata"]["labels"] = json!({"color": color});
        rig.post(CONFIG_MAPS, &object).await.ok();
    }
    let gone = rig.delete(&format!("{CONFIG_MAPS}?labelSelector=color%3Dred"), &NONE).await.ok();
    assert_eq!(gone["kind"], "ConfigMapList");
    assert_eq!(gone["items"].as_array().expect("items").iter().map(named).collect::<Vec<_>>(), ["a", "c"]);
    let left = rig.get(CONFIG_MAPS).await.ok();
    assert_eq!(left["items"].as_array().expect("items").iter().map(named).collect::<Vec<_>>(), ["b"]);
}

#[tokio::test]
async fn conf_23_nothing_is_created_where_no_namespace_is() {
    let rig = Rig::new().await;
    let missing = "/api/v1/namespaces/nowhere/configmaps";
    rig.post(missing, &config_map("a")).await.refused(404, "NotFound", "namespaces \"nowhere\" not found");

    rig.post("/api/v1/namespaces", &json!({"metadata": {"name": "ending"}})).await.ok();
    rig.delete("/api/v1/namespaces/ending", &NONE).await.ok();
    let status = rig.post("/api/v1/namespaces/ending/configmaps", &config_map("a")).await.refused(
        403,
        "Forbidden",
        "configmaps \"a\" is forbidden: unable to create new content in namespace ending because it is being terminated",
    );
    let cause = json!([{
        "reason": "NamespaceTerminating",
        "message": "namespace ending is being terminated",
        "field": "metadata.namespace",
    }]);
    assert_eq!(status["details"]["causes"], cause);
    for name in ["default", "kube-system", "kube-public"] {
        rig.delete(&format!("/api/v1/namespaces/{name}"), &NONE).await.refused(
            403,
            "Forbidden",
            &format!("namespaces \"{name}\" is forbidden: this namespace may not be deleted"),
        );
    }
}

#[tokio::test]
async fn conf_24_a_namespace_ends_when_it_is_finalized() {
    let rig = Rig::new().await;
    let made = rig.post("/api/v1/namespaces", &json!({"metadata": {"name": "short"}})).await.ok();
    assert_eq!(made["metadata"]["labels"], json!({"kubernetes.io/metadata.name": "short"}));
    assert_eq!(
        (&made["spec"]["finalizers"], &made["status"]["phase"]),
        (&json!(["kubernetes"]), &json!("Active"))
    );

    let target = "/api/v1/namespaces/short";
    let mut going = rig.delete(target, &NONE).await.ok();
    assert_eq!(going["status"]["phase"], "Terminating");
    assert!(going["metadata"]["deletionTimestamp"].is_string());

    // Its controller says what remains.
    let condition = json!({
        "type": "NamespaceContentRemaining", "status": "True", "reason": "SomeResourcesRemain",
        "message": "one", "lastTransitionTime": "2023-11-14T22:13:20Z",
    });
    let with_status = rig
        .patch("merge", &format!("{target}/status"), &json!({"status": {"conditions": [condition]}}))
        .await
        .ok();
    assert_eq!(with_status["status"]["conditions"][0]["type"], "NamespaceContentRemaining");

    going = with_status;
    going["spec"]["finalizers"] = json!([]);
    rig.put(&format!("{target}/finalize"), &going).await.ok();
    rig.get(target).await.refused(404, "NotFound", "namespaces \"short\" not found");
}
