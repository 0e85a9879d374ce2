//! Bounded queues that say, where they are made, what happens when they are full.

use std::collections::VecDeque;
use std::sync::Mutex;

use tokio::sync::Notify;

/// What a full queue does with one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender waits for room.
    Wait,
    /// The new item goes back to its sender.
    Refuse,
    /// The oldest item makes room and goes back to the sender.
    DropOldest,
}

/// A queue of at most `capacity` items, shared by reference among its senders and receivers.
pub struct Queue<T> {
    name: &'static str,
    capacity: usize,
    when_full: WhenFull,
    state: Mutex<State<T>>,
    filled: Notify,
    drained: Notify,
}

struct State<T> {
    items: VecDeque<T>,
    closed: bool,
}

/// What became of an item that was pushed.
#[derive(Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    Kept,
    /// It is in the queue, and this one, the oldest, no longer is.
    Displaced(T),
    /// The queue is full and refuses.
    Refused(T),
    /// Nobody will receive any more.
    Closed(T),
}

impl<T> Queue<T> {
    /// `name` appears in messages and metrics about this queue.
    pub fn new(name: &'static str, capacity: usize, when_full: WhenFull) -> Queue<T> {
        assert!(capacity > 0, "the queue {name} needs room for one item at least");
        let state = Mutex::new(State { items: VecDeque::new(), closed: false });
        Queue { name, capacity, when_full, state, filled: Notify::new(), drained: Notify::new() }
    }

    pub async fn push(&self, item: T) -> Pushed<T> {
        let mut item = item;
        loop {
            let room = self.drained.notified();
            match self.offer(item) {
                Pushed::Refused(back) if self.when_full == WhenFull::Wait => item = back,
                done => return done,
            }
            room.await;
        }
    }

    /// As [`Queue::push`], but a queue that would wait refuses.
    pub fn offer(&self, item: T) -> Pushed<T> {
        let mut state = self.state();
        if state.closed {
            return Pushed::Closed(item);
        }
        let mut displaced = None;
        if state.items.len() == self.capacity {
            match self.when_full {
                WhenFull::Wait | WhenFull::Refuse => return Pushed::Refused(item),
                WhenFull::DropOldest => displaced = state.items.pop_front(),
            }
        }
        state.items.push_back(item);
        drop(state);
        self.filled.notify_one();
        displaced.map_or(Pushed::Kept, Pushed::Displaced)
    }

    /// The oldest item, or `None` once the queue is closed and empty. Cancelling the future loses nothing.
    pub async fn pop(&self) -> Option<T> {
        loop {
            let filled = self.filled.notified();
            {
                let mut state = self.state();
                if let Some(item) = state.items.pop_front() {
                    // A permit may stand for several items; whoever takes one passes it on.
                    if !state.items.is_empty() {
                        self.filled.notify_one();
                    }
                    drop(state);
                    self.drained.notify_one();
                    return Some(item);
                }
                if state.closed {
                    self.filled.notify_one();
                    return None;
                }
            }
            filled.await;
        }
    }

    /// Takes no more items. What is in the queue can still be received.
    pub fn close(&self) {
        self.state().closed = true;
        self.drained.notify_waiters();
        self.drained.notify_one();
        self.filled.notify_one();
    }

    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn len(&self) -> usize {
        self.state().items.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State<T>> {
        self.state.lock().expect("no holder of this lock can panic")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[track_caller]
    fn check(when_full: WhenFull, expected: Pushed<u32>, left: &[u32]) {
        let queue = Queue::new("test", 2, when_full);
        assert_eq!((queue.offer(1), queue.offer(2)), (Pushed::Kept, Pushed::Kept));
        assert_eq!(queue.offer(3), expected);
        let items: Vec<u32> = queue.state().items.iter().copied().collect();
        assert_eq!(items, left);
        queue.close();
        assert_eq!(queue.offer(4), Pushed::Closed(4));
    }

    #[test]
    fn a_full_queue_does_what_its_maker_said() {
        check(WhenFull::Wait, Pushed::Refused(3), &[1, 2]);
        check(WhenFull::Refuse, Pushed::Refused(3), &[1, 2]);
        check(WhenFull::DropOldest, Pushed::Displaced(1), &[2, 3]);
    }

    #[tokio::test]
    async fn several_senders_and_receivers_lose_nothing() {
        let queue = Arc::new(Queue::new("test", 3, WhenFull::Wait));
        let receive = |queue: Arc<Queue<u32>>| async move {
            let mut sum = 0;
            while let Some(item) = queue.pop().await {
                sum += item;
            }
            sum
        };
        let receivers: Vec<_> = (0..3).map(|_| tokio::spawn(receive(queue.clone()))).collect();
        let senders = (0..5).map(|_| {
            let queue = queue.clone();
            tokio::spawn(async move {
                for item in 1..=100 {
                    assert_eq!(queue.push(item).await, Pushed::Kept);
                }
            })
        });
        for sender in senders.collect::<Vec<_>>() {
            sender.await.expect("the sender ends");
        }
        queue.close();
        let mut sum = 0;
        for receiver in receivers {
            sum += receiver.await.expect("the receiver ends");
        }
        assert_eq!(sum, 5 * 5_050);
    }
}
