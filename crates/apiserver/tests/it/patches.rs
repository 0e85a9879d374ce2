//! Patches, server-side apply, and what is said of unknown fields.

use serde_json::{Value, json};

use crate::rig::{CONFIG_MAPS, DEPLOYMENTS, Rig, config_map, deployment, revision};

const A: &str = "/api/v1/namespaces/default/configmaps/a";

fn applied(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": data})
}

#[tokio::test]
async fn conf_25_apply_needs_a_manager_and_tells_conflicts() {
    let rig = Rig::new().await;
    rig.patch("apply", A, &applied(json!({"k": "1"}))).await.refused(
        422,
        "Invalid",
        "PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
    );
    let one = format!("{A}?fieldManager=one");
    let created = rig.patch("apply", &one, &applied(json!({"k": "1"}))).await;
    assert_eq!(created.code, 201);
    assert_eq!(rig.patch("apply", &one, &applied(json!({"k": "1"}))).await.code, 200);

    let nameless = json!({"apiVersion": "v1", "kind": "ConfigMap"});
    assert_eq!(rig.patch("apply", &one, &nameless).await.code, 400);
    let mut managed = applied(json!({}));
    managed["metadata"]["managedFields"] = json!([{"manager": "x"}]);
    rig.patch("apply", &one, &managed).await.refused(400, "BadRequest", "metadata.managedFields must be nil");

    let two = format!("{A}?fieldManager=two");
    let status = rig.patch("apply", &two, &applied(json!({"k": "2"}))).await.refused(
        409,
        "Conflict",
        "Apply failed with 1 conflict: conflict with \"one\": .data.k",
    );
    let causes =
        json!([{"reason": "FieldManagerConflict", "message": "conflict with \"one\"", "field": ".data.k"}]);
    assert_eq!(status["details"]["causes"], causes);
    let forced = rig.patch("apply", &format!("{two}&force=true"), &applied(json!({"k": "2"}))).await.ok();
    assert_eq!(forced["data"]["k"], "2");
    let force = rig.patch("merge", &format!("{A}?force=true"), &json!({})).await;
    assert_eq!(force.code, 422);
}

#[tokio::test]
async fn conf_26_a_write_that_changes_nothing_moves_nothing() {
    let rig = Rig::new().await;
    let one = format!("{A}?fieldManager=one");
    let first = rig.patch("apply", &one, &applied(json!({"k": "1"}))).await.ok();
    rig.clock.advance(std::time::Duration::from_secs(90));
    assert_eq!(rig.patch("apply", &one, &applied(json!({"k": "1"}))).await.ok(), first);
    assert_eq!(rig.patch("merge", A, &json!({"data": {"k": "1"}})).await.ok(), first);
    assert_eq!(rig.put(A, &first).await.ok(), first);
    assert_eq!(rig.patch("json", A, &json!([])).await.ok(), first);
    let changed = rig.patch("merge", A, &json!({"data": {"k": "3"}})).await.ok();
    assert!(revision(&changed) > revision(&first));
}

