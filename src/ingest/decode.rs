//! The body of a request: read within a limit, decompressed within another, checked to be UTF-8.

use std::io::Read;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use flate2::{Decompress, FlushDecompress, Status};
use futures_util::{Stream, StreamExt};

use super::budget::Hold;

/// The largest window a zstd frame may ask for: 8 MiB, as RFC 9659 says.
const ZSTD_WINDOW_LOG: u32 = 23;
/// How much is decompressed before the limit is looked at again.
const CHUNK: usize = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    #[error("the body has more than {limit} bytes: send it in parts, or raise `ingest.max_body_bytes`")]
    TooLarge { limit: usize },
    #[error(
        "the body has more than {limit} bytes once decompressed: send it in parts, or raise `ingest.max_decoded_bytes`"
    )]
    DecodedTooLarge { limit: usize },
    #[error("Content-Encoding `{0}` is not supported: send gzip, zstd, br, deflate or identity, one at a time")]
    UnknownEncoding(String),
    #[error("the body is not what Content-Encoding says: {0}")]
    Corrupt(String),
    #[error("the body ends before it is complete: {0}")]
    Interrupted(String),
    #[error("other requests hold all memory for bodies: come back later, or raise `ingest.max_buffered_bytes`")]
    NoMemory,
    #[error("the body is not UTF-8: byte {at} does not belong to any character")]
    NotUtf8 { at: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
    Brotli,
    Deflate,
}

impl Encoding {
    /// From the value of `Content-Encoding`; none is identity.
    ///
    /// # Errors
    /// [`BodyError::UnknownEncoding`], also for chains such as `gzip, br`.
    pub fn parse(header: Option<&str>) -> Result<Self, BodyError> {
        let Some(name) = header else { return Ok(Self::Identity) };
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "zstd" => Ok(Self::Zstd),
            "br" => Ok(Self::Brotli),
            "deflate" => Ok(Self::Deflate),
            _ => Err(BodyError::UnknownEncoding(name.chars().take(60).collect())),
        }
    }
}

/// Reads the body as it arrives, and no more than `limit` bytes of it.
///
/// # Errors
/// [`BodyError::TooLarge`], [`BodyError::NoMemory`] or [`BodyError::Interrupted`].
pub async fn read<E: std::fmt::Display>(
    body: impl Stream<Item = Result<Bytes, E>>,
    limit: usize,
    hold: &mut Hold,
) -> Result<Bytes, BodyError> {
    let mut body = pin!(body);
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| BodyError::Interrupted(error.to_string()))?;
        if first.len() + whole.len() + chunk.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        hold.add(chunk.len())?;
        // Most bodies come in one piece, which need not be copied.
        if first.is_empty() && whole.is_empty() {
            first = chunk;
        } else {
            if whole.is_empty() {
                whole.extend_from_slice(&std::mem::take(&mut first));
            }
            whole.extend_from_slice(&chunk);
        }
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
}

/// Decompresses; stops as soon as more than `limit` bytes come out.
///
/// # Errors
/// [`BodyError::DecodedTooLarge`], [`BodyError::NoMemory`] or [`BodyError::Corrupt`].
pub fn decode(body: Bytes, encoding: Encoding, limit: usize, hold: &mut Hold) -> Result<Bytes, BodyError> {
    let corrupt = |error: std::io::Error| BodyError::Corrupt(error.to_string());
    match encoding {
        Encoding::Identity if body.len() > limit => Err(BodyError::DecodedTooLarge { limit }),
        Encoding::Identity => Ok(body),
        Encoding::Gzip => drain(flate2::read::MultiGzDecoder::new(&*body), limit, hold),
        Encoding::Deflate => inflate(&body, limit, hold),
        Encoding::Brotli => {
            // RFC 7932 calls this first byte invalid; the decoder would take it as a request for
            // a window of up to 1 GiB.
            if body.first().is_some_and(|byte| byte & 0x7f == 0x11) {
                return Err(BodyError::Corrupt("its brotli window is larger than 16 MiB".to_owned()));
            }
            drain(brotli::Decompressor::new(&*body, CHUNK), limit, hold)
        }
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(&*body).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(corrupt)?;
            drain(decoder, limit, hold)
        }
    }
}

