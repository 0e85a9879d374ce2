//! Creates, updates, and the parts of objects.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::rig::{CONFIG_MAPS, DEPLOYMENTS, PODS, Rig, config_map, deployment, named, pod, revision};

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/default/leases";

fn lease(name: &str) -> Value {
    json!({"metadata": {"name": name}, "spec": {"holderIdentity": "me"}})
}

#[tokio::test]
async fn conf_02_a_new_object_has_no_revision() {
    let rig = Rig::new().await;
    let mut object = config_map("a");
    object["metadata"]["resourceVersion"] = "7".into();
    let status = rig.post(CONFIG_MAPS, &object).await.json();
    assert_eq!(
        (&status["code"], &status["message"]),
        (&json!(500), &json!("resourceVersion should not be set on objects to be created"))
    );
}

#[tokio::test]
async fn conf_03_a_stale_update_conflicts() {
    let rig = Rig::new().await;
    let first = rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let target = format!("{CONFIG_MAPS}/a");
    let mut second = first.clone();
    second["data"]["key"] = "second".into();
    rig.put(&target, &second).await.ok();
    let status = rig.put(&target, &first).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    assert_eq!(status["details"], json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn conf_04_updates_without_a_revision() {
    let rig = Rig::new().await;
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    rig.put(&format!("{CONFIG_MAPS}/a"), &config_map("a")).await.ok();
    rig.post(LEASES, &lease("a")).await.ok();
    rig.put(&format!("{LEASES}/a"), &lease("a")).await.refused(
        422,
        "Invalid",
        "leases.coordination.k8s.io \"a\" is invalid: metadata.resourceVersion: Invalid value: 0: must be specified for an update",
    );
}

#[tokio::test]
async fn conf_05_an_update_of_what_is_absent() {
    let rig = Rig::new().await;
    let created = rig.put(&format!("{LEASES}/a"), &lease("a")).await;
    assert_eq!(created.code, 201);
    rig.put(&format!("{CONFIG_MAPS}/a"), &config_map("a")).await.refused(
        404,
        "NotFound",
        "configmaps \"a\" not found",
    );
}

#[tokio::test]
async fn conf_13_refusals_name_kind_or_resource() {
    let rig = Rig::new().await;
    let status = rig.get(&format!("{DEPLOYMENTS}/x")).await.refused(
        404,
        "NotFound",
        "deployments.apps \"x\" not found",
    );
    assert_eq!(status["details"], json!({"name": "x", "group": "apps", "kind": "deployments"}));
    let mut bad = deployment("d");
    bad["spec"]["replicas"] = json!(-1);
    let status = rig.post(DEPLOYMENTS, &bad).await.refused(
        422,
        "Invalid",
        "Deployment.apps \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    );
    let causes = json!([{
        "reason": "FieldValueInvalid",
        "message": "Invalid value: -1: must be greater than or equal to 0",
        "field": "spec.replicas",
    }]);
    assert_eq!(
        status["details"],
        json!({"name": "d", "group": "apps", "kind": "Deployment", "causes": causes})
    );
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let status = rig.post(CONFIG_MAPS, &config_map("a")).await.refused(
        409,
        "AlreadyExists",
        "configmaps \"a\" already exists",
    );
    assert_eq!(status["details"], json!({"name": "a", "kind": "configmaps"}));
}

#[tokio::test]
async fn conf_20_the_generation_follows_the_spec() {
    let rig = Rig::new().await;
    let generation = |object: &Value| object["metadata"]["generation"].as_i64();
    assert_eq!(generation(&rig.post(DEPLOYMENTS, &deployment("d")).await.ok()), Some(1));
    let target = format!("{DEPLOYMENTS}/d");
    let after = async |path: &str, patch: Value| generation(&rig.patch("merge", path, &patch).await.ok());
    assert_eq!(after(&target, json!({"metadata": {"labels": {"a": "b"}}})).await, Some(1));
    assert_eq!(after(&format!("{target}/status"), json!({"status": {"replicas": 1}})).await, Some(1));
    assert_eq!(after(&target, json!({"spec": {"replicas": 2}})).await, Some(2));
    let going = rig.delete(&target, &json!({"propagationPolicy": "Foreground"})).await.ok();
    assert_eq!(generation(&going), Some(3));
}

#[tokio::test]
async fn conf_21_generated_names() {
    let rig = Rig::new().await;
    let mut object = config_map("x");
    let base = "b".repeat(70);
    object["metadata"] = json!({"generateName": base});
    let made = rig.post(CONFIG_MAPS, &object).await.ok();
    let (kept, suffix) = named(&made).split_at(58);
    assert_eq!(kept, &base[..58]);
    assert!(
        suffix.len() == 5 && suffix.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
        "{suffix}"
    );
    assert_eq!(made["metadata"]["generateName"], base);
    object["metadata"]["generateName"] = "many-".into();
    let mut seen = HashSet::new();
    for _ in 0..100 {
        assert!(seen.insert(named(&rig.post(CONFIG_MAPS, &object).await.ok()).to_owned()));
    }
}

#[tokio::test]
async fn conf_22_a_dry_run_stores_nothing() {
    let rig = Rig::new().await;
    let before = rig.stack.registry.store.current_revision();
    let made = rig
        .post(&format!("{CONFIG_MAPS}?dryRun=All"), &json!({"metadata": {"generateName": "a-"}}))
        .await
        .ok();
    assert!(made["metadata"]["uid"].is_string() && named(&made).len() == 7);
    assert_eq!(made["metadata"].get("resourceVersion"), None);
    assert_eq!(rig.stack.registry.store.current_revision(), before);

    let first = rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let target = format!("{CONFIG_MAPS}/a?dryRun=All");
    assert_eq!(
        rig.patch("merge", &target, &json!({"data": {"key": "new"}})).await.ok()["data"]["key"],
        "new"
    );
    rig.delete(&target, &Value::Null).await.ok();
    assert_eq!(rig.get(&format!("{CONFIG_MAPS}/a")).await.ok(), first);
    // Admission runs all the same.
    let missing = "/api/v1/namespaces/nowhere/configmaps?dryRun=All";
    assert_eq!(rig.post(missing, &config_map("a")).await.code, 404);
    assert_eq!(rig.post(&format!("{CONFIG_MAPS}?dryRun=Some"), &config_map("b")).await.code, 422);
}

#[tokio::test]
async fn conf_30_body_and_path_must_agree() {
    let rig = Rig::new().await;
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let target = format!("{CONFIG_MAPS}/a");
    rig.put(&target, &config_map("b")).await.refused(
        400,
        "BadRequest",
        "the name of the object (b) does not match the name on the URL (a)",
    );
    rig.put(&target, &json!({"data": {}})).await.refused(
        400,
        "BadRequest",
        "the name of the object (a based on URL) was undeterminable: name must be provided",
    );
    let elsewhere = json!({"metadata": {"name": "c", "namespace": "kube-system"}});
    rig.post(CONFIG_MAPS, &elsewhere).await.refused(
        400,
        "BadRequest",
        "the namespace of the provided object does not match the namespace sent on the request",
    );
    let mut beta = deployment("d");
    (beta["apiVersion"], beta["kind"]) = ("apps/v1beta1".into(), "Deployment".into());
    rig.post(DEPLOYMENTS, &beta).await.refused(
        400,
        "BadRequest",
        "the API version in the data (apps/v1beta1) does not match the expected API version (apps/v1)",
    );
}

#[tokio::test]
async fn conf_32_defaults_and_canonical_quantities() {
    let rig = Rig::new().await;
    let mut object = pod("p");
    object["spec"]["containers"][0]["resources"] = json!({"limits": {"cpu": "1000m", "memory": "1024Mi"}});
    let made = rig.post(PODS, &object).await.ok();
    let spec = &made["spec"];
    assert_eq!((&spec["restartPolicy"], &spec["dnsPolicy"]), (&json!("Always"), &json!("ClusterFirst")));
    assert_eq!(spec["containers"][0]["resources"]["limits"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(spec["containers"][0]["resources"]["requests"], json!({"cpu": "1", "memory": "1Gi"}));
    assert_eq!(rig.get(&format!("{PODS}/p")).await.ok(), made);

    let made =
        rig.post(CONFIG_MAPS, &json!({"metadata": {"name": "a", "labels": {}}, "data": null})).await.ok();
    assert_eq!((made.get("data"), made["metadata"].get("labels")), (None, None));
}

#[tokio::test]
async fn conf_33_what_never_changes() {
    let rig = Rig::new().await;
    let check = async |target: &str, patch: Value, field: &str| {
        let refused = rig.patch("merge", target, &patch).await;
        let status = refused.json();
        assert_eq!(
            (refused.code, &status["details"]["causes"][0]["field"]),
            (422, &json!(field)),
            "{target} {status}"
        );
    };
    rig.post(DEPLOYMENTS, &deployment("d")).await.ok();
    let other = json!({"spec": {"selector": {"matchLabels": {"app": "x"}}, "template": {"metadata": {"labels": {"app": "x"}}}}});
    check(&format!("{DEPLOYMENTS}/d"), other, "spec.selector").await;
    rig.post(PODS, &pod("p")).await.ok();
    check(&format!("{PODS}/p"), json!({"spec": {"restartPolicy": "Never"}}), "spec").await;
    let mut fixed = config_map("fixed");
    fixed["immutable"] = true.into();
    rig.post(CONFIG_MAPS, &fixed).await.ok();
    check(&format!("{CONFIG_MAPS}/fixed"), json!({"data": {"key": "x"}}), "data").await;
    let classes = "/apis/scheduling.k8s.io/v1/priorityclasses";
    rig.post(classes, &json!({"metadata": {"name": "high"}, "value": 10})).await.ok();
    check(&format!("{classes}/high"), json!({"value": 11}), "value").await;
    let bindings = "/apis/rbac.authorization.k8s.io/v1/namespaces/default/rolebindings";
    let role = |name: &str| json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": name});
    rig.post(bindings, &json!({"metadata": {"name": "b"}, "roleRef": role("one")})).await.ok();
    check(&format!("{bindings}/b"), json!({"roleRef": role("two")}), "roleRef").await;
}

#[tokio::test]
async fn conf_34_status_and_scale_write_their_own_part() {
    let rig = Rig::new().await;
    rig.post(DEPLOYMENTS, &deployment("d")).await.ok();
    let target = format!("{DEPLOYMENTS}/d");
    let both = json!({"spec": {"replicas": 5}, "status": {"replicas": 3}});
    let through_status = rig.patch("merge", &format!("{target}/status"), &both).await.ok();
    assert_eq!(
        (&through_status["spec"]["replicas"], &through_status["status"]["replicas"]),
        (&json!(1), &json!(3))
    );
    let other = json!({"spec": {"replicas": 5}, "status": {"replicas": 9}});
    let through_main = rig.patch("merge", &target, &other).await.ok();
    assert_eq!(
        (&through_main["spec"]["replicas"], &through_main["status"]["replicas"]),
        (&json!(5), &json!(3))
    );

    let scale = rig.get(&format!("{target}/scale")).await.ok();
    assert_eq!((&scale["kind"], &scale["apiVersion"]), (&json!("Scale"), &json!("autoscaling/v1")));
    assert_eq!(scale["status"], json!({"replicas": 3, "selector": "app=d"}));
    let mut wanted = scale.clone();
    wanted["spec"]["replicas"] = 2.into();
    assert_eq!(rig.put(&format!("{target}/scale"), &wanted).await.ok()["spec"]["replicas"], 2);
    assert_eq!(rig.get(&target).await.ok()["spec"]["replicas"], 2);
    rig.put(&format!("{target}/scale"), &wanted).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on deployments.apps \"d\": the object has been modified; please apply your changes to the latest version and try again",
    );
    assert!(revision(&rig.get(&target).await.ok()) > revision(&scale));
}

#[tokio::test]
async fn conf_35_a_pod_is_bound_once() {
    let rig = Rig::new().await;
    let binding =
        |name: &str| json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "node"}});
    rig.post(PODS, &pod("p")).await.ok();
    let target = format!("{PODS}/p/binding");
    let answer = rig.post(&target, &binding("p")).await;
    assert_eq!((answer.code, answer.json()["status"].clone()), (201, json!("Success")));
    let bound = rig.get(&format!("{PODS}/p")).await.ok();
    assert_eq!(bound["spec"]["nodeName"], "node");
    let condition = &bound["status"]["conditions"][0];
    assert_eq!((&condition["type"], &condition["status"]), (&json!("PodScheduled"), &json!("True")));
    rig.post(&target, &binding("p")).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on pods/binding \"p\": pod p is already assigned to node \"node\"",
    );
    rig.post(&format!("{PODS}/none/binding"), &binding("none")).await.refused(
        404,
        "NotFound",
        "pods \"none\" not found",
    );

    rig.post(PODS, &pod("q")).await.ok();
    assert_eq!(rig.post("/api/v1/namespaces/default/bindings", &binding("q")).await.code, 201);
    assert_eq!(rig.get(&format!("{PODS}/q")).await.ok()["spec"]["nodeName"], "node");
}

#[tokio::test]
async fn rules_that_nothing_would_keep_are_refused() {
    let rig = Rig::new().await;
    let quota = json!({"metadata": {"name": "q"}, "spec": {"hard": {"pods": "1"}}});
    rig.post("/api/v1/namespaces/default/resourcequotas", &quota).await.refused(
        403,
        "Forbidden",
        "resourcequotas is forbidden: this server does not enforce resourcequotas yet, and stores nothing that it would not obey",
    );
    let hook = json!({"metadata": {"name": "h"}, "webhooks": []});
    let hooks = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    assert_eq!(rig.post(hooks, &hook).await.json()["code"], 403);
    let policy = json!({"metadata": {"name": "p"}, "spec": {"podSelector": {}}});
    let policies = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
    assert_eq!(
        rig.post(policies, &policy).await.header("warning"),
        "299 - \"networkpolicies are stored, but this server does not act on them yet\""
    );
}
