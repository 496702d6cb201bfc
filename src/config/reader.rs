//! Reading a tree key by key: notes every finding and goes on, so that all are told at once.
//!
//! A section knows the keys it was asked for; what the file has besides is unknown. A value comes
//! from the environment, the file or the embedded defaults, in this order.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::error::{Finding, Place, did_you_mean};
use super::reference;
use super::tree::{Entry, Mark, Node, Value};

/// The environment's variables.
pub(super) type Variables = BTreeMap<String, String>;

/// What one reading gathers.
pub(super) struct Reading<'a> {
    pub variables: &'a Variables,
    pub findings: RefCell<Vec<Finding>>,
    /// Every key that exists, as `slos[].objective`.
    pub known: RefCell<BTreeSet<String>>,
    /// Where secrets stand as they are.
    pub secrets: RefCell<Vec<Mark>>,
}

impl<'a> Reading<'a> {
    pub fn new(variables: &'a Variables) -> Self {
        Self { variables, findings: RefCell::default(), known: RefCell::default(), secrets: RefCell::default() }
    }
}

/// A map of the configuration.
pub(super) struct Section<'a> {
    reading: &'a Reading<'a>,
    path: String,
    place: Place,
    entries: &'a [Entry],
    defaults: Option<&'a [Entry]>,
    asked: RefCell<Vec<&'static str>>,
}

/// A scalar on its way to its type, references filled in.
pub(super) struct Scalar<'a> {
    pub value: &'a Value,
    /// Came as text from a variable or a reference: may be any type, and is not shown.
    indirect: bool,
    mark: Option<Mark>,
    reading: &'a Reading<'a>,
}

impl Scalar<'_> {
    /// Text that may stand for another type, because it came from outside of the file.
    pub fn indirect_text(&self) -> Option<&str> {
        match self.value {
            Value::Text(text) if self.indirect => Some(text),
            _ => None,
        }
    }

    /// Keeps the value out of excerpts.
    pub fn hide(&self) {
        if let Some(mark) = self.mark.filter(|_| !self.indirect) {
            self.reading.secrets.borrow_mut().push(mark);
        }
    }
}

/// A parser of scalars: the value, or what is wrong with it.
pub(super) trait Parser<T>: Fn(&Scalar<'_>) -> Result<T, String> {}
impl<T, F: Fn(&Scalar<'_>) -> Result<T, String>> Parser<T> for F {}

/// A value and where it stands, for what is checked later.
pub(super) struct Found<T> {
    pub value: T,
    pub place: Place,
}

enum Source<'a> {
    /// Its name and its text.
    Variable(String, String),
    Node(&'a Node, Place),
}

fn lookup<'a>(entries: &'a [Entry], key: &str) -> Option<&'a Node> {
    let entry = entries.iter().find(|entry| entry.key == key)?;
    (!matches!(entry.node.value, Value::Null)).then_some(&entry.node)
}

impl<'a> Section<'a> {
    pub fn root(reading: &'a Reading<'a>, file: &'a Node, defaults: &'a Node) -> Option<Self> {
        Self::open(reading, String::new(), file, Place::Mark(file.mark), Some(defaults))
    }

    fn open(
        reading: &'a Reading<'a>,
        path: String,
        node: &'a Node,
        place: Place,
        defaults: Option<&'a Node>,
    ) -> Option<Self> {
        let map = |node: &'a Node| if let Value::Map(entries) = &node.value { Some(entries.as_slice()) } else { None };
        let Some(entries) = map(node) else {
            let message = format!("must be a mapping of keys, not {}", node.value.kind());
            reading.findings.borrow_mut().push(Finding { place, key: path, message });
            return None;
        };
        let asked = RefCell::default();
        Some(Self { reading, path, place, entries, defaults: defaults.and_then(map), asked })
    }

    pub const fn place(&self) -> &Place {
        &self.place
    }

    pub fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Notes a finding about `key` at `place`.
    pub fn report(&self, key: &str, place: Place, message: impl Into<String>) {
        let key = if key.is_empty() { self.path.clone() } else { self.path(key) };
        self.reading.findings.borrow_mut().push(Finding { place, key, message: message.into() });
    }

