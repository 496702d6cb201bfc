//! A column of numbers as it is stored: each in as many bytes as the widest needs, so that reading
//! it is little more than copying.

use std::fmt;

use serde::de::{Deserializer, Error, Visitor};
use serde::ser::Serializer;

use super::partition::Leads;

/// Of the least number, before the others.
const HEAD: usize = size_of::<i64>();

pub fn serialize<S: Serializer>(values: &[i64], to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(&pack(values))
}

pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<i64>, D::Error> {
    from.deserialize_bytes(Packed)
}

struct Packed;

impl Visitor<'_> for Packed {
    type Value = Vec<i64>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a packed column")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<i64>, E> {
        unpack(bytes).ok_or_else(|| E::custom("it is not a packed column"))
    }
}

/// The width, the least number, and of each number its distance from that plus 1; 0 is unknown.
fn pack(values: &[i64]) -> Vec<u8> {
    if values.is_empty() {
        return Vec::new();
    }
    let known = values.iter().copied().filter(|value| *value != Leads::UNKNOWN);
    let least = known.min().unwrap_or_default();
    // The unknown is no number, so that even the greatest distance has room for one more.
    let code = |value: &i64| match *value {
        Leads::UNKNOWN => 0,
        value => value.wrapping_sub(least).cast_unsigned() + 1,
    };
    let widest = values.iter().map(code).max().unwrap_or_default();
    let width = (u64::BITS - widest.leading_zeros()).div_ceil(u8::BITS).max(1);
    let mut packed = Vec::with_capacity(1 + HEAD + size_of_val(values));
    packed.extend(u8::try_from(width));
    packed.extend(least.to_le_bytes());
    for value in values {
        packed.extend(code(value).to_le_bytes().iter().zip(0..width).map(|(byte, _)| byte));
    }
    packed
}

fn unpack(packed: &[u8]) -> Option<Vec<i64>> {
    let Some((width, rest)) = packed.split_first() else { return Some(Vec::new()) };
    let (least, codes) = rest.split_first_chunk::<HEAD>()?;
    let least = i64::from_le_bytes(*least);
    match width {
        1 => numbers::<1>(codes, least),
        2 => numbers::<2>(codes, least),
        3 => numbers::<3>(codes, least),
        4 => numbers::<4>(codes, least),
        5 => numbers::<5>(codes, least),
        6 => numbers::<6>(codes, least),
        7 => numbers::<7>(codes, least),
        8 => numbers::<8>(codes, least),
        _ => None,
    }
}

/// `None` where a part of a number is left.
fn numbers<const WIDTH: usize>(codes: &[u8], least: i64) -> Option<Vec<i64>> {
    let (codes, []) = codes.as_chunks::<WIDTH>() else { return None };
    let number = |code: &[u8; WIDTH]| {
        let mut wide = [0; size_of::<u64>()];
        for (to, from) in wide.iter_mut().zip(code) {
            *to = *from;
        }
        match u64::from_le_bytes(wide) {
            0 => Leads::UNKNOWN,
            above => least.wrapping_add((above - 1).cast_signed()),
        }
    };
    Some(codes.iter().map(number).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_unpacked_is_what_was_packed(
            values in prop::collection::vec(
                prop_oneof![Just(Leads::UNKNOWN), -9..9_i64, any::<i32>().prop_map(i64::from), any::<i64>()],
                0..40,
            ),
            narrow in prop::collection::vec(prop_oneof![Just(Leads::UNKNOWN), 7_000..7_300_i64], 0..40),
        ) {
            for values in [values, narrow] {
                prop_assert_eq!(unpack(&pack(&values)), Some(values));
            }
        }

        #[test]
        fn any_bytes_are_a_column_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            let whole = |width: u8| (bytes.len() - 1 - HEAD).is_multiple_of(usize::from(width));
            let expected = match bytes.first() {
                None => true,
                Some(width) => (1..=8).contains(width) && bytes.len() > HEAD && whole(*width),
            };
            prop_assert_eq!(unpack(&bytes).is_some(), expected);
        }
    }

    #[test]
    fn the_widest_span_there_is_fits() {
        for values in [vec![i64::MIN + 1, i64::MAX, Leads::UNKNOWN], vec![Leads::UNKNOWN], vec![i64::MAX]] {
            assert_eq!(unpack(&pack(&values)).as_ref(), Some(&values), "{values:?}");
        }
        // A byte each, behind the width and the least.
        assert_eq!(pack(&[1_000_000, 1_000_200, Leads::UNKNOWN]).len(), 1 + HEAD + 3);
    }
}
