//! Which records lp-filter keeps.

pub mod select;

pub use select::{Selection, Selector, Verdict};
