//! Whole cycles, the queue, and what must hold whatever happens.

mod conversion;
mod decisions;
mod properties;
mod queueing;
