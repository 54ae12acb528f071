//! What lp-post makes of its input: units of time, spellings, compression, lines that come slowly.

use std::fs;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use crate::harness::{gzip, program, scratch};
use crate::lp_post::{in_context, lines, post, run_bare};
use crate::server::{Server, stored};

fn bare(server: &Server, args: &[&str], input: &str) -> crate::lp_post::Ran {
    let own = [
        "--host",
        &server.url,
        "--target",
        "v1",
        "-b",
        "d/r",
        "-j",
        "1",
    ];
    run_bare(&[&own, args].concat(), &[], input)
}

#[test]
fn times_come_in_any_unit_and_go_out_in_nanoseconds() {
    for (unit, expected) in [
        ("ns", "m v=1 1577836800\n"),
        ("us", "m v=1 1577836800000\n"),
        ("ms", "m v=1 1577836800000000\n"),
        ("s", "m v=1 1577836800000000000\n"),
    ] {
        let server = Server::willing();
        let ran = bare(&server, &["--precision", unit], "m v=1 1577836800\n");
        assert_eq!(Some(0), ran.code, "{}", ran.stderr);
        assert_eq!(vec![expected], server.writes());
        let path = &server.requests()[0].path;
        assert!(path.contains("precision=ns"), "{path}");
    }
    // What is handed back is in nanoseconds too, ready to be posted again; what cannot be is as it came.
    let server = Server::willing();
    let text = "m v=1u 1577836800\nm v=2 99999999999999\nm v=3 1577836800\n";
    let ran = bare(&server, &["-p", "s"], text);
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(
        vec!["m v=1u 1577836800000000000", "m v=2 99999999999999"],
        crate::lp_post::points(&ran.stdout)
    );
    let ran = run_bare(
        &["--dry-run", "--target", "v1"],
        &[("INFLUX_PRECISION", "s")],
        &in_context("m v=1 1\n"),
    );
    assert!(ran.stderr.contains("17 bytes"), "{}", ran.stderr);
}

#[test]
fn times_that_would_all_lie_in_1970_are_asked_about_before_anything_is_sent() {
    let seconds = |n: u64| -> String {
        (0..n)
            .map(|n| format!("m v=1 {}\n", 1_577_836_800 + n))
            .collect()
    };
    for n in [1, 999, 1000, 5000] {
        let server = Server::willing();
        let ran = bare(&server, &["--batch-lines", "10"], &seconds(n));
        assert_eq!(Some(65), ran.code, "{n}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("--precision s, ms, us"),
            "{}",
            ran.stderr
        );
        assert_eq!(0, server.requests().len());
    }
    // One of the first thousand that lies elsewhere is enough, and nothing has been lost meanwhile.
    let server = Server::willing();
    let text = seconds(999) + "m v=2 1577836800000000000\n";
    let ran = bare(&server, &["--batch-lines", "10"], &text);
    assert_eq!(Some(0), ran.code, "{}", ran.stderr);
    assert_eq!(text, server.writes().concat());
    // Streams of our own programs count in nanoseconds, and there are points of 1970.
    let server = Server::willing();
    let begun = format!(
        "# STREAM-BEGIN\n{}# STREAM-END points:1 left-out:0\n",
        in_context("m v=1 1\n")
    );
    assert_eq!(Some(0), bare(&server, &[], &begun).code);
    assert_eq!(
        Some(0),
        bare(&server, &["--precision", "ns"], &seconds(5000)).code
    );
}

#[test]
fn names_that_were_written_for_version_3_are_read_as_they_were_meant() {
    let v3 = "m,t=C:\\\\x\\\\\\\\y v=1 1\nm f\\\\g=2 2\n";
    // To version 3 they go as they came, to all others in their own spelling.
    for (target, expected) in [
        ("serverless", v3),
        ("v1", "m,t=C:\\x\\\\y v=1 1\nm f\\g=2 2\n"),
    ] {
        let server = Server::willing();
        let args = [
            "--target",
            target,
            "--input-dialect",
            "v3",
            "-b",
            "d/r",
            "--precision",
            "ns",
        ];
        let ran = run_bare(&[&["--host", &server.url][..], &args].concat(), &[], v3);
        assert_eq!(Some(0), ran.code, "{target}: {}", ran.stderr);
        if target == "v1" {
            assert_eq!(vec![expected], server.writes());
        } else {
            let meant = |text: &str| text.replace("\\\\", "\\");
            assert_eq!(meant(expected), meant(&server.writes().concat()));
        }
    }
    let server = Server::willing();
    let ran = post(
        &server,
        &["--input-dialect", "v3", "-b", "bb"],
        "m v=.5 1\nm v=1 2\n",
    );
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(vec!["m v=1 2\n"], server.writes());
}

