//! Nothing is quietly not there: what may not be read, what is missing, what is in the way.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use crate::forge::meta;
use crate::harness::{Ran, copy, fixture, points, program, run, scratch};
use crate::tsm_cat::{broken, cat, comments};

/// A root with a database of two policies and a shard each, cold and warm.
fn tree() -> tempfile::TempDir {
    let dir = scratch();
    for (from, to) in [
        ("data/churn/autogen/4", "data/db/a/4"),
        ("wal/churn/autogen/4", "wal/db/a/4"),
        ("data/deletes/autogen/3", "data/db/b/3"),
        ("wal/deletes/autogen/3", "wal/db/b/3"),
    ] {
        let (from, to) = (
            fixture(Path::new("influxdb-1.6").join(from)),
            dir.path().join(to),
        );
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        run(
            b"",
            &["cp", "-r", from.to_str().unwrap(), to.to_str().unwrap()],
        )
        .ok();
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

/// As somebody whom permissions concern: nobody can shut out root.
fn cat_as_other(args: &[&str]) -> Ran {
    let other = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
    ];
    let is_root = rustix::process::geteuid().is_root();
    let prefix = if is_root { &other[..] } else { &[] };
    run(b"", &[prefix, &[program("tsm-cat")], args].concat())
}

fn allow(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_folder_that_may_not_be_read_is_77_before_any_point_wherever_it_is() {
    let dir = tree();
    let root = dir.path().to_str().unwrap();
    cat_as_other(&[root]).ok();
    for below in [
        "",
        "data",
        "data/db",
        "data/db/b",
        "data/db/b/3",
        "wal",
        "wal/db",
        "wal/db/b",
        "wal/db/b/3",
    ] {
        let closed = dir.path().join(below);
        allow(&closed, 0);
        let ran = cat_as_other(&[root]);
        allow(&closed, 0o755);
        assert_eq!(Some(77), ran.last(), "{below}: {}", ran.stderr);
        assert_eq!(0, points(&ran.stdout).len(), "{below}");
        let line = ran.stderr.lines().last().unwrap();
        assert!(
            line.contains("may not be read by this user, it belongs to "),
            "{below}: {line}"
        );
        assert!(
            line.contains(closed.to_str().unwrap().trim_end_matches('/')),
            "{below}: {line}"
        );
    }
    // Where only one part is asked for, the others need not be open.
    allow(&dir.path().join("data/db/b"), 0);
    cat_as_other(&["-r", "a", root]).ok();
    allow(&dir.path().join("data/db/b"), 0o755);
    // A folder that can be passed through and not listed is enough above.
    allow(dir.path(), 0o711);
    cat_as_other(&[root]).ok();
    allow(dir.path(), 0o755);
}

#[test]
fn a_copy_whose_folders_may_not_be_read_is_77_and_not_empty() {
    let dir = tree();
    let copy = dir.path().join("copy");
    fs::rename(dir.path().join("data"), &copy).unwrap();
    allow(&copy.join("db"), 0);
    let ran = cat_as_other(&["--no-wal", copy.to_str().unwrap()]);
    allow(&copy.join("db"), 0o755);
    assert_eq!(Some(77), ran.last(), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("copy/db: may not be read"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_file_that_may_not_be_read_is_77_even_with_keep_going() {
    let dir = tree();
    let root = dir.path().to_str().unwrap();
    for file in [
        "data/db/b/3/000000002-000000001.tsm",
        "data/db/b/3/000000002-000000001.tombstone",
        "wal/db/b/3/_00001.wal",
    ] {
        let closed = dir.path().join(file);
        allow(&closed, 0);
        let ran = cat_as_other(&["--keep-going", root]);
        allow(&closed, 0o644);
        assert_eq!(Some(77), ran.last(), "{file}: {}", ran.stderr);
        let name = if file.ends_with("tombstone") {
            "000000002-000000001.t"
        } else {
            file
        };
        assert!(ran.stderr.contains(name), "{file}: {}", ran.stderr);
        assert!(ran.stdout.ends_with(b"# STREAM-FAILED status:77\n"));
    }
}

#[test]
fn metadata_that_may_not_be_read_are_77_before_any_point_and_never_left_out() {
    let dir = tree();
    let root = dir.path().to_str().unwrap();
    let known = meta::file(&[("db", "a", 0, vec![]), ("db", "b", 0, vec![])]);
    fs::create_dir(dir.path().join("meta")).unwrap();
    fs::write(dir.path().join("meta/meta.db"), known).unwrap();
    allow(&dir.path().join("meta"), 0o755);
    cat_as_other(&[root]).ok();
    for below in ["meta", "meta/meta.db"] {
        let closed = dir.path().join(below);
        allow(&closed, 0);
        let shard = format!("{root}/data/db/a/4");
        for args in [
            &[][..],
            &["--keep-going"],
            &["--list"],
            &["--schema"],
            &["--context-only"],
        ] {
            for path in [root, &shard] {
                let ran = cat_as_other(&[args, &[path]].concat());
                let place = format!("{below} {args:?} {path}: {}", ran.stderr);
                assert_eq!(Some(77), ran.last(), "{place}");
                assert_eq!(0, points(&ran.stdout).len(), "{place}");
                let line = ran.stderr.lines().last().unwrap();
                let said = format!("{below}: may not be read by this user, it belongs to ");
                assert!(line.contains(&said), "{place}");
            }
        }
        allow(&closed, 0o755);
    }
}

#[test]
fn each_name_that_is_not_there_is_66_with_those_that_are() {
    let dir = tree();
    let root = dir.path().to_str().unwrap();
    for (args, there) in [
        (&["-d", "x"][..], "has no database x; there is db"),
        (&["-d", "db", "-d", "x"], "has no database x; there is db"),
        (
            &["-r", "x"],
            "has no retention policy x; there is db/a, db/b",
        ),
        (
            &["-r", "a", "-r", "x"],
            "has no retention policy x; there is db/a, db/b",
        ),
        (&["--shard", "9"], "has no shard 9; there is 3, 4"),
        (&["-r", "a", "--shard", "3"], "has no shard 3; there is 4"),
    ] {
        let ran = cat(&[args, &[root]].concat());
        assert_eq!(
            (Some(66), 0),
            (ran.last(), points(&ran.stdout).len()),
            "{args:?}"
        );
        assert!(ran.stderr.contains(there), "{args:?}: {}", ran.stderr);
    }
}

#[test]
fn a_folder_without_a_shard_is_66_with_what_it_holds() {
    let dir = scratch();
    let root = dir.path().to_str().unwrap();
    for (make, said) in [
        (None, "holds no shard; it is empty"),
        (Some("notes.txt/"), "holds no shard; it holds notes.txt"),
        (Some("data/"), "holds no shard"),
        (Some("wal/"), "holds no shard"),
        (Some("data/db/rp/"), "holds no shard"),
    ] {
        make.into_iter()
            .for_each(|name| fs::create_dir_all(dir.path().join(name)).unwrap());
        let ran = cat(&[root]);
        assert_eq!(Some(66), ran.last(), "{make:?}: {}", ran.stderr);
        assert!(ran.stderr.contains(said), "{make:?}: {}", ran.stderr);
    }
}

#[test]
fn a_log_that_is_not_where_the_layout_puts_it_is_66_until_somebody_says_where_it_is() {
    let dir = tree();
    let at = |below: &str| dir.path().join(below).to_str().unwrap().to_owned();
    let whole = cat(&[&at("")]).ok();
    fs::rename(at("wal"), at("elsewhere")).unwrap();
    for below in ["", "data", "data/db", "data/db/a", "data/db/a/4"] {
        let ran = cat(&[&at(below)]);
        assert_eq!(
            (Some(66), 0),
            (ran.last(), points(&ran.stdout).len()),
            "{below}: {}",
            ran.stderr
        );
        assert!(
            ran.stderr.contains("--wal-dir") && ran.stderr.contains("--no-wal"),
            "{}",
            ran.stderr
        );
    }
    let moved = cat(&["--wal-dir", &at("elsewhere"), &at("")]).ok();
    assert!(whole.stdout == moved.stdout);
    let ran = cat(&["--wal-dir", &at("nowhere"), &at("")]);
    assert_eq!(Some(66), ran.last());
    let without = cat(&["--no-wal", &at("")]).ok();
    assert!(whole.stdout != without.stdout);
    // A single file has no log.
    cat(&[&at("data/db/b/3/000000001-000000001.tsm")]).ok();
}

#[test]
fn links_to_folders_are_followed_and_what_is_no_folder_is_told() {
    let dir = tree();
    let at = |below: &str| dir.path().join(below).to_str().unwrap().to_owned();
    let whole = cat(&[&at("")]).ok();
    fs::rename(at("data/db/b/3"), at("moved")).unwrap();
    symlink(at("moved"), at("data/db/b/3")).unwrap();
    assert!(whole.stdout == cat(&[&at("")]).ok().stdout);
    // A link that leads to itself, and one that leads up: neither is a shard, and nothing goes round in circles.
    symlink("loop", at("data/db/b/loop")).unwrap();
    symlink("..", at("data/db/b/up")).unwrap();
    let ran = cat(&[&at("")]).ok();
    assert!(
        whole.stdout == ran.stdout && ran.stderr.contains("data/db/b/up: not read"),
        "{}",
        ran.stderr
    );
    fs::write(at("data/db/b/9"), b"bz1").unwrap();
    let ran = cat(&[&at("")]);
    assert_eq!(Some(1), ran.last());
    assert!(
        ran.stderr
            .contains("data/db/b/9: left out: a shard from before TSM"),
        "{}",
        ran.stderr
    );
    fs::remove_file(at("data/db/b/9")).unwrap();
    // A shard whose folder leads nowhere is not passed over.
    symlink("/nowhere/at/all", at("data/db/b/9")).unwrap();
    let ran = cat(&[&at("")]);
    assert_eq!(Some(1), ran.last(), "{}", ran.stderr);
}

#[test]
fn outside_of_a_tree_options_are_names_and_inside_they_select() {
    let dir = tree();
    let at = |below: &str| dir.path().join(below).to_str().unwrap().to_owned();
    fs::rename(at("data/db/b/3"), at("3")).unwrap();
    let ran = cat(&["--no-wal", "-d", "x", "-r", "y", &at("3")]).ok();
    let text = ran.stdout.to_string();
    for context in ["DATABASE:x", "RETENTION-POLICY:y", "SHARD:3"] {
        assert!(
            text.contains(&format!("# CONTEXT-{context}\n")),
            "{context}"
        );
    }
    assert_eq!(
        Some(2),
        cat(&["--no-wal", "-d", "x", "-d", "z", &at("3")]).last()
    );
    assert_eq!(
        Some(66),
        cat(&["--no-wal", "-d", "x", &at("data/db/a")]).last()
    );
    assert_eq!(
        Some(66),
        cat(&["--no-wal", "--shard", "4", &at("3")]).last()
    );
}

#[test]
fn files_that_are_no_data_are_told_and_cost_nothing() {
    let ran = cat(&["--no-wal", &broken("leftovers")]).ok();
    for name in [
        "000000003-000000001.tsm.tmp",
        "000000004-000000001.tsm.bad",
        "notes.tsm~",
    ] {
        assert!(ran.stderr.contains(name), "{}", ran.stderr);
    }
}

#[test]
fn a_shard_marked_as_deleted_is_left_out_and_an_unknown_one_is_not() {
    let dir = scratch();
    let root = dir.path().to_str().unwrap();
    copy(
        &fixture("influxdb-1.6/data/levels/hourly/68"),
        &dir.path().join("data/db0/autogen/2"),
    );
    copy(
        &fixture("influxdb-1.6/data/levels/hourly/68"),
        &dir.path().join("data/db0/autogen/7"),
    );
    fs::create_dir_all(dir.path().join("meta")).unwrap();
    let groups = vec![meta::group(1, 0, 9, false), meta::group(2, 9, 99, true)];
    let known = meta::file(&[("db0", "autogen", 0, groups)]);
    fs::write(dir.path().join("meta/meta.db"), known).unwrap();
    let ran = cat(&["--no-wal", "--verbose", root]).ok();
    assert_eq!("# CONTEXT-SHARD:7", comments(&ran.stdout)[4]);
    assert_eq!(6, comments(&ran.stdout).len());
    assert!(
        ran.stderr.contains("unknown to meta.db") && ran.stderr.contains("1 deleted shards"),
        "{}",
        ran.stderr
    );
    fs::write(dir.path().join("meta/meta.db"), b"\x07").unwrap();
    let ran = cat(&["--no-wal", root]).ok();
    assert!(ran.stderr.contains("without periods"), "{}", ran.stderr);
    assert!(
        !comments(&ran.stdout)
            .iter()
            .any(|comment| comment.contains("PERIOD"))
    );
}
