//! As much of Rust as the checks need: code without comments and tests, and the paths it names.

/// The code alone: comments and the insides of strings and characters become spaces, lines stay.
pub fn code_of(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(first) = rest.chars().next() {
        let (skipped, kept) = match token(rest) {
            Some(length) => (&rest[..length], ""),
            None => (&rest[..first.len_utf8()], &rest[..first.len_utf8()]),
        };
        out.push_str(kept);
        if kept.is_empty() {
            out.push(' ');
            out.extend(skipped.chars().filter(|c| *c == '\n'));
        }
        rest = &rest[skipped.len()..];
    }
    out
}

/// The length of the comment or literal that `rest` begins with.
fn token(rest: &str) -> Option<usize> {
    if rest.starts_with("//") {
        return Some(rest.find('\n').unwrap_or(rest.len()));
    }
    if rest.starts_with("/*") {
        return Some(rest.find("*/").map_or(rest.len(), |end| end + 2));
    }
    if let Some(after) = rest.strip_prefix('r') {
        let hashes = after.len() - after.trim_start_matches('#').len();
        if after[hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let start = 1 + hashes + 1;
            return Some(rest[start..].find(&close).map_or(rest.len(), |end| start + end + close.len()));
        }
        // An identifier that begins with r must not be split.
        return None;
    }
    if rest.starts_with('"') {
        return Some(quoted(rest, '"'));
    }
    // A character, not a lifetime: 'x' or '\n'.
    let mut chars = rest.char_indices();
    if chars.next()?.1 == '\'' {
        let second = chars.next()?.1;
        let third = chars.next()?.1;
        return (second == '\\' || third == '\'').then(|| quoted(rest, '\''));
    }
    None
}

fn quoted(rest: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// The code without its `#[cfg(test)] mod … { … }` blocks, as rustfmt lays them out.
pub fn without_tests(code: &str) -> String {
    let mut out = String::new();
    let mut lines = code.lines().peekable();
    while let Some(line) = lines.next() {
        let test_module = line.trim_end() == "#[cfg(test)]"
            && lines.peek().is_some_and(|next| next.starts_with("mod ") && next.trim_end().ends_with('{'));
        if test_module {
            lines.by_ref().find(|line| line.trim_end() == "}");
        } else {
            out.push_str(line);
            out.push('\n');
        }
    }
    out
}

/// Every path that follows `crate::`, groups written out: `crate::{a::{b, C}, d}` is `a::b`, `a::C`, `d`.
pub fn crate_paths(code: &str) -> Vec<String> {
    let mut paths = Vec::new();
    for (at, found) in code.match_indices("crate::") {
        let inside_a_word = code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
        if !inside_a_word {
            expand("", &code[at + found.len()..], &mut paths);
        }
    }
    paths
}

/// Reads one path or group and answers what follows it.
fn expand<'a>(prefix: &str, text: &'a str, paths: &mut Vec<String>) -> &'a str {
    let mut rest = text.trim_start();
    if let Some(mut group) = rest.strip_prefix('{') {
        loop {
            group = group.trim_start_matches(|c: char| c.is_whitespace() || c == ',');
            match group.strip_prefix('}') {
                Some(after) => return after,
                None if group.is_empty() => return group,
                None => {}
            }
            let before = group.len();
            group = expand(prefix, group, paths);
            if group.len() == before {
                // Something that is no path: step over it rather than stand still.
                group = group.get(1..).unwrap_or_default();
            }
        }
    }
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(rest.len());
    let segment = &rest[..end];
    rest = &rest[end..];
    let path = if prefix.is_empty() { segment.to_owned() } else { format!("{prefix}::{segment}") };
    if let Some(after) = rest.strip_prefix("::") {
        return expand(&path, after, paths);
    }
    if !segment.is_empty() {
        paths.push(path);
    } else if let Some(after) = rest.strip_prefix('*') {
        paths.push(prefix.to_owned());
        return after;
    }
    // `name as other` inside a group.
    if let Some(renamed) = rest.trim_start().strip_prefix("as ") {
        let end = renamed.find([',', '}', ';']).unwrap_or(renamed.len());
        return &renamed[end..];
    }
    rest
}

/// Whether `word` stands in the code as an identifier of its own.
pub fn mentions(code: &str, word: &str) -> bool {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word)
        .any(|(at, _)| !code[..at].ends_with(is_part) && !code[at + word.len()..].starts_with(is_part))
}

#[test]
fn comments_strings_and_tests_are_not_code() {
    let source = "//! crate::a\nuse crate::b::C; // crate::c\nconst X: &str = \"crate::d // \\\" crate::e\";\n\
                  const Y: &str = r#\"crate::f \"quoted\" \"#; /* crate::g */ fn h<'a>(c: char) { c == '\"'; crate::i() }\n\
                  #[cfg(test)]\nmod tests {\n    use crate::j;\n}\nfn k() -> crate::l::M {}\n";
    assert_eq!(crate_paths(&without_tests(&code_of(source))), ["b::C", "i", "l::M"]);
}

#[test]
fn groups_are_written_out() {
    let code =
        "use crate::{time::{Clock, Timestamp as T}, store, http::{self, auth::*}};\npub(crate) use $crate::x::y;";
    assert_eq!(crate_paths(code), ["time::Clock", "time::Timestamp", "store", "http::self", "http::auth", "x::y"]);
}

#[test]
fn a_word_is_a_whole_word() {
    assert!(mentions("use tokio::sync;", "tokio"));
    assert!(!mentions("use tokio_stream::sync; let my_tokio = 1;", "tokio"));
}
