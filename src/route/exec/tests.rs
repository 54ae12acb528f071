//! The tests of the commands.

use super::*;

fn context(bucket: &str) -> Context {
    Context {
        database: Some("d".into()),
        period: Some(60),
        bucket: Some(bucket.into()),
        ..Context::default()
    }
}

fn crew(command: &str, max: usize) -> Crew {
    Crew::new(command.into(), max)
}

fn finish(crew: &mut Crew) -> Vec<Ended> {
    crew.close(0);
    while !crew.ended(Duration::from_secs(1)) {}
    crew.failures()
}

fn segment(lens: &[u32]) -> Segment {
    let bytes: u32 = lens.iter().map(|len| len & !COMMENT).sum();
    Segment {
        bytes: vec![b'x'; bytes as usize],
        lens: lens.to_vec(),
        ..Segment::default()
    }
}

#[test]
fn each_bucket_has_one_process_that_gets_a_complete_stream() {
    let dir = tempfile::tempdir().unwrap();
    let command = format!(
        "cat >\"{}/$LP_BUCKET\"; echo \"$LP_DATABASE $LP_RETENTION_PERIOD ${{LP_RETENTION_POLICY-none}}\" >>\"{0}/started\"",
        dir.path().display()
    );
    let mut crew = crew(&command, 2);
    for (bucket, record) in [("a", "m v=1 1\n"), ("b", "m v=2 2"), ("a", "m v=3 3\n")] {
        crew.select(&context(bucket), true, 0).unwrap();
        assert!(crew.point(record.as_bytes()).unwrap());
    }
    assert_eq!(Vec::<Ended>::new(), finish(&mut crew));
    let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
    let comments = "# STREAM-BEGIN once\n# CONTEXT-DATABASE:d\n# CONTEXT-RETENTION-PERIOD:60s\n# CONTEXT-BUCKET:";
    assert_eq!(
        format!("{comments}a\nm v=1 1\nm v=3 3\n# STREAM-END points:2 left-out:0\n"),
        read("a")
    );
    assert_eq!(
        format!("{comments}b\nm v=2 2\n# STREAM-END points:1 left-out:0\n"),
        read("b")
    );
    assert_eq!("d 60s none\nd 60s none\n", read("started"));
}

#[test]
fn one_bucket_more_than_allowed_is_refused_before_its_process_starts() {
    let mut crew = crew("cat >/dev/null", 1);
    crew.select(&context("a"), true, 0).unwrap();
    let err = crew.select(&context("b"), true, 0).unwrap_err();
    assert!(matches!(err, Error::TooMany { max: 1, .. }));
    let err = crew.select(&context("b"), true, 0).unwrap_err().to_string();
    assert!(
        err.starts_with("bucket b would be one more than the 1"),
        "{err}"
    );
    crew.select(&context("a"), true, 0).unwrap();
    assert!(finish(&mut crew).is_empty());
}

#[test]
fn a_name_that_no_command_can_be_told_is_refused() {
    let mut crew = crew("true", 1);
    assert!(matches!(
        crew.select(&context("a\0b"), true, 0),
        Err(Error::Nul(_))
    ));
}

#[test]
fn points_that_nobody_reads_are_counted() {
    let mut crew = crew("exit 3", 1);
    crew.select(&context("a"), true, 0).unwrap();
    for n in 0..10 {
        assert!(crew.point(format!("m v={n} 1\n").as_bytes()).unwrap());
    }
    let ended = finish(&mut crew);
    let lost: u64 = crew
        .lost()
        .iter()
        .map(|lost| lost.points().count() as u64)
        .sum();
    assert_eq!((1, 3), (ended.len(), ended[0].status));
    assert_eq!(10, ended[0].unknown + lost);
    assert_eq!(0, crew.office.queued.load(Relaxed));
}

#[test]
fn what_is_queued_for_the_dead_comes_back_whole_and_with_its_context() {
    let mut crew = crew("exec <&-; sleep 0", 1);
    crew.select(&context("a"), true, 0).unwrap();
    let record = format!("m s=\"{}\n\" 1\n", "x".repeat(1_000));
    let mut refused = 0;
    for _ in 0..2_000 {
        refused += u64::from(!crew.point(record.as_bytes()).unwrap());
        if crew.is_full() {
            crew.wait(Duration::from_secs(1));
        }
    }
    let ended = finish(&mut crew);
    let mut back = 0;
    for lost in crew.lost() {
        assert_eq!(context("a"), *lost.context());
        assert!(lost.points().all(|point| point == record.as_bytes()));
        back += lost.points().count() as u64;
    }
    let unknown: u64 = ended.iter().map(|ended| ended.unknown).sum();
    assert_eq!(2_000, back + refused + unknown);
    assert_eq!(0, crew.office.queued.load(Relaxed));
}

#[test]
fn what_comes_back_is_cut_into_points() {
    let mut lost = Lost {
        segment: segment(&[COMMENT | 3, 2, 4]),
    };
    assert_eq!(
        vec![2, 4],
        lost.points().map(<[u8]>::len).collect::<Vec<_>>()
    );
    lost.segment.lens.remove(0);
    lost.segment.bytes.drain(..3);
    assert_eq!(2, lost.points().count());
}
