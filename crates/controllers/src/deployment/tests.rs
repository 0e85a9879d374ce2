//! Rollouts in a model of a cluster, and the plans of single reconciles.

use super::*;
use crate::model::{Cluster, NAMESPACE};
use crate::pods;
use base::random::Random;
use serde_json::{Value, json};

fn deployment(replicas: u64, surge: Value, unavailable: Value) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": NAMESPACE, "annotations": {"note": "first"}},
        "spec": {
            "replicas": replicas,
            "progressDeadlineSeconds": 600,
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": {"app": "web"}},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable},
            },
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {"containers": [{"name": "c", "image": "one"}]},
            },
        },
    })
}

/// A reconcile of the deployment, then of each of its replica sets; whether anything was written.
fn step(cluster: &mut Cluster, target: &Target) -> bool {
    let deployment: Deployment = cluster.get(target).unwrap();
    let sets: Vec<ReplicaSet> = cluster.list(&Kind::REPLICA_SET);
    let namesake = sets.iter().find(|set| set.metadata.name.as_ref() == Some(&new_name(&deployment)));
    let pods: Vec<Pod> = cluster.list(&Kind::POD);
    let view = View {
        deployment: &deployment,
        replica_sets: &sets.iter().collect::<Vec<_>>(),
        namesake,
        pods: &pods.iter().collect::<Vec<_>>(),
        last_failure: None,
    };
    let plan = reconcile(&view, cluster.now);
    cluster.apply(&plan).unwrap();
    let mut is_busy = !plan.operations.is_empty();
    for set in cluster.list::<ReplicaSet>(&Kind::REPLICA_SET) {
        let set = Target::of(Kind::REPLICA_SET, &set.metadata);
        is_busy |= crate::replica_set::tests::step(cluster, &set).unwrap();
    }
    is_busy
}

fn settle(cluster: &mut Cluster, target: &Target) {
    for _ in 0..200 {
        let is_busy = step(cluster, target);
        let all: Vec<Pod> = cluster.list(&Kind::POD);
        // Looked at before time passes: a pod that becomes ready now is yet to be reported.
        let is_done = !is_busy && all.iter().all(|pod| pods::is_ready(pod) && pods::is_active(pod));
        cluster.tick(|_| true);
        if is_done {
            return;
        }
    }
    panic!("the rollout does not come to rest");
}

fn set_image(cluster: &mut Cluster, target: &Target, image: &str) {
    cluster.edit(target, |tree| tree["spec"]["template"]["spec"]["containers"][0]["image"] = json!(image));
}

fn counts(cluster: &Cluster) -> (usize, usize) {
    let pods: Vec<Pod> = cluster.list(&Kind::POD);
    let active = pods.iter().filter(|pod| pods::is_active(pod));
    (active.clone().count(), active.filter(|pod| pods::is_ready(pod)).count())
}

fn reason(deployment: &Deployment) -> &str {
    let conditions = deployment.status.as_ref().unwrap().conditions.as_ref().unwrap();
    let progress =
        conditions.iter().find(|condition| condition.type_.as_deref() == Some("Progressing")).unwrap();
    progress.reason.as_deref().unwrap()
}

#[test]
fn rollouts_keep_within_their_fences_and_come_to_rest() {
    for seed in crate::model::seeds(40) {
        let mut cluster = Cluster::new(seed);
        let replicas = 1 + cluster.random.below(10);
        let surge = json!(format!("{}%", cluster.random.below(60)));
        let unavailable = json!(cluster.random.below(3));
        let target = cluster.create(Kind::DEPLOYMENT, deployment(replicas, surge, unavailable));
        settle(&mut cluster, &target);
        let spec: Deployment = cluster.get(&target).unwrap();
        let most = replicas as usize + max_surge(&spec) as usize;
        let least = replicas as usize - max_unavailable(&spec) as usize;
        for image in ["two", "three"] {
            set_image(&mut cluster, &target, image);
            for _ in 0..=cluster.random.below(20) {
                step(&mut cluster, &target);
                let (active, ready) = counts(&cluster);
                assert!(active <= most, "seed {seed}: {active} pods, at most {most}");
                assert!(ready >= least, "seed {seed}: {ready} ready pods, at least {least}");
                cluster.tick(|_| true);
            }
        }
        settle(&mut cluster, &target);
        let done: Deployment = cluster.get(&target).unwrap();
        assert!(status::is_complete(&done), "seed {seed}: {:?}", done.status);
        assert_eq!(reason(&done), "NewReplicaSetAvailable");
        assert_eq!(history::annotation(&done.metadata, history::REVISION), Some("3"));
        assert!(
            cluster
                .list::<Pod>(&Kind::POD)
                .iter()
                .all(|pod| { pod.spec.as_ref().unwrap().containers[0].image.as_deref() == Some("three") })
        );
    }
}

