//! Whole cycles: where a pod goes, and in which words it is refused. The words are upstream's.

use std::sync::Arc;

use base::clock::Wall;
use base::random::SeededRandom;
use grammar::selector::label::Selector;
use scheduler::affinity::{HOSTNAME, NameRule, NodeRequirement, NodeTerm, Spread, ZONE};
use scheduler::cycle::{Decision, Scheduler, enough_nodes};
use scheduler::failure::{Failure, Nomination};
use scheduler::node::NodeInfo;
use scheduler::plugins::Plugin;
use scheduler::pod::{HostPort, PodInfo, Protocol};
use scheduler::resources::Resources;
use scheduler::snapshot::Budget;
use scheduler::testing::{node, pod, taint, term};

type Change<T> = fn(&mut T);

/// Nodes `n1`, `n2`, …, each changed in its way.
fn cluster(nodes: &[Change<NodeInfo>], pods: &[Arc<PodInfo>]) -> Scheduler {
    let mut scheduler = Scheduler::default();
    for (i, change) in nodes.iter().enumerate() {
        scheduler.snapshot.set_node(node(&format!("n{}", i + 1), change));
    }
    pods.iter().for_each(|pod| scheduler.snapshot.set_pod(pod.clone()));
    scheduler
}

fn on(name: &str, node: &str, change: impl FnOnce(&mut PodInfo)) -> Arc<PodInfo> {
    pod(name, |p| {
        p.node = Some(node.into());
        change(p);
    })
}

fn decide(scheduler: &mut Scheduler, pod: &PodInfo) -> Result<String, Failure> {
    match scheduler.schedule(pod, &mut SeededRandom::new(1)) {
        Decision::Node(choice) => Ok(choice.node.to_string()),
        Decision::Nowhere(failure) => Err(*failure),
    }
}

#[track_caller]
fn check_refused(mut scheduler: Scheduler, pod: &PodInfo, message: &str) {
    let failure = decide(&mut scheduler, pod).expect_err("nothing fits");
    assert_eq!(failure.message, message);
}

#[track_caller]
fn check_placed(mut scheduler: Scheduler, pod: &PodInfo, node: &str) {
    assert_eq!(decide(&mut scheduler, pod).map_err(|failure| failure.message).as_deref(), Ok(node));
}

fn any(_: &mut NodeInfo) {}
fn tainted(node: &mut NodeInfo) {
    node.taints.push(taint("a=b:NoSchedule"));
}
fn small(node: &mut NodeInfo) {
    node.allocatable = Resources::new(100, 1 << 30);
}
fn zone_a(node: &mut NodeInfo) {
    node.labels.insert(ZONE.into(), "a".into());
}
fn zone_b(node: &mut NodeInfo) {
    node.labels.insert(ZONE.into(), "b".into());
}

fn web(pod: &mut PodInfo) {
    pod.labels.insert("app".into(), "web".into());
}

fn wants(cpu: i64) -> impl FnOnce(&mut PodInfo) {
    move |pod| pod.requests = Resources::new(cpu, 0)
}

#[test]
fn refusals_are_counted_and_sorted() {
    check_refused(
        cluster(&[tainted, small, tainted], &[]),
        &pod("p", wants(200)),
        "0/3 nodes are available: 1 Insufficient cpu, 2 node(s) had untolerated taint(s). preemption: 0/3 nodes are \
         available: 3 Preemption is not helpful for scheduling.",
    );
    check_refused(cluster(&[], &[]), &pod("p", |_| ()), "no nodes available to schedule pods");
}

