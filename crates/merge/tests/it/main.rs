//! Outcomes recorded from upstream's Go libraries, laws, and hostile input.

mod apply;
mod hostile;
mod laws;
mod patches;
mod recorded;
mod sets;
mod typed;

/// How often a law is tried: more with `BOGA_SEEDS`.
fn iterations() -> usize {
    let times: usize = std::env::var("BOGA_SEEDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    times.saturating_mul(1000)
}
