//! The queue: order, back-off, and what wakes whom.

use std::sync::Arc;
use std::time::Duration;

use scheduler::affinity::Namespaces;
use scheduler::hints::Event;
use scheduler::plugins::{Plugin, Plugins};
use scheduler::pod::PodInfo;
use scheduler::queue::{Place, Queue};
use scheduler::testing::{node, pod, taint};

fn at(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn refused_by(plugin: Plugin) -> Plugins {
    [plugin].into_iter().collect()
}

fn names(queue: &mut Queue, now: Duration) -> Vec<String> {
    std::iter::from_fn(|| queue.pop(now)).map(|pod| pod.name.to_string()).collect()
}

/// A queue whose only pod was popped at once.
fn popped(pod: &Arc<PodInfo>) -> Queue {
    let mut queue = Queue::default();
    queue.add(pod.clone(), at(0));
    queue.pop(at(0)).expect("the pod is due");
    queue
}

#[test]
fn more_important_pods_go_first_then_older_ones() {
    let mut queue = Queue::default();
    for (i, (name, priority)) in [("low", 0), ("high", 9), ("low2", 0), ("mid", 5)].into_iter().enumerate() {
        queue.add(pod(name, |p| p.priority = priority), at(i as u64));
    }
    assert_eq!(names(&mut queue, at(10)), ["high", "mid", "low", "low2"]);
}

#[test]
fn back_off_doubles_up_to_ten_seconds() {
    let subject = pod("p", |_| ());
    let mut queue = popped(&subject);
    let mut now = Duration::ZERO;
    for expected in [1, 2, 4, 8, 10, 10] {
        queue.give_back("p", Plugins::default(), &Namespaces::default(), now);
        assert_eq!(queue.place("p"), Some(Place::Backoff(now + Duration::from_secs(expected))));
        // An attempt that failed by error is not repeated early, and the second in which back-off ends is part of it.
        assert!(queue.pop(now + Duration::from_secs(expected)).is_none());
        now += Duration::from_secs(expected + 1);
        assert!(queue.pop(now).is_some());
    }
}

#[test]
fn a_refused_pod_waits_for_what_may_help() {
    let namespaces = Namespaces::default();
    let closed = node("n", |n| n.taints.push(taint("a=b:NoSchedule")));
    let cases = [
        (Plugin::TaintToleration, Event::NodeAdded(node("n", |_| ())), true),
        (Plugin::TaintToleration, Event::NodeAdded(closed.clone()), false),
        (
            Plugin::TaintToleration,
            Event::NodeChanged { before: closed.clone(), after: node("n", |_| ()) },
            true,
        ),
        (Plugin::TaintToleration, Event::PodRemoved(pod("other", |_| ())), false),
        (Plugin::NodeResourcesFit, Event::PodRemoved(pod("other", |_| ())), true),
        (Plugin::NodeResourcesFit, Event::PodPlaced(pod("other", |_| ())), false),
        (Plugin::NodePorts, Event::NodeAdded(closed), true),
        (Plugin::NodePorts, Event::PodRemoved(pod("other", |_| ())), false),
    ];
    for (plugin, event, helps) in cases {
        let mut queue = popped(&pod("p", |_| ()));
        queue.give_back("p", refused_by(plugin), &namespaces, at(0));
        assert_eq!(queue.place("p"), Some(Place::Unschedulable));
        let text = format!("{plugin} and {event:?}");
        queue.wake(event.clone(), &namespaces, at(100));
        assert_eq!(queue.place("p") != Some(Place::Unschedulable), helps, "{text}");

        // The same event while the pod is being tried must not be lost.
        let mut queue = popped(&pod("p", |_| ()));
        queue.wake(event, &namespaces, at(0));
        queue.give_back("p", refused_by(plugin), &namespaces, at(0));
        assert_eq!(queue.place("p") != Some(Place::Unschedulable), helps, "in flight, {text}");
    }
}

#[test]
fn an_idle_queue_cuts_back_off_short() {
    let mut queue = popped(&pod("p", |_| ()));
    queue.give_back("p", refused_by(Plugin::NodeResourcesFit), &Namespaces::default(), at(0));
    queue.wake(Event::PodRemoved(pod("other", |_| ())), &Namespaces::default(), at(100));
    assert_eq!(queue.place("p"), Some(Place::Backoff(Duration::from_secs(1))));
    queue.add(pod("fresh", |_| ()), at(200));
    assert_eq!(names(&mut queue, at(200)), ["fresh", "p"]);
}

#[test]
fn a_forgotten_pod_is_tried_after_five_minutes() {
    let mut queue = popped(&pod("p", |_| ()));
    queue.give_back("p", refused_by(Plugin::NodeAffinity), &Namespaces::default(), at(0));
    queue.flush_unschedulable(Duration::from_secs(300));
    assert_eq!(queue.place("p"), Some(Place::Unschedulable));
    queue.flush_unschedulable(Duration::from_secs(301));
    assert_eq!(queue.place("p"), Some(Place::Active));
}

#[test]
fn gates_hold_a_pod_back() {
    let mut queue = Queue::default();
    queue.add(pod("p", |p| p.gates.push("wait".into())), at(0));
    assert!(queue.pop(at(0)).is_none());
    assert_eq!(queue.place("p"), Some(Place::Gated));
    queue.activate("p");
    assert_eq!(queue.place("p"), Some(Place::Gated));
    queue.update(pod("p", |_| ()), at(5));
    assert_eq!(names(&mut queue, at(5)), ["p"]);
}

#[test]
fn a_pod_that_changed_while_it_was_tried_is_tried_again() {
    let mut queue = popped(&pod("p", |_| ()));
    queue.update(pod("p", |p| p.tolerations.extend(scheduler::testing::toleration(":"))), at(0));
    queue.give_back("p", refused_by(Plugin::TaintToleration), &Namespaces::default(), at(0));
    assert!(matches!(queue.place("p"), Some(Place::Backoff(_))));
}
