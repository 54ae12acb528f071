//! The tests of the folder.

use flate2::read::MultiGzDecoder;

use super::*;

fn context(bucket: &[u8]) -> Context {
    Context {
        database: Some("db".into()),
        policy: Some("rp".into()),
        bucket: Some(bucket.into()),
        ..Context::default()
    }
}

fn read(path: PathBuf) -> String {
    String::from_utf8(fs::read(path).unwrap()).unwrap()
}

/// All files below a folder, as paths within it.
fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for path in entries(folder).unwrap() {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() {
            found.extend(files(&path).iter().map(|below| format!("{name}/{below}")));
        } else {
            found.push(name);
        }
    }
    found
}

#[test]
fn each_bucket_gets_one_complete_stream() {
    let scratch = tempfile::tempdir().unwrap();
    let out = scratch.path().join("new/out");
    let mut folder = Folder::new(&out, Options::default()).unwrap();
    for (bucket, record) in [
        (b"a/b", "m v=1 1\n"),
        (b"c/d", "m v=2 2"),
        (b"a/b", "m v=3 3\n"),
    ] {
        folder.select(&context(bucket), true, 0).unwrap();
        folder.point(record.as_bytes()).unwrap();
    }
    assert!(files(&out).iter().all(|name| name.ends_with(".tmp")));
    folder.finish(4).unwrap();
    assert_eq!(vec!["INDEX.tsv", "a/b.lp", "c/d.lp"], files(&out));
    let expected = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n\
         # CONTEXT-BUCKET:a/b\nm v=1 1\nm v=3 3\n# STREAM-END points:2 left-out:4\n";
    assert_eq!(expected, read(out.join("a/b.lp")));
    let expected = "bucket\tfile\tpoints\na/b\ta/b.lp\t2\nc/d\tc/d.lp\t1\n";
    assert_eq!(expected, read(out.join(INDEX)));
}

#[test]
fn a_stream_that_ends_ends_in_every_file() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(scratch.path(), Options::default()).unwrap();
    for once in [true, false] {
        folder.select(&context(b"b"), once, 0).unwrap();
        folder.point(b"m v=1\n").unwrap();
        folder.end_streams(1);
    }
    folder.finish(0).unwrap();
    let comments = "# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n# CONTEXT-BUCKET:b\nm v=1\n\
         # STREAM-END points:1 left-out:1\n";
    let expected = format!("# STREAM-BEGIN once\n{comments}# STREAM-BEGIN\n{comments}");
    assert_eq!(expected, read(scratch.path().join("b.lp")));
}

#[test]
fn context_that_ends_without_a_new_database_ends_with_its_stream() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(scratch.path(), Options::default()).unwrap();
    for period in [Some(5), None] {
        let context = Context {
            period,
            bucket: Some("b".into()),
            ..Context::default()
        };
        folder.select(&context, false, 0).unwrap();
        folder.point(b"m v=1\n").unwrap();
    }
    folder.finish(0).unwrap();
    let end = "# CONTEXT-BUCKET:b\nm v=1\n# STREAM-END points:1 left-out:0\n";
    let expected =
        format!("# STREAM-BEGIN\n# CONTEXT-RETENTION-PERIOD:5s\n{end}# STREAM-BEGIN\n{end}");
    assert_eq!(expected, read(scratch.path().join("b.lp")));
}

#[test]
fn a_run_that_does_not_finish_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(&scratch.path().join("x/y"), Options::default()).unwrap();
    folder.select(&context(b"a/b"), true, 0).unwrap();
    folder.point(b"m v=1 1\n").unwrap();
    drop(folder);
    assert_eq!(0, fs::read_dir(scratch.path()).unwrap().count());
}

#[test]
fn output_of_an_earlier_run_is_never_touched() {
    for name in ["INDEX.tsv", "b.lp", "a/b.lp"] {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, "old").unwrap();
        let found = Folder::new(scratch.path(), Options::default()).unwrap_err();
        assert!(matches!(found, Error::Exists(at) if at == path), "{name}");
    }
}

#[test]
fn a_file_that_comes_up_meanwhile_is_never_overwritten() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(scratch.path(), Options::default()).unwrap();
    folder.select(&context(b"b"), true, 0).unwrap();
    folder.point(b"m v=1 1\n").unwrap();
    fs::write(scratch.path().join("b.lp"), "other").unwrap();
    assert!(matches!(folder.finish(0), Err(Error::Exists(_))));
    assert_eq!("other", read(scratch.path().join("b.lp")));
}