    fn variable(&self, key: &str) -> Option<String> {
        let path = self.path(key);
        let name = format!("DEVPULSE_{}", path.replace('.', "_").to_uppercase());
        (!path.contains('[') && self.reading.variables.contains_key(&name)).then_some(name)
    }

    fn ask(&self, key: &'static str) {
        self.asked.borrow_mut().push(key);
        let path = self.path(key);
        let (head, indexed) = path.split_once('[').unwrap_or((&path, ""));
        let rest = indexed.split('[').map(|part| part.trim_start_matches(|c: char| c.is_ascii_digit()));
        let known = std::iter::once(head).chain(rest.filter(|part| !part.is_empty())).collect::<Vec<_>>().join("[");
        self.reading.known.borrow_mut().insert(known);
    }

    fn source(&self, key: &'static str) -> Option<Source<'a>> {
        self.ask(key);
        if let Some(name) = self.variable(key) {
            let text = self.reading.variables.get(&name).cloned().unwrap_or_default();
            return Some(Source::Variable(name, text));
        }
        if let Some(node) = lookup(self.entries, key) {
            return Some(Source::Node(node, Place::Mark(node.mark)));
        }
        let node = lookup(self.defaults?, key)?;
        Some(Source::Node(node, self.place.clone()))
    }

    fn parse<T>(&self, key: &str, source: Source<'_>, parser: &impl Parser<T>) -> Option<Found<T>> {
        let reading = self.reading;
        let (value, place, mark) = match source {
            Source::Variable(name, text) => (Value::Text(text), Place::Variable(name), None),
            Source::Node(node, place) => (node.value.clone(), place, Some(node.mark)),
        };
        let mut indirect = mark.is_none();
        let result = match &value {
            Value::Text(text) => reference::expand(text, reading.variables).and_then(|(text, expanded)| {
                indirect |= expanded;
                parser(&Scalar { value: &Value::Text(text), indirect, mark, reading })
            }),
            value => parser(&Scalar { value, indirect, mark, reading }),
        };
        match result {
            Ok(value) => Some(Found { value, place }),
            Err(message) => {
                self.report(key, place, message);
                None
            }
        }
    }

    /// A value and its place; `None` when it is missing or wrong, which has then been noted.
    pub fn found<T>(&self, key: &'static str, parser: impl Parser<T>) -> Option<Found<T>> {
        if let Some(source) = self.source(key) {
            return self.parse(key, source, &parser);
        }
        self.report(key, self.place.clone(), "is missing");
        None
    }

    /// As [`Section::found`], without the place.
    pub fn required<T>(&self, key: &'static str, parser: impl Parser<T>) -> Option<T> {
        self.found(key, parser).map(|found| found.value)
    }

    /// `None` when it is missing (which is fine) or wrong.
    pub fn optional<T>(&self, key: &'static str, parser: impl Parser<T>) -> Option<Found<T>> {
        let source = self.source(key)?;
        self.parse(key, source, &parser)
    }

    pub fn or<T>(&self, key: &'static str, default: T, parser: impl Parser<T>) -> T {
        self.optional(key, parser).map_or(default, |found| found.value)
    }

    /// A list of scalars; empty when it is missing.
    pub fn list<T>(&self, key: &'static str, parser: impl Parser<T>) -> Vec<Found<T>> {
        match self.source(key) {
            None => Vec::new(),
            Some(Source::Variable(name, text)) => {
                let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
                let one = |item: &str| Source::Variable(name.clone(), item.to_owned());
                items.filter_map(|item| self.parse(key, one(item), &parser)).collect()
            }
            Some(Source::Node(Node { value: Value::List(items), .. }, _)) => {
                let one = |item: &'a Node| Source::Node(item, Place::Mark(item.mark));
                items.iter().filter_map(|item| self.parse(key, one(item), &parser)).collect()
            }
            Some(Source::Node(node, place)) => {
                self.report(key, place, format!("must be a list, not {}", node.value.kind()));
                Vec::new()
            }
        }
    }

    /// As [`Section::list`], without the places.
    pub fn values<T>(&self, key: &'static str, parser: impl Parser<T>) -> Vec<T> {
        self.list(key, parser).into_iter().map(|found| found.value).collect()
    }

    /// Each map of a list, read by `read`.
    pub fn items<T>(&self, key: &'static str, mut read: impl FnMut(&Section<'a>) -> Option<T>) -> Vec<T> {
        self.ask(key);
        let node = lookup(self.entries, key).or_else(|| lookup(self.defaults?, key));
        let Some(node) = node else { return Vec::new() };
        let Value::List(items) = &node.value else {
            self.report(key, Place::Mark(node.mark), format!("must be a list, not {}", node.value.kind()));
            return Vec::new();
        };
        let item = |(i, item): (usize, &'a Node)| {
            let path = format!("{}[{i}]", self.path(key));
            let section = Section::open(self.reading, path, item, Place::Mark(item.mark), None)?;
            section.finish(&mut read)
        };
        items.iter().enumerate().filter_map(item).collect()
    }

