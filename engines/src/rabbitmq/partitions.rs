//! The queues that each name stands for. A room's messages go to one of them, always the same while their number is, so
//! that no leader and no consumer stands in the way of all rooms. Why so, and what happens when the number changes:
//! `docs/decisions/partitions.md`.

use std::sync::LazyLock;

use common::queue::{QueueName, Route};

/// The most of each name.
pub(super) const PARTITIONS_MAX: usize = 32;

/// The names of one partition on the broker. Those of the first are as if there were no others.
struct Names {
    persist: String,
    bot_requests: String,
    message: String,
    ask: String,
}

static NAMES: LazyLock<Vec<Names>> = LazyLock::new(|| {
    let names = |partition| {
        let of = |name: &str| match partition {
            0 => name.to_owned(),
            _ => format!("{name}.{partition}"),
        };
        Names {
            persist: of(QueueName::Persist.as_str()),
            bot_requests: of(QueueName::BotRequests.as_str()),
            message: of("message"),
            ask: of("message.ask"),
        }
    };
    (0..PARTITIONS_MAX).map(names).collect()
});

/// The queue of a partition.
///
/// # Panics
/// If there is no such partition.
pub(super) fn queue(queue: QueueName, partition: usize) -> &'static str {
    let names = &NAMES[partition];
    match queue {
        QueueName::Persist => &names.persist,
        QueueName::BotRequests => &names.bot_requests,
    }
}

/// The routing key of a route in a partition.
///
/// # Panics
/// If there is no such partition.
pub(super) fn routing_key(route: Route, partition: usize) -> &'static str {
    let names = &NAMES[partition];
    match route {
        Route::Persist => &names.message,
        Route::PersistAndAsk => &names.ask,
    }
}

/// Which of so many a room is in. Where one more is added, only as many rooms move as it gets (Lamping and Veach's
/// jump consistent hash, of FNV-1a).
pub(super) fn of_room(room: &str, partitions: usize) -> usize {
    let mut key = room.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let (mut partition, mut next) = (0, 0);
    while next < partitions {
        partition = next;
        key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
        let jump = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
        next = ((partition + 1) as f64 * jump) as usize;
    }
    partition
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms() -> impl Iterator<Item = String> {
        (0..10_000).map(|number| format!("room-{number}"))
    }

    #[test]
    fn rooms_are_spread_evenly_and_no_more_move_than_have_to() {
        for partitions in 1..=PARTITIONS_MAX {
            let mut counts = vec![0_usize; partitions];
            let mut moved = 0;
            for room in rooms() {
                let now = of_room(&room, partitions);
                counts[now] += 1;
                let then = of_room(&room, partitions + 1);
                assert!(then == now || then == partitions, "{room}");
                moved += usize::from(then != now);
            }
            let share = 10_000 / partitions;
            let even = share - share / 4..=share + share / 4;
            assert!(
                counts.iter().all(|count| even.contains(count)),
                "{counts:?}"
            );
            let share = 10_000 / (partitions + 1);
            assert!((share - share / 4..=share + share / 4).contains(&moved));
        }
    }

    /// Processes of other versions have to agree.
    #[test]
    fn a_room_is_where_it_was_in_every_version() {
        let places = ["lobby", "ada", "a-room_of-64", ""]
            .map(|room| [1, 2, 4, 8, 32].map(|partitions| of_room(room, partitions)));
        assert_eq!(
            places,
            [
                [0, 1, 2, 5, 23],
                [0, 1, 3, 3, 17],
                [0, 1, 2, 2, 22],
                [0, 1, 1, 1, 17]
            ]
        );
    }

    #[test]
    fn the_first_ones_have_the_names_that_they_had() {
        assert_eq!(queue(QueueName::Persist, 0), "persist");
        assert_eq!(queue(QueueName::BotRequests, 3), "bot.requests.3");
        assert_eq!(routing_key(Route::PersistAndAsk, 0), "message.ask");
        assert_eq!(routing_key(Route::Persist, 31), "message.31");
    }
}
