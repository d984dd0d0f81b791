//! Who holds which message, in memory: the bookkeeping of the embedded queue without its table.
//!
//! After a crash it is simply gone, and with it every claim: what is still in the table is delivered again.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use common::queue::{Delivery, QueueName, Receipt};

use crate::inbox::Inbox;

/// A row of the table, as far as delivering it needs.
pub(super) struct Row {
    pub(super) position: i64,
    pub(super) payload: Vec<u8>,
    /// How often it was handed out before and not settled.
    pub(super) attempts: u32,
}

/// A message in a consumer's hands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    pub(super) queue: QueueName,
    pub(super) position: i64,
    /// Which attempt this is, from 1.
    pub(super) attempt: u32,
    pub(super) bytes: u64,
}

struct Reader {
    queue: QueueName,
    prefetch: usize,
    inbox: Arc<Inbox>,
    /// Whether it takes more.
    open: bool,
    held: HashMap<u64, Held>,
}

impl Reader {
    fn room(&self) -> usize {
        if self.open {
            self.prefetch.saturating_sub(self.held.len())
        } else {
            0
        }
    }
}

/// Where one queue stands.
#[derive(Default)]
struct QueueCursor {
    /// Every position below was handed out since the queue was opened, or is gone.
    next: i64,
    /// The highest position that is in the table.
    tail: i64,
    /// Handed out and come back: these go first.
    again: BTreeSet<i64>,
    /// Whose turn it is among the readers.
    last_served: u64,
}

/// What a queue's readers have room for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) queue: QueueName,
    /// Positions that come again, oldest first.
    pub(super) again: Vec<i64>,
    /// From this position on ...
    pub(super) from: i64,
    /// ... at most this many.
    pub(super) fresh: usize,
}

/// All of it. One per opening of the folder.
pub(super) struct Ledger {
    epoch: u64,
    next_tag: u64,
    cursors: BTreeMap<QueueName, QueueCursor>,
    readers: BTreeMap<u64, Reader>,
}

impl Ledger {
    /// For a table whose highest positions are these.
    pub(super) fn new(epoch: u64, tails: &[(QueueName, i64)]) -> Ledger {
        let cursor = |name| {
            let tail = tails.iter().find(|(queue, _)| *queue == name);
            let tail = tail.map_or(0, |(_, tail)| *tail);
            (
                name,
                QueueCursor {
                    tail,
                    ..QueueCursor::default()
                },
            )
        };
        Ledger {
            epoch,
            next_tag: 1,
            cursors: QueueName::ALL.into_iter().map(cursor).collect(),
            readers: BTreeMap::new(),
        }
    }

    fn cursor(&mut self, queue: QueueName) -> &mut QueueCursor {
        self.cursors.entry(queue).or_default()
    }

    pub(super) fn add_reader(
        &mut self,
        id: u64,
        queue: QueueName,
        prefetch: u16,
        inbox: Arc<Inbox>,
    ) {
        let prefetch = usize::from(prefetch.max(1));
        let reader = Reader {
            queue,
            prefetch,
            inbox,
            open: true,
            held: HashMap::new(),
        };
        self.readers.insert(id, reader);
    }

    /// Positions up to here are in the table. Returns what was said before, for [`Ledger::not_appended`].
    pub(super) fn appended(&mut self, queue: QueueName, tail: i64) -> i64 {
        let cursor = self.cursor(queue);
        let before = cursor.tail;
        cursor.tail = before.max(tail);
        before
    }

    /// They are not, after all. The positions will be given to others.
    pub(super) fn not_appended(&mut self, queue: QueueName, before: i64) {
        self.cursor(queue).tail = before;
    }

    /// The queue is closed: nobody gets anything any more.
    pub(super) fn close(&mut self) {
        for reader in self.readers.values() {
            reader.inbox.close();
        }
    }

