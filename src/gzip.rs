//! Gzip members: pieces of a compressed file that stand for themselves, so that each can be made by another thread.
//!
//! ```text
//! 1f 8b 08 00 | time u32 0 | 00 | ff | deflate | crc32 u32 | length u32      little-endian
//! ```
//!
//! A reader takes members one behind the other for one file.

use flate2::{Compress, Compression, Crc, FlushCompress, Status};

/// No flags, no time, an unknown system: the same bytes give the same member.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// More than the packer holds back of what it was given before, packed as badly as can be.
const PENDING: usize = 256 << 10;

/// Makes members. Reused from member to member.
#[derive(Debug)]
pub struct Packer {
    deflate: Compress,
}

impl Packer {
    /// With levels as those of `gzip`: 1 is fast, 9 is small.
    pub fn new(level: u32) -> Self {
        Self {
            deflate: Compress::new(Compression::new(level), false),
        }
    }

    /// Append a member that holds `bytes`.
    pub fn member(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.member_of([bytes], out);
    }

    /// Append a member that holds these pieces, one behind the other.
    pub fn member_of<'a>(&mut self, pieces: impl IntoIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
        out.extend_from_slice(&HEADER);
        self.deflate.reset();
        let mut crc = Crc::new();
        for piece in pieces {
            crc.update(piece);
            self.feed(piece, FlushCompress::None, out);
        }
        self.feed(b"", FlushCompress::Finish, out);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&crc.amount().to_le_bytes());
    }

    fn feed(&mut self, bytes: &[u8], flush: FlushCompress, out: &mut Vec<u8>) {
        // What comes out depends on where room ends: so it never does.
        let (start, mut room) = (self.deflate.total_in(), bytes.len() / 8 * 9 + PENDING);
        let is_last = matches!(flush, FlushCompress::Finish);
        loop {
            let done = (self.deflate.total_in() - start) as usize;
            let rest = bytes.get(done..).unwrap_or_default();
            if rest.is_empty() && !is_last {
                return;
            }
            out.reserve(room);
            match self.deflate.compress_vec(rest, out, flush) {
                Ok(Status::StreamEnd) => return,
                // All there was no room for is tried again with more.
                Ok(_) | Err(_) => room = room.saturating_mul(2),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::MultiGzDecoder;
    use proptest::prelude::*;

    use super::*;

    fn unpacked(packed: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        MultiGzDecoder::new(packed).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn members_read_as_one_file_and_do_not_depend_on_what_came_before() {
        let (mut packer, mut all) = (Packer::new(1), Vec::new());
        let texts = [b"one".repeat(100_000), Vec::new(), b"two".to_vec()];
        let mut starts = Vec::new();
        for text in &texts {
            starts.push(all.len());
            packer.member(text, &mut all);
        }
        assert_eq!(texts.concat(), unpacked(&all));
        let mut alone = Vec::new();
        Packer::new(1).member(b"two", &mut alone);
        assert_eq!(alone, all[starts[2]..]);
    }

    proptest! {
        #[test]
        fn a_member_is_the_same_whatever_was_packed_before_and_however_much_room_there_is(
            words in proptest::collection::vec(any::<u16>(), 100..2000), n in 1..60usize, level in 1..10u32,
            room in 0..200_000usize,
        ) {
            let digits = (0..n).flat_map(|i| words.iter().map(move |word| usize::from(*word) * (i + 1)));
            let bytes = digits.map(|number| number.to_string()).collect::<String>().into_bytes();
            let mut alone = Vec::new();
            Packer::new(level).member(&bytes, &mut alone);
            let (mut packer, mut packed) = (Packer::new(level), Vec::new());
            packer.member(bytes.get(room..).unwrap_or_default(), &mut packed);
            let mut packed = Vec::with_capacity(room);
            packer.member(&bytes, &mut packed);
            prop_assert!(alone == packed);
            let (mut one, mut other) = (Vec::new(), Vec::with_capacity(room));
            packer.member_of(bytes.chunks(9999), &mut one);
            packer.member_of(bytes.chunks(9999), &mut other);
            prop_assert!(one == other);
        }

        #[test]
        fn what_was_packed_is_unpacked(bytes in proptest::collection::vec(any::<u8>(), 0..5000), n in 1..50usize, level in 1..9u32) {
            // Both what cannot be made smaller and what can.
            let bytes = bytes.repeat(n);
            let mut packed = b"before".to_vec();
            Packer::new(level).member(&bytes, &mut packed);
            prop_assert_eq!(&bytes, &unpacked(&packed[6..]));
            let mut pieces = Vec::new();
            Packer::new(level).member_of(bytes.chunks(n * 100), &mut pieces);
            prop_assert_eq!(bytes, unpacked(&pieces));
        }
    }
}
