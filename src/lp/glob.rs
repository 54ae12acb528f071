//! Names chosen by a shell pattern: `*`, `?`, `[a-z]`, `[!a-z]`, and `\` before a byte that means itself.

use bstr::{BString, ByteSlice};

/// A pattern over bytes that must match a whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Glob {
    parts: Vec<Part>,
    text: BString,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Byte(u8),
    Any,
    Star,
    Class { not: bool, ranges: Vec<(u8, u8)> },
}

impl Glob {
    /// The pattern that `text` spells. An unclosed `[` means itself.
    pub fn new(text: &[u8]) -> Self {
        let (mut parts, mut rest) = (Vec::new(), text);
        while let Some((&c, tail)) = rest.split_first() {
            let class = if c == b'[' { class(tail) } else { None };
            let (part, tail) = match (c, tail.split_first()) {
                (b'*', _) => (Part::Star, tail),
                (b'?', _) => (Part::Any, tail),
                (b'\\', Some((&next, tail))) => (Part::Byte(next), tail),
                _ => class.unwrap_or((Part::Byte(c), tail)),
            };
            parts.push(part);
            rest = tail;
        }
        Self {
            parts,
            text: text.into(),
        }
    }

    /// Whether the whole of `name` matches.
    pub fn matches(&self, name: &[u8]) -> bool {
        // On a mismatch only the latest star needs to be tried again, one byte further on.
        let (mut p, mut n, mut retry) = (0, 0, None);
        while n < name.len() {
            match self.parts.get(p) {
                Some(Part::Star) => {
                    retry = Some((p + 1, n));
                    p += 1;
                }
                Some(part) if part.takes(name[n]) => (p, n) = (p + 1, n + 1),
                _ => match retry {
                    Some((star, at)) => {
                        retry = Some((star, at + 1));
                        (p, n) = (star, at + 1);
                    }
                    None => return false,
                },
            }
        }
        self.parts[p..].iter().all(|part| *part == Part::Star)
    }

    /// The pattern as it was spelled.
    pub fn text(&self) -> &bstr::BStr {
        self.text.as_bstr()
    }
}

impl Part {
    fn takes(&self, c: u8) -> bool {
        match self {
            Self::Byte(b) => *b == c,
            Self::Any => true,
            Self::Star => false,
            Self::Class { not, ranges } => {
                *not != ranges.iter().any(|(low, high)| (*low..=*high).contains(&c))
            }
        }
    }
}

/// The class behind a `[`, and what follows its `]`.
fn class(rest: &[u8]) -> Option<(Part, &[u8])> {
    let (not, body) = match rest.first()? {
        b'!' | b'^' => (true, &rest[1..]),
        _ => (false, rest),
    };
    // A `]` right at the start stands for itself.
    let end = body.iter().skip(1).position(|c| *c == b']')? + 1;
    let (mut inner, mut ranges) = (&body[..end], Vec::new());
    while let Some((&low, tail)) = inner.split_first() {
        inner = match tail {
            [b'-', high, tail @ ..] => {
                ranges.push((low, *high));
                tail
            }
            _ => {
                ranges.push((low, low));
                tail
            }
        };
    }
    Some((Part::Class { not, ranges }, &body[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_whole_names_as_the_shell_does() {
        for (pattern, name, expected) in [
            ("cpu", "cpu", true),
            ("cpu", "cpu2", false),
            ("cpu*", "cpu", true),
            ("*cpu*", "a.cpu.b", true),
            ("*a*b", "aXbXab", true),
            ("*a*b", "aXbXa", false),
            ("?", "", false),
            ("c?u", "cpu", true),
            ("[a-c]x", "bx", true),
            ("[!a-c]x", "bx", false),
            ("[]]", "]", true),
            ("[abc", "[abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "axb", false),
            ("", "", true),
            ("**", "anything", true),
        ] {
            assert_eq!(
                expected,
                Glob::new(pattern.as_bytes()).matches(name.as_bytes()),
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn many_stars_do_not_take_for_ever() {
        let pattern = Glob::new("a*".repeat(50).as_bytes());
        assert!(!pattern.matches(&[b'b'].repeat(5000)));
        assert!(
            !Glob::new("*a".repeat(50).as_bytes())
                .matches(&[[b'a'; 5000].as_slice(), b"b"].concat())
        );
    }
}
