//! Storage files to line protocol.

fn main() {}
