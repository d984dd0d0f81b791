//! Names of keys and channels. All of a room's share its hash tag, so that one script may touch them in a Cluster.

use std::sync::LazyLock;

/// A room's channel and keys. A room's name needs no escaping, and the names that are not a room's have a colon in
/// their tag, which no room has.
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    /// Keys and channels that begin with `prefix`.
    ///
    /// # Errors
    /// If the prefix has braces, which would be taken for the hash tag.
    pub(super) fn new(prefix: &str) -> Result<Keys, &'static str> {
        if prefix.contains(['{', '}']) {
            return Err("REDIS_PREFIX must not have { or } in it");
        }
        Ok(Keys {
            prefix: prefix.to_owned(),
        })
    }

    pub(super) fn channel(&self, room: &str) -> String {
        format!("{}{{{room}}}", self.prefix)
    }

    pub(super) fn stream(&self, room: &str) -> String {
        format!("{}{{{room}}}:stream", self.prefix)
    }

    pub(super) fn ids(&self, room: &str) -> String {
        format!("{}{{{room}}}:ids", self.prefix)
    }

    pub(super) fn present(&self, room: &str) -> String {
        format!("{}{{{room}}}:present", self.prefix)
    }

    pub(super) fn turn_queue(&self, room: &str) -> String {
        format!("{}{{{room}}}:line", self.prefix)
    }

    pub(super) fn turn(&self, room: &str) -> String {
        format!("{}{{{room}}}:turn", self.prefix)
    }

    pub(super) fn draft(&self, room: &str) -> String {
        format!("{}{{{room}}}:draft", self.prefix)
    }

    pub(super) fn changes(&self, room: &str) -> String {
        format!("{}{{{room}}}:changes", self.prefix)
    }

    pub(super) fn control(&self) -> String {
        format!("{}{{:control}}", self.prefix)
    }

    /// A part of the list of unsettled rooms, and what belongs to it, in its slot: the list of settled ones, the round of
    /// comparing, and who looks at which room.
    pub(super) fn unsettled(&self, part: ListPart) -> [String; 4] {
        let tag = match part {
            ListPart::Common => UNSETTLED.to_owned(),
            ListPart::Slot(slot) => format!("{UNSETTLED}-{}", NUMBERS[usize::from(slot)]),
        };
        let other = |part| self.other(&tag, part);
        [
            format!("{}{{{tag}}}", self.prefix),
            other("settled"),
            other("round"),
            other("looks"),
        ]
    }

    /// A key of something that is not a room: its tag has a colon.
    pub(super) fn other(&self, tag: &str, part: &str) -> String {
        format!("{}{{{tag}}}:{part}", self.prefix)
    }

    /// One of the channels that a connection is subscribed to for its own sake; `attempt` varies the slot.
    pub(super) fn canary(&self, connection: &str, attempt: usize) -> String {
        format!("{}{{:canary-{connection}-{attempt}}}", self.prefix)
    }
}

/// A part of the list of unsettled rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ListPart {
    /// All rooms have it in common.
    Common,
    /// The rooms of a slot.
    Slot(u16),
}

const UNSETTLED: &str = ":unsettled";

/// For each slot a number that, behind [`UNSETTLED`] and a hyphen, makes a tag of that slot: the first one. All processes must
/// have the same. There are some 170,000 to be tried.
static NUMBERS: LazyLock<Vec<u32>> = LazyLock::new(|| {
    let before = crc(0, format!("{UNSETTLED}-").as_bytes());
    let mut numbers = vec![None; usize::from(SLOTS)];
    let mut left = numbers.len();
    for number in 0u32.. {
        let slot = crc(before, number.to_string().as_bytes()) % SLOTS;
        let known = &mut numbers[usize::from(slot)];
        left -= usize::from(known.is_none());
        known.get_or_insert(number);
        if left == 0 {
            break;
        }
    }
    numbers.into_iter().flatten().collect()
});

/// The slot of a Cluster that a key or channel belongs to: CRC-16/XMODEM of its hash tag, if it has one.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    crc(0, tagged.unwrap_or(key)) % SLOTS
}

fn crc(before: u16, bytes: &[u8]) -> u16 {
    bytes.iter().fold(before, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    })
}

/// How many slots a Cluster has.
pub(super) const SLOTS: u16 = 16_384;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        assert_eq!(slot(b"123456789"), 0x31C3);
        assert_eq!(slot(b"foo"), 12_182);
        assert_eq!(slot(b"x{foo}:ids"), slot(b"foo"));
        assert_eq!(slot(b"x{}:ids"), slot(b"x{}:ids"));
        assert_ne!(slot(b"x{}:ids"), slot(b""));
    }

    #[test]
    fn all_of_a_room_share_a_slot_and_no_room_is_taken_for_something_else() {
        let keys = Keys::new("chinwag:").unwrap();
        let home = slot(keys.channel("lobby").as_bytes());
        for key in [
            keys.stream("lobby"),
            keys.ids("lobby"),
            keys.present("lobby"),
            keys.turn_queue("lobby"),
            keys.turn("lobby"),
            keys.draft("lobby"),
            keys.changes("lobby"),
        ] {
            assert_eq!(slot(key.as_bytes()), home);
        }
        assert_ne!(keys.channel("control"), keys.control());
        for key in keys.unsettled(ListPart::Slot(home)) {
            assert_eq!(slot(key.as_bytes()), home);
        }
        for unsettled in 0..SLOTS {
            let [list, ..] = keys.unsettled(ListPart::Slot(unsettled));
            assert_eq!(slot(list.as_bytes()), unsettled);
        }
        assert!(Keys::new("a{b}").is_err());
    }
}
