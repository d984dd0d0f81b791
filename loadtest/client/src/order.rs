//! What must be so of any line of messages that somebody heard or read.

use std::collections::HashSet;

use serde_json::Value;

use crate::client::seq;

/// Checks that messages are in the order of their places, each once.
///
/// # Panics
/// If they are not.
pub fn assert_in_order(messages: &[Value]) {
    let mut ids = HashSet::new();
    let mut last = 0;
    for message in messages {
        assert!(ids.insert(message["id"].to_string()), "twice: {message}");
        assert!(last < seq(message), "out of order: {last} before {message}");
        last = seq(message);
    }
}

/// Checks that messages are in order, each once, and that each is linked to the one before by its `prev`.
///
/// # Panics
/// If they are not.
pub fn assert_one_order(messages: &[Value]) {
    assert_in_order(messages);
    let mut last = None;
    for message in messages {
        let prev = message["prev"].as_u64().expect("a prev");
        assert_eq!(
            last.unwrap_or(prev),
            prev,
            "a link is missing before {message}"
        );
        last = Some(seq(message));
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    fn message(id: u8, seq: u64, prev: u64) -> Value {
        json!({ "type": "message", "id": id, "seq": seq, "prev": prev })
    }

    fn fails(check: fn(&[Value]), messages: &[Value]) -> bool {
        catch_unwind(|| check(messages)).is_err()
    }

    #[test]
    fn what_is_twice_or_out_of_order_is_found() {
        let line = [message(1, 10, 7), message(2, 20, 10), message(3, 30, 20)];
        assert_one_order(&line);
        assert!(fails(assert_in_order, &[line[1].clone(), line[0].clone()]));
        assert!(fails(assert_in_order, &[line[0].clone(), line[0].clone()]));
        // One message at two places.
        assert!(fails(
            assert_in_order,
            &[line[0].clone(), message(1, 20, 10)]
        ));
        assert!(fails(
            assert_in_order,
            &[json!({ "id": 1 }), line[0].clone()]
        ));
    }

    #[test]
    fn a_missing_link_is_found_where_it_is_asked_for() {
        let line = [message(1, 10, 7), message(3, 30, 20)];
        assert_in_order(&line);
        assert!(fails(assert_one_order, &line));
    }
}
