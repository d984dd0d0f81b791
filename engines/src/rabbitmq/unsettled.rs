//! Which deliveries of one channel are not settled, so that many can be settled with one frame.
//!
//! A delivery has one part or several; the broker is told of it when all of them are settled. An acknowledgement with
//! `multiple` settles all tags up to its own. That may be said exactly when all of them are to be settled, in the same
//! way. A tag that is settled twice makes the broker close the channel.
//!
//! What is handed back goes one by one: from RabbitMQ 4.3 on only a `basic.reject`, which knows no `multiple`, counts
//! towards the delivery limit, and not a `basic.nack`. Before, both did.

use std::collections::BTreeMap;

/// The unsettled tags, each with what is kept of its delivery.
#[derive(Debug)]
pub(super) struct Unsettled<T> {
    kept: BTreeMap<u64, Kept<T>>,
}

#[derive(Debug)]
struct Kept<T> {
    delivery: T,
    /// Which of its parts are not settled, and how many that are.
    open: Vec<bool>,
    left: usize,
    /// Whether a part of it is to come again: then all of it does.
    back: bool,
}

/// How parts are settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settlement {
    Done,
    Back,
}

/// One frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) tag: u64,
    pub(super) settlement: Settlement,
    /// Whether it means all tags up to this one.
    pub(super) multiple: bool,
}

impl<T> Unsettled<T> {
    pub(super) fn new() -> Unsettled<T> {
        Unsettled {
            kept: BTreeMap::new(),
        }
    }

    /// A delivery of so many parts came. Tags come in ascending order.
    pub(super) fn add(&mut self, tag: u64, parts: usize, delivery: T) {
        let kept = Kept {
            delivery,
            open: vec![true; parts],
            left: parts,
            back: false,
        };
        self.kept.insert(tag, kept);
    }

    /// How many deliveries.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What is kept of the delivery of an unsettled part.
    pub(super) fn get(&self, tag: u64, part: u32) -> Option<&T> {
        let kept = self.kept.get(&tag)?;
        kept.open.get(part as usize)?.then_some(&kept.delivery)
    }

