//! Payloads that travel together, as one message of the broker: what a message costs it, they cost it once. See
//! `docs/decisions/grouped-publishing.md`.

use std::io::BufRead;

use bytes::Bytes;
use lapin::BasicProperties;
use serde::Deserialize;
use uuid::Uuid;

/// The most payloads in one message, and their bytes; a larger one goes alone.
const PAYLOADS_MAX: usize = 64;
const BYTES_MAX: usize = 32 << 10;

/// The content type of one payload, and of several: one a line.
pub(super) const ALONE: &str = "application/json";
pub(super) const TOGETHER: &str = "application/x-ndjson";

/// How many of these, from the first on, are to travel together. At least one, if there is one.
pub(super) fn how_many<'a>(payloads: impl IntoIterator<Item = &'a [u8]>) -> usize {
    let mut bytes = 0;
    let fits = payloads.into_iter().take(PAYLOADS_MAX).take_while(|line| {
        bytes += line.len() + 1;
        bytes <= BYTES_MAX && !line.is_empty() && !line.contains(&b'\n')
    });
    fits.count().max(1)
}

/// One message's body.
pub(super) fn join<'a>(payloads: impl Iterator<Item = &'a [u8]> + Clone) -> Bytes {
    let bytes = payloads.clone().map(|payload| payload.len() + 1).sum();
    let mut body = Vec::with_capacity(bytes);
    for payload in payloads {
        if !body.is_empty() {
            body.push(b'\n');
        }
        body.extend_from_slice(payload);
    }
    body.into()
}

/// The payloads of a message: slices of its body, so that one that is held holds them all. At least one.
pub(super) fn split(properties: &BasicProperties, body: Bytes) -> impl Iterator<Item = Bytes> {
    let together = is_group(properties);
    let mut left = Some(body);
    std::iter::from_fn(move || {
        let mut line = left.take()?;
        if !together {
            return Some(line);
        }
        let end = (&line[..]).skip_until(b'\n').unwrap_or(line.len());
        let rest = line.split_off(end);
        if line.last() == Some(&b'\n') {
            line.truncate(end - 1);
        }
        left = (!rest.is_empty()).then_some(rest);
        Some(line)
    })
}

/// The properties that one payload of a message has when it goes on alone.
pub(super) fn part_alone(properties: &BasicProperties, payload: &[u8]) -> BasicProperties {
    let properties = properties.clone();
    if !is_group(&properties) {
        return properties;
    }
    let properties = properties.with_content_type(ALONE.into());
    match serde_json::from_slice::<Named>(payload) {
        Ok(named) => properties.with_message_id(named.message.id.to_string().into()),
        // It keeps the group's: the first one's.
        Err(_) => properties,
    }
}

fn is_group(properties: &BasicProperties) -> bool {
    let content_type = properties.content_type().as_ref();
    content_type.is_some_and(|content_type| content_type.as_str() == TOGETHER)
}

/// As much of an envelope as tells which message it is.
#[derive(Deserialize)]
struct Named {
    message: Message,
}

#[derive(Deserialize)]
struct Message {
    id: Uuid,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of_type(content_type: &str) -> BasicProperties {
        BasicProperties::default()
            .with_message_id("the first".into())
            .with_content_type(content_type.into())
    }

    fn lines(content_type: &str, body: &'static str) -> Vec<Bytes> {
        split(&of_type(content_type), Bytes::from(body)).collect()
    }

    #[test]
    fn only_a_group_is_split() {
        assert_eq!(lines(TOGETHER, "a\nb"), ["a", "b"]);
        assert_eq!(lines(ALONE, "a\nb"), ["a\nb"]);
        let bare = BasicProperties::default();
        assert_eq!(
            split(&bare, Bytes::from("a\nb")).collect::<Vec<_>>(),
            ["a\nb"]
        );
    }

    #[test]
    fn a_message_has_at_least_one_payload() {
        for content_type in [ALONE, TOGETHER] {
            assert_eq!(lines(content_type, ""), [""]);
        }
        assert_eq!(lines(TOGETHER, "\n"), [""]);
        assert_eq!(lines(TOGETHER, "a\n"), ["a"]);
    }

    #[test]
    fn what_is_too_large_or_not_one_line_goes_alone() {
        let large = vec![b'x'; BYTES_MAX];
        let half = vec![b'x'; BYTES_MAX / 2];
        assert_eq!(how_many([&large[..], b"a"]), 1);
        assert_eq!(how_many([b"a", b"b", &large[..]]), 2);
        assert_eq!(how_many([&half[..], &half]), 1, "a byte between them");
        assert_eq!(how_many([&b"a\nb"[..], b"c"]), 1);
        assert_eq!(how_many([&b"a"[..], b"", b"c"]), 1);
        assert_eq!(how_many([&b""[..], b"c"]), 1);
        assert_eq!(how_many([&b"a"[..]; 1_000]), PAYLOADS_MAX);
    }

    #[test]
    fn a_part_that_goes_on_alone_has_its_own_id() {
        let id = "0192f0c1-2345-7abc-8def-0123456789ab";
        let payload = format!(r#"{{"v":1,"message":{{"room":"lobby","id":"{id}"}}}}"#);
        let told = |properties: &BasicProperties, payload: &[u8]| {
            let alone = part_alone(properties, payload);
            (
                alone.message_id().clone().expect("it has one").to_string(),
                alone
                    .content_type()
                    .clone()
                    .expect("it has one")
                    .to_string(),
            )
        };
        let group = of_type(TOGETHER);
        let own = (id.to_owned(), ALONE.to_owned());
        assert_eq!(told(&group, payload.as_bytes()), own);
        let of_the_group = ("the first".to_owned(), ALONE.to_owned());
        assert_eq!(told(&group, b"garbage"), of_the_group);
        assert_eq!(told(&of_type(ALONE), payload.as_bytes()), of_the_group);
    }

    proptest! {
        #[test]
        fn what_was_joined_is_split_into_the_same(lengths in prop::collection::vec(1_usize..900, 1..200)) {
            let payloads: Vec<String> = lengths.into_iter().map(|length| "é\t".repeat(length)).collect();
            let mut left = &payloads[..];
            while !left.is_empty() {
                let count = how_many(left.iter().map(String::as_bytes));
                let (now, later) = left.split_at(count);
                let body = join(now.iter().map(String::as_bytes));
                prop_assert!(count <= PAYLOADS_MAX && (count == 1 || body.len() <= BYTES_MAX));
                let back: Vec<Bytes> = split(&of_type(TOGETHER), body).collect();
                prop_assert_eq!(back, now);
                left = later;
            }
        }
    }
}
