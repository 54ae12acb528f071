use super::testing::{archive, header, link, member, signed};
use super::*;
use proptest::prelude::*;

/// Names, and contents of files.
fn read(bytes: &[u8]) -> Result<Vec<(String, What, Vec<u8>)>, String> {
    let (mut archive, mut all) = (Archive::new(bytes), Vec::new());
    while let Some(member) = archive.advance().map_err(|err| err.to_string())? {
        let mut contents = Vec::new();
        archive
            .read_to_end(&mut contents)
            .map_err(|err| err.to_string())?;
        all.push((member.name.to_string(), member.what, contents));
    }
    Ok(all)
}

fn names(members: &[Vec<u8>]) -> Result<Vec<String>, String> {
    let all = read(&archive(members))?;
    Ok(all.into_iter().map(|(name, ..)| name).collect())
}

fn file(name: &str, contents: &[u8]) -> (String, What, Vec<u8>) {
    (name.to_owned(), What::File, contents.to_vec())
}

#[test]
fn members_of_every_size_are_read_and_folders_have_none() {
    let sizes = [0, 1, 511, 512, 513, 1025];
    let contents = |n: usize| vec![b'x'; n];
    let mut members: Vec<_> = sizes
        .iter()
        .map(|n| member(&format!("./a//{n}"), b'0', &contents(*n)))
        .collect();
    members.push(member("/d/", b'5', b""));
    members.push(member("v7/", 0, b""));
    members.push(member("v7/f", 0, b"7"));
    let mut expected: Vec<_> = sizes
        .iter()
        .map(|n| file(&format!("a/{n}"), &contents(*n)))
        .collect();
    expected.push(("d".into(), What::Folder, vec![]));
    expected.push(("v7".into(), What::Folder, vec![]));
    expected.push(file("v7/f", b"7"));
    assert_eq!(Ok(expected), read(&archive(&members)));
}

#[test]
fn contents_that_nobody_wants_are_skipped() {
    let bytes = archive(&[member("a", b'0', &[b'x'; 700]), member("b", b'0', b"y")]);
    let mut archive = Archive::new(&bytes[..]);
    archive.advance().unwrap();
    archive.read_exact(&mut [0; 3]).unwrap();
    assert_eq!("b", archive.advance().unwrap().unwrap().name);
}

#[test]
fn long_names_of_both_kinds_belong_to_the_next_member() {
    let long = "n".repeat(300);
    let pax = |key: &str, value: &str| {
        let rest = format!(" {key}={value}\n");
        let n = (1..)
            .find(|n| n - n.to_string().len() == rest.len())
            .unwrap();
        format!("{n}{rest}").into_bytes()
    };
    let members = [
        member("x", b'L', [long.as_bytes(), b"\0"].concat().as_slice()),
        member("cut", b'0', b"1"),
        member("b", b'0', b"2"),
        member("x", b'x', &[pax("path", &long), pax("size", "1")].concat()),
        {
            // The size in the header is that of nothing.
            let mut bytes = member("cut", b'0', b"3");
            bytes[..512].copy_from_slice(&header(b"cut", b'0', 0, b""));
            bytes
        },
        member("x", b'g', &pax("comment", "of git")),
        member("c", b'0', b"4"),
    ];
    let expected = vec![
        file(&long, b"1"),
        file("b", b"2"),
        file(&long, b"3"),
        file("c", b"4"),
    ];
    assert_eq!(Ok(expected), read(&archive(&members)));
}

#[test]
fn a_prefix_counts_in_posix_headers_only() {
    let mut posix = header(b"name", b'0', 0, b"");
    posix[345..348].copy_from_slice(b"pre");
    let gnu = signed(posix).to_vec();
    posix[257..265].copy_from_slice(b"ustar\x0000");
    let posix = signed(posix).to_vec();
    assert_eq!(
        Ok(vec!["name".into(), "pre/name".into()]),
        names(&[gnu, posix])
    );
}