#[test]
fn the_commands_of_influx_write_work_by_another_name() {
    let dir = scratch();
    let folder = dir.path().join("path/to");
    fs::create_dir_all(&folder).unwrap();
    let export = "# INFLUXDB EXPORT: 1677-09-21T00:12:43Z - 2262-04-11T23:47:16Z\n# DDL\nCREATE DATABASE \"example-db\" WITH NAME autogen\n# DML\n# CONTEXT-DATABASE:example-db\n# CONTEXT-RETENTION-POLICY:autogen\n# writing tsm data\ncpu,host=a v=1 1577836800000000000\ncpu,host=a v=2 1577836801000000000\n";
    fs::write(folder.join("export-file.lp"), export).unwrap();
    fs::write(folder.join("export-file.lp.gzip"), gzip(export.as_bytes())).unwrap();
    for (file, compression) in [
        ("path/to/export-file.lp", &[][..]),
        ("path/to/export-file.lp.gzip", &["--compression", "gzip"]),
    ] {
        let server = Server::start(|request| match request.path.as_str() {
            "/ping" => crate::server::answer_with(
                204,
                "X-Influxdb-Version: v2.7.6\r\nX-Influxdb-Build: OSS\r\n",
                "",
            ),
            _ => stored(),
        });
        let output = Command::new(program("lp-post"))
            .args([
                "--bucket",
                "example-db/autogen",
                "--file",
                file,
                "--rate-limit",
                "300 MB / 5 min",
            ])
            .args(compression)
            .current_dir(&dir)
            .env_clear()
            .envs([
                ("INFLUX_HOST", server.url.as_str()),
                ("INFLUX_ORG", "o"),
                ("INFLUX_TOKEN", "t"),
            ])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(Some(0), output.status.code(), "{stderr}");
        assert_eq!(b"".as_slice(), output.stdout);
        assert_eq!(
            vec!["cpu,host=a v=1 1577836800000000000\ncpu,host=a v=2 1577836801000000000\n"],
            server.writes()
        );
        let path = &server.requests()[1].path;
        assert_eq!(
            "/api/v2/write?org=o&bucket=example-db%2Fautogen&precision=ns",
            path
        );
    }
}

#[test]
fn files_come_in_their_order_and_are_what_they_are_said_to_be() {
    let dir = scratch();
    let path = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (one, two) = (path("1", b"m v=1 1\n"), path("2", &gzip(b"m v=2 2")));
    let three = path("3", b"m v=3 3\n");
    let server = Server::willing();
    let args = ["-b", "bb", "-f", &one, "--file", &two, &three];
    assert_eq!(Some(0), post(&server, &args, "").code);
    assert_eq!("m v=1 1\nm v=2 2\nm v=3 3\n", server.writes().concat());
    // What is no gzip is damaged where gzip was said, and what may be gzip is text where none was.
    let server = Server::willing();
    let ran = post(
        &server,
        &["-b", "bb", "--compression", "gzip", "-f", &one],
        "",
    );
    assert_eq!(Some(65), ran.code, "{}", ran.stderr);
    assert!(ran.stderr.contains("is not gzip"), "{}", ran.stderr);
    let odd = path("4", b"\x1f\x8b v=1 1\n");
    let ran = post(
        &server,
        &[
            "-b",
            "bb",
            "--compression",
            "none",
            "-f",
            &odd,
            "--rejects",
            &format!("{odd}.rejects"),
        ],
        "",
    );
    assert_eq!(Some(1), ran.code, "{}", ran.stderr);
    assert_eq!(0, server.writes().len());
    let server = Server::willing();
    let args = ["-b", "bb", "--rejects", &one, "-f", &one];
    assert_eq!(Some(2), post(&server, &args, "").code);
}

/// A server that tells of each write.
fn telling() -> (Server, Receiver<String>) {
    let (told, writes) = channel();
    let server = Server::start(move |request| {
        told.send(request.text()).unwrap();
        stored()
    });
    (server, writes)
}

#[test]
fn lines_that_come_slowly_do_not_wait_for_more() {
    let (server, writes) = telling();
    let mut child = Command::new(program("lp-post"))
        .args([
            "--host",
            &server.url,
            "--target",
            "v1",
            "-b",
            "d/r",
            "--precision",
            "ns",
            "--batch-age",
            "1ms",
        ])
        .env_clear()
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for n in 0..3 {
        // The next line is written only when this one is there.
        stdin.write_all(lines(n..n + 1).as_bytes()).unwrap();
        assert_eq!(lines(n..n + 1), writes.recv().unwrap());
    }
    drop(stdin);
    assert_eq!(Some(0), child.wait().unwrap().code());
}

#[test]
fn a_log_can_be_followed() {
    let dir = scratch();
    let log = dir.path().join("app.lp");
    let mut file = fs::File::create(&log).unwrap();
    let (server, writes) = telling();
    let mut tail = Command::new("tail")
        .args(["-n", "+1", "-s", "0.1", "-F"])
        .arg(&log)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut child = Command::new(program("lp-post"))
        .args([
            "--host",
            &server.url,
            "--target",
            "v1",
            "-b",
            "d/r",
            "--batch-age",
            "1ms",
        ])
        .env_clear()
        .stdin(tail.stdout.take().unwrap())
        .spawn()
        .unwrap();
    for second in 0..2 {
        let record = format!("m v=1 157783680{second}000000000\n");
        file.write_all(record.as_bytes()).unwrap();
        assert_eq!(record, writes.recv().unwrap());
    }
    tail.kill().unwrap();
    tail.wait().unwrap();
    assert_eq!(Some(0), child.wait().unwrap().code());
}
