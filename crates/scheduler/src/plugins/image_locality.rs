//! ImageLocality: a node that holds the pod's images already is preferred, the more so the larger they are.

use std::collections::HashMap;

use super::MAX_SCORE;
use crate::pod::PodInfo;
use crate::snapshot::Snapshot;

const MB: i64 = 1 << 20;
/// Less than this is not worth a preference.
const LEAST: i64 = 23 * MB;
/// More than this, for each container, makes no difference.
const MOST_EACH: i64 = 1000 * MB;

/// The pod's images that some node holds.
pub struct Images<'a> {
    holders: Vec<&'a HashMap<u32, i64>>,
    wanted: i64,
    nodes: f64,
}

pub fn prepare<'a>(pod: &PodInfo, snapshot: &'a Snapshot) -> Option<Images<'a>> {
    let holders: Vec<_> = pod.images.iter().filter_map(|name| snapshot.image(name)).collect();
    let found = !holders.is_empty();
    found.then(|| Images { holders, wanted: pod.images.len() as i64, nodes: snapshot.node_count() as f64 })
}

impl Images<'_> {
    /// An image that few nodes hold counts for less, so that it does not draw every pod to the same few.
    pub fn score(&self, slot: u32) -> i64 {
        let scaled = |holders: &&HashMap<u32, i64>| {
            let size = *holders.get(&slot)?;
            Some((size as f64 * (holders.len() as f64 / self.nodes)) as i64)
        };
        let sum = self.holders.iter().filter_map(scaled).fold(0, i64::saturating_add);
        let most = MOST_EACH * self.wanted;
        MAX_SCORE * (sum.clamp(LEAST, most) - LEAST) / (most - LEAST)
    }
}
