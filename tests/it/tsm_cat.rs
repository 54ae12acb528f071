//! tsm-cat from the outside: what it takes, what it prints around the points, how it ends.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::harness::{
    Ran, copy, entries, fixture, fixture_arg, gunzip, pipeline, points, run, scratch,
};

pub fn cat(args: &[&str]) -> Ran {
    run(b"", &[&["tsm-cat"], args].concat())
}

fn root() -> String {
    fixture_arg("influxdb-1.6")
}

pub fn broken(database: &str) -> String {
    fixture_arg(&format!("influxdb-1.6-broken/data/{database}"))
}

/// All comments but those that say how far the export is.
pub fn comments(text: &[u8]) -> Vec<String> {
    let is_place = |entry: &&[u8]| entry.starts_with(b"# STREAM-AT ");
    let all = entries(text)
        .into_iter()
        .filter(|entry| entry.starts_with(b"#") && !is_place(entry));
    all.map(|entry| String::from_utf8(entry.to_vec()).unwrap())
        .collect()
}

/// The values of a text, one for each series, field and time; only for names and values without blanks.
fn values(text: &[u8]) -> Vec<String> {
    let mut all = Vec::new();
    for line in points(text) {
        let line = std::str::from_utf8(line).unwrap();
        let parts: Vec<_> = line.split(' ').collect();
        let field = |field: &str| format!("{} {field} {}", parts[0], parts[2]);
        all.extend(parts[1].split(',').map(field));
    }
    all.sort();
    all
}

#[test]
fn points_stand_in_their_context_between_begin_and_end() {
    let ran = cat(&["-d", "my db, 100% \"ünï\"", "-d", "typeconf", &root()]).ok();
    let expected = [
        "# STREAM-BEGIN once",
        "# CONTEXT-DATABASE*:my db, 100%25 %22ünï%22",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:0s",
        "# CONTEXT-SHARD:62",
        "# CONTEXT-RETENTION-POLICY:rp with space, comma",
        "# CONTEXT-RETENTION-PERIOD:0s",
        "# CONTEXT-SHARD:63",
        "# CONTEXT-DATABASE:typeconf",
        "# CONTEXT-RETENTION-POLICY:autogen",
        "# CONTEXT-RETENTION-PERIOD:0s",
        "# CONTEXT-SHARD:64",
        "# CONTEXT-SHARD:65",
        "# CONTEXT-SHARD:66",
        "# CONTEXT-SHARD:67",
    ];
    let comments = comments(&ran.stdout);
    assert_eq!(expected[..], comments[..expected.len()]);
    let n = points(&ran.stdout).len();
    assert_eq!(
        [format!("# STREAM-END points:{n} left-out:0")],
        comments[expected.len()..]
    );
    assert_eq!("", ran.stderr);
}

#[test]
fn shards_come_by_start_and_a_period_is_in_seconds() {
    let ran = cat(&["-d", "example-db", "-r", "historical-1mo", &root()]).ok();
    let comments = comments(&ran.stdout);
    assert_eq!("# CONTEXT-RETENTION-PERIOD:2592000s", comments[3]);
    let lines = points(&ran.stdout);
    let times = lines
        .iter()
        .map(|line| line.rsplit(|c| *c == b' ').next().unwrap().to_vec());
    let mut days: Vec<u64> = times
        .map(|t| String::from_utf8(t).unwrap().parse::<u64>().unwrap() / 86_400_000_000_000)
        .collect();
    assert!(days.is_sorted());
    days.dedup();
    assert_eq!(
        days.len(),
        comments
            .iter()
            .filter(|c| c.starts_with("# CONTEXT-SHARD"))
            .count()
    );
}

