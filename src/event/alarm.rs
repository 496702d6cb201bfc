//! Alarms whose source repeats itself and never says when it speaks: what follows from hearing one again.

use super::delivery::{IncidentEvent, IncidentStatus};

/// What follows from hearing something of an alarm: that it opened again, told by nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inferred {
    Reopened(IncidentEvent),
    /// It did not, after all.
    TakenBack(IncidentEvent),
}

/// What else is true of an alarm once `said` is heard; `heard` is all that is known of it, in the order in
/// which it came, and with `said` where that is `new`.
///
/// It has opened again at a resolution that another one follows, in whatever order they come; and at the
/// last one where it is heard to fire after that, unless this could be its first firing, come late. It has
/// not where that last resolution is told once more: what seemed to fire again was an old message.
pub fn follows(heard: &[IncidentEvent], said: &IncidentEvent, new: bool) -> Option<Inferred> {
    let ends = || heard.iter().filter(|event| event.status == IncidentStatus::Resolved).map(|event| event.time);
    let last = ends().max()?;
    let opened_at = match said.status {
        IncidentStatus::Opened if !new => {
            let told = |event: &&IncidentEvent| event.status != IncidentStatus::Reopened || event.time >= last;
            let newest = heard.iter().rev().find(told)?;
            (newest.status == IncidentStatus::Resolved).then_some(last)
        }
        IncidentStatus::Resolved if new && said.time < last => Some(said.time),
        IncidentStatus::Resolved if new => ends().filter(|end| *end < said.time).max(),
        IncidentStatus::Resolved if said.time == last => {
            let reopened = |event: &&IncidentEvent| event.status == IncidentStatus::Reopened && event.time == last;
            return heard.iter().find(reopened).cloned().map(Inferred::TakenBack);
        }
        _ => None,
    };
    let reopened = |time| IncidentEvent { status: IncidentStatus::Reopened, time, ..said.clone() };
    opened_at.map(reopened).map(Inferred::Reopened)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EntityKey;
    use crate::event::state::fold_incident;
    use crate::time::Timestamp;

    const FIRING: i64 = 0;

    /// Hears an alarm that began at 0: 0 fires, another number is its end. Answers what was new, and when it
    /// ended at last.
    fn hear(notices: &[i64]) -> (Vec<bool>, Option<i64>) {
        let key = EntityKey { source: "alertmanager".to_owned(), id: "a".to_owned() };
        let mut heard: Vec<IncidentEvent> = Vec::new();
        let mut brought = Vec::new();
        for second in notices {
            let status = if *second == FIRING { IncidentStatus::Opened } else { IncidentStatus::Resolved };
            let started_at = Some(Timestamp::from_seconds(0));
            let event = IncidentEvent::new(key.clone(), Timestamp::from_seconds(*second), status);
            let said = IncidentEvent { started_at, ..event };
            let new = !heard.contains(&said);
            heard.extend(new.then(|| said.clone()));
            let known = heard.len();
            match follows(&heard, &said, new) {
                Some(Inferred::Reopened(more)) if !heard.contains(&more) => heard.push(more),
                Some(Inferred::TakenBack(less)) => heard.retain(|event| *event != less),
                _ => {}
            }
            brought.push(new || heard.len() != known);
        }
        let state = fold_incident(&heard, &[]).unwrap();
        (brought, state.resolved_at.map(Timestamp::seconds))
    }

    #[test]
    fn what_fires_after_its_end_is_open_again() {
        assert_eq!(hear(&[FIRING, 10, FIRING]), (vec![true; 3], None));
        assert_eq!(hear(&[FIRING, 10, FIRING, 20]), (vec![true; 4], Some(20)));
        assert_eq!(hear(&[FIRING, 10, FIRING, 20, FIRING]), (vec![true; 5], None));
    }

    #[test]
    fn repetitions_say_nothing_new() {
        assert_eq!(hear(&[FIRING, FIRING, 10, 10]), (vec![true, false, true, false], Some(10)));
        assert_eq!(hear(&[FIRING, 10, FIRING, FIRING]), (vec![true, true, true, false], None));
    }

    #[test]
    fn an_old_message_that_it_fires_opens_it_until_its_end_is_told_again() {
        assert_eq!(hear(&[FIRING, 10, FIRING, 10]), (vec![true; 4], Some(10)));
        assert_eq!(hear(&[FIRING, 10, FIRING, 10, 10]), (vec![true, true, true, true, false], Some(10)));
        assert_eq!(hear(&[FIRING, 10, FIRING, 10, FIRING]), (vec![true; 5], None));
        assert_eq!(hear(&[FIRING, 10, FIRING, 10, FIRING, 10]), (vec![true; 6], Some(10)));
        assert_eq!(hear(&[FIRING, 10, FIRING, 10, FIRING, 20]), (vec![true; 6], Some(20)));
        assert_eq!(
            hear(&[FIRING, 10, 20, FIRING, 10]),
            (vec![true, true, true, true, false], None),
            "not its last end"
        );
    }

    /// What was heard last, whatever else was heard and how often.
    #[test]
    fn the_newest_word_about_the_last_end_holds() {
        let after_the_first = [FIRING, 10, 10, 20, 20];
        orders(&after_the_first, &mut Vec::new(), &mut |rest| {
            let order = [&[FIRING], rest].concat();
            let newest = order.iter().rev().find(|second| **second != 10).copied();
            assert_eq!(hear(&order).1, newest.filter(|second| *second == 20), "{order:?}");
        });
    }

    fn orders(left: &[i64], order: &mut Vec<i64>, with: &mut impl FnMut(&[i64])) {
        if left.is_empty() {
            return with(order);
        }
        for index in 0..left.len() {
            let mut left = left.to_vec();
            order.push(left.remove(index));
            orders(&left, order, with);
            order.pop();
        }
    }

    #[test]
    fn the_first_firing_may_come_late_and_ends_in_any_order() {
        assert_eq!(hear(&[10, FIRING, FIRING]), (vec![true, true, false], Some(10)));
        for order in [[FIRING, 10, 20, 30], [30, 20, 10, FIRING], [20, FIRING, 30, 10], [10, 30, FIRING, 20]] {
            assert_eq!(hear(&order), (vec![true; 4], Some(30)), "{order:?}");
        }
    }
}
