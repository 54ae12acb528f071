//! Where tsm-cat puts what does not fit into memory.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::forge::tsm;
use crate::harness::{Pipeline, Ran, points, program, scratch};

/// A TSM file whose tombstones take more memory than there is for them.
fn deleted(folder: &Path) -> String {
    let path = folder.join("000000001-000000001.tsm");
    let key = "m#!~#v";
    let series = tsm::Series {
        key,
        kind: 1,
        blocks: &[&[(1, 1), (2, 2)]],
    };
    fs::write(&path, tsm::file(&[series])).unwrap();
    let name = |i: i64| format!("elsewhere,host=somewhere-in-the-far-away-{i:09}#!~#v");
    let names: Vec<String> = (0..250_000).map(name).collect();
    let mut records: Vec<_> = names.iter().map(|name| (&**name, 1, 9)).collect();
    records.push((key, 2, 2));
    fs::write(path.with_extension("tombstone"), tsm::tombstone(&records)).unwrap();
    path.to_str().unwrap().to_owned()
}

/// With a folder for temporary files that is not there, unless an option names another.
fn cat(args: &[&str]) -> Ran {
    let stage = [&["tsm-cat"], args].concat();
    Pipeline::new()
        .env("TMPDIR", "/nowhere/at/all")
        .run(&[&stage])
}

#[test]
fn many_tombstones_go_to_the_folder_that_is_named_for_it() {
    let (dir, folder) = (scratch(), scratch());
    let path = deleted(dir.path());
    let folder = folder.path().to_str().unwrap();
    for args in [&[][..], &["--schema"]] {
        let ran = cat(&[args, &["--tmp-dir", folder, &path]].concat()).ok();
        if args.is_empty() {
            assert_eq!(vec![&b"m v=1i 1"[..]], points(&ran.stdout));
        }
        let ran = cat(&[args, &[&path]].concat());
        assert_eq!(Some(66), ran.last(), "{}", ran.stderr);
        assert!(
            ran.stderr.contains("temporary file: ") && ran.stderr.contains("--tmp-dir, or TMPDIR"),
            "{}",
            ran.stderr
        );
    }
    // Nothing is left behind.
    assert_eq!(0, fs::read_dir(folder).unwrap().count());
}

#[test]
fn a_folder_for_temporary_files_that_takes_none_is_told_before_anything_is_read() {
    let dir = scratch();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o555)).unwrap();
    let closed = dir.path().to_str().unwrap();
    let ran = cat(&["--tmp-dir", "/nowhere/else", "/nowhere/at/all"]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("temporary file in /nowhere/else"),
        "{}",
        ran.stderr
    );
    let is_root = rustix::process::geteuid().is_root();
    let other = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let prefix = if is_root { &other[..] } else { &[] };
    let args = [program("tsm-cat"), "--tmp-dir", closed, "/nowhere/at/all"];
    let ran = Pipeline::new().run(&[&[prefix, &args[..]].concat()]);
    assert_eq!(Some(77), ran.last(), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(&format!("temporary file in {closed}")),
        "{}",
        ran.stderr
    );
}