#[test]
fn the_stream_says_how_far_it_is_at_every_shard_and_every_percent() {
    let ran = cat(&["-d", "overlap", "-d", "levels", &root()]).ok();
    let places: Vec<_> = entries(&ran.stdout)
        .into_iter()
        .filter_map(|entry| entry.strip_prefix(b"# STREAM-AT "))
        .map(|place| std::str::from_utf8(place).unwrap())
        .collect();
    let place = |text: &str| {
        let (shard, done) = text.split_once(" done:").unwrap();
        let (shard, all) = shard
            .strip_prefix("shard:")
            .unwrap()
            .split_once('/')
            .unwrap();
        let done: f64 = done.strip_suffix('%').unwrap().parse().unwrap();
        (
            shard.parse::<usize>().unwrap(),
            all.parse::<usize>().unwrap(),
            done,
        )
    };
    let places: Vec<_> = places.into_iter().map(place).collect();
    let shards = comments(&ran.stdout)
        .iter()
        .filter(|c| c.contains("-SHARD:"))
        .count();
    assert_eq!((1, shards, 0.0), places[0]);
    for at in 1..=shards {
        assert!(places.iter().any(|place| place.0 == at), "shard {at}");
    }
    assert!(places.is_sorted_by(|a, b| (a.0, a.2) < (b.0, b.2)));
    assert!(places.iter().all(|place| place.2 <= 100.0));
    let percents: Vec<_> = places
        .iter()
        .map(|place| (place.0, place.2 as u64))
        .collect();
    assert!(percents.is_sorted_by(|a, b| a != b), "{percents:?}");
}

#[test]
fn the_output_is_the_same_for_any_number_of_jobs() {
    let run = |jobs: &str, more: &[&str]| {
        cat(&[
            &["--keep-going", "--internal", "--jobs", jobs],
            more,
            &[&root()],
        ]
        .concat())
    };
    for more in [&[][..], &["--per-field"], &["--compress"]] {
        let one = run("1", more);
        for jobs in ["2", "3", "16"] {
            let many = run(jobs, more);
            assert!(one.stdout == many.stdout, "{jobs} {more:?}");
            assert_eq!((&one.stderr, &one.codes), (&many.stderr, &many.codes));
        }
    }
}

#[test]
fn what_is_compressed_unpacks_to_what_is_not() {
    for args in [
        &["--keep-going"][..],
        &["--lp-only", "-d", "overlap"],
        &["-d", "none"],
    ] {
        let plain = cat(&[args, &[&root()]].concat());
        let packed = cat(&[args, &["--compress", &root()]].concat());
        assert_eq!(plain.codes, packed.codes);
        let mut bytes = Vec::new();
        flate2::read::MultiGzDecoder::new(&packed.stdout[..])
            .read_to_end(&mut bytes)
            .unwrap();
        assert!(plain.stdout == bytes, "{args:?}");
    }
}

#[test]
fn lp_only_prints_not_one_comment() {
    let args = ["-d", "example-db", &root()];
    let (with, without) = (
        cat(&args).ok(),
        cat(&[&args[..], &["--lp-only"]].concat()).ok(),
    );
    assert!(comments(&without.stdout).is_empty());
    assert_eq!(points(&with.stdout), points(&without.stdout));
    let failed = cat(&["--lp-only", "-d", "none", &root()]);
    assert_eq!(
        (Some(66), ""),
        (failed.last(), failed.stdout.to_string().as_str())
    );
}

#[test]
fn every_level_of_the_tree_can_be_named() {
    let whole = cat(&["-d", "overlap", &root()]).ok();
    let data = fixture_arg("influxdb-1.6/data");
    for path in [
        "",
        "/overlap",
        "/overlap/autogen",
        "/overlap/autogen/2",
        "/overlap/autogen/2/",
    ] {
        let ran = cat(&["-d", "overlap", &format!("{data}{path}")]).ok();
        assert!(whole.stdout == ran.stdout, "{path}");
    }
}

#[test]
fn a_time_range_is_cut_exactly() {
    let all = cat(&["-d", "overlap", &root()]).ok().stdout;
    let time = |line: &&[u8]| -> i64 {
        let text = line.rsplit(|c| *c == b' ').next().unwrap();
        std::str::from_utf8(text).unwrap().parse().unwrap()
    };
    let mut times: Vec<_> = points(&all).iter().map(time).collect();
    times.sort_unstable();
    times.dedup();
    for (from, to) in [(10, 11), (100, 400), (0, times.len() - 1)] {
        let (start, stop) = (times[from], times[to]);
        let inside = |line: &&[u8]| (start..stop).contains(&time(line));
        let expected: Vec<_> = points(&all).into_iter().filter(inside).collect();
        let (start, stop, end) = (start.to_string(), stop.to_string(), (stop - 1).to_string());
        let by_stop = cat(&["-d", "overlap", "--start", &start, "--stop", &stop, &root()]).ok();
        assert_eq!(expected, points(&by_stop.stdout));
        let by_end = cat(&["-d", "overlap", "--start", &start, "--end", &end, &root()]).ok();
        assert_eq!(expected, points(&by_end.stdout));
    }
}