    /// Settles these parts, each a tag and which part of it: returns the frames that say so, to be sent in this order
    /// and before those of any later call. Parts that are settled already are passed over.
    pub(super) fn settle(
        &mut self,
        parts: impl IntoIterator<Item = (u64, u32)>,
        settlement: Settlement,
    ) -> Vec<Frame> {
        let mut whole = Vec::new();
        for (tag, part) in parts {
            let Some(kept) = self.kept.get_mut(&tag) else {
                continue;
            };
            let Some(open @ true) = kept.open.get_mut(part as usize) else {
                continue;
            };
            *open = false;
            kept.left -= 1;
            kept.back |= settlement == Settlement::Back;
            if kept.left == 0 {
                whole.push((
                    tag,
                    if kept.back {
                        Settlement::Back
                    } else {
                        Settlement::Done
                    },
                ));
            }
        }
        whole.sort_unstable_by_key(|(tag, _)| *tag);
        let together = self
            .kept
            .keys()
            .zip(&whole)
            .take_while(|(oldest, (tag, settlement))| {
                *oldest == tag && *settlement == Settlement::Done
            })
            .count();
        for (tag, _) in &whole {
            self.kept.remove(tag);
        }
        let (prefix, singles) = whole.split_at(together);
        let frame = |tag, settlement, multiple| Frame {
            tag,
            settlement,
            multiple,
        };
        let first = prefix
            .last()
            .map(|(tag, settlement)| frame(*tag, *settlement, prefix.len() > 1));
        let rest = singles
            .iter()
            .map(|(tag, settlement)| frame(*tag, *settlement, false));
        first.into_iter().chain(rest).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn with_tags(tags: impl IntoIterator<Item = u64>) -> Unsettled<()> {
        let mut unsettled = Unsettled::new();
        for tag in tags {
            unsettled.add(tag, 1, ());
        }
        unsettled
    }

    fn settle<const N: usize>(unsettled: &mut Unsettled<()>, tags: [u64; N]) -> Vec<Frame> {
        unsettled.settle(tags.map(|tag| (tag, 0)), Settlement::Done)
    }

    fn frame(tag: u64, multiple: bool) -> Frame {
        Frame {
            tag,
            settlement: Settlement::Done,
            multiple,
        }
    }

    #[test]
    fn the_oldest_ones_go_together() {
        let mut unsettled = with_tags(1..=6);
        assert_eq!(settle(&mut unsettled, [3, 1, 2]), [frame(3, true)]);
        assert_eq!(settle(&mut unsettled, [6]), [frame(6, false)]);
        assert_eq!(settle(&mut unsettled, [4, 5]), [frame(5, true)]);
    }

    #[test]
    fn a_gap_ends_what_goes_together() {
        let mut unsettled = with_tags(1..=6);
        assert_eq!(
            settle(&mut unsettled, [1, 2, 4, 5]),
            [frame(2, true), frame(4, false), frame(5, false)]
        );
        assert_eq!(
            settle(&mut unsettled, [3, 6]),
            [frame(6, true)],
            "4 and 5 are settled already"
        );
    }

    #[test]
    fn nothing_is_settled_twice() {
        let mut unsettled = with_tags(1..=3);
        assert_eq!(settle(&mut unsettled, [2, 2]), [frame(2, false)]);
        assert_eq!(settle(&mut unsettled, [2]), []);
        assert_eq!(settle(&mut unsettled, [9]), []);
        assert_eq!(unsettled.get(2, 0), None);
        assert_eq!(unsettled.get(1, 0), Some(&()));
    }

    #[test]
    fn the_broker_is_told_of_a_delivery_when_all_its_parts_are_settled() {
        let mut unsettled = Unsettled::new();
        unsettled.add(1, 3, ());
        unsettled.add(2, 1, ());
        assert_eq!(
            unsettled.settle([(1, 0), (1, 2), (1, 2)], Settlement::Done),
            []
        );
        assert_eq!(
            (unsettled.get(1, 0), unsettled.get(1, 1)),
            (None, Some(&()))
        );
        assert_eq!(
            unsettled.settle([(1, 3)], Settlement::Done),
            [],
            "there is no such part"
        );
        assert_eq!(
            unsettled.settle([(2, 0), (1, 1)], Settlement::Done),
            [frame(2, true)]
        );
        assert_eq!(unsettled.len(), 0);
    }

    #[test]
    fn a_part_that_is_handed_back_takes_its_delivery_with_it() {
        let mut unsettled = Unsettled::new();
        unsettled.add(1, 2, ());
        unsettled.add(2, 2, ());
        assert_eq!(
            unsettled.settle([(1, 1)], Settlement::Back),
            [],
            "not while the other is in hand"
        );
        let back = Frame {
            tag: 1,
            settlement: Settlement::Back,
            multiple: false,
        };
        assert_eq!(
            unsettled.settle([(1, 0), (2, 0), (2, 1)], Settlement::Done),
            [back, frame(2, false)],
            "each in its own way"
        );
    }

    #[test]
    fn what_is_handed_back_goes_one_by_one() {
        let mut unsettled = with_tags(1..=4);
        let back = |tag| Frame {
            tag,
            settlement: Settlement::Back,
            multiple: false,
        };
        assert_eq!(
            unsettled.settle([(1, 0), (2, 0), (3, 0)], Settlement::Back),
            [back(1), back(2), back(3)]
        );
        assert_eq!(settle(&mut unsettled, [4]), [frame(4, false)]);
    }

    proptest! {
        /// A broker that takes the frames has exactly the deliveries left that have an unsettled part, is never told of
        /// one it does not have, and gets those back of which a part was handed back.
        #[test]
        fn the_broker_agrees(
            sizes in prop::collection::vec(1_u32..4, 1..30),
            calls in prop::collection::vec((prop::collection::vec((1_u64..30, 0_u32..4), 0..24), any::<bool>()), 0..30),
        ) {
            let mut unsettled = Unsettled::new();
            // Each with its open parts, and whether one of the others was handed back.
            let mut expected = BTreeMap::new();
            for (tag, size) in (1..).zip(&sizes) {
                unsettled.add(tag, *size as usize, ());
                expected.insert(tag, ((0..*size).collect::<Vec<_>>(), false));
            }
            let mut broker: Vec<u64> = expected.keys().copied().collect();
            for (parts, back) in calls {
                let settlement = if back { Settlement::Back } else { Settlement::Done };
                let frames = unsettled.settle(parts.clone(), settlement);
                for (tag, part) in parts {
                    if let Some((open, any_back)) = expected.get_mut(&tag) && open.contains(&part) {
                        open.retain(|one| *one != part);
                        *any_back |= back;
                    }
                }
                for frame in frames {
                    prop_assert!(broker.contains(&frame.tag));
                    prop_assert!(!(frame.multiple && frame.settlement == Settlement::Back));
                    let (settled, left) = broker.into_iter().partition::<Vec<_>, _>(|tag| {
                        if frame.multiple { *tag <= frame.tag } else { *tag == frame.tag }
                    });
                    broker = left;
                    for tag in settled {
                        let (open, any_back) = &expected[&tag];
                        prop_assert!(open.is_empty());
                        prop_assert_eq!(*any_back, frame.settlement == Settlement::Back);
                    }
                }
                expected.retain(|_, (open, _)| !open.is_empty());
                prop_assert_eq!(&broker, &expected.keys().copied().collect::<Vec<_>>());
            }
        }
    }
}
