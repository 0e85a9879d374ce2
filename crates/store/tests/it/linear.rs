//! Is there one order of all operations that explains what every client saw?
//!
//! Wing and Gong's search, key by key (a history is linearizable if each key's is): pick any operation that no
//! other one finished before, see whether the key's state allows its outcome, go on with the rest, and go back
//! where that leads nowhere. States that were met with the same operations done are not tried twice.

use std::collections::{BTreeMap, HashSet};

/// Every write carries a value of its own, so a value stands for the version and its revision.
pub type Value = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    Read,
    Create(Value),
    /// Write the second over the first.
    Update(Value, Value),
    Delete(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// A read found this, or a write was refused over it.
    Found(Option<Value>),
    /// Perhaps it happened, at any time since, perhaps not.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
pub struct Operation {
    pub key: u64,
    pub action: Action,
    pub outcome: Outcome,
    /// Taken from one counter before the call and after the answer.
    pub called: u64,
    pub answered: u64,
}

/// The first key, if any, whose operations no order explains.
pub fn violation(history: &[Operation]) -> Option<String> {
    let mut keys: BTreeMap<u64, Vec<Operation>> = BTreeMap::new();
    for operation in history {
        let mut operation = *operation;
        if operation.outcome == Outcome::Unknown {
            operation.answered = u64::MAX;
        }
        keys.entry(operation.key).or_default().push(operation);
    }
    for (key, mut operations) in keys {
        operations.sort_by_key(|operation| operation.called);
        if !explained(&operations) {
            return Some(format!("no order explains key {key}: {operations:#?}"));
        }
    }
    None
}

type Done = Vec<u64>;

fn explained(operations: &[Operation]) -> bool {
    let mut tried: HashSet<(Done, Option<Value>)> = HashSet::new();
    let mut open = vec![(vec![0; operations.len().div_ceil(64)], None)];
    while let Some((done, state)) = open.pop() {
        let is_done = |at: usize| done[at / 64] & (1 << (at % 64)) != 0;
        let left = || (0..operations.len()).filter(|at| !is_done(*at));
        // What is left unknown may never have happened.
        if left().all(|at| operations[at].outcome == Outcome::Unknown) {
            return true;
        }
        let first_answer = left().map(|at| operations[at].answered).min().unwrap_or(u64::MAX);
        for at in left() {
            if operations[at].called > first_answer {
                break;
            }
            let Some(next) = step(operations[at], state) else { continue };
            let mut done = done.clone();
            done[at / 64] |= 1 << (at % 64);
            if tried.insert((done.clone(), next)) {
                open.push((done, next));
            }
        }
    }
    false
}

/// The state after the operation, if the outcome fits the state before.
fn step(operation: Operation, state: Option<Value>) -> Option<Option<Value>> {
    let wanted = match operation.action {
        Action::Read => None,
        Action::Create(value) => Some((None, Some(value))),
        Action::Update(from, to) => Some((Some(from), Some(to))),
        Action::Delete(from) => Some((Some(from), None)),
    };
    match (operation.outcome, wanted) {
        (Outcome::Found(found), None) => (found == state).then_some(state),
        (Outcome::Found(found), Some((from, _))) => (found == state && from != state).then_some(state),
        (Outcome::Done | Outcome::Unknown, Some((from, to))) => (from == state).then_some(to),
        (Outcome::Done | Outcome::Unknown, None) => Some(state),
    }
}

#[cfg(test)]
mod tests {
    use super::Action::*;
    use super::Outcome::*;
    use super::*;

    fn at(called: u64, answered: u64, action: Action, outcome: Outcome) -> Operation {
        Operation { key: 0, action, outcome, called, answered }
    }

    #[track_caller]
    fn check(linearizable: bool, history: &[Operation]) {
        assert_eq!(violation(history).is_none(), linearizable, "{history:#?}");
    }

    #[test]
    fn sound_histories_pass() {
        check(true, &[]);
        check(true, &[at(0, 1, Create(1), Done), at(2, 3, Read, Found(Some(1)))]);
        // Overlapping calls may take effect in either order.
        check(
            true,
            &[at(0, 9, Create(1), Done), at(1, 2, Read, Found(None)), at(3, 4, Read, Found(Some(1)))],
        );
        check(true, &[at(0, 9, Create(1), Found(Some(2))), at(1, 8, Create(2), Done)]);
        // An unknown outcome may show late, or never.
        check(
            true,
            &[at(0, 1, Create(1), Unknown), at(2, 3, Read, Found(None)), at(4, 5, Read, Found(Some(1)))],
        );
        check(
            true,
            &[at(0, 1, Create(1), Unknown), at(2, 3, Create(2), Done), at(4, 5, Read, Found(Some(2)))],
        );
    }

    #[test]
    fn planted_violations_are_found() {
        let created = at(0, 1, Create(1), Done);
        // A lost write, a stale read, a read from the future, a value out of nowhere.
        check(false, &[created, at(2, 3, Read, Found(None))]);
        check(false, &[created, at(2, 3, Update(1, 2), Done), at(4, 5, Read, Found(Some(1)))]);
        check(false, &[at(0, 1, Read, Found(Some(1))), at(2, 3, Create(1), Done)]);
        check(false, &[created, at(2, 3, Read, Found(Some(7)))]);
        // Two winners of one race.
        check(false, &[at(0, 5, Create(1), Done), at(1, 6, Create(2), Done)]);
        check(false, &[created, at(2, 8, Update(1, 2), Done), at(3, 9, Update(1, 3), Done)]);
        // A refusal without a reason, a delete that did not happen, time that runs backwards.
        check(false, &[at(0, 1, Create(2), Found(Some(1))), at(2, 3, Create(1), Done)]);
        check(false, &[created, at(2, 3, Delete(1), Done), at(4, 5, Read, Found(Some(1)))]);
        check(
            false,
            &[
                created,
                at(2, 3, Update(1, 2), Unknown),
                at(4, 5, Read, Found(Some(2))),
                at(6, 7, Read, Found(Some(1))),
            ],
        );
    }
}
