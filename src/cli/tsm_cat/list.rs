//! The shards as a table: a row for each, for whoever shares out the work.

use bstr::ByteSlice;

use crate::export::catalog::{Listed, Located};
use crate::lp::context;
use crate::route::plan;

/// The names of the columns.
pub const HEADER: &[u8] =
    b"database\tpolicy\tshard\tstart\tend\ttsm_bytes\twal_bytes\tchanged\tpath\n";

/// Append the row of a shard; of copies, one for each.
pub fn rows(listed: &Listed, out: &mut Vec<u8>) {
    listed.copies.iter().for_each(|copy| row(listed, copy, out));
}

fn row(listed: &Listed, copy: &Located, out: &mut Vec<u8>) {
    for name in [&listed.names.database, &listed.names.policy] {
        context::encode(name.as_ref().map_or(&[][..], |name| name), out);
        out.push(b'\t');
    }
    let time = |time: Option<i64>| time.map_or_else(String::new, plan::time);
    let id = listed
        .names
        .shard
        .map_or_else(String::new, |id| id.to_string());
    let (start, end, changed) = (
        time(listed.start),
        time(listed.end),
        time(copy.extent.changed),
    );
    let (data, log) = (copy.extent.data, copy.extent.log);
    let text = format!("{id}\t{start}\t{end}\t{data}\t{log}\t{changed}\t");
    out.extend_from_slice(text.as_bytes());
    context::encode(&path(copy), out);
    out.push(b'\n');
}

/// The folder of the data, or of the log where there is no other.
fn path(copy: &Located) -> Vec<u8> {
    let files = &copy.files;
    let folders = [&files.data, &files.wal].into_iter().flatten();
    let there = folders.clone().find(|folder| folder.is_dir());
    let named = files.named.first();
    let opened = files.opened.first().map(|(name, _)| name);
    let packed = files.packed.as_ref().map(|packed| &packed.path);
    let path = there
        .or(files.data.as_ref())
        .or(named)
        .or(packed)
        .or(opened);
    path.map(|path| <[u8]>::from_path(path).unwrap_or_default().to_vec())
        .unwrap_or_default()
}
