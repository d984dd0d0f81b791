//! Which delivery tags of one channel are not settled, so that many can be settled with one frame.
//!
//! An acknowledgement with `multiple` settles all tags up to its own. That may be said exactly when all of them are to
//! be settled, in the same way. A tag that is settled twice makes the broker close the channel.

use std::collections::BTreeMap;

/// The unsettled tags, each with what is kept of its delivery.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    kept: BTreeMap<u64, T>,
}

/// One frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u64,
    /// Whether it means all tags up to this one.
    pub(super) multiple: bool,
}

impl<T> Unsettled<T> {
    pub(super) fn new() -> Unsettled<T> {
        Unsettled {
            kept: BTreeMap::new(),
        }
    }

    /// A delivery came. Tags come in ascending order.
    pub(super) fn add(&mut self, tag: u64, keep: T) {
        self.kept.insert(tag, keep);
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What is kept of an unsettled delivery.
    pub(super) fn get(&self, tag: u64) -> Option<&T> {
        self.kept.get(&tag)
    }

    /// Settles these tags: returns the frames that say so, to be sent in this order and before those of any later call.
    /// Tags that are settled already are passed over.
    pub(super) fn settle(&mut self, tags: impl IntoIterator<Item = u64>) -> Vec<Frame> {
        let mut tags: Vec<u64> = tags
            .into_iter()
            .filter(|tag| self.kept.contains_key(tag))
            .collect();
        tags.sort_unstable();
        tags.dedup();
        let together = self
            .kept
            .keys()
            .zip(&tags)
            .take_while(|(oldest, tag)| oldest == tag)
            .count();
        for tag in &tags {
            self.kept.remove(tag);
        }
        let (prefix, singles) = tags.split_at(together);
        let first = prefix.last().map(|tag| Frame {
            tag: *tag,
            multiple: prefix.len() > 1,
        });
        let rest = singles.iter().map(|tag| Frame {
            tag: *tag,
            multiple: false,
        });
        first.into_iter().chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn with_tags(tags: impl IntoIterator<Item = u64>) -> Unsettled<()> {
        let mut unsettled = Unsettled::new();
        for tag in tags {
            unsettled.add(tag, ());
        }
        unsettled
    }

    fn frame(tag: u64, multiple: bool) -> Frame {
        Frame { tag, multiple }
    }

    #[test]
    fn the_oldest_ones_go_together() {
        let mut unsettled = with_tags(1..=6);
        assert_eq!(unsettled.settle([3, 1, 2]), [frame(3, true)]);
        assert_eq!(unsettled.settle([6]), [frame(6, false)]);
        assert_eq!(unsettled.settle([4, 5]), [frame(5, true)]);
    }

    #[test]
    fn a_gap_ends_what_goes_together() {
        let mut unsettled = with_tags(1..=6);
        assert_eq!(
            unsettled.settle([1, 2, 4, 5]),
            [frame(2, true), frame(4, false), frame(5, false)]
        );
        assert_eq!(
            unsettled.settle([3, 6]),
            [frame(6, true)],
            "4 and 5 are settled already"
        );
    }

    #[test]
    fn nothing_is_settled_twice() {
        let mut unsettled = with_tags(1..=3);
        assert_eq!(unsettled.settle([2, 2]), [frame(2, false)]);
        assert_eq!(unsettled.settle([2]), []);
        assert_eq!(unsettled.settle([9]), []);
        assert_eq!(unsettled.get(2), None);
        assert_eq!(unsettled.get(1), Some(&()));
    }

    proptest! {
        /// A broker that takes the frames has exactly the same tags left, and never hears of one it does not have.
        #[test]
        fn the_broker_agrees(calls in prop::collection::vec(prop::collection::vec(1_u64..40, 0..12), 0..30), count in 1_u64..40) {
            let mut unsettled = with_tags(1..=count);
            let mut broker: BTreeSet<u64> = (1..=count).collect();
            let mut expected = broker.clone();
            for tags in calls {
                for frame in unsettled.settle(tags.clone()) {
                    prop_assert!(broker.contains(&frame.tag));
                    broker.retain(|tag| if frame.multiple { *tag > frame.tag } else { *tag != frame.tag });
                }
                expected.retain(|tag| !tags.contains(tag));
                prop_assert_eq!(&broker, &expected);
            }
        }
    }
}