#[test]
fn measurements_are_chosen_by_the_name_that_queries_see() {
    let chosen = |glob: &str| {
        let ran = cat(&["-d", "weird", "-m", glob, &root()]).ok();
        points(&ran.stdout)
            .into_iter()
            .map(<[u8]>::to_vec)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        vec![b"m\\,comma,t=a v=1 1600000001000000007".to_vec()],
        chosen("m,comma")
    );
    assert_eq!(
        vec![
            b"m=eq v=1 1600000004000000028".to_vec(),
            b"m\\=eq v=1 1600000003000000021".to_vec(),
        ],
        chosen("m=eq")
    );
    let [ints, floats] = ["ints", "float?"].map(chosen);
    assert!(!ints.is_empty() && !floats.is_empty());
    let both = cat(&["-d", "weird", "-m", "ints", "-m", "float?", &root()]).ok();
    assert_eq!(ints.len() + floats.len(), points(&both.stdout).len());
    assert!(chosen("none*").is_empty());
}

#[test]
fn what_is_not_there_is_66_with_what_is() {
    for (args, there) in [
        (&["-d", "none"][..], "example-db"),
        (
            &["-d", "example-db", "-r", "none"],
            "example-db/historical-1y",
        ),
        (&["-d", "levels", "--shard", "9"], "68"),
    ] {
        let ran = cat(&[args, &[&root()]].concat());
        assert_eq!(Some(66), ran.last());
        assert!(ran.stderr.contains(there), "{}", ran.stderr);
        assert_eq!(
            "# STREAM-BEGIN once\n# STREAM-FAILED status:66\n",
            ran.stdout.to_string()
        );
    }
    let ran = cat(&[&format!("{}/data/none", root())]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("there is") && ran.stderr.contains("example-db"),
        "{}",
        ran.stderr
    );
    let empty = scratch();
    assert_eq!(Some(66), cat(&[empty.path().to_str().unwrap()]).last());
}

#[test]
fn a_missing_log_directory_is_66_until_one_of_two_options_is_given() {
    let path = fixture_arg("influxdb-1.6-broken");
    let ran = cat(&["-d", "leftovers", &path]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("--wal-dir") && ran.stderr.contains("--no-wal"),
        "{}",
        ran.stderr
    );
    let wal = scratch();
    let wal = wal.path().to_str().unwrap();
    let [with, without] = [&["--wal-dir", wal][..], &["--no-wal"]]
        .map(|args| cat(&[args, &["-d", "leftovers", &path]].concat()).ok());
    assert_eq!(with.stdout, without.stdout);
    assert_eq!(Some(2), cat(&["--no-wal", "--wal-dir", wal, &path]).last());
}

#[test]
fn the_log_can_be_left_out_or_stand_elsewhere() {
    let whole = cat(&["-d", "overlap", &root()]).ok();
    let without = cat(&["-d", "overlap", "--no-wal", &root()]).ok();
    assert!(
        values(&without.stdout).len() < values(&whole.stdout).len()
            || whole.stdout != without.stdout
    );
    let dir = scratch();
    copy(
        &fixture("influxdb-1.6/data/overlap"),
        &dir.path().join("x/overlap"),
    );
    let wal = fixture_arg("influxdb-1.6/wal");
    let elsewhere = cat(&[
        "--wal-dir",
        &wal,
        dir.path().join("x/overlap").to_str().unwrap(),
    ])
    .ok();
    assert_eq!(points(&whole.stdout), points(&elsewhere.stdout));
}

#[test]
fn a_copied_shard_gets_its_names_from_options() {
    let dir = scratch();
    copy(
        &fixture("influxdb-1.6/data/tsi-db/autogen/88"),
        &dir.path().join("88"),
    );
    let path = dir.path().join("88");
    let ran = cat(&["-d", "db", "-r", "rp", path.to_str().unwrap()]).ok();
    let expected = [
        "# STREAM-BEGIN once",
        "# CONTEXT-DATABASE:db",
        "# CONTEXT-RETENTION-POLICY:rp",
        "# CONTEXT-SHARD:88",
    ];
    assert_eq!(expected[..], comments(&ran.stdout)[..4]);
    assert!(ran.stderr.contains("no log is read"), "{}", ran.stderr);
    assert_eq!("", cat(&["--no-wal", path.to_str().unwrap()]).ok().stderr);
}