    /// Takes what the receipts name out of the reader's hands. Receipts of another opening, or used before, name
    /// nothing.
    pub(super) fn settle(&mut self, reader: u64, receipts: &[Receipt]) -> Vec<Held> {
        let epoch = self.epoch;
        let Some(reader) = self.readers.get_mut(&reader) else {
            return Vec::new();
        };
        let good = receipts.iter().filter(|receipt| receipt.epoch == epoch);
        good.filter_map(|receipt| reader.held.remove(&receipt.tag))
            .collect()
    }

    /// The reader takes no more. What it has not taken comes again, uncounted.
    pub(super) fn close_reader(&mut self, id: u64) {
        let Some(reader) = self.readers.get_mut(&id) else {
            return;
        };
        reader.open = false;
        let queue = reader.queue;
        let untaken = reader.inbox.close();
        let held = untaken
            .iter()
            .filter_map(|delivery| reader.held.remove(&delivery.receipt.tag));
        let positions: Vec<i64> = held.map(|held| held.position).collect();
        self.cursor(queue).again.extend(positions);
    }

    /// The reader is gone. Returns what it had taken and not settled: to be handed back.
    pub(super) fn remove_reader(&mut self, id: u64) -> Vec<Held> {
        self.close_reader(id);
        let reader = self.readers.remove(&id);
        reader.map_or_else(Vec::new, |reader| reader.held.into_values().collect())
    }

    /// These are to be delivered again, before any other.
    pub(super) fn come_again(&mut self, held: &[Held]) {
        for held in held {
            self.cursor(held.queue).again.insert(held.position);
        }
    }

    /// What there is room for, queue by queue.
    pub(super) fn wanted(&mut self) -> Vec<Wanted> {
        let mut wanted = Vec::new();
        for (&queue, cursor) in &self.cursors {
            let of_queue = self.readers.values().filter(|reader| reader.queue == queue);
            let room: usize = of_queue.map(Reader::room).sum();
            let again: Vec<i64> = cursor.again.iter().copied().take(room).collect();
            let fresh = if cursor.next > cursor.tail {
                0
            } else {
                room - again.len()
            };
            if !again.is_empty() || fresh > 0 {
                wanted.push(Wanted {
                    queue,
                    again,
                    from: cursor.next,
                    fresh,
                });
            }
        }
        wanted
    }

    /// Hands the rows that were asked for to the readers, in turn, each the oldest first.
    pub(super) fn hand_out(&mut self, wanted: &Wanted, rows: Vec<Row>) {
        let Some(cursor) = self.cursors.get_mut(&wanted.queue) else {
            return;
        };
        for position in &wanted.again {
            cursor.again.remove(position);
        }
        let fresh = rows
            .iter()
            .filter(|row| row.position >= wanted.from)
            .count();
        if let Some(last) = rows.last().filter(|_| fresh > 0) {
            cursor.next = cursor.next.max(last.position + 1);
        }
        if fresh < wanted.fresh {
            cursor.next = cursor.next.max(cursor.tail + 1);
        }
        let mut deliveries: BTreeMap<u64, Vec<Delivery>> = BTreeMap::new();
        for row in rows {
            let Some(id) = next_reader(&self.readers, wanted.queue, cursor.last_served) else {
                // Nobody asks for more than there is room for; if it were so, it would not be lost.
                cursor.again.insert(row.position);
                continue;
            };
            cursor.last_served = id;
            let reader = self.readers.get_mut(&id).expect("it was just found there");
            let tag = self.next_tag;
            self.next_tag += 1;
            let attempt = row.attempts + 1;
            let bytes = row.payload.len() as u64;
            reader.held.insert(
                tag,
                Held {
                    queue: wanted.queue,
                    position: row.position,
                    attempt,
                    bytes,
                },
            );
            let receipt = Receipt::new(self.epoch, tag);
            deliveries.entry(id).or_default().push(Delivery {
                payload: row.payload.into(),
                attempt,
                receipt,
            });
        }
        for (id, deliveries) in deliveries {
            // Only this task closes inboxes, and closed readers have no room.
            let refused = self.readers[&id].inbox.put(deliveries);
            debug_assert!(refused.is_empty());
        }
    }
}