#[test]
fn a_template_that_never_becomes_ready_causes_no_outage() {
    let mut cluster = Cluster::new(7);
    let target = cluster.create(Kind::DEPLOYMENT, deployment(10, json!(3), json!(2)));
    settle(&mut cluster, &target);
    set_image(&mut cluster, &target, "bad");
    let is_good = |pod: &Pod| pod.spec.as_ref().unwrap().containers[0].image.as_deref() != Some("bad");
    for _ in 0..50 {
        step(&mut cluster, &target);
        cluster.tick(is_good);
    }
    assert_eq!(counts(&cluster), (13, 8));
    cluster.now = cluster.now.plus(std::time::Duration::from_secs(700));
    step(&mut cluster, &target);
    assert_eq!(reason(&cluster.get(&target).unwrap()), "ProgressDeadlineExceeded");

    // Scaled in this state, both templates get their share, and none gains on the other.
    cluster.edit(&target, |tree| tree["spec"]["replicas"] = json!(20));
    step(&mut cluster, &target);
    let mut sizes: Vec<i32> = cluster.list::<ReplicaSet>(&Kind::REPLICA_SET).iter().map(wanted).collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [9, 14]);

    set_image(&mut cluster, &target, "one");
    settle(&mut cluster, &target);
    let back: Deployment = cluster.get(&target).unwrap();
    assert_eq!(
        history::annotation(&back.metadata, history::REVISION),
        Some("3"),
        "the old set has a new revision"
    );
    let sets: Vec<ReplicaSet> = cluster.list(&Kind::REPLICA_SET);
    let current = sets.iter().find(|set| wanted(set) > 0).unwrap();
    assert_eq!(history::annotation(&current.metadata, history::REVISION_HISTORY), Some("1"));
}

#[test]
fn recreation_never_runs_two_templates_at_once() {
    let mut cluster = Cluster::new(3);
    let mut tree = deployment(4, json!(0), json!(0));
    tree["spec"]["strategy"] = json!({"type": "Recreate"});
    let target = cluster.create(Kind::DEPLOYMENT, tree);
    settle(&mut cluster, &target);
    set_image(&mut cluster, &target, "two");
    for _ in 0..60 {
        step(&mut cluster, &target);
        let images: std::collections::BTreeSet<Option<String>> = cluster
            .list::<Pod>(&Kind::POD)
            .into_iter()
            .map(|pod| pod.spec.unwrap().containers[0].image.clone())
            .collect();
        assert!(images.len() <= 1, "{images:?}");
        cluster.tick(|_| true);
    }
    assert!(status::is_complete(&cluster.get(&target).unwrap()));
}

