//! Plain encoders for tests: they can write every encoding, also those that a server would not choose.

/// The bits of the float that ends a section.
const END: u64 = 0x7ff8_0000_0000_0001;

/// The bits and values of each simple8b selector from 2 on.
const SELECTORS: [(u32, usize); 14] = [
    (1, 60),
    (2, 30),
    (3, 20),
    (4, 15),
    (5, 12),
    (6, 10),
    (7, 8),
    (8, 7),
    (10, 6),
    (12, 5),
    (15, 4),
    (20, 3),
    (30, 2),
    (60, 1),
];

/// The start of most test vectors.
pub const T: i64 = 1_600_000_000_000_000_000;

/// Bytes written as hexadecimal digits.
pub fn hex(digits: &str) -> Vec<u8> {
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.as_bytes().chunks(2).map(pair).collect()
}

/// Append a variable-length number.
pub fn uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Zigzag.
pub fn zigzag(value: u64) -> u64 {
    value << 1 ^ ((value as i64) >> 63) as u64
}

/// Values below 2^60 as words. `early_runs` packs every run of 120 ones as the batch encoder does,
/// otherwise only ones that nothing else follows, as the older encoder does.
pub fn simple8b(values: &[u64], early_runs: bool) -> Vec<u64> {
    let mut words = Vec::new();
    let mut rest = values;
    while !rest.is_empty() {
        let ones = rest.iter().take_while(|&&v| v == 1).count();
        let ones = if early_runs || ones == rest.len() {
            ones
        } else {
            0
        };
        let (word, n) = match ones {
            240.. => (0, 240),
            120.. => (1 << 60, 120),
            _ => packed(rest),
        };
        words.push(word);
        rest = &rest[n..];
    }
    words
}

/// The word that takes the most values; it must be full.
fn packed(values: &[u64]) -> (u64, usize) {
    let fits =
        |&(bits, n): &(u32, usize)| values.len() >= n && values[..n].iter().all(|v| v >> bits == 0);
    let selector = SELECTORS.iter().position(fits).expect("below 2^60");
    let (bits, n) = SELECTORS[selector];
    let pack = |word, (i, v): (usize, &u64)| word | v << (i as u32 * bits);
    let word = values[..n].iter().enumerate().fold(0, pack);
    (word | (selector as u64 + 2) << 60, n)
}

fn differences(values: &[u64]) -> Vec<u64> {
    values.windows(2).map(|w| w[1].wrapping_sub(w[0])).collect()
}

fn append(section: &mut Vec<u8>, words: &[u64]) {
    section.extend(words.iter().flat_map(|word| word.to_be_bytes()));
}

/// Timestamps as they are.
pub fn times_raw(times: &[i64]) -> Vec<u8> {
    let mut section = vec![0];
    let times: Vec<u64> = times.iter().map(|&t| t as u64).collect();
    append(&mut section, &times[..times.len().min(1)]);
    append(&mut section, &differences(&times));
    section
}

/// Timestamps in the encoding that a server chooses.
pub fn times(times: &[i64], early_runs: bool) -> Vec<u8> {
    let bits: Vec<u64> = times.iter().map(|&t| t as u64).collect();
    let deltas = differences(&bits);
    let exponent = (0..=12)
        .rev()
        .find(|&e| deltas.iter().all(|d| d % 10u64.pow(e) == 0));
    let exponent = exponent.unwrap_or(0);
    let scaled: Vec<u64> = deltas.iter().map(|d| d / 10u64.pow(exponent)).collect();
    let (Some(first), largest) = (bits.first(), deltas.iter().max()) else {
        return times_raw(times);
    };
    let regular = !deltas.is_empty() && deltas.iter().all(|d| *d == deltas[0]);
    if !regular && largest.is_some_and(|d| d >> 60 != 0) {
        return times_raw(times);
    }
    let mut section = vec![if regular { 0x20 } else { 0x10 } | exponent as u8];
    append(&mut section, &[*first]);
    if regular {
        uvarint(&mut section, scaled[0]);
        uvarint(&mut section, times.len() as u64);
    } else {
        append(&mut section, &simple8b(&scaled, early_runs));
    }
    section
}

