//! What file does a bucket get, whatever it is called?

use bstr::ByteSlice;

/// Longest part of a path that is used as it is; file systems allow 255.
const MAX_NAME: usize = 200;

/// How much of a longer one is kept in front of its hash.
const KEPT: usize = 160;

/// The path of a bucket's file in its folder, without `.lp`: `db/rp`, or `name` where there is no slash.
pub fn stem(bucket: &[u8]) -> String {
    match bucket.split_once_str("/") {
        Some((folder, name)) => format!("{}/{}", part(folder, true), part(name, false)),
        None => part(bucket, false),
    }
}

/// One part of a path: never empty, `.` or `..`, with nothing in it that means something to a shell.
fn part(name: &[u8], is_folder: bool) -> String {
    let mut text = String::with_capacity(name.len());
    let mut kept = 0;
    for (i, &c) in name.iter().enumerate() {
        let leads = i == 0 && matches!(c, b'.' | b'-' | b'~');
        let plain = c.is_ascii_alphanumeric() || matches!(c, b'.' | b'-' | b'_' | b'~');
        if plain && !leads && !(is_folder && ends_like_a_file(&name[i..])) {
            text.push(char::from(c));
        } else {
            text.push_str(&format!("%{c:02X}"));
        }
        if text.len() <= KEPT {
            kept = text.len();
        }
    }
    if text.len() > MAX_NAME {
        text.truncate(kept);
        text.push_str(&format!("~{:016x}", fnv(name)));
    }
    if text.is_empty() {
        "%".to_owned()
    } else {
        text
    }
}

/// Whether a folder called so could stand where the file of another bucket, or the index, has to.
fn ends_like_a_file(rest: &[u8]) -> bool {
    let ends: [&[u8]; 3] = [b".lp", b".gz", b".tsv"];
    ends.iter().any(|end| rest.eq_ignore_ascii_case(end))
}

/// FNV-1a, 64 bits: tells long names apart by the same letters in every release.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, c| {
        (hash ^ u64::from(*c)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_paths_that_stay_inside() {
        let long = "x".repeat(300);
        for (bucket, expected) in [
            ("example-db/autogen", "example-db/autogen"),
            ("plain_name.v2~", "plain_name.v2~"),
            ("../../etc/x", "%2E./%2E.%2Fetc%2Fx"),
            ("..", "%2E."),
            (".", "%2E"),
            ("/etc/passwd", "%/etc%2Fpasswd"),
            ("a/", "a/%"),
            ("a\0b", "a%00b"),
            ("-rf/--help", "%2Drf/%2D-help"),
            ("my db, 100%/\"ü\"", "my%20db%2C%20100%25/%22%C3%BC%22"),
            ("a.lp/b", "a%2Elp/b"),
            ("a.lp.gz/b", "a.lp%2Egz/b"),
            ("index.TSV/x", "index%2ETSV/x"),
            ("", "%"),
        ] {
            assert_eq!(expected, stem(bucket.as_bytes()), "{bucket}");
        }
        let expected = format!("{}~{:016x}", &long[..KEPT], fnv(long.as_bytes()));
        assert_eq!(expected, stem(long.as_bytes()));
    }

    #[test]
    fn the_hash_is_the_one_that_is_published() {
        assert_eq!(0xaf63_dc4c_8601_ec8c, fnv(b"a"));
        assert_eq!(0x8594_4171_f739_67e8, fnv(b"foobar"));
    }

    proptest! {
        #[test]
        fn no_name_leaves_the_folder(bucket in proptest::collection::vec(
            prop_oneof![any::<u8>(), Just(b'/'), Just(b'.'), Just(b'%')], 0..400
        )) {
            let stem = stem(&bucket);
            prop_assert!(stem.is_ascii());
            prop_assert!(stem.matches('/').count() <= 1);
            for part in stem.split('/') {
                prop_assert!(!part.is_empty() && !part.starts_with('.') && part.len() <= MAX_NAME);
            }
        }
    }
}
