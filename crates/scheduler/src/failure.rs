//! Why a pod goes nowhere, in upstream's words.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::plugins::{Plugins, Refusal};
use crate::pod::PodInfo;

/// The longest text that an event may carry; see [`Failure::event_message`].
pub const MAX_EVENT_MESSAGE: usize = 1024;

#[derive(Clone, Debug)]
pub struct Failure {
    /// For the pod's PodScheduled condition.
    pub message: String,
    /// Who refused; only what concerns these can make another attempt worthwhile. Empty when no rule was to blame.
    pub plugins: Plugins,
    pub nomination: Nomination,
    pub preemption: Option<Preemption>,
}

/// What becomes of the pod's `status.nominatedNodeName`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Nomination {
    Keep,
    Clear,
    Set(Arc<str>),
}

/// Pods that must go so that the pod can come.
#[derive(Clone, Debug)]
pub struct Preemption {
    pub node: Arc<str>,
    /// Some may be terminating already; those need no second deletion.
    pub victims: Vec<Arc<PodInfo>>,
    /// Less important pods that were promised a place on the node and should look elsewhere.
    pub outranked: Vec<Arc<PodInfo>>,
}

impl Failure {
    /// The message of the FailedScheduling event.
    pub fn event_message(&self) -> String {
        if self.message.len() <= MAX_EVENT_MESSAGE {
            return self.message.clone();
        }
        const SUFFIX: &str = " ...";
        let mut end = MAX_EVENT_MESSAGE - SUFFIX.len();
        while !self.message.is_char_boundary(end) {
            end -= 1;
        }
        format!("{}{SUFFIX}", &self.message[..end])
    }
}

/// How many nodes gave each reason, sorted as texts. Nodes that were not asked give `unasked`, if anything.
pub(crate) fn fit_error<'a>(
    total: usize,
    refusals: impl Iterator<Item = &'a Refusal>,
    unasked: Option<&'a str>,
) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut asked = 0;
    for refusal in refusals {
        asked += 1;
        for reason in &refusal.reasons {
            *counts.entry(reason).or_default() += 1;
        }
    }
    if let Some(reason) = unasked.filter(|_| asked < total) {
        *counts.entry(reason).or_default() += total - asked;
    }
    let mut lines: Vec<String> =
        counts.into_iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    lines.sort_unstable();
    match lines.as_slice() {
        [] => format!("0/{total} nodes are available:"),
        lines => format!("0/{total} nodes are available: {}.", lines.join(", ")),
    }
}