#[test]
fn every_rule_has_its_words() {
    let no_help = |reason: &str| {
        format!(
            "0/1 nodes are available: {reason}. preemption: 0/1 nodes are available: 1 Preemption is not helpful for \
             scheduling."
        )
    };
    let no_victims = |reason: &str| {
        format!(
            "0/1 nodes are available: {reason}. preemption: 0/1 nodes are available: 1 No preemption victims found \
             for incoming pod."
        )
    };
    let port = || HostPort { ip: None, protocol: Protocol::Tcp, port: 80 };
    let selector = |text: &str| text.parse::<Selector>().expect("a selector");

    check_refused(
        cluster(&[|n| n.unschedulable = true], &[]),
        &pod("p", |_| ()),
        &no_help("1 node(s) were unschedulable"),
    );
    check_refused(
        cluster(&[any], &[]),
        &pod("p", |p| p.node_requirement.labels = Some(selector("disk=ssd"))),
        &no_help("1 node(s) didn't match Pod's node affinity/selector"),
    );
    check_refused(
        cluster(&[any], &[on("other", "n1", |p| p.host_ports.push(port()))]),
        &pod("p", |p| p.host_ports.push(port())),
        &no_victims("1 node(s) didn't have free ports for the requested pod ports"),
    );
    check_refused(
        cluster(&[|n| n.allocatable_pods = 0], &[]),
        &pod("p", |_| ()),
        &no_victims("1 Too many pods"),
    );
    check_refused(
        cluster(&[any], &[]),
        &pod("p", |p| p.requests = Resources::new(5000, 0).with("example.com/gpu", 1)),
        &no_help("1 Insufficient cpu, 1 Insufficient example.com/gpu"),
    );
    check_refused(
        cluster(&[any], &[]),
        &pod("p", |p| p.affinity.required.push(term(HOSTNAME, "app=web"))),
        &no_help("1 node(s) didn't match pod affinity rules"),
    );
    check_refused(
        cluster(&[any], &[on("other", "n1", web)]),
        &pod("p", |p| p.affinity.required_anti.push(term(HOSTNAME, "app=web"))),
        &no_victims("1 node(s) didn't match pod anti-affinity rules"),
    );
    check_refused(
        cluster(&[any], &[on("other", "n1", |p| p.affinity.required_anti.push(term(HOSTNAME, "app=web")))]),
        &pod("p", web),
        &no_victims("1 node(s) didn't satisfy existing pods anti-affinity rules"),
    );
    check_refused(
        cluster(&[any], &[]),
        &spread_pod(ZONE, 1),
        &no_help("1 node(s) didn't match pod topology spread constraints (missing required label)"),
    );
    check_refused(
        cluster(&[any], &[]),
        &pod("p", |p| p.unsupported.push("resourceClaims".into())),
        &no_help("this scheduler cannot place pods with resourceClaims"),
    );
}

#[test]
fn a_pod_that_names_its_nodes_goes_there_or_nowhere() {
    let named = |name: &str| {
        let fields = vec![NameRule { name: name.into(), equal: true }];
        let term = NodeTerm { labels: Selector::everything(), fields, malformed: false };
        pod("p", |p| p.node_requirement = NodeRequirement { labels: None, terms: Some(vec![term]) })
    };
    check_placed(cluster(&[any, any, any], &[]), &named("n2"), "n2");
    check_refused(
        cluster(&[any, tainted, any], &[]),
        &named("n2"),
        "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 node(s) didn't satisfy plugin(s) \
         [NodeAffinity]. preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.",
    );
}

fn spread_pod(topology: &str, max_skew: i64) -> Arc<PodInfo> {
    pod("p", |p| {
        web(p);
        p.spread.push(Spread {
            max_skew,
            topology: topology.into(),
            hard: true,
            selector: "app=web".parse().expect("a selector"),
            min_domains: 1,
            honor_affinity: true,
            honor_taints: false,
        });
    })
}

#[test]
fn hard_spreading_evens_out_zones() {
    let two = [on("a", "n1", web), on("b", "n2", web)];
    check_placed(cluster(&[zone_a, zone_a, zone_b], &two), &spread_pod(ZONE, 1), "n3");
    check_placed(cluster(&[zone_a, zone_a, zone_b], &two), &spread_pod(HOSTNAME, 1), "n3");
}

#[test]
fn scores_decide_between_nodes_that_fit() {
    check_placed(cluster(&[any, any], &[on("busy", "n1", wants(2000))]), &pod("p", wants(100)), "n2");
    check_placed(
        cluster(&[|n| n.taints.push(taint("a=b:PreferNoSchedule")), any], &[]),
        &pod("p", |_| ()),
        "n2",
    );
    let image = |n: &mut NodeInfo| n.images.extend([("big:latest".to_owned(), 900 << 20)]);
    check_placed(cluster(&[any, image], &[]), &pod("p", |p| p.images.push("big:latest".into())), "n2");
    check_placed(
        cluster(&[any, any], &[on("other", "n2", web)]),
        &pod("p", |p| p.affinity.preferred.push((100, term(HOSTNAME, "app=web")))),
        "n2",
    );
    let mut siblings = cluster(&[any, any], &[on("other", "n1", web)]);
    siblings.snapshot.set_service("default", "web", [("app".into(), "web".into())].into());
    check_placed(siblings, &pod("p", web), "n2");
}

#[test]
fn the_first_of_a_group_that_wants_its_own_kind_is_let_in() {
    let social = pod("p", |p| {
        web(p);
        p.affinity.required.push(term(ZONE, "app=web"));
    });
    check_placed(cluster(&[zone_a], &[]), &social, "n1");
    check_placed(cluster(&[zone_a, zone_b], &[on("first", "n2", web)]), &social, "n2");
}