/// Integers as they are.
pub fn integers_raw(values: &[u64]) -> Vec<u8> {
    let mut section = vec![0];
    let deltas: Vec<u64> = differences(values).into_iter().map(zigzag).collect();
    let first: Vec<u64> = values.iter().take(1).map(|v| zigzag(*v)).collect();
    append(&mut section, &first);
    append(&mut section, &deltas);
    section
}

/// Integers in the encoding that a server chooses.
pub fn integers(values: &[u64], early_runs: bool) -> Vec<u8> {
    let deltas: Vec<u64> = differences(values).into_iter().map(zigzag).collect();
    let regular = deltas.len() > 1 && deltas.iter().all(|d| *d == deltas[0]);
    let Some(first) = values.first() else {
        return integers_raw(values);
    };
    if !regular && deltas.iter().any(|d| d >> 60 != 0) {
        return integers_raw(values);
    }
    let mut section = vec![if regular { 0x20 } else { 0x10 }];
    append(&mut section, &[zigzag(*first)]);
    if regular {
        uvarint(&mut section, deltas[0]);
        uvarint(&mut section, deltas.len() as u64);
    } else {
        append(&mut section, &simple8b(&deltas, early_runs));
    }
    section
}

/// Bits one behind the other.
#[derive(Default)]
pub struct BitWriter {
    bits: Vec<bool>,
}

impl BitWriter {
    /// The lowest `n` bits, highest first.
    pub fn put(&mut self, bits: u64, n: u32) {
        self.bits.extend((0..n).rev().map(|i| bits >> i & 1 == 1));
    }

    /// All of them, zeros behind.
    pub fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| {
            let set = |byte, (i, bit): (usize, &bool)| byte | u8::from(*bit) << (7 - i);
            bits.iter().enumerate().fold(0, set)
        };
        self.bits.chunks(8).map(byte).collect()
    }
}

/// Floats, bit by bit as a server writes them.
pub fn floats(values: &[f64]) -> Vec<u8> {
    let mut writer = BitWriter::default();
    let mut before: Option<u64> = None;
    let mut window = None;
    for value in values.iter().map(|v| v.to_bits()).chain([END]) {
        let change = value ^ before.unwrap_or(0);
        match before {
            None => writer.put(value, 64),
            Some(_) if change == 0 => writer.put(0, 1),
            Some(_) => changed(&mut writer, change, &mut window),
        }
        before = Some(value);
    }
    [vec![0x10], writer.bytes()].concat()
}

fn changed(writer: &mut BitWriter, change: u64, window: &mut Option<(u32, u32)>) {
    // Five bits for the lead: it is stored modulo 32.
    let lead = change.leading_zeros() & 31;
    let trail = change.trailing_zeros();
    match *window {
        Some((l, t)) if lead >= l && trail >= t => {
            writer.put(0b10, 2);
            writer.put(change >> t, 64 - l - t);
        }
        _ => {
            let width = 64 - lead - trail;
            writer.put(0b11, 2);
            writer.put(u64::from(lead), 5);
            writer.put(u64::from(width), 6);
            writer.put(change >> trail, width);
            *window = Some((lead, trail));
        }
    }
}

/// Truth values.
pub fn booleans(values: &[bool]) -> Vec<u8> {
    let mut section = vec![0x10];
    uvarint(&mut section, values.len() as u64);
    let mut writer = BitWriter::default();
    values.iter().for_each(|v| writer.put(u64::from(*v), 1));
    section.extend(writer.bytes());
    section
}

/// Strings.
pub fn strings(values: &[Vec<u8>]) -> Vec<u8> {
    let mut plain = Vec::new();
    for value in values {
        uvarint(&mut plain, value.len() as u64);
        plain.extend(value);
    }
    let packed = snap::raw::Encoder::new().compress_vec(&plain);
    [vec![0x10], packed.expect("below 4 GiB")].concat()
}

/// A whole block: checksum, type, timestamps, values.
pub fn block(code: u8, times: &[u8], values: &[u8]) -> Vec<u8> {
    let mut payload = vec![code];
    uvarint(&mut payload, times.len() as u64);
    payload.extend(times);
    payload.extend(values);
    framed(&payload)
}

/// A payload with its checksum in front.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let mut crc = flate2::Crc::new();
    crc.update(payload);
    [&crc.sum().to_be_bytes(), payload].concat()
}
