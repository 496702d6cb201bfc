//! How far an import is, in a small file: an interrupted one goes on, the next one looks at what
//! is new.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::cli::Failure;
use crate::time::Timestamp;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Kept {
    /// What is imported from where to where: another import begins anew.
    of: String,
    /// When the last import that came to its end began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    complete_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    running: Option<Running>,
}

/// An import that has not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub began_at: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Lists, with the page each goes on at; `None` where it is done.
    #[serde(default)]
    lists: BTreeMap<String, Option<String>>,
}

/// Where a list goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    Beginning,
    Page(String),
    Done,
}

pub struct Progress {
    path: PathBuf,
    kept: Kept,
    pub running: Running,
}

impl Progress {
    /// # Errors
    /// There is a file that cannot be read.
    pub fn open(path: PathBuf, of: String, since: Option<Timestamp>, now: Timestamp) -> Result<Self, Failure> {
        let kept = match std::fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
                Failure::Refused(format!("{} is not the state of an import: {error}; remove it", path.display()))
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Kept::default(),
            Err(error) => return Err(Failure::Refused(format!("{}: {error}", path.display()))),
        };
        let kept = if kept.of == of { kept } else { Kept { of, ..Kept::default() } };
        let running = going_on(&kept, since, now);
        Ok(Self { path, kept, running })
    }

    pub fn place(&self, list: &str) -> Place {
        match self.running.lists.get(list) {
            None => Place::Beginning,
            Some(Some(page)) => Place::Page(page.clone()),
            Some(None) => Place::Done,
        }
    }

    /// Notes that a list is sent up to `next`, or to its end.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn note(&mut self, list: &str, next: Option<String>) -> Result<(), Failure> {
        self.running.lists.insert(list.to_owned(), next);
        self.save(&Kept { running: Some(self.running.clone()), ..self.kept.clone() })
    }

    /// `complete`: nothing was refused; else the next import begins where this one did.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn finish(self, complete: bool) -> Result<(), Failure> {
        let until = if complete { Some(self.running.began_at) } else { self.kept.complete_until };
        self.save(&Kept { complete_until: until, running: None, ..self.kept.clone() })
    }

    fn save(&self, kept: &Kept) -> Result<(), Failure> {
        let told = |error: std::io::Error| {
            Failure::Refused(format!("{}: {error}; --state names another place", self.path.display()))
        };
        let json = serde_json::to_vec_pretty(kept).map_err(std::io::Error::from)?;
        // Whole or not at all, whenever it is interrupted.
        let new = self.path.with_extension("new");
        std::fs::write(&new, json).map_err(told)?;
        std::fs::rename(&new, &self.path).map_err(told)
    }
}

/// Goes on with what was interrupted, unless something else is asked for.
fn going_on(kept: &Kept, since: Option<Timestamp>, now: Timestamp) -> Running {
    match &kept.running {
        Some(running) if since.is_none() || running.since == since => running.clone(),
        _ => Running { began_at: now, since: since.or(kept.complete_until), lists: BTreeMap::new() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_import_goes_on_and_a_complete_one_begins_where_it_began() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state.json");
        let open =
            |since, now| Progress::open(path.clone(), "a".to_owned(), since, Timestamp::from_seconds(now)).unwrap();
        let mut first = open(None, 10);
        assert_eq!((first.running.since, first.place("pulls")), (None, Place::Beginning));
        first.note("commits", None).unwrap();
        first.note("pulls", Some("page 2".to_owned())).unwrap();
        let again = open(None, 20);
        assert_eq!((again.place("commits"), again.place("pulls")), (Place::Done, Place::Page("page 2".to_owned())));
        assert_eq!(again.running.began_at, Timestamp::from_seconds(10));
        let other = open(Some(Timestamp::from_seconds(5)), 20);
        assert_eq!(other.place("commits"), Place::Beginning, "something else was asked for");
        again.finish(true).unwrap();
        let next = open(None, 30);
        assert_eq!((next.running.since, next.place("commits")), (Some(Timestamp::from_seconds(10)), Place::Beginning));
        let elsewhere = Progress::open(path.clone(), "b".to_owned(), None, Timestamp::from_seconds(40)).unwrap();
        assert_eq!(elsewhere.running.since, None);
        std::fs::write(&path, "{").unwrap();
        assert!(Progress::open(path.clone(), "a".to_owned(), None, Timestamp::default()).is_err());
    }
}
