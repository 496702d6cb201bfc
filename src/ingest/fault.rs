//! What is wrong with one item: where (a JSON pointer), and what to do about it.

use std::fmt;

/// An item, or a webhook's body, that cannot be taken in. Boxed: the way without faults stays fast.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault(Box<Place>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    pointer: String,
    detail: String,
    malformed: bool,
}

impl Fault {
    pub fn new(pointer: impl fmt::Display, detail: impl Into<String>) -> Self {
        Self(Box::new(Place { pointer: pointer.to_string(), detail: detail.into(), malformed: false }))
    }

    /// The item is not even JSON, or nested too deeply to be read.
    pub fn malformed(error: &serde_json::Error) -> Self {
        let detail = format!("is not JSON: {error}");
        Self(Box::new(Place { pointer: String::new(), detail, malformed: true }))
    }

    /// The same inside of what stands at `at`: then it is a part that cannot be read, not the whole.
    #[must_use]
    pub fn within(self, at: &str) -> Self {
        Self(Box::new(Place { pointer: format!("{at}{}", self.0.pointer), malformed: false, ..*self.0 }))
    }

    pub fn is_malformed(&self) -> bool {
        self.0.malformed
    }

    /// RFC 6901; empty for the item as a whole.
    pub fn pointer(&self) -> &str {
        &self.0.pointer
    }

    pub fn detail(&self) -> &str {
        &self.0.detail
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.pointer, self.0.detail)
    }
}

impl std::error::Error for Fault {}

/// One step of a JSON pointer, escaped.
pub fn step(name: &str) -> String {
    let short: String = name.chars().take(80).collect();
    short.replace('~', "~0").replace('/', "~1")
}

/// `; did you mean `x`?` for the candidate closest to `name`, or nothing when none is close.
pub fn suggestion(name: &str, candidates: &[&str]) -> String {
    let near = candidates.iter().map(|candidate| (strsim::jaro_winkler(name, candidate), candidate));
    match near.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((likeness, candidate)) if likeness > 0.8 => format!("; did you mean `{candidate}`?"),
        _ => String::new(),
    }
}

/// What a text may be.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    pub bytes: usize,
    /// Whether line breaks and tabs may occur.
    pub lines: bool,
}

impl Limit {
    pub const fn line(bytes: usize) -> Self {
        Self { bytes, lines: false }
    }

    pub const fn lines(bytes: usize) -> Self {
        Self { bytes, lines: true }
    }

    /// # Errors
    /// What is wrong with the text, as the end of a sentence that begins with its place.
    pub fn check(self, text: &str) -> Result<(), String> {
        let layout = |byte| self.lines && matches!(byte, b'\n' | b'\r' | b'\t');
        if text.is_empty() {
            Err("is empty: give it a value or leave the field out".to_owned())
        } else if text.len() > self.bytes {
            Err(format!("has {} bytes, at most {} are allowed: shorten it", text.len(), self.bytes))
        } else if text.bytes().any(|byte| byte.is_ascii_control() && !layout(byte)) {
            Err("has control characters: remove them".to_owned())
        } else {
            Ok(())
        }
    }
}

/// Names of services, environments and versions.
pub const NAME: Limit = Limit::line(200);
pub const ID: Limit = Limit::line(512);
pub const SOURCE: Limit = Limit::line(256);
pub const SHA: Limit = Limit::line(128);
pub const URL: Limit = Limit::line(2_048);
pub const TITLE: Limit = Limit::lines(1_024);
pub const MESSAGE: Limit = Limit::lines(8_192);
/// A file's path inside a repository.
pub const PATH: Limit = Limit::line(1_024);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_escaped() {
        assert_eq!(step("a/b~c"), "a~1b~0c");
    }

    #[test]
    fn near_names_are_suggested_and_far_ones_are_not() {
        let fields = ["service", "environment", "version"];
        assert_eq!(suggestion("sevice", &fields), "; did you mean `service`?");
        assert_eq!(suggestion("env", &fields), "; did you mean `environment`?");
        assert_eq!(suggestion("colour", &fields), "");
    }

    #[test]
    fn texts_are_limited() {
        assert!(NAME.check("checkout").is_ok());
        assert!(NAME.check("").unwrap_err().starts_with("is empty"));
        assert!(NAME.check(&"x".repeat(201)).unwrap_err().contains("at most 200"));
        assert!(NAME.check("a\0b").is_err());
        assert!(NAME.check("a\nb").is_err());
        assert!(MESSAGE.check("a\nb").is_ok());
        assert!(MESSAGE.check("a\0b").is_err());
    }
}
