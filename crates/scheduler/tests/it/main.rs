mod conversion;
mod decisions;
mod properties;
mod queueing;
