//! How do the tests talk to a server without the program they test? HTTP/1.0 over a socket, and as much of MessagePack
//! as `influxd` answers with.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

/// The answer's body; any status but 2xx fails the test.
#[track_caller]
pub fn get(port: u16, path: &str) -> Vec<u8> {
    request(port, &format!("GET {path} HTTP/1.0\r\n\r\n"))
}

/// The same for a form posted, answered as MessagePack, which keeps integers and floats apart.
#[track_caller]
pub fn post_form(port: u16, path: &str, form: &[(&str, &[u8])]) -> Vec<u8> {
    let pairs: Vec<String> = form
        .iter()
        .map(|(name, value)| format!("{name}={}", percent(value)))
        .collect();
    let body = pairs.join("&");
    let head = format!(
        "POST {path} HTTP/1.0\r\nAccept: application/x-msgpack\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    request(port, &(head + &body))
}

/// Every byte but letters and digits as `%xx`.
pub fn percent(value: &[u8]) -> String {
    let one = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(*byte).to_string(),
        other => format!("%{other:02X}"),
    };
    value.iter().map(one).collect()
}

/// Points written; the server has them when this comes back.
#[track_caller]
pub fn write(port: u16, database: &str, points: &str) {
    let (path, len) = (percent(database.as_bytes()), points.len());
    let head = format!("POST /write?db={path} HTTP/1.0\r\nContent-Length: {len}\r\n\r\n");
    request(port, &(head + points));
}

#[track_caller]
fn request(port: u16, request: &str) -> Vec<u8> {
    let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    server
        .set_read_timeout(Some(Duration::from_secs(60)))
        .unwrap();
    server.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    server.read_to_end(&mut answer).unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = answer.split_off(end.unwrap() + 4);
    let head = String::from_utf8_lossy(&answer);
    let status = head.split(' ').nth(1).unwrap_or_default();
    let said = String::from_utf8_lossy(&body);
    assert!(status.starts_with('2'), "{request}\n{head}{said}");
    body
}

/// What MessagePack can say, as far as it is said here.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Nil,
    Boolean(bool),
    Integer(i64),
    Unsigned(u64),
    Float(f64),
    String(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Vec<u8>, Value)>),
}

impl Value {
    /// The entry of a map; `Nil` where there is none.
    pub fn at(&self, key: &str) -> &Self {
        let found = match self {
            Self::Map(entries) => entries.iter().find(|(name, _)| name == key.as_bytes()),
            _ => None,
        };
        found.map_or(&Self::Nil, |(_, value)| value)
    }

    /// The elements of an array; none where it is something else.
    pub fn items(&self) -> &[Self] {
        match self {
            Self::Array(items) => items,
            _ => &[],
        }
    }

    /// The entries of a map; none where it is something else.
    pub fn entries(&self) -> &[(Vec<u8>, Self)] {
        match self {
            Self::Map(entries) => entries,
            _ => &[],
        }
    }

    /// The bytes of a string.
    #[track_caller]
    pub fn text(&self) -> &[u8] {
        match self {
            Self::String(bytes) => bytes,
            other => panic!("no string: {other:?}"),
        }
    }

    /// A whole number.
    #[track_caller]
    pub fn integer(&self) -> i64 {
        match self {
            Self::Integer(number) => *number,
            Self::Unsigned(number) => i64::try_from(*number).unwrap(),
            other => panic!("no integer: {other:?}"),
        }
    }
}

/// The one value in these bytes.
#[track_caller]
pub fn unpack(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let all = value(&mut rest);
    assert!(rest.is_empty(), "{} bytes behind the answer", rest.len());
    all
}

fn value(rest: &mut &[u8]) -> Value {
    match be(rest, 1) as u8 {
        0xc0 => Value::Nil,
        0xc2 => Value::Boolean(false),
        0xc3 => Value::Boolean(true),
        0xca => Value::Float(f32::from_bits(be(rest, 4) as u32).into()),
        0xcb => Value::Float(f64::from_bits(be(rest, 8))),
        0xcc => Value::Unsigned(be(rest, 1)),
        0xcd => Value::Unsigned(be(rest, 2)),
        0xce => Value::Unsigned(be(rest, 4)),
        0xcf => Value::Unsigned(be(rest, 8)),
        0xd0 => Value::Integer((be(rest, 1) as i8).into()),
        0xd1 => Value::Integer((be(rest, 2) as i16).into()),
        0xd2 => Value::Integer((be(rest, 4) as i32).into()),
        0xd3 => Value::Integer(be(rest, 8) as i64),
        small @ 0x00..=0x7f => Value::Integer(small.into()),
        small @ 0xe0..=0xff => Value::Integer((small as i8).into()),
        short @ 0xa0..=0xbf => string(rest, (short & 31).into()),
        n @ 0xd9..=0xdb => {
            let len = be(rest, 1 << (n - 0xd9));
            string(rest, len)
        }
        few @ 0x90..=0x9f => array(rest, (few & 15).into()),
        n @ (0xdc | 0xdd) => {
            let len = be(rest, 2 << (n - 0xdc));
            array(rest, len)
        }
        few @ 0x80..=0x8f => map(rest, (few & 15).into()),
        n @ (0xde | 0xdf) => {
            let len = be(rest, 2 << (n - 0xde));
            map(rest, len)
        }
        other => panic!("MessagePack {other:#x} is not known here"),
    }
}

fn be(rest: &mut &[u8], n: usize) -> u64 {
    let number = take(rest, n);
    number
        .iter()
        .fold(0, |sum, byte| (sum << 8) | u64::from(*byte))
}

fn take<'a>(rest: &mut &'a [u8], n: usize) -> &'a [u8] {
    let (head, tail) = rest.split_at(n);
    *rest = tail;
    head
}

fn string(rest: &mut &[u8], len: u64) -> Value {
    Value::String(take(rest, len as usize).to_vec())
}

fn array(rest: &mut &[u8], len: u64) -> Value {
    Value::Array((0..len).map(|_| value(rest)).collect())
}

fn map(rest: &mut &[u8], len: u64) -> Value {
    let mut entry = || (value(rest).text().to_vec(), value(rest));
    Value::Map((0..len).map(|_| entry()).collect())
}

#[test]
fn message_pack_is_read_as_it_is_written() {
    let bytes =
        b"\x82\xa1a\x94\x01\xff\xc3\xc0\xd9\x01b\x92\xcb\x3f\xf8\0\0\0\0\0\0\xd3\x80\0\0\0\0\0\0\0";
    let all = unpack(bytes);
    let a = [
        Value::Integer(1),
        Value::Integer(-1),
        Value::Boolean(true),
        Value::Nil,
    ];
    assert_eq!(a, all.at("a").items());
    let b = [Value::Float(1.5), Value::Integer(i64::MIN)];
    assert_eq!(b, all.at("b").items());
    assert_eq!(b"\xff".as_slice(), unpack(b"\xda\x00\x01\xff").text());
}
