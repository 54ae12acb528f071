//! Storage files that no server would write: a log segment with any keys, values and times.

pub mod disk;

/// A value of the log.
pub enum Value<'a> {
    Float(f64),
    Integer(i64),
    Boolean(bool),
    String(&'a str),
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
    };
    let mut body = vec![code];
    body.extend(u16::try_from(key.len()).unwrap().to_be_bytes());
    body.extend(key);
    body.extend(1u32.to_be_bytes());
    body.extend(time.to_be_bytes());
    body.extend(bytes);
    let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
    let len = u32::try_from(packed.len()).unwrap().to_be_bytes();
    [&[1], &len[..], &packed].concat()
}
