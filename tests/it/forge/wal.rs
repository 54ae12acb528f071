//! Log segments.

/// The value of one field.
#[derive(Clone, Debug)]
pub enum Value {
    Float(f64),
    Int(i64),
    Bool(bool),
    Str(&'static str),
    Uint(u64),
}

/// A segment with one entry, which writes these values: series, field, time, value.
pub fn segment(writes: &[(&str, &str, i64, Value)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (series, field, time, value) in writes {
        let (code, bytes) = match value {
            Value::Float(v) => (1, v.to_be_bytes().to_vec()),
            Value::Int(v) => (2, v.to_be_bytes().to_vec()),
            Value::Bool(v) => (3, vec![u8::from(*v)]),
            Value::Str(v) => (
                4,
                [&(v.len() as u32).to_be_bytes()[..], v.as_bytes()].concat(),
            ),
            Value::Uint(v) => (5, v.to_be_bytes().to_vec()),
        };
        let key = format!("{series}#!~#{field}");
        body.push(code);
        body.extend((key.len() as u16).to_be_bytes());
        body.extend(key.bytes());
        body.extend(1_u32.to_be_bytes());
        body.extend(time.to_be_bytes());
        body.extend(bytes);
    }
    entry(1, &body)
}

/// An entry that deletes these keys from `min` to `max`.
pub fn delete(keys: &[&str], min: i64, max: i64) -> Vec<u8> {
    let mut body = [min.to_be_bytes(), max.to_be_bytes()].concat();
    for key in keys {
        body.extend((key.len() as u32).to_be_bytes());
        body.extend(key.bytes());
    }
    entry(3, &body)
}

fn entry(code: u8, body: &[u8]) -> Vec<u8> {
    let packed = snap::raw::Encoder::new().compress_vec(body).unwrap();
    let mut entry = vec![code];
    entry.extend((packed.len() as u32).to_be_bytes());
    entry.extend(packed);
    entry
}