#[test]
fn links_have_no_contents() {
    let members = [
        member("a", b'0', b"1"),
        link("b", b'1', "./a"),
        link("c", b'2', "../../etc/passwd"),
        link("d", b'3', ""),
    ];
    let mut what = read(&archive(&members))
        .unwrap()
        .into_iter()
        .map(|(_, what, _)| what);
    assert_eq!(Some(What::File), what.next());
    assert_eq!(Some(What::Twin("a".into())), what.next());
    assert_eq!(Some(What::Link), what.next());
    assert_eq!(Some(What::Other), what.next());
}

#[test]
fn names_that_lead_out_are_refused() {
    for name in ["..", "../a", "a/../b", "/../a", "a/.."] {
        let said = names(&[member(name, b'0', b"")]).unwrap_err();
        assert!(said.contains("leads out"), "{said}");
    }
    assert_eq!(
        Ok(vec!["..a/b..".into()]),
        names(&[member("..a/b..", b'0', b"")])
    );
}

#[test]
fn sizes_can_be_huge_and_cost_nothing() {
    let mut huge = header(b"a", b'0', 0, b"");
    huge[124..136].copy_from_slice(&[
        0x80, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    ]);
    let said = read(&archive(&[signed(huge).to_vec()])).unwrap_err();
    assert!(said.contains("bytes are missing"), "{said}");
    huge[124..136].copy_from_slice(b"00000000009\0");
    assert!(
        read(&archive(&[signed(huge).to_vec()]))
            .unwrap_err()
            .contains("no number")
    );
    huge[124..136].copy_from_slice(&[0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert!(
        read(&archive(&[signed(huge).to_vec()]))
            .unwrap_err()
            .contains("no number")
    );
    let name = header(b"a", b'L', MAX_NAME + 1, b"").to_vec();
    assert!(read(&name).unwrap_err().contains("cannot be read"));
    for record in [
        &b"5 a=b\n"[..],
        b"99 a=b\n",
        b"x a=b\n",
        b"6 a b\n",
        b"7 size=\n",
        b"0 ",
    ] {
        let said = read(&archive(&[member("a", b'x', record)])).unwrap_err();
        assert!(said.contains("cannot be read"), "{said}");
    }
}

#[test]
fn sparse_files_are_refused() {
    let said = names(&[member("a", b'S', b"")]).unwrap_err();
    assert!(said.contains("--sparse"), "{said}");
    let pax = member("x", b'x', b"22 GNU.sparse.major=1\n");
    let said = names(&[pax, member("a", b'0', b"")]).unwrap_err();
    assert!(said.contains("--sparse"), "{said}");
}

#[test]
fn an_archive_cut_anywhere_is_an_error() {
    let bytes = archive(&[member("a", b'0', &[1; 600]), member("b", b'0', b"")]);
    for n in 0..bytes.len() {
        assert!(read(&bytes[..n]).is_err(), "cut at {n}");
    }
    let padded = [&bytes[..], &[0; 9000]].concat();
    assert_eq!(read(&bytes), read(&padded));
    let said = read(&[&bytes[..], &bytes].concat()).unwrap_err();
    assert!(said.contains("goes on behind"), "{said}");
}

#[test]
fn a_flipped_bit_in_a_header_is_noticed() {
    let good = archive(&[member("a", b'0', b"xyz")]);
    let expected = read(&good).unwrap();
    for bit in 0..8 * BLOCK {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        match read(&bad) {
            Err(_) => {}
            Ok(all) => assert_eq!(expected, all, "bit {bit}"),
        }
    }
}

#[test]
fn an_archive_is_known_by_its_first_header() {
    assert!(is_tar(&member("a", b'0', b"")));
    assert!(!is_tar(&ZEROS) && !is_tar(&[1; 4096]) && !is_tar(b"16d1"));
    // Where no sum stands none is right, though the signed bytes add up to less than nothing.
    assert!(!is_tar(&[0xf0; BLOCK]));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_are_an_error(bytes: Vec<u8>, code: u8, size: u64, at in 0usize..3000, to: u8) {
        let _ = read(&bytes);
        let mut first = member("x", code, &bytes);
        let mut size_field = header(b"x", code, size >> 31, b"");
        size_field[300] = to;
        first.extend(signed(size_field));
        let mut all = archive(&[first, member("y", b'0', b"z")]);
        let _ = read(&all);
        let at = at % all.len();
        all[at] = to;
        let _ = read(&all);
    }
}
