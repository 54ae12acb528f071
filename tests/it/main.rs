//! Everything that runs an executable, in one binary: a module per program, and what they share.
#![allow(clippy::unwrap_used)]

mod bounds;
mod damage;
mod docs;
mod forge;
mod harness;
mod live;
mod lp_filter;
mod lp_post;
mod lp_post_access;
mod lp_post_buckets;
mod lp_post_faults;
mod lp_post_input;
mod lp_post_jobs;
mod lp_post_quota;
mod lp_post_resume;
mod lp_post_rows;
mod lp_post_settings;
mod lp_post_targets;
mod lp_post_tls;
mod lp_rate;
mod lp_split;
mod lp_split_out;
mod oracle;
mod pipeline;
mod proxy;
mod roundtrip;
mod server;
mod tsm_cat;
mod tsm_cat_rejects;
mod tsm_cat_sources;
mod validate;
