//! Stopping in good order: a tree of tokens, and a count of what is still at work.

use std::sync::{Arc, Mutex, Weak};

use tokio::sync::watch;

/// Tells parts to stop and waits for them. Stopping one stops everything below it and nothing beside or above.
///
/// A part that must finish something holds a [`Work`]; [`Shutdown::finished`] waits until all of them are gone.
#[derive(Clone)]
pub struct Shutdown {
    node: Arc<Node>,
}

struct Node {
    stop: watch::Sender<bool>,
    working: watch::Sender<usize>,
    parent: Option<Shutdown>,
    // Taken alone, or a parent's before its child's.
    children: Mutex<Vec<Weak<Node>>>,
}

/// Something that must be finished before the process may go.
pub struct Work {
    counted_in: Shutdown,
}

impl Shutdown {
    pub fn new() -> Shutdown {
        Shutdown::under(None)
    }

    fn under(parent: Option<Shutdown>) -> Shutdown {
        let (stop, working) = (watch::Sender::new(false), watch::Sender::new(0));
        Shutdown { node: Arc::new(Node { stop, working, parent, children: Mutex::default() }) }
    }

    /// A token for one part. It stops with this one, and can be stopped alone.
    pub fn child(&self) -> Shutdown {
        let child = Shutdown::under(Some(self.clone()));
        let mut children = self.children();
        children.retain(|child| child.strong_count() > 0);
        children.push(Arc::downgrade(&child.node));
        // Read under the lock that `stop` takes next, so a child born meanwhile cannot be missed.
        child.node.stop.send_replace(self.is_stopping());
        drop(children);
        child
    }

    pub fn stop(&self) {
        self.node.stop.send_replace(true);
        let children: Vec<_> = self.children().iter().filter_map(Weak::upgrade).collect();
        for node in children {
            Shutdown { node }.stop();
        }
    }

    pub fn is_stopping(&self) -> bool {
        *self.node.stop.borrow()
    }

    /// Waits until it is time to stop.
    pub async fn stopping(&self) {
        let mut stop = self.node.stop.subscribe();
        stop.wait_for(|stop| *stop).await.expect("this token holds the sender");
    }

    /// Marks something as at work, here and in every token above.
    pub fn work(&self) -> Work {
        self.count(|working| *working += 1);
        Work { counted_in: self.clone() }
    }

    /// Waits until nothing is at work here or below. It does not ask anything to stop.
    pub async fn finished(&self) {
        let mut working = self.node.working.subscribe();
        working.wait_for(|working| *working == 0).await.expect("this token holds the sender");
    }

    fn count(&self, change: impl Fn(&mut usize)) {
        let mut token = Some(self);
        while let Some(Shutdown { node }) = token {
            node.working.send_modify(&change);
            token = node.parent.as_ref();
        }
    }

    fn children(&self) -> std::sync::MutexGuard<'_, Vec<Weak<Node>>> {
        self.node.children.lock().expect("no holder of this lock can panic")
    }
}

impl Default for Shutdown {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.counted_in.count(|working| *working -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn stopping_goes_down_the_tree_only() {
        let root = Shutdown::new();
        let (left, right) = (root.child(), root.child());
        let leaf = left.child();
        left.stop();
        leaf.stopping().await;
        assert!(!root.is_stopping() && !right.is_stopping());
        root.stop();
        right.stopping().await;
        assert!(root.child().is_stopping(), "a child born late stops at once");
    }

    #[tokio::test]
    async fn finishing_waits_for_all_work_below() {
        let root = Shutdown::new();
        let (part, other) = (root.child(), root.child());
        let work = [part.work(), part.child().work()];
        let waiting = tokio::spawn({
            let root = root.clone();
            async move { root.finished().await }
        });
        other.finished().await;
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(work);
        waiting.await.expect("the wait ends");
    }
}
