//! What has to be forgotten for the rest to have room.

/// Of everything kept, (turn of its last use, bytes): the last turn whose things must go so that what
/// was used later has room; `None` where all of it has.
pub(super) fn last_to_go(mut kept: Vec<(u64, usize)>, room: usize) -> Option<u64> {
    kept.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = 0;
    kept.into_iter().find_map(|(turn, more)| {
        bytes += more;
        (bytes > room).then_some(turn)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_used_longest_ago_goes() {
        let kept = vec![(3, 10), (1, 10), (2, 10), (2, 5)];
        assert_eq!(last_to_go(kept.clone(), 35), None);
        assert_eq!(last_to_go(kept.clone(), 34), Some(1));
        // Things of one turn go together.
        assert_eq!(last_to_go(kept.clone(), 20), Some(2));
        assert_eq!(last_to_go(kept, 9), Some(3));
    }
}