#[test]
fn hundreds_of_buckets_in_turn_need_few_open_files() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(scratch.path(), Options::default()).unwrap();
    let record = format!("m s=\"{}\" 1\n", "x".repeat(PIECE / 2));
    for round in 0..3 {
        for i in 0..100 {
            let bucket = format!("b{i}");
            folder.select(&context(bucket.as_bytes()), true, 0).unwrap();
            folder.point(record.as_bytes()).unwrap();
            assert!(folder.open.len() <= MAX_OPEN, "{round}");
            assert!(folder.waiting < MAX_WAITING);
        }
    }
    folder.finish(0).unwrap();
    for i in 0..100 {
        let text = read(scratch.path().join(format!("b{i}.lp")));
        assert_eq!(3, text.matches(&record).count());
        assert!(text.ends_with("# STREAM-END points:3 left-out:0\n"));
    }
}

#[test]
fn names_that_differ_only_in_case_get_files_of_their_own() {
    let scratch = tempfile::tempdir().unwrap();
    let mut folder = Folder::new(scratch.path(), Options::default()).unwrap();
    for bucket in ["Ab", "aB", "ab~2"] {
        folder.select(&context(bucket.as_bytes()), true, 0).unwrap();
        folder.point(b"m v=1\n").unwrap();
    }
    folder.finish(0).unwrap();
    assert_eq!(
        vec!["Ab.lp", "INDEX.tsv", "aB~2.lp", "ab~2~2.lp"],
        files(scratch.path())
    );
}

/// Writes so many points in turn into so many buckets.
fn fill(folder: &mut Folder, buckets: usize, points: usize) {
    for point in 0..points {
        for i in 0..buckets {
            let bucket = format!("d/b{i}");
            folder.select(&context(bucket.as_bytes()), true, 0).unwrap();
            folder.point(format!("m v={point} 1\n").as_bytes()).unwrap();
        }
    }
}

#[test]
fn parts_are_complete_streams_of_so_many_points() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options {
        max_points: Some(2),
        ..Options::default()
    };
    let mut folder = Folder::new(scratch.path(), options).unwrap();
    fill(&mut folder, 1, 5);
    folder.finish(0).unwrap();
    let names = [
        "INDEX.tsv",
        "d/b0.00001.lp",
        "d/b0.00002.lp",
        "d/b0.00003.lp",
    ];
    assert_eq!(names.to_vec(), files(scratch.path()));
    let begin = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:db\n# CONTEXT-RETENTION-POLICY:rp\n# CONTEXT-BUCKET:d/b0\n";
    let expected = format!("{begin}m v=2 1\nm v=3 1\n# STREAM-END points:2 left-out:0\n");
    assert_eq!(expected, read(scratch.path().join("d/b0.00002.lp")));
    let expected = format!("{begin}m v=4 1\n# STREAM-END points:1 left-out:0\n");
    assert_eq!(expected, read(scratch.path().join("d/b0.00003.lp")));
    let index = "bucket\tfile\tpoints\nd/b0\td/b0.00001.lp\t2\nd/b0\td/b0.00002.lp\t2\nd/b0\td/b0.00003.lp\t1\n";
    assert_eq!(index, read(scratch.path().join(INDEX)));
}

#[test]
fn no_part_is_larger_than_it_may_be_but_for_one_record() {
    for max in [1, 150, 200, 1_000, 100_000] {
        let scratch = tempfile::tempdir().unwrap();
        let options = Options {
            max_bytes: Some(max),
            ..Options::default()
        };
        let mut folder = Folder::new(scratch.path(), options).unwrap();
        fill(&mut folder, 1, 300);
        folder.finish(123_456_789).unwrap();
        let mut all = String::new();
        for name in files(scratch.path())
            .iter()
            .filter(|name| name.ends_with(".lp"))
        {
            let text = read(scratch.path().join(name));
            let points = text.matches("m v=").count();
            assert!(text.len() as u64 <= max || points == 1, "{max} {name}");
            assert!(text.starts_with("# STREAM-BEGIN") && text.contains("\n# STREAM-END"));
            let points: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
            all += &points.join("\n");
            all += "\n";
        }
        let expected: String = (0..300).map(|n| format!("m v={n} 1\n")).collect();
        assert_eq!(expected, all);
    }
}