#[tokio::test]
async fn conf_27_strategic_merge_knows_lists() {
    let rig = Rig::new().await;
    let mut start = deployment("d");
    start["spec"]["template"]["spec"]["containers"] = json!([
        {"name": "one", "image": "a", "env": [{"name": "X", "value": "1"}]},
        {"name": "two", "image": "b"},
    ]);
    rig.post(DEPLOYMENTS, &start).await.ok();
    let target = format!("{DEPLOYMENTS}/d");
    let containers = async |patch: Value| {
        let patch = json!({"spec": {"template": {"spec": patch}}});
        let after = rig.patch("strategic", &target, &patch).await.ok();
        let list = after["spec"]["template"]["spec"]["containers"].as_array().expect("containers").clone();
        list.iter()
            .map(|c| format!("{}={}", c["name"].as_str().unwrap_or(""), c["image"].as_str().unwrap_or("")))
            .collect::<Vec<_>>()
    };
    assert_eq!(containers(json!({"containers": [{"name": "two", "image": "c"}]})).await, ["one=a", "two=c"]);
    assert_eq!(
        containers(json!({"$setElementOrder/containers": [{"name": "two"}, {"name": "one"}], "containers": [{"name": "one", "image": "z"}]})).await,
        ["two=c", "one=z"]
    );
    assert_eq!(containers(json!({"containers": [{"name": "two", "$patch": "delete"}]})).await, ["one=z"]);

    let object = json!({"metadata": {"finalizers": ["example.com/a", "example.com/b"]}});
    rig.patch("merge", &target, &object).await.ok();
    let removed = json!({"metadata": {"$deleteFromPrimitiveList/finalizers": ["example.com/a"]}});
    let after = rig.patch("strategic", &target, &removed).await.ok();
    assert_eq!(after["metadata"]["finalizers"], json!(["example.com/b"]));
    let strategy = json!({"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}});
    let after = rig.patch("strategic", &target, &strategy).await.ok();
    assert_eq!(after["spec"]["strategy"], json!({"type": "Recreate"}));
}

#[tokio::test]
async fn conf_28_json_patches_and_their_limits() {
    let rig = Rig::new().await;
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let failed = rig.patch("json", A, &json!([{"op": "test", "path": "/data/key", "value": "other"}])).await;
    assert_eq!((failed.code, failed.json()["reason"].clone()), (422, json!("Invalid")));
    let many = vec![json!({"op": "add", "path": "/data/key", "value": "v"}); 10_001];
    rig.patch("json", A, &many.into()).await.refused(
        413,
        "RequestEntityTooLarge",
        "The allowed maximum operations in a JSON patch is 10000, got 10001",
    );
    let stale = json!({"metadata": {"resourceVersion": "1"}, "data": {"key": "x"}});
    rig.patch("merge", A, &stale).await.refused(
        409,
        "Conflict",
        "Operation cannot be fulfilled on configmaps \"a\": the object has been modified; please apply your changes to the latest version and try again",
    );
    let unknown = rig.patch("text/plain", A, &json!({})).await;
    assert_eq!(unknown.code, 415);

    let huge = json!({"data": {"key": "x".repeat(3 * 1024 * 1024)}});
    let refused = rig.patch("merge", A, &huge).await;
    assert_eq!((refused.code, refused.json()["reason"].clone()), (413, json!("RequestEntityTooLarge")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn conf_28_patches_without_a_revision_never_conflict() {
    let rig = std::sync::Arc::new(Rig::new().await);
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let mut tasks = Vec::new();
    for writer in 0..20 {
        let rig = rig.clone();
        tasks.push(tokio::spawn(async move {
            for round in 0..5 {
                let mut data = serde_json::Map::new();
                data.insert(format!("k-{writer}-{round}"), "v".into());
                rig.patch("merge", A, &json!({"data": data})).await.ok();
            }
        }));
    }
    for task in tasks {
        task.await.expect("patches succeed");
    }
    assert_eq!(rig.get(A).await.ok()["data"].as_object().map(|data| data.len()), Some(101));
}

#[tokio::test]
async fn conf_29_unknown_and_duplicate_fields() {
    let rig = Rig::new().await;
    let body = r#"{"kind":"Deployment","apiVersion":"apps/v1","metadata":{"name":"d","odd":1},"spec":{"replicas":1,"replicas":2,"unknown":true,
        "selector":{"matchLabels":{"app":"d"}},"template":{"metadata":{"labels":{"app":"d"}},"spec":{"containers":[{"name":"main","image":"image","extra":1}]}}}}"#;
    let found = [
        "unknown field \"metadata.odd\"",
        "duplicate field \"spec.replicas\"",
        "unknown field \"spec.template.spec.containers[0].extra\"",
        "unknown field \"spec.unknown\"",
    ];
    let strict = rig.call("POST", &format!("{DEPLOYMENTS}?fieldValidation=Strict"), &[], body).await;
    assert_eq!(strict.code, 400);
    let message = strict.json()["message"].as_str().expect("a message").to_owned();
    let prefix = "Deployment in version \"v1\" cannot be handled as a Deployment: strict decoding error: ";
    let mut told: Vec<&str> = message.strip_prefix(prefix).expect("the usual words").split(", ").collect();
    let mut want = found.to_vec();
    told.sort_unstable();
    want.sort_unstable();
    assert_eq!(told, want);

    let warned = rig.call("POST", &format!("{DEPLOYMENTS}?fieldValidation=Warn"), &[], body).await;
    let mut warnings: Vec<String> =
        warned.headers.get_all("warning").iter().map(|w| w.to_str().expect("text").to_owned()).collect();
    warnings.sort_unstable();
    let want: Vec<String> =
        want.iter().map(|text| format!("299 - \"{}\"", text.replace('"', "\\\""))).collect();
    assert_eq!((warned.code, warnings), (201, want));
    rig.delete(&format!("{DEPLOYMENTS}/d"), &Value::Null).await.ok();

    let ignored = rig.call("POST", &format!("{DEPLOYMENTS}?fieldValidation=Ignore"), &[], body).await;
    assert_eq!((ignored.code, ignored.header("warning")), (201, ""));
    assert_eq!(ignored.json()["spec"]["replicas"], 2);
}
