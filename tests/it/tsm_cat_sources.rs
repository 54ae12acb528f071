//! tsm-cat on archives on standard input.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;

use crate::harness::{
    Pipeline, Ran, entries, fixture, fixture_arg, gzip, points, program, run, scratch,
};

const DATABASES: [&str; 10] = [
    "-d",
    "overlap",
    "-d",
    "deletes",
    "-d",
    "walonly",
    "-d",
    "example-db",
    "-d",
    "levels",
];

pub fn cat(input: &[u8], args: &[&str]) -> Ran {
    run(input, &[&["tsm-cat"], args].concat())
}

pub fn root() -> String {
    fixture_arg("influxdb-1.6")
}

/// What tar makes of some names below a folder.
pub fn tar(folder: &str, args: &[&str]) -> Vec<u8> {
    let ran = run(b"", &[&["tar", "-C", folder, "-c"], args].concat()).ok();
    ran.stdout.into()
}

/// Points with the database, policy and shard they are from, in any order.
pub fn placed(text: &[u8]) -> BTreeSet<Vec<u8>> {
    let (mut place, mut all) = (Vec::new(), BTreeSet::new());
    for entry in entries(text) {
        match entry.strip_prefix(b"# CONTEXT-") {
            Some(context) => {
                let level = |line: &[u8]| match line.split(|c| *c == b':').next() {
                    Some(b"DATABASE") => 0,
                    Some(b"RETENTION-POLICY") => 1,
                    Some(b"SHARD") => 3,
                    _ => 2,
                };
                place.retain(|known: &Vec<u8>| level(known) < level(context));
                place.push(context.to_vec());
            }
            None if entry.starts_with(b"#") => {}
            None => assert!(all.insert([&place.concat(), entry].concat())),
        }
    }
    all
}

pub fn comments(text: &[u8]) -> Vec<String> {
    let is_place = |entry: &&[u8]| entry.starts_with(b"# STREAM-AT ");
    let all = entries(text)
        .into_iter()
        .filter(|entry| entry.starts_with(b"#") && !is_place(entry));
    all.map(|entry| String::from_utf8(entry.to_vec()).unwrap())
        .collect()
}