#[test]
fn part_numbers_sort_however_many_there_are() {
    let mut sink = Sink {
        bucket: "b".into(),
        stem: "b".into(),
        parts: Vec::new(),
        waiting: Vec::new(),
        stream: Outgoing::default(),
    };
    let options = Options {
        max_points: Some(1),
        ..Options::default()
    };
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("x");
    let part = || Part {
        temp: TempPath::try_from_path(&path).unwrap(),
        points: 0,
        bytes: 0,
    };
    for n in [9, 99_999, 100_000] {
        sink.parts.extend((sink.parts.len()..n).map(|_| part()));
        let names = sink.names(&options);
        assert!(names.is_sorted() && names.len() == n);
    }
}

#[test]
fn a_closed_compressed_file_goes_on_with_another_member() {
    let scratch = tempfile::tempdir().unwrap();
    let options = Options {
        compress: true,
        ..Options::default()
    };
    let mut folder = Folder::new(scratch.path(), options).unwrap();
    for _ in 0..3 {
        fill(&mut folder, 100, 2);
        folder.write_all().unwrap();
        assert_eq!(MAX_OPEN, folder.open.len());
    }
    folder.finish(0).unwrap();
    for i in 0..100 {
        let file = File::open(scratch.path().join(format!("d/b{i}.lp.gz"))).unwrap();
        let text = io::read_to_string(MultiGzDecoder::new(file)).unwrap();
        assert_eq!(3, text.matches("m v=0 1\nm v=1 1\n").count());
        assert!(text.ends_with("# STREAM-END points:6 left-out:0\n"));
    }
    let again = Folder::new(scratch.path(), Options::default()).unwrap_err();
    assert!(matches!(again, Error::Exists(_)));
}

#[test]
fn force_replaces_what_an_earlier_run_wrote_and_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let parts = Options {
        max_points: Some(1),
        force: true,
        ..Options::default()
    };
    for points in [3, 2] {
        let mut folder = Folder::new(scratch.path(), parts).unwrap();
        fill(&mut folder, 1, points);
        folder.finish(0).unwrap();
    }
    assert_eq!(
        vec!["INDEX.tsv", "d/b0.00001.lp", "d/b0.00002.lp"],
        files(scratch.path())
    );
    fs::write(scratch.path().join("other.txt"), "kept").unwrap();
    fs::write(scratch.path().join("d/mine.lp"), "kept").unwrap();
    let outside = scratch.path().parent().unwrap().join("outside.lp");
    fs::write(&outside, "kept").unwrap();
    let index = scratch.path().join(INDEX);
    let text = read(index.clone()) + "x\t../outside.lp\t1\nx\tother.txt\t1\nx\t/etc/x.lp\t1\n";
    fs::write(&index, text).unwrap();
    let one = Options {
        force: true,
        ..Options::default()
    };
    let mut folder = Folder::new(scratch.path(), one).unwrap();
    fill(&mut folder, 1, 1);
    drop(folder);
    assert!(
        scratch.path().join("d/b0.00002.lp").exists(),
        "a run that fails replaces nothing"
    );
    let mut folder = Folder::new(scratch.path(), one).unwrap();
    fill(&mut folder, 1, 1);
    folder.finish(0).unwrap();
    assert_eq!(
        vec!["INDEX.tsv", "d/b0.lp", "d/mine.lp", "other.txt"],
        files(scratch.path())
    );
    assert_eq!("kept", read(outside.clone()));
    fs::remove_file(outside).unwrap();
}

#[test]
fn only_names_that_stay_in_the_folder_are_ours() {
    for name in ["a.lp", "a/b.lp.gz", "a%2F/b.00001.lp"] {
        assert!(is_ours(name), "{name}");
    }
    for name in [
        "",
        "a",
        "../a.lp",
        "/a.lp",
        "a/../b.lp",
        "a/b/c.lp",
        ".a.lp",
        "a/.lp",
        "a b.lp",
        "INDEX.tsv",
    ] {
        assert!(!is_ours(name), "{name}");
    }
}
