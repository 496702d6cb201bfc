//! What any window of a span is answered from: the months of a few services row by row, those of
//! many services merged.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Wanted;
use super::cache::DoraCache;
use super::memo::{Name, Scope};
use super::reading::Reading;
use super::start_blocking;
use crate::config::Config;
use crate::dora::Rules;
use crate::dora::calendar::Window;
use crate::dora::count::{Question, months};
use crate::dora::merged::Merged;
use crate::dora::month::Month;
use crate::dora::select::Selected;
use crate::dora::tally::Tallies;
use crate::store::{Conn, Store, StoreError};
use crate::time::Timestamp;

/// A reading that new facts overtake is repeated so often.
pub(super) const ATTEMPTS: usize = 10;

/// The rows of a scope in a span.
pub struct Arranged {
    scope: Scope,
    months: Vec<(Month, Arc<Merged>)>,
    /// What is not merged: of many services, what lasts from one month into another.
    rest: Reading,
    /// The first deployment of the scope in all its history.
    pub first: Option<Timestamp>,
}

/// The same, ready to be asked.
pub struct View<'a> {
    months: &'a [(Month, Arc<Merged>)],
    rest: Selected<'a>,
}

impl Arranged {
    pub fn view(&self) -> View<'_> {
        let rows = self.rest.rows.iter().map(|rows| (&*rows.service, rows.month, &*rows.partition));
        let wanted = |service: &str, environment: &str| self.scope.wants(service, environment);
        View { months: &self.months, rest: Selected::new(rows, wanted, self.first, self.scope.arrival) }
    }
}

impl View<'_> {
    /// What the rows add up to in the window of a question, which lies in the span; with `details`,
    /// also what only the answers for the window itself need.
    pub fn tallies(&self, question: &Question, details: bool) -> Tallies {
        let mut tallies = Tallies::of(&self.rest, question, details);
        let touched = months(question.window);
        for (_, merged) in self.months.iter().filter(|(month, _)| touched.contains(month)) {
            tallies.share(&merged.tallies(question, details));
        }
        tallies
    }
}

impl DoraCache {
    /// The rows of a scope for questions like this one in any window of the span, with at least
    /// every fact committed before.
    ///
    /// # Errors
    /// The database does not answer, or holds what cannot be read.
    pub async fn arrange(
        &self,
        store: &Store,
        config: &Arc<Config>,
        scope: &Scope,
        question: &Question,
        span: Window,
    ) -> Result<Arranged, StoreError> {
        for _ in 0..ATTEMPTS {
            let (mut conn, rules) = self.up_to_date(store, config, &scope.wanted).await?;
            let (all, at) = {
                let known = self.known.lock();
                (known.months(span), known.changed)
            };
            let (lasting, of_time): (BTreeSet<Month>, BTreeSet<Month>) =
                all.iter().partition(|month| !scope.is_wide() || !month.is_real());
            let months = self.merged(&mut conn, &rules, scope, question, &of_time).await?;
            let rest = self.rows(&mut conn, &scope.wanted, &lasting).await?;
            self.refresh(&mut conn).await?;
            let overtaken = self.known.lock().newest(&scope.wanted, &all).is_some_and(|newest| newest > at);
            if let (Some(months), Some(rest), false) = (months, rest, overtaken) {
                let rest = self.known.lock().reading(rules, rest);
                let first = rest.first_deployment(|service, environment| scope.wants(service, environment));
                return Ok(Arranged { scope: scope.clone(), months, rest, first });
            }
        }
        Err(StoreError::Busy)
    }

    /// The months, each merged; `None` where new facts overtook the reading.
    async fn merged(
        &self,
        conn: &mut Conn,
        rules: &Arc<Rules>,
        scope: &Scope,
        question: &Question,
        months: &BTreeSet<Month>,
    ) -> Result<Option<Vec<(Month, Arc<Merged>)>>, StoreError> {
        let name = |month| Name { scope: scope.clone(), lead_from: question.lead_from, month };
        if let Wanted::These(_) = &scope.wanted {
            // Of a few services, all that was never merged is read at once.
            let cold = months.iter().copied().filter(|month| self.memo.lock().get(&name(*month)).is_none()).collect();
            self.load(conn, &scope.wanted, &cold).await?;
        }
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut merged, mut merging) = (Vec::with_capacity(months.len()), VecDeque::new());
        for month in months {
            match self.begin(conn, rules, name(*month), question).await? {
                None => return Ok(None),
                Some(Begun::Known(known)) => merged.push((*month, known)),
                Some(Begun::Merging(begun)) => merging.push_back(begun),
            }
            // The next rows are read while others are merged, but not all of them: they take room.
            if merging.len() > cores {
                self.finish(&mut merging, &mut merged).await?;
            }
        }
        while !merging.is_empty() {
            self.finish(&mut merging, &mut merged).await?;
        }
        Ok(Some(merged))
    }

    /// Looks up what was merged before, and begins to add what was projected since; `None` where new
    /// facts overtook the reading.
    async fn begin(
        &self,
        conn: &mut Conn,
        rules: &Arc<Rules>,
        name: Name,
        question: &Question,
    ) -> Result<Option<Begun>, StoreError> {
        let (scope, question) = (name.scope.clone(), *question);
        let month = BTreeSet::from([name.month]);
        let base = self.memo.lock().get(&name);
        let since = base.as_ref().map_or(i64::MIN, |(newest, _)| *newest);
        let waiting = self.known.lock().written_since(&scope.wanted, name.month, since);
        let (base, loaded) = match base {
            Some((_, merged)) if waiting.is_empty() => return Ok(Some(Begun::Known(merged))),
            Some((_, merged)) => (merged, self.load(conn, &these(&waiting), &month).await?),
            None => (Arc::new(Merged::new(name.month)), self.load(conn, &scope.wanted, &month).await?),
        };
        // At one moment: whose rows are new, the rows, and how new they are.
        let (renewed, rows, newest) = {
            let mut known = self.known.lock();
            let renewed = known.written_since(&scope.wanted, name.month, since);
            let rows = known.rows(&these(&renewed), &month).filter(|_| loaded);
            (renewed, rows, known.changed)
        };
        let Some(rows) = rows else { return Ok(None) };
        let reading = self.known.lock().reading(Arc::clone(rules), rows);
        let merging = start_blocking(move || {
            let selected = reading.select(|service, environment| scope.wants(service, environment), scope.arrival);
            Arc::new(base.renewed(&renewed, &selected, &question))
        });
        Ok(Some(Begun::Merging((name, newest, Box::pin(merging)))))
    }

    /// Waits for what was begun first.
    async fn finish(
        &self,
        merging: &mut VecDeque<Merging>,
        merged: &mut Vec<(Month, Arc<Merged>)>,
    ) -> Result<(), StoreError> {
        let Some((name, newest, working)) = merging.pop_front() else { return Ok(()) };
        let one = working.await?;
        merged.push((name.month, Arc::clone(&one)));
        self.memo.lock().keep(name, newest, one);
        Ok(())
    }
}

fn these(services: &BTreeSet<Arc<str>>) -> Wanted {
    Wanted::These(services.iter().map(ToString::to_string).collect())
}

/// What it will be kept as, and the newest projection in it.
type Merging = (Name, i64, BoxFuture<'static, Result<Arc<Merged>, StoreError>>);

enum Begun {
    Known(Arc<Merged>),
    Merging(Merging),
}
