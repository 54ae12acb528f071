//! Inputs and what servers do with them, and the traps that line tools fall into.

/// A body and the verdicts of v1, v2, serverless and core on its records: `+`, or the rule that is broken.
pub type Row = (&'static [u8], [&'static str; 4]);

const fn same(verdict: &'static str) -> [&'static str; 4] {
    [verdict; 4]
}

const fn go_takes(v3: &'static str) -> [&'static str; 4] {
    ["+", "+", v3, v3]
}

/// What stands between the parts and at the ends.
pub const BLANKS: &[Row] = &[
    (b"m f=1\nm f=2\n", same("+ +")),
    (b"m f=1 ", go_takes("W08")),
    (b"m,t=a   f=1   1   ", same("+")),
    (b"m f=1 1\t", same("E13")),
    (b"\tm f=1 1", same("+")),
    (b"\0m f=1 1", go_takes("W08")),
    (b"m \tf=1 \t1", go_takes("W08")),
    (b"m\tf=1\t1", same("E02")),
    (b"m f = 1 1", same("E05")),
    (b"m ,t=a f=1 1", same("E05")),
    (b"m f=1 1 m f=2 2", same("E13")),
    (b"m f=1 1\r\n", same("E16")),
    (b"m f=\"a\"\r\n", same("E16")),
    (b"\r\nm f=1 1\n", same("E16 +")),
    (b"\xef\xbb\xbfm f=1 1", same("+")),
];

/// Comments.
pub const COMMENTS: &[Row] = &[
    (b"   \t# hello\nm f=1 1\n", same("+ +")),
    (b"m f=1 1 # c", same("E13")),
    (b"\\#m f=1 1", same("+")),
    (b"# x=\"abc\nm f=1 1\nm f=2 2\n", same("W17")),
    (b"# dir C:\\\nm f=1 1\n", same("W17")),
    (b"# x=\"abc\n", same("W17")),
    (b"# dir C:\\\n", same("W17")),
    (b"# dir C:\\\\\n", same("+")),
    (b"# say \"hi\n", same("+")),
    (b"\n \t\n", same("+ +")),
];