/// The next reader after the one served last that has room.
fn next_reader(readers: &BTreeMap<u64, Reader>, queue: QueueName, last: u64) -> Option<u64> {
    let with_room =
        |(id, reader): (&u64, &Reader)| (reader.queue == queue && reader.room() > 0).then_some(*id);
    let after = readers.range(last + 1..).find_map(with_room);
    after.or_else(|| readers.range(..=last).find_map(with_room))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(positions: impl IntoIterator<Item = i64>) -> Vec<Row> {
        let row = |position| Row {
            position,
            payload: vec![0],
            attempts: 0,
        };
        positions.into_iter().map(row).collect()
    }

    fn ledger_with(tail: i64, prefetches: &[u16]) -> (Ledger, Vec<Arc<Inbox>>) {
        let mut ledger = Ledger::new(7, &[(QueueName::Persist, tail)]);
        let mut inboxes = Vec::new();
        for (id, prefetch) in (1..).zip(prefetches) {
            let inbox = Arc::new(Inbox::default());
            ledger.add_reader(id, QueueName::Persist, *prefetch, inbox.clone());
            inboxes.push(inbox);
        }
        (ledger, inboxes)
    }

    #[test]
    fn no_more_is_wanted_than_there_is_room_for() {
        let (mut ledger, inboxes) = ledger_with(10, &[2, 1]);
        let wanted = ledger.wanted();
        let expected = Wanted {
            queue: QueueName::Persist,
            again: vec![],
            from: 0,
            fresh: 3,
        };
        assert_eq!(wanted, [expected]);
        ledger.hand_out(&wanted[0], rows(1..=3));
        assert_eq!(inboxes[0].clear().len(), 2, "in turn, up to its prefetch");
        assert_eq!(inboxes[1].clear().len(), 1);
        assert_eq!(ledger.wanted(), [], "all hands are full");
    }

    #[test]
    fn what_comes_back_goes_first_and_a_receipt_is_good_once() {
        let (mut ledger, inboxes) = ledger_with(3, &[2]);
        let wanted = ledger.wanted().remove(0);
        ledger.hand_out(&wanted, rows([1, 2]));
        let receipts: Vec<Receipt> = inboxes[0].clear().iter().map(|one| one.receipt).collect();
        let held = ledger.settle(1, &receipts);
        assert_eq!(held.len(), 2);
        assert_eq!(ledger.settle(1, &receipts), [], "used");
        ledger.come_again(&held[..1]);
        let wanted = ledger.wanted().remove(0);
        assert_eq!(
            (wanted.again, wanted.from, wanted.fresh),
            (vec![held[0].position], 3, 1)
        );
    }

    #[test]
    fn a_reader_that_goes_leaves_nothing_behind() {
        let (mut ledger, inboxes) = ledger_with(3, &[3, 3]);
        let wanted = ledger.wanted().remove(0);
        ledger.hand_out(&wanted, rows([1, 2, 3]));
        assert_eq!(inboxes[0].clear().len(), 2, "the first reader took 1 and 3");
        ledger.close_reader(2);
        let wanted = ledger.wanted().remove(0);
        assert_eq!(wanted.again, [2], "not taken by the second one");
        let mut left = ledger.remove_reader(1);
        left.sort_by_key(|held| held.position);
        assert_eq!(
            left.iter().map(|held| held.position).collect::<Vec<_>>(),
            [1, 3]
        );
        assert_eq!(ledger.settle(1, &[Receipt::new(7, 1)]), []);
    }

    #[test]
    fn a_receipt_of_another_opening_names_nothing() {
        let (mut ledger, _inboxes) = ledger_with(1, &[1]);
        let wanted = ledger.wanted().remove(0);
        ledger.hand_out(&wanted, rows([1]));
        assert_eq!(ledger.settle(1, &[Receipt::new(6, 1)]), []);
        assert_eq!(ledger.settle(1, &[Receipt::new(7, 1)]).len(), 1);
    }
}