/// A member of an archive, written by hand: tar itself would not.
fn member(name: &str, code: u8, size: &[u8; 12], link: &str, contents: &[u8]) -> Vec<u8> {
    let mut all = vec![0; 512];
    all[..name.len()].copy_from_slice(name.as_bytes());
    all[100..108].copy_from_slice(b"0000644\0");
    all[124..136].copy_from_slice(size);
    all[156] = code;
    all[157..157 + link.len()].copy_from_slice(link.as_bytes());
    all[257..265].copy_from_slice(b"ustar  \0");
    all[148..156].fill(b' ');
    let sum: u32 = all.iter().map(|byte| u32::from(*byte)).sum();
    all[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    all.extend(contents);
    all.resize(all.len().next_multiple_of(512), 0);
    all
}

fn file(name: &str, contents: &[u8]) -> Vec<u8> {
    let size = format!("{:011o}\0", contents.len());
    member(
        name,
        b'0',
        size.as_bytes().try_into().unwrap(),
        "",
        contents,
    )
}

fn link(name: &str, code: u8, target: &str) -> Vec<u8> {
    member(name, code, b"00000000000\0", target, b"")
}

fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// A small TSM file.
fn tsm() -> Vec<u8> {
    fs::read(fixture(
        "influxdb-1.6/data/typeconf/autogen/64/000000001-000000001.tsm",
    ))
    .unwrap()
}

const TSM: &str = "000000001-000000001.tsm";

#[test]
fn an_archive_gives_what_its_folder_gives() {
    let named = cat(b"", &[&DATABASES[..], &[&root()]].concat()).ok();
    let bytes = tar(&root(), &["data", "meta", "wal"]);
    for input in [bytes.clone(), gzip(&bytes)] {
        let piped = cat(&input, &DATABASES).ok();
        assert_eq!(comments(&named.stdout), comments(&piped.stdout));
        assert!(points(&named.stdout) == points(&piped.stdout));
    }
    // From another level, and with the folder itself in front.
    let some = ["-d", "overlap", "-d", "example-db", "--no-wal"];
    for args in [&["-C", "..", "influxdb-1.6"][..], &["-C", "data", "."]] {
        let piped = cat(&tar(&root(), args), &some).ok();
        let named = cat(b"", &[&some[..], &[&root()]].concat()).ok();
        let [mut named, mut piped] = [points(&named.stdout), points(&piped.stdout)];
        named.sort();
        piped.sort();
        assert!(named == piped, "{args:?}");
    }
}

#[test]
fn a_database_that_is_left_out_counts_once_however_it_comes() {
    let dir = scratch();
    let folder = dir.path().join("root");
    for below in [
        "data/_internal/monitor/5",
        "wal/_internal/monitor/5",
        "data/db/rp/3",
        "wal/db/rp/3",
    ] {
        std::fs::create_dir_all(folder.join(below)).unwrap();
    }
    let folder = folder.to_str().unwrap();
    let member = format!("{}/data/overlap/autogen", root());
    let shard = std::fs::read_dir(member)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for file in std::fs::read_dir(shard).unwrap().flatten() {
        let (path, name) = (file.path(), file.file_name());
        for below in ["data/_internal/monitor/5", "data/db/rp/3"] {
            std::fs::copy(&path, std::path::Path::new(folder).join(below).join(&name)).unwrap();
        }
    }
    let says = |ran: Ran| ran.stderr.contains(" 1 databases _internal left out");
    assert!(says(cat(b"", &["--verbose", folder]).ok()));
    for order in [&["data", "wal"][..], &["wal", "data"]] {
        assert!(
            says(cat(&tar(folder, order), &["--verbose"]).ok()),
            "{order:?}"
        );
    }
}

#[test]
fn an_archive_with_its_logs_first_gives_one_shard_after_the_other() {
    let named = cat(b"", &[&DATABASES[..], &[&root()]].concat()).ok();
    let piped = cat(&tar(&root(), &["wal", "meta", "data"]), &DATABASES).ok();
    assert!(placed(&named.stdout) == placed(&piped.stdout));
    let sorted = |ran: &Ran| {
        let mut comments = comments(&ran.stdout);
        comments.sort();
        comments.dedup();
        comments
    };
    assert_eq!(sorted(&named), sorted(&piped));
    assert!(!piped.stdout.windows(10).any(|text| text == b"STREAM-AT "));
}

/// With `blocks` of 512 bytes as the most that any file may hold.
fn limited(input: &[u8], blocks: usize) -> Ran {
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$@\"");
    let stage = [
        "sh",
        "-c",
        &script,
        "sh",
        program("tsm-cat"),
        "-d",
        "example-db",
    ];
    Pipeline::new().input(input).run(&[&stage])
}

#[test]
fn only_one_shard_is_put_aside_at_a_time_if_the_logs_come_first() {
    // 144 shards of less than 4 KiB each, 100 KB together.
    let first = tar(&root(), &["wal", "meta", "data/example-db"]);
    let last = tar(&root(), &["data/example-db", "meta", "wal"]);
    let small = limited(&first, 40).ok();
    let large = limited(&last, 4000).ok();
    assert!(placed(&large.stdout) == placed(&small.stdout));
    let full = limited(&last, 40);
    assert_eq!(Some(74), full.last());
    assert!(full.stderr.contains("temporary file: "), "{}", full.stderr);
}

#[test]
fn nothing_of_an_archive_ever_gets_a_name() {
    let dir = scratch();
    let outside = dir.path().join("outside").join("1").join(TSM);
    let members = [
        file(outside.to_str().unwrap(), &tsm()),
        file(&format!("inside/2/{TSM}"), &tsm()),
    ];
    let here = dir.path().join("here");
    fs::create_dir(&here).unwrap();
    let tmp = here.to_str().unwrap();
    let stage = ["tsm-cat", "--no-wal", "--tmp-dir", tmp];
    let ran = Pipeline::new()
        .input(&archive(&members))
        .dir(&here)
        .run(&[&stage])
        .ok();
    assert_eq!(
        2,
        comments(&ran.stdout)
            .iter()
            .filter(|c| c.contains("SHARD"))
            .count()
    );
    assert_eq!(0, fs::read_dir(&here).unwrap().count());
    assert!(!outside.exists() && fs::read_dir(dir.path()).unwrap().count() == 1);
    let ran = cat(
        &archive(&members),
        &["--no-wal", "--tmp-dir", "/nowhere/at/all"],
    );
    assert_eq!(Some(66), ran.last());
    assert!(ran.stderr.contains("/nowhere/at/all"), "{}", ran.stderr);
}

