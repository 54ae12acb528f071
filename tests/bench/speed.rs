//! How fast each stage is on this machine: `cargo bench`. One line per stage, the best of several runs: of text in
//! MB/s, of stored values in millions a second.
#![allow(clippy::unwrap_used)]

mod storage;

use std::hint::black_box;
use std::time::Instant;

use lineflow::filter::{Filter, NameRule, Rewrite, Selection, TagTest};
use lineflow::lp::frame::Framer;
use lineflow::lp::{Reader, glob::Glob, record};
use lineflow::rows::Kind;

const RUNS: usize = 7;
const BYTES: usize = 64 << 20;

fn main() {
    storage::run();
    let numbers = numbers();
    let strings = strings();
    for (name, text) in [("numbers", &numbers), ("strings", &strings)] {
        stage(&format!("frame {name}"), text, frame);
        stage(&format!("read {name}"), text, read);
        stage(&format!("time {name}"), text, |text| {
            each(text, record::time)
        });
        stage(&format!("lex {name}"), text, |text| each(text, lex));
        for (what, filter) in filters() {
            let mut filter = filter();
            stage(&format!("{what} {name}"), text, |text| {
                each(text, |record| {
                    filter.judge(record) == lineflow::filter::Verdict::Drop
                })
            });
        }
    }
}

/// Run a stage and print its best figure.
fn stage(name: &str, text: &[u8], mut run: impl FnMut(&[u8]) -> u64) {
    let best = best(|| run(black_box(text)));
    println!("{name:24} {:8.0} MB/s", text.len() as f64 / 1e6 / best);
}

/// How long the shortest of several runs takes, in seconds.
fn best<T>(mut run: impl FnMut() -> T) -> f64 {
    let mut best = f64::MAX;
    for _ in 0..RUNS {
        let start = Instant::now();
        black_box(run());
        best = best.min(start.elapsed().as_secs_f64());
    }
    best
}

fn frame(text: &[u8]) -> u64 {
    each(text, |record| record.len())
}

/// Frame a text and look at each record.
fn each<T>(text: &[u8], mut look: impl FnMut(&[u8]) -> T) -> u64 {
    let (mut framer, mut rest, mut n) = (Framer::default(), text, 0);
    while let Some(end) = framer.end(rest) {
        let (record, behind) = rest.split_at(end.len);
        black_box(look(record));
        rest = behind;
        n += 1;
    }
    n
}

fn read(text: &[u8]) -> u64 {
    let (mut reader, mut n) = (Reader::new(text, 1 << 20), 0);
    while reader.fill().unwrap() {
        while let Some(entry) = reader.next_entry() {
            n += entry.line;
        }
    }
    n
}

fn lex(record: &[u8]) -> usize {
    let parts = record::parts(record);
    record::tags(parts.series).count() + record::fields(parts.fields).count()
}

type Make = fn() -> Filter;

fn filters() -> [(&'static str, Make); 7] {
    [
        ("select by time", || {
            let (start, stop) = (
                Some(1_600_000_000_000_000_000),
                Some(1_600_000_100_000_000_000),
            );
            Filter::new(
                Selection {
                    start,
                    stop,
                    ..Selection::default()
                },
                Rewrite::default(),
            )
        }),
        ("select by measurement", || {
            let measurements = vec![Glob::new(b"cp*")];
            Filter::new(
                Selection {
                    measurements,
                    ..Selection::default()
                },
                Rewrite::default(),
            )
        }),
        ("select by tag", || {
            let tags = vec![TagTest::parse("host=~7").unwrap()];
            Filter::new(
                Selection {
                    tags,
                    ..Selection::default()
                },
                Rewrite::default(),
            )
        }),
        ("rename tag", || {
            let tags = vec![NameRule::parse("*.host=node").unwrap()];
            Filter::new(
                Selection::default(),
                Rewrite {
                    tags,
                    ..Rewrite::default()
                },
            )
        }),
        ("rename field", || {
            let fields = vec![NameRule::parse("*.usage_idle=idle").unwrap()];
            Filter::new(
                Selection::default(),
                Rewrite {
                    fields,
                    ..Rewrite::default()
                },
            )
        }),
        ("cast", || {
            let casts = vec![(NameRule::parse_name("*.usage_idle").unwrap(), Kind::String)];
            Filter::new(
                Selection::default(),
                Rewrite {
                    casts,
                    ..Rewrite::default()
                },
            )
        }),
        ("precision", || {
            Filter::new(
                Selection::default(),
                Rewrite {
                    unit: 1000,
                    ..Rewrite::default()
                },
            )
        }),
    ]
}

/// What tsm-cat prints for a host's processors: ten floats a record, nothing escaped.
fn numbers() -> Vec<u8> {
    records(|i, out| {
        let (host, dc) = (i / 1000 % 100, i / 1000 % 3);
        out.extend_from_slice(
            format!("cpu,cpu=cpu-total,dc=eu-{dc},host=host-{host:04}.example.net ").as_bytes(),
        );
        for (k, field) in [
            "user", "system", "idle", "nice", "iowait", "irq", "softirq", "steal",
        ]
        .iter()
        .enumerate()
        {
            let value = (i * 7919 + k * 104_729) % 1_000_003;
            let comma = if k == 0 { "" } else { "," };
            out.extend_from_slice(
                format!("{comma}usage_{field}={}", value as f64 / 9973.0).as_bytes(),
            );
        }
    })
}

/// Log lines: half of a record is a string with escapes in it, and a tag has an escaped space.
fn strings() -> Vec<u8> {
    records(|i, out| {
        let host = i / 1000 % 100;
        out.extend_from_slice(format!("log,host=host-{host:04},os=CentOS\\ 7 ").as_bytes());
        let text =
            format!("{{\\\"status\\\":\\\"ok\\\",\\\"n\\\":{i}}} request, took a=b ms\nnext line");
        out.extend_from_slice(
            format!("level=\"info\",message=\"{text}\",usage_idle={}i", i % 977).as_bytes(),
        );
    })
}

fn records(print: impl Fn(usize, &mut Vec<u8>)) -> Vec<u8> {
    let mut out = Vec::with_capacity(BYTES + 4096);
    for i in 0.. {
        if out.len() > BYTES {
            break;
        }
        print(i, &mut out);
        out.extend_from_slice(
            format!(
                " {}\n",
                1_600_000_000_000_000_000 + i % 1000 * 10_000_000_000
            )
            .as_bytes(),
        );
    }
    out
}