#[test]
fn single_files_are_read_with_their_tombstones_and_merged() {
    let whole = cat(&["-d", "deletes", "--no-wal", &root()]).ok();
    let shard = fixture_arg("influxdb-1.6/data/deletes/autogen/3");
    let files = [1, 2, 3].map(|n| format!("{shard}/{n:09}-000000001.tsm"));
    let [a, b, c] = &files;
    let ran = cat(&[c, a, b]).ok();
    assert_eq!(points(&whole.stdout), points(&ran.stdout));
    assert_eq!("# CONTEXT-DATABASE:deletes", comments(&ran.stdout)[1]);
    let log = fixture_arg("influxdb-1.6/wal/deletes/autogen/3/_00001.wal");
    assert!(!points(&cat(&[&log]).ok().stdout).is_empty());
    assert_eq!(Some(66), cat(&["-d", "other", a]).last());
}

#[test]
fn one_file_can_come_through_a_pipe() {
    let file = fixture("influxdb-1.6/data/example-db/autogen/6/000000001-000000001.tsm");
    let named = cat(&[file.to_str().unwrap()]).ok();
    let bytes = fs::read(&file).unwrap();
    for input in [bytes.clone(), crate::harness::gzip(&bytes)] {
        let ran = run(&input, &["tsm-cat", "-d", "example-db", "-r", "autogen"]).ok();
        assert_eq!(points(&named.stdout), points(&ran.stdout));
    }
    let log = fs::read(fixture("influxdb-1.6/wal/walonly/autogen/89/_00001.wal")).unwrap();
    assert!(!points(&run(&log, &["tsm-cat", "-"]).ok().stdout).is_empty());
    assert_eq!(Some(66), run(b"", &["tsm-cat"]).last());
    assert_eq!(Some(65), run(b"cpu v=1 1\n", &["tsm-cat"]).last());
}

#[test]
fn the_same_shard_twice_is_refused() {
    let shard = fixture_arg("influxdb-1.6/data/tsi-db/autogen/88");
    let ran = cat(&[&shard, "-d", "tsi-db", &root()]);
    assert_eq!(Some(65), ran.last());
    assert!(ran.stderr.contains("there twice"), "{}", ran.stderr);
}

#[test]
fn internal_is_left_out_unless_it_is_named() {
    let has = |args: &[&str]| {
        comments(&cat(args).stdout).contains(&"# CONTEXT-DATABASE:_internal".to_owned())
    };
    assert!(!has(&["--keep-going", &root()]));
    assert!(has(&["--keep-going", "--internal", &root()]));
    assert!(has(&["-d", "_internal", &root()]));
    assert!(has(&[&fixture_arg("influxdb-1.6/data/_internal")]));
}

#[test]
fn wrong_usage_is_2() {
    let text = cat(&["--end", "2020-12-31", &root()]);
    assert_eq!(Some(2), text.last());
    assert!(text.stderr.contains("--stop 2021-01-01"), "{}", text.stderr);
    assert_eq!(Some(2), cat(&["--end", "9", "--stop", "9", &root()]).last());
    assert_eq!(
        Some(2),
        cat(&["--start", "9", "--stop", "9", &root()]).last()
    );
    assert_eq!(Some(2), cat(&["--shard", "x", &root()]).last());
}

#[test]
fn a_folder_that_may_not_be_read_is_77_before_any_output() {
    let dir = scratch();
    for database in ["tsi-db", "levels"] {
        copy(
            &fixture(format!("influxdb-1.6/data/{database}")),
            &dir.path().join("data").join(database),
        );
    }
    let (root, closed) = (dir.path(), dir.path().join("data/tsi-db/autogen/88"));
    let allow =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    allow(root, 0o755);
    allow(&closed, 0);
    let mut stage = vec!["tsm-cat", "--no-wal", root.to_str().unwrap()];
    if fs::read_dir(&closed).is_ok() {
        // Nobody can shut out root, so root must become somebody else.
        stage[0] = crate::harness::program("tsm-cat");
        let other = [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ];
        stage.splice(0..0, other);
    }
    let ran = run(b"", &stage);
    allow(&closed, 0o755);
    assert_eq!(
        (Some(77), 0),
        (ran.last(), points(&ran.stdout).len()),
        "{}",
        ran.stderr
    );
    assert!(ran.stderr.contains("it belongs to"), "{}", ran.stderr);
}

