//! Alarms whose source repeats itself and never says when it speaks: what follows from hearing one again.

use super::delivery::{IncidentEvent, IncidentStatus};
use crate::time::Timestamp;

/// What else is true of an alarm once `said` is heard; `heard` is all that is known of it, in the order in
/// which it came, and with `said` where that is `new`.
///
/// It has opened again at a resolution that another one follows, in whatever order they come; and at the
/// last one where it is heard to fire after that, unless this could be its first firing, come late.
pub fn follows(heard: &[IncidentEvent], said: &IncidentEvent, new: bool) -> Option<IncidentEvent> {
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
        _ => None,
    };
    opened_at.map(|time: Timestamp| IncidentEvent { status: IncidentStatus::Reopened, time, ..said.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EntityKey;
    use crate::event::state::fold_incident;

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
            let more = follows(&heard, &said, new).filter(|event| !heard.contains(event));
            brought.push(new || more.is_some());
            heard.extend(more);
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
        let again = [FIRING, 10, FIRING, FIRING, 10, FIRING];
        assert_eq!(hear(&again), (vec![true, true, true, false, false, false], None));
    }

    #[test]
    fn the_first_firing_may_come_late_and_ends_in_any_order() {
        assert_eq!(hear(&[10, FIRING, FIRING]), (vec![true, true, false], Some(10)));
        for order in [[FIRING, 10, 20, 30], [30, 20, 10, FIRING], [20, FIRING, 30, 10], [10, 30, FIRING, 20]] {
            assert_eq!(hear(&order), (vec![true; 4], Some(30)), "{order:?}");
        }
    }
}