#[track_caller]
fn check_preempts(mut scheduler: Scheduler, pod: &PodInfo, node: &str, victims: &[&str]) {
    let failure = decide(&mut scheduler, pod).expect_err("nothing fits yet");
    let preemption = failure.preemption.as_ref().expect("room can be made");
    let names: Vec<&str> = preemption.victims.iter().map(|victim| &*victim.name).collect();
    assert_eq!((&*preemption.node, names.as_slice()), (node, victims));
    assert_eq!(failure.nomination, Nomination::Set(node.into()));
    let count = victims.len();
    let ending =
        format!("preemption: found a potential placement for pod on node {node}, preempting {count} victims");
    assert!(failure.message.ends_with(&ending), "{}", failure.message);
}

fn running(name: &str, node: &str, cpu: i64, priority: i32, start: i64) -> Arc<PodInfo> {
    on(name, node, |p| {
        web(p);
        p.requests = Resources::new(cpu, 0);
        p.priority = priority;
        p.start = Some(Wall::from_secs(start));
    })
}

fn important(cpu: i64) -> Arc<PodInfo> {
    pod("p", |p| {
        p.priority = 100;
        p.requests = Resources::new(cpu, 0);
    })
}

#[test]
fn preemption_does_the_least_harm() {
    // As few victims as will do, the least important first.
    let both = [running("low", "n1", 2000, 1, 0), running("mid", "n1", 2000, 2, 0)];
    check_preempts(cluster(&[any], &both), &important(1000), "n1", &["low"]);
    check_preempts(cluster(&[any], &both), &important(3000), "n1", &["mid", "low"]);

    // The node whose most important victim is least important.
    let two = [running("a", "n1", 4000, 5, 0), running("b", "n2", 4000, 4, 0)];
    check_preempts(cluster(&[any, any], &two), &important(1000), "n2", &["b"]);

    // Of equals, the victim that has run for the shortest time.
    let two = [running("old", "n1", 4000, 5, 10), running("young", "n2", 4000, 5, 20)];
    check_preempts(cluster(&[any, any], &two), &important(1000), "n2", &["young"]);

    // A broken budget is worse than a more important victim.
    let two = [running("a", "n1", 4000, 5, 0), running("b", "n2", 4000, 50, 0)];
    let mut guarded = cluster(&[any, any], &two[1..]);
    guarded.snapshot.set_pod(pod("a", |p| {
        *p = (*two[0]).clone();
        p.labels = [("app".into(), "db".into())].into();
    }));
    let budget =
        Budget { selector: "app=db".parse().expect("a selector"), disruptions_allowed: 0, disrupted: vec![] };
    guarded.snapshot.set_budget("default", "db", budget);
    check_preempts(guarded, &important(1000), "n2", &["b"]);
}

#[test]
fn preemption_clears_the_way_through_anti_affinity() {
    let hostile = pod("p", |p| {
        p.priority = 10;
        p.affinity.required_anti.push(term(HOSTNAME, "app=web"));
    });
    check_preempts(cluster(&[any], &[on("other", "n1", web)]), &hostile, "n1", &["other"]);
}

#[test]
fn some_pods_may_not_preempt() {
    let polite = pod("p", |p| {
        p.priority = 100;
        p.requests = Resources::new(1000, 0);
        p.never_preempts = true;
    });
    let full = [running("a", "n1", 4000, 1, 0)];
    check_refused(
        cluster(&[any], &full),
        &polite,
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to preemptionPolicy=Never.",
    );
    let leaving = pod("a", |p| {
        *p = (*full[0]).clone();
        p.terminating = true;
        p.preempted = true;
    });
    let mut waiting = cluster(&[any], &[leaving]);
    waiting.snapshot.nominate(important(1000), &"n1".into());
    check_refused(
        waiting,
        &important(1000),
        "0/1 nodes are available: 1 Insufficient cpu. preemption: not eligible due to a terminating pod on the \
         nominated node.",
    );
}

#[test]
fn room_that_was_promised_is_not_taken() {
    let mut scheduler = cluster(&[any], &[]);
    scheduler.snapshot.nominate(important(3000), &"n1".into());
    let failure = decide(&mut scheduler, &pod("q", wants(2000))).expect_err("the room is promised");
    assert!(failure.plugins.contains(Plugin::NodeResourcesFit));
    let more_important = pod("r", |p| {
        p.requests = Resources::new(2000, 0);
        p.priority = 101;
    });
    assert_eq!(decide(&mut scheduler, &more_important).ok().as_deref(), Some("n1"));
    assert_eq!(decide(&mut scheduler, &important(3000)).ok().as_deref(), Some("n1"));
}

#[test]
fn large_clusters_are_sampled() {
    let cases = [
        (99, 0, 99),
        (100, 0, 100),
        (1000, 0, 420),
        (5000, 0, 500),
        (20000, 0, 1000),
        (5000, 30, 1500),
        (300, 1, 100),
    ];
    for (nodes, percentage, expected) in cases {
        assert_eq!(enough_nodes(nodes, percentage), expected, "{nodes} nodes, {percentage} percent");
    }
}
