//! Discovery, OpenAPI, and what stands in headers.

use serde_json::{Value, json};

use crate::rig::{CONFIG_MAPS, Rig};

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

#[tokio::test]
async fn conf_37_discovery_is_aggregated_where_asked() {
    let rig = Rig::new().await;
    for path in ["/apis", "/apis/", "/api", "/api/"] {
        let answer = rig.call("GET", path, &[("accept", AGGREGATED)], "").await;
        assert_eq!(answer.header("content-type"), AGGREGATED, "{path}");
        let etag = answer.header("etag").to_owned();
        assert!(etag.starts_with('"'), "{path}: {etag}");
        let list = answer.ok();
        assert_eq!(
            (&list["kind"], &list["apiVersion"]),
            (&json!("APIGroupDiscoveryList"), &json!("apidiscovery.k8s.io/v2"))
        );
        let again = rig.call("GET", path, &[("accept", AGGREGATED), ("if-none-match", &etag)], "").await;
        assert_eq!((again.code, again.body.len()), (304, 0));
    }
    // The form of the beta is gone; who offers nothing else gets the plain one.
    let beta = format!("{}, application/json", AGGREGATED.replace("v=v2", "v=v2beta1"));
    assert_eq!(rig.call("GET", "/apis", &[("accept", &beta)], "").await.ok()["kind"], "APIGroupList");
    let group = rig.get("/apis/apps").await.ok();
    assert_eq!(group["preferredVersion"], json!({"groupVersion": "apps/v1", "version": "v1"}));
    let resources = rig.get("/apis/apps/v1/").await.ok();
    let names: Vec<&Value> =
        resources["resources"].as_array().expect("resources").iter().map(|r| &r["name"]).collect();
    assert!(names.contains(&&json!("deployments/scale")));
    let version = rig.get("/version").await.ok();
    assert!(version["minor"].as_str().is_some_and(|minor| minor.parse::<u32>().is_ok()));
}

#[tokio::test]
async fn conf_38_openapi_in_all_its_forms() {
    let rig = Rig::new().await;
    let v2 = rig.get("/openapi/v2").await.ok();
    assert_eq!(v2["swagger"], "2.0");
    let index = rig.get("/openapi/v3").await.ok();
    let url = index["paths"]["apis/apps/v1"]["serverRelativeURL"].as_str().expect("a URL").to_owned();
    assert!(url.starts_with("/openapi/v3/apis/apps/v1?hash="), "{url}");
    let answer = rig.get(&url).await;
    assert!(answer.header("cache-control").contains("immutable"), "{}", answer.header("cache-control"));
    assert!(answer.header("etag").starts_with('"'));
    assert_eq!(answer.ok()["openapi"], "3.0.0");
    assert_eq!(rig.get("/openapi/v3/apis/absent/v1").await.code, 404);
}

#[tokio::test]
async fn conf_39_headers() {
    let rig = Rig::new().await;
    for path in [CONFIG_MAPS, "/api/v1/namespaces/default/configmaps/absent", "/version"] {
        let answer = rig.get(path).await;
        assert_eq!(answer.header("cache-control"), "no-cache, private", "{path}");
        assert_eq!(answer.header("audit-id").len(), 36, "{path}");
        assert_eq!(answer.header("content-type"), "application/json", "{path}");
    }
    let named = rig.call("GET", CONFIG_MAPS, &[("audit-id", "mine")], "").await;
    assert_eq!(named.header("audit-id"), "mine");
}

#[tokio::test]
async fn a_head_request_is_a_get_without_its_body() {
    let rig = Rig::new().await;
    for (path, code) in
        [(CONFIG_MAPS, 200), ("/version", 200), ("/healthz", 200), ("/api/v1/namespaces/x", 404)]
    {
        let answer = rig.call("HEAD", path, &[], "").await;
        assert_eq!((answer.code, answer.body.len()), (code, 0), "{path}");
    }
}
