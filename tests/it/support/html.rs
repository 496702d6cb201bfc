//! As much of HTML as it takes to say whether a page is whole: its elements and whether they nest.

use std::collections::BTreeMap;

/// Elements that have no end.
const VOID: [&str; 3] = ["meta", "br", "link"];

#[derive(Debug)]
pub struct Element {
    pub name: String,
    pub attributes: BTreeMap<String, String>,
}

/// The elements of a page in their order; panics where one is not closed, or closed by another.
#[track_caller]
pub fn elements(page: &str) -> Vec<Element> {
    let body = page.strip_prefix("<!doctype html>\n").expect("it begins as HTML does");
    // Of a style sheet only the tags around it.
    let (before, rest) = body.split_once("<style>").expect("it has a style sheet of its own");
    let (style, after) = rest.split_once("</style>").expect("it ends");
    assert!(!style.contains('<') && !style.contains("url(") && !style.contains("@import"), "{style}");
    let (mut found, mut open) = (Vec::new(), Vec::new());
    for piece in [before, after].iter().flat_map(|part| part.split('<').skip(1)) {
        let (tag, text) = piece.split_once('>').unwrap_or_else(|| panic!("`<{piece}` is not closed"));
        assert!(!text.contains('>'), "`>` is not escaped in {text}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "`</{name}>` closes another element");
            continue;
        }
        let element = element(tag.trim_end_matches('/'));
        if !VOID.contains(&element.name.as_str()) && !tag.ends_with('/') {
            open.push(element.name.clone());
        }
        found.push(element);
    }
    assert!(open.is_empty(), "never closed: {open:?}");
    found
}

fn element(tag: &str) -> Element {
    let (name, mut rest) = tag.split_once([' ', '\n']).unwrap_or((tag, ""));
    let mut attributes = BTreeMap::new();
    while let Some((key, after)) = rest.trim_start().split_once("=\"") {
        let (value, after) = after.split_once('"').unwrap_or_else(|| panic!("`{tag}` has an open quote"));
        assert!(attributes.insert(key.to_owned(), value.to_owned()).is_none(), "`{tag}` says {key} twice");
        rest = after;
    }
    assert!(rest.trim().is_empty(), "`{tag}` has `{rest}`, which is no attribute");
    Element { name: name.to_owned(), attributes }
}

#[test]
fn a_broken_page_is_found() {
    let page =
        |body: &str| format!("<!doctype html>\n<html><head><style>a{{}}</style></head><body>{body}</body></html>");
    let found = elements(&page("<p class=\"a\" id=\"b\">x<br>&lt;y</p><line x=\"1\"/>"));
    assert_eq!(found.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["html", "head", "body", "p", "br", "line"]);
    for wrong in ["<p>", "<p></b>", "a > b", "<p class=a></p>", "<p class=\"a></p>", "<"] {
        let page = page(wrong);
        assert!(std::panic::catch_unwind(|| elements(&page)).is_err(), "{wrong}");
    }
}
