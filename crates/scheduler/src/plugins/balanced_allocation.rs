//! NodeResourcesBalancedAllocation: processor and memory of a node should fill up alike.

use super::MAX_SCORE;
use crate::pod::PodInfo;
use crate::resources::Compute;
use crate::snapshot::NodeState;

/// Above half when the pod makes the node more even, below when it makes it less even. A pod without requests changes
/// nothing and is not scored.
pub fn score(pod: &PodInfo, node: &NodeState) -> i64 {
    let wanted = pod.requests.compute();
    if wanted == Compute::default() {
        return 0;
    }
    let without = node.requested.compute();
    let mut with = without;
    with.add(wanted);
    let offered = node.info.allocatable.compute();
    MAX_SCORE / 2 + (MAX_SCORE / 2 + evenness(with, offered) - evenness(without, offered)) / 2
}

/// [`MAX_SCORE`] less the standard deviation of the shares in use; with two shares that is half their distance.
fn evenness(requested: Compute, offered: Compute) -> i64 {
    let share = |requested: i64, offered: i64| (requested as f64 / offered as f64).min(1.0);
    let deviation = match (offered.cpu, offered.memory) {
        (0, _) | (_, 0) => 0.0,
        (cpu, memory) => ((share(requested.cpu, cpu) - share(requested.memory, memory)) / 2.0).abs(),
    };
    ((1.0 - deviation) * MAX_SCORE as f64) as i64
}