fn drain(mut decoder: impl Read, limit: usize, hold: &mut Hold) -> Result<Bytes, BodyError> {
    let mut plain = Vec::new();
    loop {
        let wanted = CHUNK.min((limit - plain.len()).saturating_add(1));
        let mut part = decoder.by_ref().take(u64::try_from(wanted).unwrap_or(u64::MAX));
        let read = part.read_to_end(&mut plain).map_err(|error| BodyError::Corrupt(error.to_string()))?;
        if plain.len() > limit {
            return Err(BodyError::DecodedTooLarge { limit });
        }
        hold.add(read)?;
        if read < wanted {
            return Ok(plain.into());
        }
    }
}

/// `deflate` is the zlib format, but some senders leave the zlib header out.
fn inflate(body: &[u8], limit: usize, hold: &mut Hold) -> Result<Bytes, BodyError> {
    let zlib = match body {
        [a, b, ..] => a & 0x0f == 8 && (u16::from(*a) * 256 + u16::from(*b)).is_multiple_of(31),
        _ => false,
    };
    let mut stream = Decompress::new(zlib);
    let mut decoded = Vec::new();
    loop {
        let (read, written) = (stream.total_in(), stream.total_out());
        let rest = usize::try_from(read).ok().and_then(|read| body.get(read..)).unwrap_or_default();
        decoded.reserve(CHUNK);
        let status = stream
            .decompress_vec(rest, &mut decoded, FlushDecompress::None)
            .map_err(|error| BodyError::Corrupt(error.to_string()))?;
        if decoded.len() > limit {
            return Err(BodyError::DecodedTooLarge { limit });
        }
        hold.add(usize::try_from(stream.total_out() - written).unwrap_or(usize::MAX))?;
        if status == Status::StreamEnd {
            return Ok(decoded.into());
        }
        if stream.total_in() == read && stream.total_out() == written {
            return Err(BodyError::Corrupt("the deflate stream is cut off".to_owned()));
        }
    }
}

