//! x
pub mod batch;
pub mod bisect;
pub mod fit;