#[test]
fn history_is_kept_to_its_limit_and_events_tell_what_happened() {
    let mut cluster = Cluster::new(1);
    let target = cluster.create(Kind::DEPLOYMENT, deployment(1, json!(1), json!(0)));
    for image in ["one", "two", "three", "four", "five"] {
        set_image(&mut cluster, &target, image);
        settle(&mut cluster, &target);
    }
    assert_eq!(cluster.list::<ReplicaSet>(&Kind::REPLICA_SET).len(), 3, "the newest and two old ones");
    let scaled: Vec<&String> = cluster.events.iter().filter(|event| event.starts_with("Scaled")).collect();
    let name = new_name(&cluster.get(&target).unwrap());
    assert!(scaled[0].starts_with("Scaled up replica set web-") && scaled[0].ends_with("from 0 to 1"));
    assert!(scaled.contains(&&format!("Scaled up replica set {name} from 0 to 1")));
    assert!(scaled.last().unwrap().ends_with("from 1 to 0"));
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut cluster = Cluster::new(1);
    let target = cluster.create(Kind::DEPLOYMENT, deployment(2, json!(1), json!(0)));
    settle(&mut cluster, &target);
    cluster.edit(&target, |tree| {
        tree["spec"]["paused"] = json!(true);
        tree["spec"]["replicas"] = json!(5);
    });
    set_image(&mut cluster, &target, "two");
    settle(&mut cluster, &target);
    assert_eq!(reason(&cluster.get(&target).unwrap()), "DeploymentPaused");
    assert_eq!((counts(&cluster).0, cluster.list::<ReplicaSet>(&Kind::REPLICA_SET).len()), (5, 1));
    cluster.edit(&target, |tree| tree["spec"]["paused"] = json!(false));
    settle(&mut cluster, &target);
    assert!(status::is_complete(&cluster.get(&target).unwrap()));
}

#[test]
fn rollback_by_annotation_restores_template_and_annotations() {
    let mut cluster = Cluster::new(1);
    let target = cluster.create(Kind::DEPLOYMENT, deployment(1, json!(1), json!(0)));
    settle(&mut cluster, &target);
    cluster.edit(&target, |tree| tree["metadata"]["annotations"]["note"] = json!("second"));
    set_image(&mut cluster, &target, "two");
    settle(&mut cluster, &target);
    cluster.edit(&target, |tree| tree["metadata"]["annotations"][history::ROLLBACK_TO] = json!("0"));
    settle(&mut cluster, &target);
    assert!(
        cluster.events.contains(&"Rolled back deployment \"web\" to revision 1".to_owned()),
        "{:?}",
        cluster.events
    );
    let back: Deployment = cluster.get(&target).unwrap();
    assert_eq!(back.spec.template.spec.as_ref().unwrap().containers[0].image.as_deref(), Some("one"));
    assert_eq!(history::annotation(&back.metadata, history::ROLLBACK_TO), None);
}

#[test]
fn a_name_taken_by_another_raises_the_collision_count() {
    let mut cluster = Cluster::new(1);
    let target = cluster.create(Kind::DEPLOYMENT, deployment(1, json!(1), json!(0)));
    let name = new_name(&cluster.get(&target).unwrap());
    let spec = json!({"replicas": 0, "selector": {"matchLabels": {"app": "other"}}});
    cluster.create(Kind::REPLICA_SET, json!({"metadata": {"name": name}, "spec": spec}));
    settle(&mut cluster, &target);
    let done: Deployment = cluster.get(&target).unwrap();
    assert_eq!(done.status.as_ref().unwrap().collision_count, Some(1));
    assert!(status::is_complete(&done) && new_name(&done) != name);
}

#[test]
fn a_replica_set_that_cannot_be_created_is_reported() {
    let deployment = Deployment::from_tree(&deployment(1, json!(1), json!(0))).unwrap();
    let failure = Failure { message: "no".into(), namespace_terminating: false };
    let view = View {
        deployment: &deployment,
        replica_sets: &[],
        namesake: None,
        pods: &[],
        last_failure: Some(&failure),
    };
    let plan = reconcile(&view, Wall::default());
    let status = plan.operations.iter().find(|operation| operation.stage == 0).unwrap();
    let Action::UpdateStatus { body } = &status.action else { panic!("{status:?}") };
    let message = &body["status"]["conditions"][0]["message"];
    assert_eq!(*message, format!("Failed to create new replica set \"{}\": no", new_name(&deployment)));
    assert!(matches!(plan.operations.iter().find(|o| o.stage == 1).unwrap().action, Action::Create { .. }));
}
