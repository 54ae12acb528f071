//! Storage files that no server would write: a log segment with any keys, values and times, TSM files, metadata.

pub mod disk;
pub mod meta;
pub mod tsm;
pub mod wal;

/// A value of the log.
pub enum Value<'a> {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(&'a str),
    Unsigned(u64),
}

/// A segment with one entry for each value.
pub fn segment(points: &[(&[u8], Value<'_>, i64)]) -> Vec<u8> {
    points
        .iter()
        .flat_map(|(key, value, time)| entry(key, value, *time))
        .collect()
}

fn entry(key: &[u8], value: &Value<'_>, time: i64) -> Vec<u8> {
    let (code, bytes) = match value {
        Value::Float(v) => (1, v.to_bits().to_be_bytes().to_vec()),
        Value::Integer(v) => (2, v.to_be_bytes().to_vec()),
        Value::Boolean(v) => (3, vec![u8::from(*v)]),
        Value::String(v) => {
            let len = u32::try_from(v.len()).unwrap().to_be_bytes();
            (4, [&len, v.as_bytes()].concat())
        }
        Value::Unsigned(v) => (5, v.to_be_bytes().to_vec()),
    };
    let mut body = vec![code];
    body.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    body.extend(key);
    body.extend(1u32.to_be_bytes());
    body.extend(time.to_be_bytes());
    body.extend(bytes);
    packed(1, &body)
}

/// An entry of the log.
fn packed(code: u8, body: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
    let len = u32::try_from(packed.len()).unwrap().to_be_bytes();
    [&[code], &len[..], &packed].concat()
}

/// A block of a TSM file: its first and last time by the index, and what stands behind its checksum.
pub struct Block {
    pub min: i64,
    pub max: i64,
    pub payload: Vec<u8>,
}

/// A TSM file: keys with their type by the index and their blocks, in this order.
pub fn tsm(keys: &[(&[u8], u8, Vec<Block>)]) -> Vec<u8> {
    let (mut file, mut index) = (vec![0x16, 0xd1, 0x16, 0xd1, 1], Vec::new());
    for (key, code, blocks) in keys {
        index.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
        index.extend(*key);
        index.push(*code);
        index.extend(u16::try_from(blocks.len()).unwrap().to_be_bytes());
        for block in blocks {
            index.extend(block.min.to_be_bytes());
            index.extend(block.max.to_be_bytes());
            index.extend((file.len() as u64).to_be_bytes());
            index.extend((block.payload.len() as u32 + 4).to_be_bytes());
            let mut crc = flate2::Crc::new();
            crc.update(&block.payload);
            file.extend(crc.sum().to_be_bytes());
            file.extend(&block.payload);
        }
    }
    let at = (file.len() as u64).to_be_bytes();
    [file, index, at.to_vec()].concat()
}

/// Bytes from their hex digits.
pub fn hex(digits: &str) -> Vec<u8> {
    let digit = |c: u8| char::from(c).to_digit(16).unwrap() as u8;
    digits
        .as_bytes()
        .chunks(2)
        .map(|pair| digit(pair[0]) << 4 | digit(pair[1]))
        .collect()
}