/// # Errors
/// [`BodyError::NotUtf8`] with the offset of the first bad byte.
pub fn utf8(body: &[u8]) -> Result<&str, BodyError> {
    std::str::from_utf8(body).map_err(|error| BodyError::NotUtf8 { at: error.valid_up_to() })
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::super::budget::Budget;
    use super::*;

    const LIMIT: usize = 1 << 20;
    const ALL: [Encoding; 4] = [Encoding::Gzip, Encoding::Zstd, Encoding::Brotli, Encoding::Deflate];

    fn encode(data: &[u8], encoding: Encoding) -> Vec<u8> {
        let level = flate2::Compression::best();
        match encoding {
            Encoding::Identity => data.to_vec(),
            Encoding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(data).unwrap();
                encoder.finish().unwrap()
            }
            Encoding::Zstd => zstd::encode_all(data, 3).unwrap(),
            Encoding::Brotli => {
                let mut encoded = Vec::new();
                brotli::CompressorReader::new(data, 4096, 5, 22).read_to_end(&mut encoded).unwrap();
                encoded
            }
        }
    }

    fn decoded(body: Bytes, encoding: Encoding, limit: usize) -> Result<Bytes, BodyError> {
        decode(body, encoding, limit, &mut Budget::new(usize::MAX).hold())
    }

    async fn read_all<E: std::fmt::Display>(
        body: impl Stream<Item = Result<Bytes, E>>,
        limit: usize,
    ) -> Result<Bytes, BodyError> {
        read(body, limit, &mut Budget::new(usize::MAX).hold()).await
    }

    #[test]
    fn decompression_stops_when_the_memory_for_bodies_is_gone() {
        for encoding in ALL {
            let small = encode(&vec![0_u8; 20 << 20], encoding);
            let mut hold = Budget::new(LIMIT).hold();
            assert_eq!(decode(small.into(), encoding, usize::MAX, &mut hold), Err(BodyError::NoMemory), "{encoding:?}");
        }
    }

    fn sample() -> Vec<u8> {
        (0..5_000_u32).flat_map(|i| (i.wrapping_mul(2_654_435_761)).to_le_bytes()).collect()
    }

    #[test]
    fn every_encoding_comes_back() {
        for encoding in ALL {
            let plain = decoded(encode(&sample(), encoding).into(), encoding, LIMIT);
            assert_eq!(plain.unwrap(), sample(), "{encoding:?}");
        }
    }

    #[test]
    fn raw_deflate_and_concatenated_gzip_are_read() {
        let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&sample()).unwrap();
        assert_eq!(decoded(encoder.finish().unwrap().into(), Encoding::Deflate, LIMIT).unwrap(), sample());
        let twice = [encode(b"one ", Encoding::Gzip), encode(b"two", Encoding::Gzip)].concat();
        assert_eq!(decoded(twice.into(), Encoding::Gzip, LIMIT).unwrap(), "one two");
    }

    #[test]
    fn bombs_stop_at_the_limit() {
        let bomb = vec![0_u8; 20 << 20];
        for encoding in ALL {
            let small = encode(&bomb, encoding);
            assert!(small.len() < LIMIT, "{encoding:?}");
            assert_eq!(decoded(small.into(), encoding, LIMIT), Err(BodyError::DecodedTooLarge { limit: LIMIT }));
        }
    }

    #[test]
    fn a_body_of_exactly_the_limit_passes() {
        for encoding in ALL {
            let body = encode(&[b'x'; 1000], encoding);
            assert_eq!(decoded(body.clone().into(), encoding, 1000).unwrap().len(), 1000);
            assert_eq!(decoded(body.into(), encoding, 999), Err(BodyError::DecodedTooLarge { limit: 999 }));
        }
    }

    #[test]
    fn cut_streams_are_corrupt_wherever_they_are_cut() {
        for encoding in ALL {
            let whole = encode(&sample(), encoding);
            for cut in [1, 2, 5, 9, whole.len() / 2, whole.len() - 1] {
                let cut_off = Bytes::copy_from_slice(&whole[..cut]);
                assert!(
                    matches!(decoded(cut_off, encoding, LIMIT), Err(BodyError::Corrupt(_))),
                    "{encoding:?} cut at {cut}"
                );
            }
        }
    }

    #[test]
    fn windows_that_eat_memory_are_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.long_distance_matching(true).unwrap();
        encoder.write_all(&sample()).unwrap();
        let wide = encoder.finish().unwrap();
        assert!(matches!(decoded(wide.into(), Encoding::Zstd, LIMIT), Err(BodyError::Corrupt(_))));
        let wide = Bytes::from_static(&[0x11, 0x1e, 0, 0, 0]);
        assert!(matches!(decoded(wide, Encoding::Brotli, LIMIT), Err(BodyError::Corrupt(_))));
    }

    #[test]
    fn encodings_are_named_or_refused() {
        assert_eq!(Encoding::parse(Some(" GZIP ")), Ok(Encoding::Gzip));
        assert_eq!(Encoding::parse(None), Ok(Encoding::Identity));
        for refused in ["gzip, br", "compress", "aws-chunked"] {
            assert_eq!(Encoding::parse(Some(refused)), Err(BodyError::UnknownEncoding(refused.to_owned())));
        }
    }

    #[test]
    fn the_first_bad_byte_is_named() {
        assert_eq!(utf8(b"{\"a\":\"\xff\"}"), Err(BodyError::NotUtf8 { at: 6 }));
    }

    #[tokio::test]
    async fn reading_stops_at_the_limit() {
        let chunks = |n| futures_util::stream::repeat_with(|| Ok::<_, String>(Bytes::from_static(b"1234"))).take(n);
        assert_eq!(read_all(chunks(3), 12).await.unwrap(), "123412341234");
        assert_eq!(read_all(chunks(1), 12).await.unwrap(), "1234");
        assert_eq!(read_all(chunks(usize::MAX), 13).await, Err(BodyError::TooLarge { limit: 13 }));
        let broken = futures_util::stream::iter([Ok(Bytes::from_static(b"{")), Err("connection reset")]);
        assert_eq!(read_all(broken, 12).await, Err(BodyError::Interrupted("connection reset".to_owned())));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..300)) {
            for encoding in ALL {
                let _ = decoded(data.clone().into(), encoding, 10_000);
            }
        }
    }
}
