//! Snappy blocks: no frame, no checksum, only the unpacked length in front.

use snap::raw::{Decoder, decompress_len};

use crate::tsm::ErrorKind;

/// Unpack `packed` into `out`, whose old content is lost.
pub fn unpack(packed: &[u8], out: &mut Vec<u8>) -> Result<(), ErrorKind> {
    let claimed = decompress_len(packed).map_err(ErrorKind::Snappy)?;
    // Three bytes of copy yield 64 at most: whoever claims more lies, and gets no memory.
    if claimed > packed.len().saturating_mul(22).saturating_add(64) {
        let packed = packed.len();
        return Err(ErrorKind::SnappyLength { packed, claimed });
    }
    out.clear();
    out.resize(claimed, 0);
    let n = Decoder::new()
        .decompress(packed, out)
        .map_err(ErrorKind::Snappy)?;
    out.truncate(n);
    Ok(())
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
        assert_eq!(zeros, out);
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
    fn a_length_that_is_not_that_of_the_data_is_an_error() {
        let mut out = Vec::new();
        assert!(unpack(&[], &mut out).is_err());
        assert_eq!(Ok(()), unpack(&[2, 4, b'a', b'b'], &mut out));
        assert!(unpack(&[3, 4, b'a', b'b'], &mut out).is_err());
        assert!(unpack(&[1, 4, b'a', b'b'], &mut out).is_err());
    }
}
