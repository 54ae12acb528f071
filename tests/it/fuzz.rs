//! The inputs that fuzzing found worth keeping, through the checks of the fuzz targets.

use std::fs;
use std::path::Path;

#[path = "../fuzz/checks.rs"]
mod checks;

/// Run a check on all inputs that are kept for it.
fn replay(target: &str, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/inputs").join(target);
    let mut count = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display());
        check(&fs::read(path).unwrap());
        count += 1;
    }
    assert!(count > 0, "{target}");
}

#[test]
fn inputs_kept_for_tsm_files_pass() {
    replay("tsm", checks::tsm);
}

#[test]
fn inputs_kept_for_blocks_pass() {
    replay("block", checks::block);
}

#[test]
fn inputs_kept_for_tombstones_pass() {
    replay("tombstone", checks::tombstone);
}

#[test]
fn inputs_kept_for_the_log_pass() {
    replay("wal", checks::wal);
}

#[test]
fn inputs_kept_for_metadata_pass() {
    replay("meta", checks::meta);
}

#[test]
fn inputs_kept_for_archives_pass() {
    replay("archive", checks::archive);
}
