//! Watches.

use serde_json::json;

use crate::rig::{CONFIG_MAPS, Rig, config_map, revision};

#[tokio::test]
async fn conf_10_the_initial_events_end_with_a_bookmark() {
    let rig = Rig::new().await;
    rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let target = format!(
        "{CONFIG_MAPS}?watch=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    );
    let mut watch = rig.watch(&target).await;
    assert_eq!(watch.step().await, "ADDED a");
    let end = watch.next().await.expect("a bookmark");
    assert_eq!(end["type"], "BOOKMARK");
    assert_eq!(end["object"]["metadata"]["annotations"], json!({"k8s.io/initial-events-end": "true"}));
    assert_eq!(revision(&end["object"]), rig.stack.registry.store.current_revision());
    rig.post(CONFIG_MAPS, &config_map("b")).await.ok();
    assert_eq!(watch.step().await, "ADDED b");

    rig.get(&format!("{CONFIG_MAPS}?watch=1&sendInitialEvents=true")).await.refused(
        422,
        "Invalid",
        "ListOptions.meta.k8s.io \"\" is invalid: resourceVersionMatch: Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
    );
}

/// The types of all events of a watch that nothing happens to, for `seconds` of the runtime's time.
async fn idle(target: &str, seconds: u64) -> Vec<String> {
    let rig = Rig::new().await;
    let mut watch = rig.watch(&format!("{target}&timeoutSeconds={seconds}")).await;
    tokio::time::pause();
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await {
        seen.push(event["type"].as_str().unwrap_or_default().to_owned());
    }
    tokio::time::resume();
    seen
}

#[tokio::test]
async fn conf_10_bookmarks_come_only_when_asked_for() {
    assert_eq!(idle(&format!("{CONFIG_MAPS}?watch=1"), 50).await, Vec::<String>::new());
    // One more comes before the end, so that the client resumes from where it was.
    assert_eq!(idle(&format!("{CONFIG_MAPS}?watch=1&allowWatchBookmarks=true"), 50).await, ["BOOKMARK"]);
}

#[tokio::test]
async fn conf_11_selectors_turn_updates_into_additions_and_deletions() {
    let rig = Rig::new().await;
    let mut watch = rig.watch(&format!("{CONFIG_MAPS}?watch=1&labelSelector=color%3Dred")).await;
    let object = rig.post(CONFIG_MAPS, &config_map("a")).await.ok();
    let target = format!("{CONFIG_MAPS}/a");
    let paint = async |color: &str| {
        rig.patch("merge", &target, &json!({"metadata": {"labels": {"color": color}}})).await.ok()
    };
    paint("red").await;
    assert_eq!(watch.step().await, "ADDED a");
    rig.patch("merge", &target, &json!({"data": {"more": "x"}})).await.ok();
    assert_eq!(watch.step().await, "MODIFIED a");
    let blue = paint("blue").await;
    let gone = watch.next().await.expect("an event");
    assert_eq!(gone["type"], "DELETED");
    // The old object with the new revision.
    assert_eq!(gone["object"]["metadata"]["labels"]["color"], "red");
    assert_eq!(revision(&gone["object"]), revision(&blue));
    assert!(revision(&object) < revision(&blue));
}

#[tokio::test]
async fn conf_12_a_watch_from_nowhere_begins_with_what_there_is() {
    let rig = Rig::new().await;
    for name in ["b", "a"] {
        rig.post(CONFIG_MAPS, &config_map(name)).await.ok();
    }
    let from = revision(&rig.get(CONFIG_MAPS).await.ok());
    let mut watches = Vec::new();
    for version in ["", "&resourceVersion=0"] {
        let mut watch = rig.watch(&format!("{CONFIG_MAPS}?watch=1{version}")).await;
        assert_eq!([watch.step().await, watch.step().await], ["ADDED a", "ADDED b"]);
        watches.push(watch);
    }
    watches.push(rig.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}")).await);
    for name in ["z", "y", "x"] {
        rig.post(CONFIG_MAPS, &config_map(name)).await.ok();
    }
    rig.delete(&format!("{CONFIG_MAPS}/y"), &json!(null)).await.ok();
    for mut watch in watches {
        let seen = [watch.step().await, watch.step().await, watch.step().await, watch.step().await];
        assert_eq!(seen, ["ADDED z", "ADDED y", "ADDED x", "DELETED y"]);
    }
}

#[tokio::test]
async fn a_watch_resumes_after_a_restart() {
    let rig = Rig::new().await;
    let from = revision(&rig.post(CONFIG_MAPS, &config_map("a")).await.ok());
    rig.post(CONFIG_MAPS, &config_map("b")).await.ok();
    let rig = rig.restart().await;
    rig.post(CONFIG_MAPS, &config_map("c")).await.ok();
    let mut watch = rig.watch(&format!("{CONFIG_MAPS}?watch=1&resourceVersion={from}")).await;
    let first = watch.next().await.expect("an event");
    // History may have gone with the process, which the watch then says.
    if first["type"] == "ERROR" {
        assert_eq!(first["object"]["reason"], "Expired");
    } else {
        assert_eq!(first["object"]["metadata"]["name"], "b");
        assert_eq!(watch.step().await, "ADDED c");
    }
}
