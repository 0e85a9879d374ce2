//! Pods without a node, and when to try each of them.
//!
//! Every pod is in exactly one [`Place`], because the place is a field of its only entry; the ordered sets beside the
//! entries say which pod is next. `now` is always monotonic time.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::affinity::Namespaces;
use crate::hints::{self, Event};
use crate::plugins::{Plugin, Plugins};
use crate::pod::PodInfo;

pub const INITIAL_BACKOFF: Duration = Duration::from_secs(1);
pub const MAX_BACKOFF: Duration = Duration::from_secs(10);
/// After so long a refused pod is tried again, whatever happened or did not happen.
pub const MAX_UNSCHEDULABLE: Duration = Duration::from_secs(5 * 60);
/// Back-off ends on whole seconds, so that pods which end it together are ordered by priority.
const BACKOFF_WINDOW: Duration = Duration::from_secs(1);
/// How many events are kept for pods that are being tried while they happen. When more happen the oldest are dropped,
/// and a pod that has missed one is treated as if it had helped.
pub const MAX_EVENTS: usize = 10_000;

#[derive(Debug, Default)]
pub struct Queue {
    entries: HashMap<Arc<str>, Entry>,
    active: BTreeSet<Rank>,
    backoff: BTreeSet<(Duration, Rank)>,
    /// Pods whose attempt failed for no fault of a rule. They are not popped early.
    error_backoff: BTreeSet<(Duration, Rank)>,
    events: VecDeque<Event>,
    /// The number of the first event that is kept.
    first_event: u64,
    in_flight: usize,
    added: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Waits for its scheduling gates to be lifted.
    Gated,
    Active,
    /// Waits until that time.
    Backoff(Duration),
    /// Waits for an event that may help.
    Unschedulable,
    /// Popped, and neither placed nor given back so far. Events after that many have happened since; 0 means that
    /// the pod itself has changed since.
    InFlight(u64),
}

#[derive(Debug)]
struct Entry {
    pod: Arc<PodInfo>,
    place: Place,
    since: Duration,
    /// Tells apart pods of the same time.
    number: u64,
    plugins: Plugins,
    refusals: u32,
    errors: u32,
}

/// Higher priority first, then who has waited longer.
type Rank = (Reverse<i32>, Duration, u64, Arc<str>);

/// How many pods are where.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Depth {
    pub active: usize,
    pub backoff: usize,
    /// Gated pods among them.
    pub unschedulable: usize,
    pub in_flight: usize,
}

impl Queue {
    /// A pod without a node appeared. One that is known already is updated.
    pub fn add(&mut self, pod: Arc<PodInfo>, now: Duration) {
        if self.entries.contains_key(&pod.uid) {
            return self.update(pod, now);
        }
        self.added += 1;
        let gated = !pod.gates.is_empty();
        let uid = pod.uid.clone();
        let entry = Entry {
            pod,
            place: Place::Gated,
            since: now,
            number: self.added,
            plugins: gated.then_some(Plugin::SchedulingGates).into_iter().collect(),
            refusals: 0,
            errors: 0,
        };
        self.entries.insert(uid.clone(), entry);
        if !gated {
            self.settle(&uid, Place::Active);
        }
    }

    /// The pod changed. It stays where it is unless the change may help it.
    pub fn update(&mut self, pod: Arc<PodInfo>, now: Duration) {
        let uid = pod.uid.clone();
        let Some(place) = self.place(&uid) else { return self.add(pod, now) };
        self.unlist(&uid);
        let entry = self.entries.get_mut(&uid).expect("a pod with a place has an entry");
        let before = std::mem::replace(&mut entry.pod, pod.clone());
        let (gated, helps) =
            (!pod.gates.is_empty(), hints::own_change_may_help(&before, &pod, entry.plugins));
        match place {
            Place::Gated if gated => {}
            Place::Unschedulable if !helps => {}
            Place::Gated | Place::Unschedulable => self.retry(&uid, now),
            Place::InFlight(_) => {
                // What it was tried with is out of date, so that any refusal has to be looked at again.
                if helps || before.shape() != pod.shape() {
                    self.entries.get_mut(&uid).expect("it was there").place = Place::InFlight(0);
                }
            }
            listed => self.settle(&uid, listed),
        }
    }

    /// The pod was deleted, or has a node now.
    pub fn remove(&mut self, uid: &str) {
        self.unlist(uid);
        if let Some(Entry { place: Place::InFlight(_), .. }) = self.entries.remove(uid) {
            self.landed();
        }
    }

    /// The next pod to try. When none is due, the one whose back-off ends first is tried early, since there is nothing
    /// better to do.
    pub fn pop(&mut self, now: Duration) -> Option<Arc<PodInfo>> {
        self.flush(now);
        let next = self.active.first().or_else(|| self.backoff.first().map(|(_, rank)| rank));
        let uid = next.map(|(_, _, _, uid)| uid.clone())?;
        self.unlist(&uid);
        let event = self.first_event + self.events.len() as u64 + 1;
        self.in_flight += 1;
        let entry = self.entries.get_mut(&uid).expect("what is listed has an entry");
        entry.place = Place::InFlight(event);
        Some(entry.pod.clone())
    }

