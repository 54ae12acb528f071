//! Numbers in as few bytes as they need: whole ones without what is only their sign, floats of few decimals as whole
//! ones. Every one comes out as it went in, to the last bit.

use crate::rows::{Kind, Values};

/// Powers of ten by which floats of few decimals become whole.
const POWERS: [f64; 7] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6];

/// How the numbers or truth values of a chunk are held: in the low half the bytes of a value; above it, of floats in less
/// than eight bytes, by how many digits the point was moved; the highest bit says that times are listed.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Form(u8);

impl Form {
    fn new(width: u8, decimals: u8) -> Self {
        Self(decimals << 4 | width)
    }

    /// The same with times that are listed.
    pub fn listed(self) -> Self {
        Self(self.0 | 0x80)
    }

    pub fn is_listed(self) -> bool {
        self.0 >= 0x80
    }

    /// Bytes of a value.
    pub fn width(self) -> usize {
        usize::from(self.0 & 0xf)
    }

    /// How these points can be held.
    pub fn of(kind: Kind, points: &[u8]) -> Self {
        let numbers = points.as_chunks().0;
        let whole = |width| Self::new(width, 0);
        match kind {
            Kind::Float => Self::floats(numbers).unwrap_or(whole(8)),
            Kind::Integer => whole(integers(numbers)),
            Kind::Boolean => whole(1),
            _ => whole(8),
        }
    }

    fn floats(points: &[[u8; 16]]) -> Option<Self> {
        // Of most long ones the first is seen to be so.
        let first = points.get(..1).unwrap_or_default();
        let mut powers = (0..).zip(POWERS);
        powers.find_map(|(decimals, power)| {
            let width = moved(first, power).and_then(|_| moved(points, power))?;
            Some(Self::new(width, decimals))
        })
    }

    fn power(self) -> f64 {
        POWERS[usize::from(self.0 >> 4 & 7) % POWERS.len()]
    }

    /// Put the values of these points there, which are of this form.
    pub fn put(self, kind: Kind, points: &[u8], out: &mut [u8]) {
        let power = self.power();
        let scaled = |point: &[u8; 16]| scaled(value(point), power);
        match (kind, self.width()) {
            (Kind::Float, 2) => each(points, out, |point| (scaled(point) as i16).to_be_bytes()),
            (Kind::Float, 4) => each(points, out, |point| scaled(point).to_be_bytes()),
            (_, 8) => each::<16, 8>(points, out, last),
            (_, 4) => each::<16, 4>(points, out, last),
            (_, 2) => each::<16, 2>(points, out, last),
            _ => each::<9, 1>(points, out, last),
        }
    }

    /// Append what was put to values of the same type.
    pub fn unpack(self, bytes: &[u8], out: &mut Values) {
        let power = self.power();
        match (out, self.width()) {
            (Values::Float(out), 2) => {
                append(bytes, out, |it| f64::from(i16::from_be_bytes(it)) / power)
            }
            (Values::Float(out), 4) => {
                append(bytes, out, |it| f64::from(i32::from_be_bytes(it)) / power)
            }
            (Values::Float(out), _) => append(bytes, out, f64::from_be_bytes),
            (Values::Integer(out), 2) => append(bytes, out, |it| i16::from_be_bytes(it).into()),
            (Values::Integer(out), 4) => append(bytes, out, |it| i32::from_be_bytes(it).into()),
            (Values::Integer(out), _) => append(bytes, out, i64::from_be_bytes),
            (Values::Unsigned(out), _) => append(bytes, out, u64::from_be_bytes),
            (Values::Boolean(out), _) => append(bytes, out, |it| it == [1]),
            (Values::String(_), _) => {}
        }
    }
}

fn value(point: &[u8; 16]) -> u64 {
    u128::from_be_bytes(*point) as u64
}

/// The bytes that hold each of these integers, all but those that are only the sign of all of them.
fn integers(points: &[[u8; 16]]) -> u8 {
    let value = |point| value(point) as i64;
    let size = points.iter();
    match size.fold(0, |all, point| all | value(point) ^ value(point) >> 63) {
        ..0x8000 => 2,
        0x8000..0x8000_0000 => 4,
        _ => 8,
    }
}

/// The bytes that hold each of these floats as a whole number, once it was multiplied by this power of ten; `None` if
/// one of them is not found again by dividing.
fn moved(points: &[[u8; 16]], power: f64) -> Option<u8> {
    // Without a branch: nearly always all or none can be held.
    let (other, size) = points.iter().fold((0, 0), |(other, size), point| {
        let (value, whole) = (value(point), scaled(value(point), power));
        let found = (f64::from(whole) / power).to_bits();
        (other | value ^ found, size | whole ^ whole >> 31)
    });
    (other == 0).then_some(if size < 0x8000 { 2 } else { 4 })
}

