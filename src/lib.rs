//! lineflow moves time series out of InfluxDB 1.x storage files into every server with the InfluxDB write API.
//!
//! The programs in `src/bin` are thin; this library is the machine. Dependencies point one way:
//! `bin -> cli -> export, filter, route, post -> rate -> lp, tsm, http -> rows, pages`.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cli;
pub mod export;
pub mod filter;
pub mod gzip;
pub mod http;
pub mod lanes;
pub mod lp;
pub mod pages;
pub mod post;
pub mod rate;
pub mod route;
pub mod rows;
pub mod tsm;
