//! Snappy blocks: no frame, no checksum, only the unpacked length in front.

use snap::raw::{Decoder, decompress_len, max_compress_len};

use super::varint;
use crate::tsm::ErrorKind;

/// Append what is packed in `packed`.
pub fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorKind> {
    let claimed = decompress_len(packed).map_err(ErrorKind::Snappy)?;
    // Who claims more than there can be gets no memory.
    if claimed > most(packed.len()) {
        let packed = packed.len();
        return Err(ErrorKind::SnappyLength { packed, claimed });
    }
    let start = out.len();
    out.resize(start + claimed, 0);
    let place = out.get_mut(start..).unwrap_or_default();
    let done = Decoder::new().decompress(packed, place);
    out.truncate(start + done.as_ref().copied().unwrap_or(0));
    done.map(drop).map_err(ErrorKind::Snappy)
}

/// Whether data of `length` compressed bytes can start with `start`: whether it claims neither too much nor too little.
pub fn plausible(length: usize, start: &[u8]) -> Result<(), ErrorKind> {
    let Ok((claimed, _)) = varint::read(start) else {
        return Ok(());
    };
    let claimed = usize::try_from(claimed).unwrap_or(usize::MAX);
    if claimed > most(length) || length > max_compress_len(claimed) {
        let packed = length;
        return Err(ErrorKind::SnappyLength { packed, claimed });
    }
    Ok(())
}

/// The most that so many bytes can hold. Three bytes of copy yield 64.
fn most(packed: usize) -> usize {
    packed.saturating_mul(22).saturating_add(64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_packed_data_there_is_unpacks() {
        let zeros = vec![0; 10_000_000];
        let packed = snap::raw::Encoder::new().compress_vec(&zeros).unwrap();
        let mut out = vec![1, 2, 3];
        unpack(&packed, &mut out).unwrap();
        assert_eq!([1, 2, 3], out[..3]);
        assert_eq!(zeros, out[3..]);
    }

    #[test]
    fn a_length_that_cannot_be_is_refused_before_there_is_memory_for_it() {
        let mut out = Vec::new();
        let packed = [0xff, 0xff, 0xff, 0xff, 0x0f, 0x00];
        let claimed = ErrorKind::SnappyLength {
            packed: 6,
            claimed: u32::MAX as usize,
        };
        assert_eq!(Err(claimed), unpack(&packed, &mut out));
        assert_eq!(0, out.capacity());
    }

    #[test]
    fn the_start_of_packed_data_tells_how_long_it_can_be() {
        let start = [100, 4];
        assert_eq!(Ok(()), plausible(50, &start));
        assert_eq!(Ok(()), plausible(104, &start));
        assert!(plausible(1, &start).is_err());
        assert!(plausible(1 << 20, &start).is_err());
        assert_eq!(Ok(()), plausible(1 << 20, &start[..0]));
    }

    #[test]
    fn a_length_that_is_not_that_of_the_data_is_an_error() {
        let mut out = Vec::new();
        assert!(unpack(&[], &mut out).is_err());
        assert_eq!(Ok(()), unpack(&[2, 4, b'a', b'b'], &mut out));
        assert!(unpack(&[3, 4, b'a', b'b'], &mut out).is_err());
        assert!(unpack(&[1, 4, b'a', b'b'], &mut out).is_err());
    }
}
