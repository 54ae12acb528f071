//! Log segments of series and fields.

use super::Value;

/// A segment that writes these values: series, field, time, value.
pub fn segment(writes: &[(&str, &str, i64, Value<'_>)]) -> Vec<u8> {
    let entry = |(series, field, time, value): &(&str, &str, i64, Value<'_>)| {
        super::entry(format!("{series}#!~#{field}").as_bytes(), value, *time)
    };
    writes.iter().flat_map(entry).collect()
}

/// An entry that deletes these keys from `min` to `max`.
pub fn delete(keys: &[&str], min: i64, max: i64) -> Vec<u8> {
    let mut body = [min.to_be_bytes(), max.to_be_bytes()].concat();
    for key in keys {
        body.extend((key.len() as u32).to_be_bytes());
        body.extend(key.bytes());
    }
    super::packed(3, &body)
}
