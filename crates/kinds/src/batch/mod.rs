//! `batch/v1`: work that ends.

pub mod cron_job;
pub mod job;
mod job_indexes;
mod job_policy;
mod job_spec;
mod job_status;
