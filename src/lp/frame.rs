//! Where an entry ends.
//!
//! The rule is the state machine that the Go servers (`models/points.go scanLine`) and InfluxDB 3
//! (`split_lines`) share: a backslash hides the next byte, and a line feed inside a quoted value is data.

use memchr::{memchr, memchr_iter, memchr2, memchr3};

/// Finds the end of one entry, which may arrive in pieces.
#[derive(Debug, Default)]
pub struct Framer {
    /// How many bytes of the entry have been looked at.
    seen: usize,
    /// Whether a quote or a backslash has been seen.
    careful: bool,
    /// An unescaped space has been seen: `=`, `,` and `"` mean something from here on.
    fields: bool,
    /// Inside a quoted value.
    quoted: bool,
    /// The byte at `seen` is hidden by a backslash.
    skip: bool,
    /// `=` seen outside quotes, minus `,`: a quote opens a value where it is above zero.
    balance: i64,
    /// Up to where `balance` and `hidden` have been counted: nobody asks for them before there is a quote.
    counted: usize,
    /// Line feeds that are data.
    hidden: u64,
}

/// The end of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// The length of the entry, line feed included.
    pub len: usize,
    /// How many physical lines it covers: line feeds inside strings and behind backslashes are data.
    pub lines: u64,
}

impl Framer {
    /// The end of the entry that starts `buf`; `None` if it goes on behind `buf`.
    ///
    /// After `None`, call again with the same start and more bytes. After an end, the next entry may follow.
    pub fn end(&mut self, buf: &[u8]) -> Option<End> {
        if !self.careful {
            // Most entries hold neither quote nor backslash: one vectorised search settles them.
            let Some(at) = memchr3(b'\n', b'"', b'\\', buf.get(self.seen..)?) else {
                self.seen = buf.len();
                return None;
            };
            let at = self.seen + at;
            if buf[at] == b'\n' {
                self.seen = 0;
                return Some(End {
                    len: at + 1,
                    lines: 1,
                });
            }
            self.start_careful(buf, at);
        }
        let len = self.careful(buf)?;
        let lines = std::mem::take(self).hidden + 1;
        Some(End { len, lines })
    }

    /// Whether a line feed would not end what has been seen so far: a quote is open, or a backslash comes last.
    pub fn is_unfinished(&self) -> bool {
        self.quoted || self.skip
    }

    /// Up to `at` there is nothing special but spaces, `=` and `,`.
    fn start_careful(&mut self, buf: &[u8], at: usize) {
        let space = memchr(b' ', &buf[..at]);
        *self = Self {
            seen: at,
            careful: true,
            fields: space.is_some(),
            counted: space.map_or(at, |space| space + 1),
            ..Self::default()
        };
    }

    /// The rule word by word, skipping over stretches in which nothing can happen.
    fn careful(&mut self, buf: &[u8]) -> Option<usize> {
        loop {
            if self.skip {
                self.hidden += u64::from(*buf.get(self.seen)? == b'\n');
                self.seen += 1;
                self.counted = self.seen;
                self.skip = false;
            }
            let rest = buf.get(self.seen..)?;
            let found = match (self.fields, self.quoted) {
                (false, _) => memchr3(b'\\', b' ', b'\n', rest),
                (true, true) => memchr2(b'\\', b'"', rest),
                (true, false) => memchr3(b'\\', b'"', b'\n', rest),
            };
            let Some(at) = found else {
                self.seen = buf.len();
                return None;
            };
            let at = self.seen + at;
            self.seen = at + 1;
            if self.step(buf, at) {
                return Some(at + 1);
            }
        }
    }

    /// Take the special byte at `at`; true if it ends the entry.
    fn step(&mut self, buf: &[u8], at: usize) -> bool {
        match buf[at] {
            b'\n' => return true,
            b' ' => {
                self.fields = true;
                self.counted = at + 1;
            }
            c => {
                let stretch = &buf[self.counted..at];
                if self.quoted {
                    self.hidden += memchr_iter(b'\n', stretch).count() as u64;
                } else if self.fields {
                    self.balance += balance(stretch);
                }
                self.counted = at + 1;
                self.skip = c == b'\\';
                self.quoted ^= c == b'"' && self.balance > 0;
            }
        }
        false
    }
}

/// How many more `=` than `,` there are.
fn balance(stretch: &[u8]) -> i64 {
    // Small sums in bytes, so that the compiler counts many at a time.
    let sum = |part: &[u8]| {
        part.iter()
            .map(|c| i8::from(*c == b'=') - i8::from(*c == b','))
            .sum::<i8>()
    };
    stretch.chunks(64).map(|part| i64::from(sum(part))).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The machine of the servers, byte by byte.
    fn plain(body: &[u8]) -> Vec<usize> {
        let (mut fields, mut quoted, mut eq, mut commas) = (false, false, 0, 0);
        let (mut at, mut start, mut lens) = (0, 0, Vec::new());
        while at < body.len() {
            let c = body[at];
            if c == b'\\' {
                at += 2;
                continue;
            }
            fields |= c == b' ';
            if fields && !quoted {
                eq += u32::from(c == b'=');
                commas += u32::from(c == b',');
            }
            if fields && c == b'"' && eq > commas {
                quoted = !quoted;
            }
            at += 1;
            if c == b'\n' && !quoted {
                lens.push(at - start);
                (fields, quoted, eq, commas, start) = (false, false, 0, 0, at);
            }
        }
        lens
    }

    /// Entry lengths as found when the body arrives in the given steps.
    fn framed(body: &[u8], step: usize) -> Vec<usize> {
        let (mut framer, mut start, mut end, mut lens) = (Framer::default(), 0, 0, Vec::new());
        while end < body.len() {
            end = (end + step).min(body.len());
            while let Some(end) = framer.end(&body[start..end]) {
                let lines = memchr_iter(b'\n', &body[start..start + end.len]).count();
                assert_eq!(lines as u64, end.lines);
                lens.push(end.len);
                start += end.len;
            }
        }
        lens
    }

    #[test]
    fn newline_inside_a_string_does_not_end_the_entry() {
        let text = b"m,t=a s=\"x\n# CONTEXT-DATABASE:evil\n\",v=1 7\nm v=2 8\n";
        assert_eq!(vec![43, 8], framed(text, 1000));
    }

    #[test]
    fn quotes_in_names_and_tags_are_ordinary_bytes() {
        assert_eq!(vec![14, 12], framed(b"m,t=\"ab f=1 1\nm,t=b f=2 2\n", 99));
    }

    #[test]
    fn a_backslash_hides_the_line_feed_behind_it() {
        assert_eq!(vec![15], framed(b"m,t=a\\\nb f=1 1\n", 3));
    }

    #[test]
    fn a_comment_with_an_open_quote_swallows_what_follows() {
        assert_eq!(
            Vec::<usize>::new(),
            framed(b"# x=\"abc\nm f=1 1\nm f=2 2\n", 4)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_machine_at_every_chunk_size(
            picks in proptest::collection::vec(0usize..9, 0..80), step in 1usize..20
        ) {
            let body: Vec<u8> = picks.iter().map(|i| b"a=,\" \\\n#1"[*i]).collect();
            prop_assert_eq!(plain(&body), framed(&body, step));
        }
    }
}
