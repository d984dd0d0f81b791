//! Names of keys and channels. All of a room's share its hash tag, so that one script may touch them in a Cluster.

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

    pub(super) fn unsettled(&self) -> String {
        format!("{}{{:unsettled}}", self.prefix)
    }

    /// What belongs to the list of unsettled rooms, in its slot.
    pub(super) fn comparing(&self, part: &str) -> String {
        self.other(":unsettled", part)
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

/// The slot of a Cluster that a key or channel belongs to: CRC-16/XMODEM of its hash tag, if it has one.
pub(super) fn slot(key: &[u8]) -> u16 {
    let tagged = key.iter().position(|&byte| byte == b'{').and_then(|open| {
        let rest = &key[open + 1..];
        let close = rest.iter().position(|&byte| byte == b'}')?;
        (close > 0).then(|| &rest[..close])
    });
    let crc = tagged.unwrap_or(key).iter().fold(0u16, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 {
                crc << 1
            } else {
                (crc << 1) ^ 0x1021
            }
        })
    });
    crc % SLOTS
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
        assert!(Keys::new("a{b}").is_err());
    }
}