#[test]
fn a_reader_that_leaves_ends_it_quietly() {
    let ran = pipeline(
        b"",
        &[
            &["tsm-cat", "--keep-going", "--no-wal", &root()],
            &["head", "-n1"],
        ],
    );
    assert_eq!("# STREAM-BEGIN once\n", ran.stdout.to_string());
    // What fits into the pipe may have been written by then.
    assert!(matches!(ran.codes[0], Some(141 | 0)), "{:?}", ran.codes);
}

#[test]
fn damaged_segments_are_65_with_a_clear_line() {
    for (shard, what) in [
        ("95", "unknown entry type 255"),
        ("96", "compressed data does not begin with a length"),
    ] {
        let ran = cat(&["-d", "torn", "--shard", shard, &root()]);
        assert_eq!(Some(65), ran.last());
        let place = format!("wal/torn/autogen/{shard}/_00001.wal: offset ");
        assert!(
            ran.stderr.contains(&place) && ran.stderr.contains(what),
            "{}",
            ran.stderr
        );
        assert!(comments(&ran.stdout).contains(&"# STREAM-FAILED status:65".to_owned()));
        let ran = cat(&["-d", "torn", "--shard", shard, "--keep-going", &root()]);
        assert_eq!(Some(1), ran.last());
        assert!(
            comments(&ran.stdout)
                .last()
                .unwrap()
                .ends_with("left-out:1")
        );
    }
    for shard in ["92", "93", "94"] {
        assert!(
            !cat(&["-d", "torn", "--shard", shard, &root()])
                .ok()
                .stderr
                .is_empty()
        );
    }
}

#[test]
fn damaged_files_are_65_and_can_be_left_out() {
    let whole = values(&cat(&["--no-wal", &broken("leftovers")]).ok().stdout);
    assert_eq!(1500, whole.len());
    for (database, file, what, left) in [
        ("cut", "000000002-000000001.tsm", "index is at", 900),
        ("magic", "000000002-000000001.tsm", "not a TSM file", 900),
        ("empty", "000000002-000000001.tsm", "missing", 900),
        ("footer", "000000002-000000001.tsm", "index is at", 900),
        ("index", "000000002-000000001.tsm", "missing", 900),
        (
            "flip",
            "000000002-000000001.tsm: key \"cpu,host=h0#!~#v\"",
            "checksum",
            1400,
        ),
        (
            "tomb-cut",
            "000000001-000000001.tombstone",
            "tombstone",
            600,
        ),
        (
            "tomb-magic",
            "000000001-000000001.tombstone",
            "tombstone",
            600,
        ),
    ] {
        let ran = cat(&["--no-wal", &broken(database)]);
        assert_eq!(Some(65), ran.last(), "{database}");
        let told = ran
            .stderr
            .lines()
            .any(|line| line.contains(file) && line.contains("offset ") && line.contains(what));
        assert!(told, "{database}: {}", ran.stderr);
        assert!(
            ran.stdout.ends_with(b"# STREAM-FAILED status:65\n"),
            "{database}"
        );
        let ran = cat(&["--no-wal", "--keep-going", &broken(database)]);
        assert_eq!(Some(1), ran.last(), "{database}");
        assert!(ran.stdout.ends_with(b" left-out:1\n"), "{database}");
        let found = values(&ran.stdout);
        assert_eq!(left, found.len(), "{database}");
    }
}

#[test]
fn what_is_left_of_damaged_sets_is_what_the_server_had() {
    let expected = |database: &str| {
        values(&gunzip(fixture(format!(
            "influxdb-1.6-broken/expected/{database}/autogen.lp.gz"
        ))))
    };
    for database in ["cut", "magic", "empty", "footer", "index", "leftovers"] {
        let ran = cat(&["--no-wal", "--keep-going", &broken(database)]);
        assert_eq!(expected(database), values(&ran.stdout), "{database}");
    }
    // The server shows the flipped block, wrong values and all; ours are those of the file before.
    let is_hit = |value: &String| value.starts_with("cpu,host=h0 v=");
    let ran = cat(&["--no-wal", "--keep-going", &broken("flip")]);
    let [mut server, mut ours] = [expected("flip"), values(&ran.stdout)];
    server.retain(|value| !is_hit(value));
    ours.retain(|value| !is_hit(value));
    assert_eq!(server, ours);
}

#[test]
fn the_output_is_the_same_every_time() {
    let once = || cat(&["--keep-going", "--internal", &root()]).stdout;
    assert!(once() == once());
}
