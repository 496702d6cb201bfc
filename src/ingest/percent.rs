//! Percent-encoding, RFC 3986.

/// One round of decoding; `None` where the bytes are no UTF-8. What is not encoded stays as it is.
pub fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let encoded = after.first_chunk::<2>().filter(|_| first == b'%');
        let byte = encoded.and_then(|digits| hex::decode(digits).ok()).and_then(|bytes| bytes.first().copied());
        bytes.push(byte.unwrap_or(first));
        rest = if byte.is_some() { after.get(2..).unwrap_or_default() } else { after };
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_round_and_no_more() {
        for (encoded, plain) in [
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", Some("Euro € 😀")),
            ("sha256%3a0b", Some("sha256:0b")),
            ("%2525", Some("%25")),
            ("100%", Some("100%")),
            ("%zz%4", Some("%zz%4")),
            ("%C0%A0", None),
        ] {
            assert_eq!(decode(encoded).as_deref(), plain, "{encoded}");
        }
    }
}