/// A float multiplied and rounded. Of what is too large for the result anything comes out.
fn scaled(bits: u64, power: f64) -> i32 {
    /// Adding it rounds, and leaves the whole number in the low bits.
    const WHOLE: f64 = (3u64 << 51) as f64;
    (f64::from_bits(bits) * power + WHOLE).to_bits() as i32
}

/// Put something of each point.
fn each<const SIZE: usize, const WIDTH: usize>(
    points: &[u8],
    out: &mut [u8],
    of: impl Fn(&[u8; SIZE]) -> [u8; WIDTH],
) {
    let points = points.as_chunks().0.iter();
    let places = out.as_chunks_mut().0.iter_mut();
    places
        .zip(points)
        .for_each(|(place, point)| *place = of(point));
}

/// The last bytes of a point.
fn last<const SIZE: usize, const WIDTH: usize>(point: &[u8; SIZE]) -> [u8; WIDTH] {
    point.last_chunk().copied().unwrap_or([0; WIDTH])
}

fn append<const WIDTH: usize, T>(bytes: &[u8], out: &mut Vec<T>, of: impl Fn([u8; WIDTH]) -> T) {
    let values = bytes.as_chunks().0.iter();
    out.extend(values.map(|value| of(*value)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn points(values: &[f64]) -> Vec<u8> {
        let points = values.iter().zip(0i64..);
        let points = points.flat_map(|(value, time)| [time.to_be_bytes(), value.to_be_bytes()]);
        points.flatten().collect()
    }

    /// The form of these floats, once it is known that they are found again.
    fn form(values: &[f64]) -> Form {
        let (points, kind) = (points(values), Kind::Float);
        let form = Form::of(kind, &points);
        let mut held = vec![0; values.len() * form.width()];
        form.put(kind, &points, &mut held);
        let mut found = Values::Float(Vec::new());
        form.unpack(&held, &mut found);
        let Values::Float(found) = found else {
            panic!("{found:?}");
        };
        let bits = |values: &[f64]| {
            values
                .iter()
                .map(|value| value.to_bits())
                .collect::<Vec<_>>()
        };
        assert_eq!(bits(values), bits(&found), "{form:?}");
        form
    }

    fn of(values: &[f64]) -> (u8, u8) {
        let form = form(values);
        (form.0 & 0xf, form.0 >> 4)
    }

    #[test]
    fn floats_of_few_decimals_take_few_bytes() {
        assert_eq!((2, 0), of(&[1.0, -7.0, 32767.0, -32768.0]));
        assert_eq!((4, 0), of(&[32768.0]));
        assert_eq!((4, 0), of(&[f64::from(i32::MAX), f64::from(i32::MIN)]));
        assert_eq!((2, 1), of(&[1.0, 0.1, -3276.8]));
        assert_eq!((2, 2), of(&[50.0, 99.99, 0.07]));
        assert_eq!((4, 2), of(&[1013.25]));
        assert_eq!((2, 4), of(&[0.5359, 0.822]));
        assert_eq!((4, 6), of(&[0.123_456, -2_147.483_648]));
    }

    #[test]
    fn floats_that_would_change_stay_as_they_are() {
        for value in [
            -0.0,
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            f64::MIN_POSITIVE,
            5e-324,
            f64::MAX,
            0.1 + 0.2,
            1e-7,
            f64::from(i32::MAX) + 1.0,
            4_294_967_297.0,
            (3u64 << 51) as f64,
            32.383_276_483_316_24,
        ] {
            assert_eq!((8, 0), of(&[value]), "{value}");
            assert_eq!((8, 0), of(&[1.0, value, 2.0]), "{value}");
        }
    }

    /// Floats as they are measured, and any.
    fn floats() -> impl Strategy<Value = Vec<f64>> {
        let short = (0..POWERS.len(), prop::collection::vec(any::<i32>(), 1..50));
        let short = (short, 0..31u32).prop_map(|((decimals, values), shift)| {
            let values = values.into_iter();
            values
                .map(|n| f64::from(n >> shift) / POWERS[decimals])
                .collect()
        });
        let any = prop::collection::vec(any::<u64>().prop_map(f64::from_bits), 1..9);
        prop_oneof![short, any]
    }

    proptest! {
        #[test]
        fn every_float_is_found_again_to_the_last_bit(values in floats()) {
            form(&values);
        }
    }
}
