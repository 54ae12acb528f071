//! Runs the real binaries.
#![allow(clippy::unwrap_used)]

mod lp_post;
mod lp_post_access;
mod lp_post_faults;
mod server;