    /// A map that always exists, with its defaults.
    pub fn section<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> Option<T>) -> Option<T> {
        self.ask(key);
        let defaults = self.defaults.and_then(|defaults| lookup(defaults, key));
        let own = lookup(self.entries, key);
        let node = own.or(defaults)?;
        let place = if own.is_some() { Place::Mark(node.mark) } else { Place::File };
        Section::open(self.reading, self.path(key), node, place, defaults)?.finish(read)
    }

    /// A map that may be missing; a variable for its key `wanted` makes it exist as well.
    pub fn optional_section<T>(
        &self,
        key: &'static str,
        wanted: &str,
        read: impl FnOnce(&Section<'a>) -> Option<T>,
    ) -> Option<T> {
        const EMPTY: &Node = &Node { mark: Mark { line: 0, column: 0, length: 0 }, value: Value::Map(Vec::new()) };
        self.ask(key);
        let own = lookup(self.entries, key).map(|node| (node, Place::Mark(node.mark)));
        let from_variable = || Some((EMPTY, Place::Variable(self.variable(&format!("{key}.{wanted}"))?)));
        let (node, place) = own.or_else(from_variable)?;
        Section::open(self.reading, self.path(key), node, place, None)?.finish(read)
    }

    /// A map that may be missing, inside of a list's item.
    pub fn inner<T>(&self, key: &'static str, read: impl FnOnce(&Section<'a>) -> Option<T>) -> Option<T> {
        self.ask(key);
        let node = lookup(self.entries, key)?;
        Section::open(self.reading, self.path(key), node, Place::Mark(node.mark), None)?.finish(read)
    }

    /// A map of free keys to texts.
    pub fn texts<T: Ord>(&self, key: &'static str, parser: impl Parser<T>) -> BTreeMap<String, T> {
        self.ask(key);
        let Some(node) = lookup(self.entries, key) else { return BTreeMap::new() };
        let Value::Map(entries) = &node.value else {
            self.report(key, Place::Mark(node.mark), format!("must be a mapping of keys, not {}", node.value.kind()));
            return BTreeMap::new();
        };
        let one = |entry: &'a Entry| {
            let source = Source::Node(&entry.node, Place::Mark(entry.node.mark));
            Some((entry.key.clone(), self.parse(key, source, &parser)?.value))
        };
        entries.iter().filter_map(one).collect()
    }

    /// Whether the file has the key.
    pub fn has(&self, key: &str) -> bool {
        lookup(self.entries, key).is_some()
    }

    fn finish<T>(self, read: impl FnOnce(&Self) -> Option<T>) -> Option<T> {
        let value = read(&self);
        self.refuse_unknown();
        value
    }

    /// Notes every key that nobody asked for.
    pub fn refuse_unknown(&self) {
        let asked = self.asked.borrow();
        for entry in self.entries.iter().filter(|entry| !asked.contains(&entry.key.as_str())) {
            let hint = did_you_mean(&entry.key, asked.iter().copied());
            self.report(&entry.key, Place::Mark(entry.key_mark), format!("unknown key{hint}"));
        }
    }
}
