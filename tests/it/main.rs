//! Runs the real binaries.
#![allow(clippy::unwrap_used)]

mod lp_post;
mod server;
