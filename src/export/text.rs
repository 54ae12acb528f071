//! Bytes in the making: a buffer with room behind its end, so that short pieces are copied in steps of fixed size.

/// More than any step reaches behind the end of what it copies.
const SLACK: usize = 64;

/// Text that grows. What is cleared keeps its memory.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// Longer than the text; what lies behind its end is of no meaning.
    bytes: Vec<u8>,
    len: usize,
}

impl Text {
    /// What has been written.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// How much has been written.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forget what has been written, keep the memory.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// How much memory it takes.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Append bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.with(|text| text.extend_from_slice(bytes));
    }

    /// Append what `print` puts behind the end.
    pub fn with(&mut self, print: impl FnOnce(&mut Vec<u8>)) {
        self.bytes.truncate(self.len);
        print(&mut self.bytes);
        self.len = self.bytes.len();
    }

    /// What has been written from `start` on, and at least 32 bytes more once a pen has been here.
    #[inline(always)]
    pub fn padded(&self, start: usize) -> &[u8] {
        self.bytes.get(start..).unwrap_or_default()
    }

    /// A pen for at most `n` more bytes.
    pub fn pen(&mut self, n: usize) -> Pen<'_> {
        let wanted = self.len + n + SLACK;
        if self.bytes.len() < wanted {
            self.grow(wanted);
        }
        let at = self.len;
        Pen { text: self, at }
    }

    #[cold]
    fn grow(&mut self, wanted: usize) {
        self.bytes.resize(wanted.next_multiple_of(1 << 16), 0);
    }
}

/// Writes behind the end of a text; what it wrote counts once it is done.
///
/// Writing more than was asked for is a mistake in this program, and a panic.
pub struct Pen<'a> {
    text: &'a mut Text,
    at: usize,
}

impl Pen<'_> {
    /// Where the next byte goes, from the start of the text.
    #[inline(always)]
    pub fn at(&self) -> usize {
        self.at
    }

    /// Put the first `n` of some bytes; `n` is at most `N`.
    #[inline(always)]
    pub fn put<const N: usize>(&mut self, bytes: &[u8; N], n: usize) {
        self.text.bytes[self.at..self.at + N].copy_from_slice(bytes);
        self.at += n;
    }

    /// Put the first `n` bytes of `padded`, which goes on for at least 31 bytes more or is a multiple of 32 long.
    #[inline(always)]
    pub fn put_padded(&mut self, padded: &[u8], n: usize) {
        let (mut at, mut rest) = (self.at, padded);
        self.at += n;
        while let Some((step, behind)) = rest.split_first_chunk::<32>().filter(|_| at < self.at) {
            self.text.bytes[at..at + 32].copy_from_slice(step);
            (at, rest) = (at + 32, behind);
        }
    }

    /// Write another byte over one that was put.
    #[inline(always)]
    pub fn amend(&mut self, at: usize, byte: u8) {
        self.text.bytes[at] = byte;
    }

    /// Add what was put to the text.
    pub fn done(self) {
        self.text.len = self.at;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_reach_behind_the_end_and_leave_nothing_there() {
        let mut text = Text::default();
        text.push(b"ab");
        let long: Vec<u8> = (0..96).collect();
        for n in [0, 1, 31, 32, 33, 64, 65] {
            let mut pen = text.pen(n + 3);
            pen.put(b"c   ", 1);
            pen.put_padded(&long, n);
            pen.amend(0, b'A');
            pen.put(b"de", 2);
            pen.done();
            assert_eq!([b"Abc", &long[..n], b"de"].concat(), text.bytes(), "{n}");
            text.clear();
            text.push(b"ab");
        }
    }

    #[test]
    fn what_was_pushed_stands_behind_what_was_put() {
        let mut text = Text::default();
        let mut pen = text.pen(100_000);
        (0..100_000).for_each(|_| pen.put(b"x       ", 1));
        pen.done();
        text.push(b"yz");
        assert_eq!(100_002, text.len());
        assert!(text.bytes().ends_with(b"xyz"));
    }
}
