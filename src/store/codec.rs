//! The binary form of telemetry at rest: variable-length numbers, texts, sparse histograms.

use crate::event::Histogram;

/// Why stored bytes are not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    #[error("it ends too early")]
    Truncated,
    #[error("its checksum does not match")]
    Checksum,
    #[error("its format {0} is unknown to this version of DevPulse")]
    Format(u8),
    #[error("a number is out of range")]
    Number,
    #[error("a text is not UTF-8")]
    Text,
    #[error("{0} bytes follow its end")]
    Trailing(usize),
}

#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    /// LEB128: seven bits a byte, lowest first.
    pub fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            let [low, ..] = value.to_le_bytes();
            self.0.push(low | 0x80);
            value >>= 7;
        }
        let [low, ..] = value.to_le_bytes();
        self.0.push(low);
    }

    pub fn length(&mut self, value: usize) {
        self.number(u64::try_from(value).unwrap_or(u64::MAX));
    }

    /// Zigzag, so that small negative numbers stay short.
    pub fn signed(&mut self, value: i64) {
        self.number(((value << 1) ^ (value >> 63)).cast_unsigned());
    }

    pub fn text(&mut self, value: &str) {
        self.length(value.len());
        self.0.extend_from_slice(value.as_bytes());
    }

    /// Cells are sorted, so the buckets are kept as steps.
    pub fn histogram(&mut self, histogram: &Histogram) {
        self.length(histogram.cells().len());
        let mut previous = 0;
        for &(bucket, count) in histogram.cells() {
            self.number(u64::from(bucket.saturating_sub(previous)));
            self.number(count);
            previous = bucket;
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    pub fn written(&self) -> &[u8] {
        &self.0
    }

    pub fn finish(self) -> Vec<u8> {
        self.0
    }
}

/// Reads what [`Writer`] wrote; whatever it is given, it answers or refuses, and what it allocates
/// is bounded by the length of the input.
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub fn byte(&mut self) -> Result<u8, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed::Truncated)?;
        self.0 = rest;
        Ok(first)
    }

    pub fn number(&mut self) -> Result<u64, Malformed> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return Err(Malformed::Number);
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::Number)
    }

    /// A count of things that take at least a byte each.
    pub fn length(&mut self) -> Result<usize, Malformed> {
        let length = usize::try_from(self.number()?).map_err(|_| Malformed::Number)?;
        if length > self.0.len() { Err(Malformed::Truncated) } else { Ok(length) }
    }

    pub fn signed(&mut self) -> Result<i64, Malformed> {
        let value = self.number()?;
        Ok((value >> 1).cast_signed() ^ -(value & 1).cast_signed())
    }

    pub fn text(&mut self) -> Result<&'a str, Malformed> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length).ok_or(Malformed::Truncated)?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| Malformed::Text)
    }

    pub fn histogram(&mut self) -> Result<Histogram, Malformed> {
        let length = self.length()?;
        let mut cells = Vec::with_capacity(length);
        let mut bucket = 0_u16;
        for _ in 0..length {
            let step = u16::try_from(self.number()?).map_err(|_| Malformed::Number)?;
            bucket = bucket.checked_add(step).ok_or(Malformed::Number)?;
            cells.push((bucket, self.number()?));
        }
        Ok(Histogram::from_cells(cells))
    }

    pub fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Trailing(self.0.len())) }
    }
}

/// A histogram alone, as `bucket.durations` keeps it.
pub(super) fn encode_histogram(histogram: &Histogram) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.histogram(histogram);
    writer.finish()
}

/// # Errors
/// The bytes are not what [`encode_histogram`] writes.
pub(super) fn decode_histogram(bytes: &[u8]) -> Result<Histogram, Malformed> {
    let mut reader = Reader::new(bytes);
    let histogram = reader.histogram()?;
    reader.end()?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_and_texts_come_back(value: u64, signed: i64, text in ".*") {
            let mut writer = Writer::default();
            writer.number(value);
            writer.signed(signed);
            writer.text(&text);
            let bytes = writer.finish();
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.number(), Ok(value));
            prop_assert_eq!(reader.signed(), Ok(signed));
            prop_assert_eq!(reader.text(), Ok(text.as_str()));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn histograms_come_back(cells in prop::collection::vec((0_u16..640, 1_u64..), 0..40)) {
            let histogram = Histogram::from_cells(cells);
            prop_assert_eq!(decode_histogram(&encode_histogram(&histogram)), Ok(histogram));
        }

        #[test]
        fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode_histogram(&bytes);
            let _ = Reader::new(&bytes).text();
        }
    }

    #[test]
    fn a_number_longer_than_64_bits_is_refused() {
        assert_eq!(Reader::new(&[0xff; 11]).number(), Err(Malformed::Number));
        assert_eq!(Reader::new(&[0xff; 3]).number(), Err(Malformed::Truncated));
    }
}