#[test]
fn an_archive_that_is_cut_is_65_wherever_that_is() {
    let bytes = tar(&root(), &["wal/churn", "data/churn/autogen", "meta"]);
    let whole = cat(&bytes, &["-d", "churn"]).ok();
    assert!(!points(&whole.stdout).is_empty());
    let end = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .unwrap()
        .next_multiple_of(512);
    let packed = gzip(&bytes);
    let mut cuts: Vec<Vec<u8>> = [
        1usize,
        300,
        512,
        700,
        1024,
        5000,
        end - 512,
        end - 1,
        end,
        end + 512,
    ]
    .iter()
    .map(|n| bytes[..*n].to_vec())
    .collect();
    cuts.extend([
        packed[..packed.len() / 2].to_vec(),
        packed[..packed.len() - 1].to_vec(),
    ]);
    for cut in cuts {
        let n = cut.len();
        let ran = cat(&cut, &["-d", "churn"]);
        assert_eq!(Some(65), ran.last(), "{n}: {}", ran.stderr);
        assert!(ran.stdout.ends_with(b"# STREAM-FAILED status:65\n"), "{n}");
        let said = ran
            .stderr
            .lines()
            .filter(|line| line.contains("standard input"));
        assert_eq!(1, said.count(), "{}", ran.stderr);
    }
    // Two archives one behind the other are not one: the second would be lost.
    let ran = cat(&[&bytes[..], &bytes].concat(), &["-d", "churn"]);
    assert_eq!(Some(65), ran.last());
}

#[test]
fn hostile_archives_are_65_with_what_is_wrong() {
    let name = format!("db/rp/1/{TSM}");
    let huge = b"77777777777\0";
    let endless: &[u8; 12] = b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff";
    let pax = member("x", b'x', b"00000000026\0", "", b"22 GNU.sparse.major=1\n");
    for (members, what) in [
        (vec![file(&format!("db/../{name}"), &tsm())], "leads out"),
        (vec![member(&name, b'0', huge, "", b"")], "missing"),
        (vec![member(&name, b'0', endless, "", b"")], "missing"),
        (
            vec![member(&name, b'0', b"-1         \0", "", b"")],
            "no number",
        ),
        (
            vec![member(&name, b'S', b"00000000000\0", "", b"")],
            "sparse",
        ),
        (vec![pax.clone(), file(&name, b"")], "sparse"),
        (vec![member("x", b'L', huge, "", b"")], "cannot be read"),
        (vec![link(&name, b'1', "/etc/passwd")], "is a link to"),
        (vec![link(&name, b'1', &name)], "is a link to"),
    ] {
        let ran = cat(&archive(&members), &["--no-wal"]);
        assert_eq!(Some(65), ran.last(), "{what}: {}", ran.stderr);
        assert!(ran.stderr.contains(what), "{what}: {}", ran.stderr);
    }
    let mut flipped = archive(&[file("a", b""), file(&name, &tsm())]);
    flipped[512 + 3] ^= 1;
    let ran = cat(&flipped, &["--no-wal"]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("offset 512: tar header"),
        "{}",
        ran.stderr
    );
}

#[test]
fn links_are_followed_inside_an_archive_and_told_where_they_lead_out() {
    let dir = scratch();
    let shard = dir.path().join("data/db/rp/7");
    fs::create_dir_all(shard.join("3.tmp")).unwrap();
    fs::write(shard.join("3.tmp").join(TSM), tsm()).unwrap();
    fs::hard_link(shard.join("3.tmp").join(TSM), shard.join(TSM)).unwrap();
    let at = |path: &str| dir.path().join(path).to_str().unwrap().to_owned();
    let named = cat(b"", &["--no-wal", &at("")]).ok();
    for order in [["3.tmp", TSM], [TSM, "3.tmp"]] {
        let bytes = tar(
            &at(""),
            &order
                .map(|name| format!("data/db/rp/7/{name}"))
                .each_ref()
                .map(|s| &**s),
        );
        let piped = cat(&bytes, &["--no-wal"]).ok();
        assert!(points(&named.stdout) == points(&piped.stdout), "{order:?}");
    }
    symlink("/elsewhere", dir.path().join("data/db/rp/8")).unwrap();
    let ran = cat(&tar(&at(""), &["data"]), &["--no-wal"]);
    assert_eq!(Some(1), ran.last());
    assert!(
        ran.stderr.contains("data/db/rp/8: left out: a link"),
        "{}",
        ran.stderr
    );
    assert!(ran.stdout.ends_with(b" left-out:1\n"));
}

