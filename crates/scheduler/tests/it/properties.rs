//! What must hold whatever happens, in an order drawn at random.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use base::random::{Random, SeededRandom};
use scheduler::affinity::{HOSTNAME, Namespaces, Spread, ZONE};
use scheduler::cycle::{Decision, Scheduler};
use scheduler::hints::Event;
use scheduler::node::NodeInfo;
use scheduler::plugins::{NODE_RULES, Plugin, Plugins};
use scheduler::pod::{HostPort, PodInfo, Protocol};
use scheduler::queue::{Place, Queue};
use scheduler::resources::Resources;
use scheduler::snapshot::Snapshot;
use scheduler::testing::{node, pod, taint, term, toleration};

fn seeds() -> u64 {
    let factor = std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    20 * factor
}

fn chance(random: &mut SeededRandom, one_in: u64) -> bool {
    random.below(one_in) == 0
}

fn pick<T: Copy>(random: &mut SeededRandom, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

fn some_node(random: &mut SeededRandom, name: &str) -> Arc<NodeInfo> {
    node(name, |n| {
        n.labels.insert(ZONE.into(), pick(random, &["a", "b", "c"]).to_string());
        n.allocatable = Resources::new(1000, 4 << 30).with("example.com/gpu", random.below(3) as i64);
        n.allocatable_pods = 8;
        n.unschedulable = chance(random, 10);
        if chance(random, 4) {
            n.taints.push(taint(pick(random, &["a=b:NoSchedule", "a=b:PreferNoSchedule"])));
        }
    })
}

fn some_pod(random: &mut SeededRandom, name: &str) -> Arc<PodInfo> {
    const APPS: [&str; 3] = ["web", "db", "job"];
    pod(name, |p| {
        p.labels.insert("app".into(), pick(random, &APPS).to_string());
        p.priority = random.below(3) as i32;
        p.requests = Resources::new(random.below(400) as i64, random.below(1 << 30) as i64);
        if chance(random, 6) {
            p.requests.add_scalar("example.com/gpu", 1);
        }
        if chance(random, 3) {
            p.tolerations.extend(toleration("a=b:"));
        }
        if chance(random, 8) {
            p.host_ports.push(HostPort { ip: None, protocol: Protocol::Tcp, port: 80 });
        }
        let rule = |random: &mut SeededRandom| {
            let app = pick(random, &APPS);
            term(pick(random, &[HOSTNAME, ZONE]), &format!("app={app}"))
        };
        match random.below(8) {
            0 => p.affinity.required.push(rule(random)),
            1 | 2 => p.affinity.required_anti.push(rule(random)),
            3 => p.affinity.preferred.push((7, rule(random))),
            4 => p.spread.push(Spread {
                max_skew: 1,
                topology: ZONE.into(),
                hard: chance(random, 2),
                selector: "app=web".parse().expect("a selector"),
                min_domains: 1,
                honor_affinity: true,
                honor_taints: false,
            }),
            _ => {}
        }
    })
}

/// Everything that is visible of a snapshot, in an order of its own.
fn picture(snapshot: &Snapshot) -> BTreeMap<String, String> {
    let of_node = |node: &scheduler::snapshot::NodeState| {
        let mut pods: Vec<&str> = node.pods.iter().map(|pod| &*pod.uid).collect();
        let mut ports = node.ports.clone();
        pods.sort_unstable();
        ports.sort();
        format!("{:?} {:?} {:?} {pods:?} {ports:?}", node.info, node.requested, node.weight)
    };
    snapshot.nodes().map(|node| (node.info.name.to_string(), of_node(node))).collect()
}

/// The domains of a topology that hold a pod which `matches`.
fn holds(
    snapshot: &Snapshot,
    topology: &str,
    value: Option<&String>,
    matches: impl Fn(&PodInfo) -> bool,
) -> bool {
    let mut near = snapshot.nodes().filter(|node| value.is_some() && node.info.labels.get(topology) == value);
    near.any(|node| node.pods.iter().any(|pod| matches(pod)))
}

/// Placing `pod` on `name` breaks no rule. The rules between pods are checked here by walking over all pods.
fn assert_allowed(snapshot: &Snapshot, pod: &PodInfo, name: &str) {
    let node = snapshot.node(name).expect("a chosen node is there");
    NODE_RULES.iter().for_each(|rule| assert_eq!(rule(pod, node), Ok(())));
    let none = Namespaces::default();
    let label = |topology: &str| node.info.labels.get(topology);
    for term in &pod.affinity.required_anti {
        assert!(!holds(snapshot, &term.topology, label(&term.topology), |other| term
            .matcher
            .matches(other, &none)));
    }
    for other in snapshot.nodes().flat_map(|other| other.pods.iter().map(move |pod| (other, pod))) {
        for term in other.1.affinity.required_anti.iter().filter(|term| term.matcher.matches(pod, &none)) {
            let theirs = other.0.info.labels.get(&*term.topology);
            assert!(
                theirs.is_none() || theirs != label(&term.topology),
                "{} keeps {} away",
                other.1.name,
                pod.name
            );
        }
    }
}

#[test]
fn no_rule_is_broken_and_deltas_equal_a_fresh_snapshot() {
    for seed in 0..seeds() {
        let random = &mut SeededRandom::new(seed);
        let mut scheduler = Scheduler::default();
        let mut nodes: BTreeMap<String, Arc<NodeInfo>> = BTreeMap::new();
        let mut pods: BTreeMap<String, Arc<PodInfo>> = BTreeMap::new();
        for step in 0..150 {
            let name = format!("n{}", random.below(12));
            match random.below(10) {
                0 | 1 => {
                    let info = some_node(random, &name);
                    nodes.insert(name, info.clone());
                    scheduler.snapshot.set_node(info);
                }
                2 if chance(random, 3) => {
                    nodes.remove(&name);
                    scheduler.snapshot.remove_node(&name);
                }
                3 => {
                    if let Some(name) = pods.keys().nth(random.below(20) as usize).cloned() {
                        pods.remove(&name);
                        scheduler.snapshot.remove_pod(&name);
                    }
                }
                _ => {
                    let subject = some_pod(random, &format!("p{step}"));
                    let decision = scheduler.schedule(&subject, random);
                    let mut fresh = rebuilt(&nodes, &pods);
                    let again = fresh.schedule(&subject, &mut SeededRandom::new(seed));
                    match (decision, again) {
                        (Decision::Node(choice), Decision::Node(_)) => {
                            assert_allowed(&scheduler.snapshot, &subject, &choice.node);
                            scheduler.snapshot.assume(&subject, &choice.node);
                            let placed = PodInfo { node: Some(choice.node), ..(*subject).clone() };
                            pods.insert(placed.name.to_string(), Arc::new(placed));
                        }
                        (Decision::Nowhere(one), Decision::Nowhere(other)) => {
                            let reasons =
                                |message: &str| message.split(" preemption:").next().map(str::to_owned);
                            assert_eq!(
                                reasons(&one.message),
                                reasons(&other.message),
                                "seed {seed}, step {step}"
                            );
                            for victim in one.preemption.iter().flat_map(|preemption| &preemption.victims) {
                                assert!(victim.priority < subject.priority, "seed {seed}, step {step}");
                            }
                        }
                        (one, other) => panic!("seed {seed}, step {step}: {one:?} and {other:?}"),
                    }
                }
            }
            for node in scheduler.snapshot.nodes() {
                let sum = node.pods.iter().fold(Resources::default(), |mut sum, pod| {
                    sum.add(&pod.requests);
                    sum
                });
                assert_eq!(node.requested, sum, "seed {seed}, step {step}");
            }
            assert_eq!(
                picture(&scheduler.snapshot),
                picture(&rebuilt(&nodes, &pods).snapshot),
                "seed {seed}, {step}"
            );
        }
    }
}

fn rebuilt(nodes: &BTreeMap<String, Arc<NodeInfo>>, pods: &BTreeMap<String, Arc<PodInfo>>) -> Scheduler {
    let mut scheduler = Scheduler::default();
    pods.values().for_each(|pod| scheduler.snapshot.set_pod(pod.clone()));
    nodes.values().for_each(|node| scheduler.snapshot.set_node(node.clone()));
    scheduler
}

#[test]
fn nodes_that_do_not_shrink_are_never_overfull() {
    for seed in 0..seeds() {
        let random = &mut SeededRandom::new(seed);
        let mut scheduler = Scheduler::default();
        (0..6).for_each(|i| scheduler.snapshot.set_node(some_node(random, &format!("n{i}"))));
        for i in 0..60 {
            let subject = some_pod(random, &format!("p{i}"));
            if let Decision::Node(choice) = scheduler.schedule(&subject, random) {
                scheduler.snapshot.assume(&subject, &choice.node);
            }
        }
        for node in scheduler.snapshot.nodes() {
            let (used, offered) = (&node.requested, &node.info.allocatable);
            assert!(used.cpu <= offered.cpu && used.memory <= offered.memory, "seed {seed}: {node:?}");
            assert!(
                used.scalars().all(|(name, amount)| amount <= offered.scalar(name)),
                "seed {seed}: {node:?}"
            );
            assert!(node.pods.len() as i64 <= node.info.allocatable_pods, "seed {seed}: {node:?}");
        }
    }
}

#[test]
fn every_pod_is_in_one_place_and_none_is_lost() {
    let refusals = [Plugin::NodeResourcesFit, Plugin::TaintToleration, Plugin::InterPodAffinity];
    for seed in 0..seeds() {
        let random = &mut SeededRandom::new(seed);
        let namespaces = Namespaces::default();
        let (mut queue, mut known, mut out) = (Queue::default(), BTreeMap::new(), Vec::new());
        let mut now = Duration::ZERO;
        for step in 0..400 {
            now += Duration::from_millis(random.below(700));
            let name = format!("p{}", random.below(15));
            match random.below(8) {
                0 | 1 => {
                    let mut subject = (*some_pod(random, &name)).clone();
                    if chance(random, 5) {
                        subject.gates.push("gate".into());
                    }
                    known.insert(name, subject.gates.is_empty());
                    queue.add(Arc::new(subject), now);
                }
                2 if chance(random, 3) => {
                    known.remove(&name);
                    out.retain(|other| *other != name);
                    queue.remove(&name);
                }
                3 | 4 => out.extend(queue.pop(now).map(|pod| pod.name.to_string())),
                5 => {
                    if let Some(name) = out.pop() {
                        let plugins = if chance(random, 3) { None } else { Some(pick(random, &refusals)) };
                        queue.give_back(&name, plugins.into_iter().collect::<Plugins>(), &namespaces, now);
                    }
                }
                6 => queue.wake(Event::PodRemoved(some_pod(random, "gone")), &namespaces, now),
                _ => queue.flush_unschedulable(now),
            }
            let depth = queue.depth();
            let total = depth.active + depth.backoff + depth.unschedulable + depth.in_flight;
            assert_eq!((total, depth.in_flight), (known.len(), out.len()), "seed {seed}, step {step}");
            for name in known.keys() {
                let in_flight = matches!(queue.place(name), Some(Place::InFlight(_)));
                assert_eq!(in_flight, out.contains(name), "seed {seed}, step {step}, {name}");
            }
        }
        // Once everybody is back and five minutes have passed, every pod without a gate comes up.
        out.drain(..).for_each(|name| queue.give_back(&name, Plugins::default(), &namespaces, now));
        now += Duration::from_secs(400);
        queue.flush_unschedulable(now);
        let mut popped: Vec<String> =
            std::iter::from_fn(|| queue.pop(now)).map(|pod| pod.name.to_string()).collect();
        popped.sort();
        let mut expected: Vec<String> =
            known.into_iter().filter(|(_, open)| *open).map(|(name, _)| name).collect();
        expected.sort();
        assert_eq!(popped, expected, "seed {seed}");
    }
}
