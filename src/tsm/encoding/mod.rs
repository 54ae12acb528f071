//! How a block packs its timestamps and values. Each section starts with a byte whose high half names the encoding.

pub mod varint;

#[cfg(test)]
pub(crate) mod testing;
