//! Records of one series are respelled one after the other: what stands before their fields is the same each time.

use super::dialect::{self, Respelled};
use super::validate::Fault;
use super::validate::lex::in_pairs;

/// Respells records for InfluxDB 3, and remembers the last series that was not plain.
#[derive(Debug, Default)]
pub struct Speller {
    /// A series with the space behind it as the stream has it; empty if there is none.
    go: Vec<u8>,
    /// As InfluxDB 3 reads it.
    v3: Vec<u8>,
}

impl Speller {
    /// Append the record in the spelling of InfluxDB 3, as [`dialect::to_v3`] does.
    ///
    /// `series` bytes stand before its fields if it is known that all behind them needs no other spelling; 0 if
    /// nothing is known.
    pub fn to_v3(
        &mut self,
        record: &[u8],
        series: usize,
        out: &mut Vec<u8>,
    ) -> Result<Respelled, Fault> {
        let Some((head, rest)) = record.split_at_checked(series).filter(|_| series > 0) else {
            return dialect::to_v3(record, out);
        };
        if head != self.go {
            return self.learn(record, head, rest, out);
        }
        if self.go == self.v3 {
            return Ok(Respelled::Unchanged);
        }
        out.extend_from_slice(&self.v3);
        out.extend_from_slice(rest);
        Ok(Respelled::Written)
    }

    fn learn(
        &mut self,
        record: &[u8],
        head: &[u8],
        rest: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Respelled, Fault> {
        let start = out.len();
        let respelled = dialect::to_v3(record, out)?;
        let spelled = match respelled {
            Respelled::Unchanged => record,
            Respelled::Written => out.get(start..).unwrap_or_default(),
        };
        self.go.clear();
        // Servers have to find the fields at the same place, whatever strings they hold.
        let v3 = spelled.strip_suffix(rest);
        if let Some(v3) = v3.filter(|v3| in_pairs(v3, |c| c == b' ') + 1 == v3.len()) {
            self.go.extend_from_slice(head);
            self.v3.clear();
            self.v3.extend_from_slice(v3);
        }
        Ok(respelled)
    }
}
