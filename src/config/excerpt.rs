//! What of a configuration file its excerpts show: its shape, its keys, and values known to be harmless.
//!
//! Nothing else. A secret under a misspelt key, at the wrong place or of the wrong kind looks like
//! any other value, so everything is masked that was not read as something harmless.

use super::tree::{Mark, Node, Value};

/// The text with dots over all that may not be shown; `harmless` are the marks of values that may.
pub(super) fn masked(text: &str, file: &Node, harmless: &[Mark]) -> String {
    let mut scalars = Vec::new();
    let mut shown = harmless.to_vec();
    gather(file, &mut scalars, &mut shown);
    let mut lines: Vec<Vec<(char, bool)>> = text.lines().map(shape).collect();
    for mark in scalars {
        set(&mut lines, mark, false);
    }
    for mark in shown {
        set(&mut lines, mark, true);
    }
    let dotted = |line: &Vec<(char, bool)>| -> String {
        line.iter().map(|(c, shown)| if *shown { *c } else { '•' }).collect()
    };
    lines.iter().map(dotted).collect::<Vec<_>>().join("\n")
}

/// Whether a key is a name rather than a value at the wrong place.
pub(super) fn is_name(key: &str) -> bool {
    (1..=40).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
}

/// Each character with whether it is structure; comments are not.
fn shape(line: &str) -> Vec<(char, bool)> {
    let mut before = ' ';
    let mut comment = false;
    let one = |c: char| {
        comment |= c == '#' && before.is_whitespace();
        before = c;
        (c, c.is_whitespace() || (!comment && matches!(c, '{' | '}' | '[' | ']' | ',' | ':' | '-')))
    };
    line.chars().map(one).collect()
}

fn gather(node: &Node, scalars: &mut Vec<Mark>, keys: &mut Vec<Mark>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                scalars.push(entry.key_mark);
                // `{value}` is a key without a value.
                if is_name(&entry.key) && !matches!(entry.node.value, Value::Null) {
                    keys.push(entry.key_mark);
                }
                gather(&entry.node, scalars, keys);
            }
        }
        Value::List(items) => items.iter().for_each(|item| gather(item, scalars, keys)),
        _ => scalars.push(node.mark),
    }
}

/// A mark may go on over several lines; each end of a line counts as one character.
fn set(lines: &mut [Vec<(char, bool)>], mark: Mark, shown: bool) {
    let mut left = mark.length;
    let mut skip = mark.column.saturating_sub(1);
    for line in lines.iter_mut().skip(mark.line.saturating_sub(1)) {
        if left == 0 {
            return;
        }
        let covered = line.iter_mut().skip(skip).take(left);
        left -= covered.map(|c| c.1 = shown).count();
        left = left.saturating_sub(1);
        skip = 0;
    }
}