#[test]
fn of_two_members_with_one_name_the_later_one_counts() {
    let other = fs::read(fixture(
        "influxdb-1.6/data/typeconf/autogen/65/000000001-000000001.tsm",
    ))
    .unwrap();
    let name = format!("db/rp/1/{TSM}");
    let only = cat(&archive(&[file(&name, &other)]), &["--no-wal"]).ok();
    let both = archive(&[file(&name, &tsm()), file(&format!("./{name}"), &other)]);
    let ran = cat(&both, &["--no-wal"]).ok();
    assert_eq!(points(&only.stdout), points(&ran.stdout));
    assert!(
        ran.stderr.contains("an earlier file of the same name"),
        "{}",
        ran.stderr
    );
    // Where the shard has been handed out by then, nothing can be done about it.
    let apart = archive(&[
        file(&name, &tsm()),
        file(&format!("db/rp/2/{TSM}"), &tsm()),
        file(&name, &other),
    ]);
    let ran = cat(&apart, &["--no-wal"]);
    assert_eq!(Some(65), ran.last());
    assert!(
        ran.stderr.contains("shard db/rp/1 do not stand together"),
        "{}",
        ran.stderr
    );
}

#[test]
fn names_longer_than_a_header_are_read_in_every_format() {
    let dir = scratch();
    let long = ["x".repeat(120), "y".repeat(150)].join("/");
    let shard = dir.path().join(&long).join("data/a database/rp/7");
    fs::create_dir_all(&shard).unwrap();
    fs::write(shard.join(TSM), tsm()).unwrap();
    for format in ["--format=gnu", "--format=pax", "--format=posix"] {
        let bytes = tar(dir.path().to_str().unwrap(), &[format, "."]);
        let ran = cat(&bytes, &["--no-wal"]).ok();
        assert_eq!(
            "# CONTEXT-DATABASE:a database",
            comments(&ran.stdout)[1],
            "{format}"
        );
    }
    for format in ["--format=ustar", "--format=v7"] {
        let bytes = tar(shard.join("../../../..").to_str().unwrap(), &[format, "."]);
        let ran = cat(&bytes, &["--no-wal"]).ok();
        assert_eq!(
            "# CONTEXT-DATABASE:a database",
            comments(&ran.stdout)[1],
            "{format}"
        );
    }
}

#[test]
fn an_archive_is_as_strict_about_what_is_missing_as_a_folder() {
    let data = tar(&root(), &["data/tsi-db"]);
    let ran = cat(&data, &[]);
    assert_eq!((Some(66), 0), (ran.last(), points(&ran.stdout).len()));
    assert!(ran.stderr.contains("--no-wal"), "{}", ran.stderr);
    cat(&data, &["--no-wal"]).ok();
    let ran = cat(&data, &["--no-wal", "-d", "none"]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("has no database none; there is tsi-db"),
        "{}",
        ran.stderr
    );
    let ran = cat(&archive(&[file("notes/a.txt", b"x")]), &[]);
    assert_eq!(Some(66), ran.last());
    assert!(
        ran.stderr.contains("holds no shard; it holds notes"),
        "{}",
        ran.stderr
    );
    assert_eq!(Some(66), cat(&archive(&[]), &[]).last());
    let ran = cat(&data, &["-", &root()]);
    assert_eq!(Some(2), ran.last(), "{}", ran.stderr);
    assert_eq!(Some(2), cat(&data, &["--wal-dir", &root()]).last());
    // A shard by itself has no name for its database; options give it one.
    let bytes = tar(&fixture_arg("influxdb-1.6/data/tsi-db/autogen"), &["88"]);
    let ran = cat(&bytes, &["-d", "db", "-r", "rp"]).ok();
    assert_eq!("# CONTEXT-DATABASE:db", comments(&ran.stdout)[1]);
    assert!(ran.stderr.contains("no log is read"), "{}", ran.stderr);
    let internal = cat(&tar(&root(), &["data/_internal"]), &["--no-wal"]);
    assert_eq!(Some(66), internal.last());
    assert!(
        internal.stderr.contains("--internal"),
        "{}",
        internal.stderr
    );
}
