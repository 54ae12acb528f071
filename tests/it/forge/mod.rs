//! Storage files that no server here has written: log segments, TSM files, tombstones, metadata.

pub mod meta;
pub mod tsm;
pub mod wal;
