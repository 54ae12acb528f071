//! Plain encoders for tests: they can write every encoding, also those that a server would not choose.

/// Append a variable-length number.
pub fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
