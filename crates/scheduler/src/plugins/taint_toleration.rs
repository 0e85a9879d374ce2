//! TaintToleration: a taint keeps pods off its node unless they tolerate it.
//!
//! Taints of effect `NoSchedule` and `NoExecute` close the node. Those of effect `PreferNoSchedule` only make it less
//! liked: the fewer of them a pod does not tolerate, the better the node.

use super::{Plugin, Refusal, Verdict, normalize};
use crate::node::{Effect, NodeInfo};
use crate::pod::PodInfo;
use crate::snapshot::NodeState;

pub const UNTOLERATED: &str = "node(s) had untolerated taint(s)";

pub fn filter(pod: &PodInfo, node: &NodeState) -> Verdict {
    match pod.untolerated(&node.info.taints) {
        None => Ok(()),
        Some(_) => Err(Refusal::lasting(Plugin::TaintToleration, UNTOLERATED)),
    }
}

/// How many taints speak against the node. A toleration of another effect does not count, even if its key fits.
pub fn objections(pod: &PodInfo, node: &NodeInfo) -> i64 {
    let softly = node.taints.iter().filter(|taint| taint.effect == Effect::PreferNoSchedule);
    softly.filter(|taint| !pod.tolerates(taint)).count() as i64
}

/// Turns objections into scores: the node with the most gets 0.
pub fn score(objections: &mut [i64]) {
    normalize(objections, true);
}

/// Whether a pod that was refused here may fit now that a node came or changed.
pub fn may_help(pod: &PodInfo, before: Option<&NodeInfo>, after: &NodeInfo) -> bool {
    let closed = |node: &NodeInfo| pod.untolerated(&node.taints).is_some();
    before.is_none_or(closed) && !closed(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{node, pod, taint, toleration};

    #[test]
    fn a_taint_closes_the_node_unless_it_is_tolerated() {
        // Taint, toleration, and whether the pod may run on the node.
        let cases = [
            ("dedicated=db:NoSchedule", "", false),
            ("dedicated=db:NoSchedule", "dedicated=db:NoSchedule", true),
            ("dedicated=db:NoSchedule", "dedicated=db:", true),
            ("dedicated=db:NoSchedule", "dedicated:NoSchedule", true),
            ("dedicated=db:NoSchedule", ":", true),
            ("dedicated=db:NoSchedule", "dedicated=web:NoSchedule", false),
            ("dedicated=db:NoSchedule", "other:", false),
            ("dedicated=db:NoSchedule", "dedicated=db:NoExecute", false),
            ("dedicated=db:NoExecute", "", false),
            ("dedicated=db:NoExecute", "dedicated=db:NoExecute", true),
            ("dedicated=db:PreferNoSchedule", "", true),
        ];
        for (on_node, of_pod, fits) in cases {
            let node = NodeState::empty(node("n", |n| n.taints.push(taint(on_node))));
            let pod = pod("p", |p| p.tolerations.extend(toleration(of_pod)));
            let expected =
                if fits { Ok(()) } else { Err(Refusal::lasting(Plugin::TaintToleration, UNTOLERATED)) };
            assert_eq!(filter(&pod, &node), expected, "{on_node} against {of_pod:?}");
        }
    }

    #[test]
    fn the_node_with_the_fewest_objections_scores_best() {
        let cases: [(&[&str], &str, i64); 4] = [
            (&[], "", 0),
            (&["a=1:PreferNoSchedule", "b=1:PreferNoSchedule"], "", 2),
            (&["a=1:PreferNoSchedule", "b=1:PreferNoSchedule"], "a:PreferNoSchedule", 1),
            (&["a=1:PreferNoSchedule", "b=1:NoSchedule"], "a:NoSchedule", 1),
        ];
        for (on_node, of_pod, expected) in cases {
            let node = node("n", |n| n.taints.extend(on_node.iter().map(|text| taint(text))));
            let pod = pod("p", |p| p.tolerations.extend(toleration(of_pod)));
            assert_eq!(objections(&pod, &node), expected, "{on_node:?} against {of_pod:?}");
        }

        let mut scores = [0, 2, 1];
        score(&mut scores);
        assert_eq!(scores, [100, 0, 50]);
        let mut scores = [0, 0];
        score(&mut scores);
        assert_eq!(scores, [100, 100]);
    }

    #[test]
    fn only_a_node_that_opens_helps() {
        let open = node("n", |_| ());
        let closed = node("n", |n| n.taints.push(taint("a=1:NoSchedule")));
        let pod = pod("p", |_| ());
        let cases = [
            (None, &open, true),
            (None, &closed, false),
            (Some(&closed), &open, true),
            (Some(&open), &open, false),
            (Some(&open), &closed, false),
        ];
        for (before, after, expected) in cases {
            assert_eq!(
                may_help(&pod, before.map(|node| &**node), after),
                expected,
                "{before:?} to {after:?}"
            );
        }
    }
}
