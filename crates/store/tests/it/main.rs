//! The store as its callers see it, over both of its backends.

mod crash;
mod etcd_only;
mod faulty;
mod file_only;
mod killed;
mod linear;
mod linearizable;
mod rig;
mod suite;

/// How many times longer than usual the seeded tests run.
fn seeds(usual: u64) -> u64 {
    let times = std::env::var("BOGA_SEEDS").ok().and_then(|times| times.parse().ok()).unwrap_or(1);
    usual * times
}
