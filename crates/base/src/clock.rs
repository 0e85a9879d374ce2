//! Wall and monotonic time, real and simulated.

use std::sync::{
    Arc,
    atomic::{AtomicI64, Ordering},
};
use std::time::Duration;

/// Nanoseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Wall(pub i64);

impl Wall {
    pub const fn from_secs(secs: i64) -> Wall {
        Wall(secs * 1_000_000_000)
    }

    pub const fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000_000)
    }

    pub fn plus(self, by: Duration) -> Wall {
        Wall(self.0.saturating_add(i64::try_from(by.as_nanos()).unwrap_or(i64::MAX)))
    }

    /// The time that has passed since `earlier`; zero when `earlier` lies ahead.
    pub fn since(self, earlier: Wall) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0).max(0) as u64)
    }
}

/// A source of time. `monotonic` never runs backwards; `wall` may jump.
pub trait Clock: Send + Sync + 'static {
    fn wall(&self) -> Wall;
    fn monotonic(&self) -> Duration;
}

pub type SharedClock = Arc<dyn Clock>;

/// The machine's clocks.
#[derive(Clone, Copy)]
pub struct SystemClock {
    start: std::time::Instant,
}

#[expect(clippy::disallowed_methods, reason = "this is where ambient time enters")]
impl SystemClock {
    pub fn new() -> SystemClock {
        SystemClock { start: std::time::Instant::now() }
    }

    pub fn shared() -> SharedClock {
        Arc::new(SystemClock::new())
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

#[expect(clippy::disallowed_methods, reason = "this is where ambient time enters")]
impl Clock for SystemClock {
    fn wall(&self) -> Wall {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        Wall(since.map_or(0, |d| d.as_nanos() as i64))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }
}

/// A clock that stands still until it is moved. Clones share the same hands.
#[derive(Clone, Default)]
pub struct SimClock {
    start: Wall,
    elapsed: Arc<AtomicI64>,
}

impl SimClock {
    pub fn starting_at(start: Wall) -> SimClock {
        SimClock { start, elapsed: Arc::default() }
    }

    pub fn advance(&self, by: Duration) {
        self.elapsed.fetch_add(by.as_nanos() as i64, Ordering::SeqCst);
    }
}

impl Clock for SimClock {
    fn wall(&self) -> Wall {
        self.start.plus(self.monotonic())
    }

    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.elapsed.load(Ordering::SeqCst) as u64)
    }
}