    /// A popped pod could not be placed: `plugins` refused it, or, if there are none, something went wrong. Events that
    /// happened in the meantime are looked at now.
    pub fn give_back(&mut self, uid: &str, plugins: Plugins, namespaces: &Namespaces, now: Duration) {
        let Some(entry) = self.entries.get_mut(uid) else { return };
        let Place::InFlight(seen) = entry.place else { return };
        entry.plugins = plugins;
        entry.since = now;
        if plugins.is_empty() {
            entry.errors += 1;
        } else {
            entry.refusals += 1;
            entry.errors = 0;
        }
        let missed = seen <= self.first_event;
        let mut since = self.events.iter().skip(seen.saturating_sub(self.first_event + 1) as usize);
        let helped = missed
            || plugins.is_empty()
            || since.any(|event| hints::may_help(event, &entry.pod, plugins, namespaces));
        entry.place = Place::Unschedulable;
        self.landed();
        if helped {
            self.retry(uid, now);
        }
    }

    /// Something happened; pods that it may help are tried again when their back-off is over.
    pub fn wake(&mut self, event: Event, namespaces: &Namespaces, now: Duration) {
        let waiting = self.entries.values().filter(|entry| entry.place == Place::Unschedulable);
        let helped = waiting.filter(|entry| hints::may_help(&event, &entry.pod, entry.plugins, namespaces));
        let helped: Vec<Arc<str>> = helped.map(|entry| entry.pod.uid.clone()).collect();
        for uid in helped {
            self.retry(&uid, now);
        }
        if self.in_flight > 0 {
            self.events.push_back(event);
            if self.events.len() > MAX_EVENTS {
                self.events.pop_front();
                self.first_event += 1;
            }
        }
    }

    /// Tries a refused pod again without waiting for anything but its gates.
    pub fn activate(&mut self, uid: &str) {
        if let Some(Place::Backoff(_) | Place::Unschedulable) = self.place(uid) {
            self.unlist(uid);
            self.settle(uid, Place::Active);
        }
    }

    /// Makes pods active whose back-off is over.
    pub fn flush(&mut self, now: Duration) {
        for error in [false, true] {
            while let Some((_, rank)) =
                self.backing_off(error).first().filter(|(until, _)| *until < window(now))
            {
                let uid = rank.3.clone();
                self.unlist(&uid);
                self.settle(&uid, Place::Active);
            }
        }
    }

    /// Tries pods again that have been refused for very long. It walks over all refused pods; twice a minute will do.
    pub fn flush_unschedulable(&mut self, now: Duration) {
        let stale = |entry: &&Entry| {
            entry.place == Place::Unschedulable && now.saturating_sub(entry.since) > MAX_UNSCHEDULABLE
        };
        let uids: Vec<Arc<str>> =
            self.entries.values().filter(stale).map(|entry| entry.pod.uid.clone()).collect();
        for uid in uids {
            self.retry(&uid, now);
        }
    }

    pub fn place(&self, uid: &str) -> Option<Place> {
        self.entries.get(uid).map(|entry| entry.place)
    }

    pub fn depth(&self) -> Depth {
        let listed = self.active.len() + self.backoff.len() + self.error_backoff.len();
        Depth {
            active: self.active.len(),
            backoff: self.backoff.len() + self.error_backoff.len(),
            unschedulable: self.entries.len() - listed - self.in_flight,
            in_flight: self.in_flight,
        }
    }

    fn backing_off(&mut self, error: bool) -> &mut BTreeSet<(Duration, Rank)> {
        if error { &mut self.error_backoff } else { &mut self.backoff }
    }

    /// Moves a pod that is on no list to the active one, by way of its back-off.
    fn retry(&mut self, uid: &str, now: Duration) {
        let entry = &self.entries[uid];
        match entry.backoff_until() {
            _ if !entry.pod.gates.is_empty() => self.settle(uid, Place::Gated),
            Some(until) if until >= window(now) => self.settle(uid, Place::Backoff(until)),
            _ => self.settle(uid, Place::Active),
        }
    }

    /// Gives a pod that is on no list its place.
    fn settle(&mut self, uid: &str, place: Place) {
        let entry = self.entries.get_mut(uid).expect("only known pods have a place");
        entry.place = place;
        let (rank, error) = (entry.rank(), entry.plugins.is_empty());
        match place {
            Place::Active => drop(self.active.insert(rank)),
            Place::Backoff(until) => drop(self.backing_off(error).insert((until, rank))),
            Place::Gated | Place::Unschedulable | Place::InFlight(_) => {}
        }
    }

    fn unlist(&mut self, uid: &str) {
        let Some(entry) = self.entries.get(uid) else { return };
        let (rank, error) = (entry.rank(), entry.plugins.is_empty());
        let listed = match entry.place {
            Place::Active => self.active.remove(&rank),
            Place::Backoff(until) => self.backing_off(error).remove(&(until, rank)),
            Place::Gated | Place::Unschedulable | Place::InFlight(_) => true,
        };
        assert!(listed, "a pod is on the list of its place");
    }

    /// A popped pod was placed or given back. Events are kept only for those that are still out.
    fn landed(&mut self) {
        self.in_flight -= 1;
        if self.in_flight == 0 {
            self.first_event += self.events.len() as u64;
            self.events.clear();
        }
    }
}

impl Entry {
    fn rank(&self) -> Rank {
        (Reverse(self.pod.priority), self.since, self.number, self.pod.uid.clone())
    }

    /// One second after the first refusal, then twice as long each time; errors in a row count for themselves.
    fn backoff_until(&self) -> Option<Duration> {
        let count = if self.errors > 0 { self.errors } else { self.refusals };
        let doublings = count.checked_sub(1)?.min(16);
        Some(window(self.since + (INITIAL_BACKOFF * (1 << doublings)).min(MAX_BACKOFF)))
    }
}

fn window(time: Duration) -> Duration {
    Duration::from_secs(time.as_secs() / BACKOFF_WINDOW.as_secs())
}
