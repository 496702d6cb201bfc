//! What any window of a span is answered from: the months of a few services row by row, those of
//! many services merged.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;

use super::Wanted;
use super::cache::DoraCache;
use super::known::Pin;
use super::memo::{Name, Scope};
use super::reading::{Reading, Rows};
use super::start_blocking;
use crate::config::Config;
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
        View { months: &self.months, rest: select(&self.rest.rows, &self.scope, self.first) }
    }

    /// Where nothing was ever deployed to the environments of the scope: the others that something was.
    pub fn elsewhere(&self) -> BTreeSet<String> {
        if self.first.is_some() {
            return BTreeSet::new();
        }
        self.rest.deployed_elsewhere(&self.scope.wanted, &self.scope.environments)
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
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        self.arrange_on(cores, store, config, scope, question, span).await
    }

    /// The same on so many cores.
    pub(super) async fn arrange_on(
        &self,
        cores: usize,
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
            let months = self.merged(cores, &mut conn, scope, question, &of_time).await?;
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
        cores: usize,
        conn: &mut Conn,
        scope: &Scope,
        question: &Question,
        months: &BTreeSet<Month>,
    ) -> Result<Option<Vec<(Month, Arc<Merged>)>>, StoreError> {
        let scope = Arc::new(scope.clone());
        let name = |month| Name { scope: Arc::clone(&scope), lead_from: question.lead_from, month };
        let is_cold = |month: &Month| self.memo.lock().get(&name(*month)).is_none();
        let cold: BTreeSet<Month> = months.iter().copied().filter(is_cold).collect();
        let (mut merged, mut merging) = (Vec::with_capacity(months.len()), VecDeque::new());
        // The next rows are read while others are merged, but not all of them: they take room. Of a
        // few services many months are read at once.
        let at_once = if scope.wanted == Wanted::All { 1 } else { cold.len().div_ceil(2 * cores).max(1) };
        let all: Vec<Month> = cold.iter().chain(months.difference(&cold)).copied().collect();
        let mut overtaken = false;
        for group in all.chunks(at_once) {
            let _pin = Pin::new(&self.known);
            let of_group = group.iter().copied().filter(|month| cold.contains(month)).collect();
            self.load(conn, &scope.wanted, &of_group).await?;
            let mut begun = Vec::new();
            for month in group {
                match self.begin(conn, name(*month)).await? {
                    None => overtaken = true,
                    Some(Begun::Known(known)) => merged.push((*month, known)),
                    Some(Begun::Behind(work)) => begun.push(work),
                }
            }
            if !begun.is_empty() {
                merging.push_back(merge(begun, question));
            }
            if merging.len() >= cores {
                self.finish(merging.pop_front(), &mut merged).await?;
            }
            if overtaken {
                break;
            }
        }
        while !merging.is_empty() {
            self.finish(merging.pop_front(), &mut merged).await?;
        }
        // What was merged till then is remembered.
        Ok((!overtaken).then_some(merged))
    }

    /// Looks up what was merged before, and the rows that were projected since; `None` where new
    /// facts overtook the reading.
    async fn begin(&self, conn: &mut Conn, name: Name) -> Result<Option<Begun>, StoreError> {
        let month = BTreeSet::from([name.month]);
        let wanted = &name.scope.wanted;
        let base = self.memo.lock().get(&name);
        let since = base.as_ref().map_or(i64::MIN, |(newest, _)| *newest);
        let waiting = self.known.lock().written_since(wanted, name.month, since);
        let (base, loaded) = match base {
            Some((_, merged)) if waiting.is_empty() => return Ok(Some(Begun::Known(merged))),
            Some((_, merged)) => (merged, self.load(conn, &these(&waiting), &month).await?),
            None => (Arc::new(Merged::new(name.month)), self.load(conn, wanted, &month).await?),
        };
        // At one moment: whose rows are new, the rows, and how new they are.
        let mut known = self.known.lock();
        let renewed = known.written_since(wanted, name.month, since);
        let rows = known.rows(&these(&renewed), &month).filter(|_| loaded);
        let newest = known.changed;
        Ok(rows.map(|rows| Begun::Behind(Work { name, newest, base, renewed, rows })))
    }

    async fn finish(&self, merging: Option<Merging>, merged: &mut Vec<(Month, Arc<Merged>)>) -> Result<(), StoreError> {
        let Some(merging) = merging else { return Ok(()) };
        for (name, newest, one) in merging.await? {
            merged.push((name.month, Arc::clone(&one)));
            self.memo.lock().keep(name, newest, one);
        }
        Ok(())
    }
}

/// Merges one after the other, on another thread.
fn merge(begun: Vec<Work>, question: &Question) -> Merging {
    let question = *question;
    let merged = move |work: Work| {
        let Work { name, newest, base, renewed, rows } = work;
        let one = base.renewed(&renewed, &select(&rows, &name.scope, None), &question);
        (name, newest, Arc::new(one))
    };
    Box::pin(start_blocking(move || begun.into_iter().map(merged).collect()))
}

fn select<'a>(rows: &'a [Rows], scope: &Scope, first: Option<Timestamp>) -> Selected<'a> {
    let rows = rows.iter().map(|rows| (&*rows.service, rows.month, &*rows.partition));
    Selected::new(rows, |service, environment| scope.wants(service, environment), first, scope.arrival)
}

fn these(services: &BTreeSet<Arc<str>>) -> Wanted {
    Wanted::These(services.iter().map(ToString::to_string).collect())
}

/// What each will be kept as, and the newest projection in it.
type Merging = BoxFuture<'static, Result<Vec<(Name, i64, Arc<Merged>)>, StoreError>>;

enum Begun {
    Known(Arc<Merged>),
    Behind(Work),
}

/// A merged month, and the rows that replace those of the renewed services in it.
struct Work {
    name: Name,
    newest: i64,
    base: Arc<Merged>,
    renewed: BTreeSet<Arc<str>>,
    rows: Vec<Rows>,
}