/// Strings.
pub const STRINGS: &[Row] = &[
    (b"m f=\"a\nb\" 1", same("+")),
    (
        b"m f=\"a\n\n# not comment\nx y=1 2\n\" 1\nm f=\"z\" 2",
        same("+ +"),
    ),
    (b"m f=\"a\\\nb\" 1", same("+")),
    (br#"m f="a\nb\tc\rd" 1"#, same("+")),
    (br#"m f="a\,b\ c\=d" 1"#, same("+")),
    (br#"m f="a\\\"b" 1"#, same("+")),
    (br#"m f="a\\" 1"#, same("+")),
    (br#"m f="a\" 1"#, same("E07")),
    (b"m f=\"abc 1\nm f=2 2\n", same("E07")),
    (br#"m f="abc"xyz 1"#, same("E08")),
    (br#"m f="abc""def" 1"#, same("E08")),
    (br#"m f="a"\ 1"#, same("E08")),
    (br#"m f="at 1465839830100400200""#, same("+")),
    (br#"m f=\"abc\" 1"#, same("E12")),
    (b"m f='abc' 1", same("E12")),
    (b"m f=\"a\0b\" 1", same("+")),
    (b"m f=\"\" 1", same("+")),
];

/// Quotes that are part of a name.
pub const QUOTES: &[Row] = &[
    (b"m,t=\"a f=1 1\nm,t=b f=2 2", same("+ +")),
    (b"m,t=\"a b\" f=1 1", same("E05")),
    (b"m f=1,\"g=2 1\nm f=3 3", same("+ +")),
    (b" m=a,t=\"x f=1 1\nm f=2 2", same("E13")),
];

/// Line feeds and backslashes in names.
pub const NAMES: &[Row] = &[
    (b"m,t=a\nb f=1 1", same("E02 +")),
    (b"m,t=a\\\nb f=1 1", same("+")),
    (b"m f=1 1\\\nm f=2 2\n", same("E13")),
    (br"m,t=a\ b\,c\=d f=1 1", same("+")),
    (br"m,t=a\b f=1 1", same("+")),
    (br"m,t=a\\b f=1 1", same("+")),
    (br"m,t=a\\\\b f=1 1", same("+")),
    (br"m,t=C:\ f=1 1", same("E04")),
    (br"m,t=C:\\ f=1 1", same("E04")),
    (br"m,t=a\\,u=b f=1 1", same("E04")),
    (br"m,t=C:\,u=b f=1 1", same("E04")),
    (br#"m,t=a\"b f=1 1"#, same("+")),
    (br"my\=m f=1 1", same("+")),
    (br#"my\"m f=1 1"#, same("+")),
    (br"my\\,t=a f=1 1", same("+")),
    (br#"m a\"b=1 1"#, same("+")),
    (br"m a\\b=1 1", same("+")),
    (br"m a\\=1 1", same("E06")),
];

/// Separators without a backslash.
pub const SEPARATORS: &[Row] = &[
    (b"m,t=a=b f=1 1", same("E04")),
    (b"m,t==a f=1 1", same("+")),
    (b"m,a,b=c f=1 1", same("E04")),
    (b"m a,b=1 1", same("E05")),
    (b"m f=1,,g=2 1", same("E05")),
    (b"m f=1, 1", same("E05")),
];

/// Tags.
pub const TAGS: &[Row] = &[
    (b"m,t= f=1 1", same("E03")),
    (b"m,t=a,t=b f=1 1", same("E15")),
    (b"m,aa=1,a=2,a-b=3 f=1 1", same("+")),
    (b"m,time=a f=1 1", same("W02")),
    (b"m,_measurement=a f=1 1", ["+", "W03", "+", "+"]),
    (b"m,t=a\tb f=1 1", go_takes("W07")),
    (b"m\0x f=1 1", go_takes("W07")),
    (b"m,t=a\xffb f=1 1", go_takes("W06")),
];

/// Numbers and booleans.
pub const VALUES: &[Row] = &[
    (b"m f=1. 1", go_takes("E09")),
    (b"m f=.5 1", go_takes("E09")),
    (b"m f=1.e5 1", go_takes("E09")),
    (b"m f=+1 1", same("E09")),
    (b"m f=-0 1", same("+")),
    (b"m f=1E+10 1", same("+")),
    (b"m f=1e400 1", same("E10")),
    (b"m f=NaN 1", same("E10")),
    (b"m f=-inf 1", same("E10")),
    (b"m f=1_0 1", same("E09")),
    (b"m f=01i 1", same("+")),
    (b"m f=9223372036854775808i 1", same("E11")),
    (b"m f=9223372036854775808 1", same("+")),
    (b"m f=1u 1", ["W01", "+", "+", "+"]),
    (b"m f=-0u 1", same("E11")),
    (b"m f=True 1", same("+")),
    (b"m f=tRUE 1", same("E12")),
    (b"m f=1,f=2 1", ["+", "+", "+", "W05"]),
];

/// Times.
pub const TIMES: &[Row] = &[
    (b"m f=1 007", same("+")),
    (b"m f=1 +1", same("E13")),
    (b"m f=1 1.5", same("E13")),
    (b"m f=1 9223372036854775807", same("E14")),
    (b"m f=1 9223372036854775806", same("+")),
    (b"m f=1 -9223372036854775807", same("E14")),
    (b"m f=1 -9223372036854775806", same("+")),
    (b"m f=1 99999999999999999999", same("E14")),
    (b"m f=1 -", same("E13")),
    (b"m f=1 1e3", same("E13")),
    (b"m f=1 5i", same("E13")),
    (b"m f=1 \"5\"", same("E13")),
];

/// What breaks line tools.
pub const TRAPS: &[Row] = &[
    (
        b"log msg=\"line one\nline two\" 1700000000000000000",
        same("+"),
    ),
    (
        b"log msg=\"copy:\ncpu,host=a v=1 1600000000000000000\nend\" 1700000000000000000",
        same("+"),
    ),
    (b"m f=\"a b c\" 1", same("+")),
    (b"m f=\"at 1465839830100400200\"", same("+")),
    (br"my\ m,host=a\ b f=1 1", same("+")),
    (b"# owner=\"ops\ncpu v=1 1\nmem v=2 2", same("W17")),
    (b"# dir C:\\\ncpu v=1 1", same("W17")),
    (b"cpu,host=\"a v=1 1\ncpu,host=b v=2 2", same("+ +")),
    (b"m f=\"x\\\\\" 1\nm f=\"y\" 2", same("+ +")),
    (br#"m f="say \"hi\", ok" 1"#, same("+")),
    (br"m,t=a\,f=1 f=2 1", same("E04")),
    (br"m,t=a\,f\=1 f=2 1", same("+")),
    (b"m f=1 1\r\n", same("E16")),
    (b"m,t=a\\\nb f=1 1", same("+")),
    (b"m f=1", same("+")),
    (b"m 1=1i", same("+")),
    (b"m v=1 5\nm v=1 50", same("+ +")),
    (b"m f=1 -1", same("+")),
    (b"cpu,a=1,b=2 v=1 1\ncpu,b=2,a=1 v=2 1", same("+ +")),
    (b"time,host=a f=1 1", same("+")),
    (b"m time=1,f=2 1", same("W04")),
    (b"\xef\xbb\xbf# exported\nm f=1 1", same("E02 +")),
];

/// The whole table.
pub const ALL: [&[Row]; 10] = [
    BLANKS, COMMENTS, STRINGS, QUOTES, NAMES, SEPARATORS, TAGS, VALUES, TIMES, TRAPS,
];
