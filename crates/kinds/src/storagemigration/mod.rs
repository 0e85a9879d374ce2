//! `storagemigration.k8s.io`: stored objects, written anew.

pub mod storage_version_migration;
