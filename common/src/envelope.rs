//! What lies in the queues: a message with its `seq`, and, with a reply, how it came about.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    traces::{self, TraceContext},
    wire::{Message, Seq, to_json},
};

/// The version written now. Older ones are still read until the queues that may hold them are drained.
pub const ENVELOPE_VERSION: u32 = 1;

/// One payload, the same in `persist` and in `bot.requests`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// [`ENVELOPE_VERSION`].
    pub v: u32,
    /// The message, field for field as it was shown.
    pub message: Message,
    /// With a reply: how it came about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<ReplyLog>,
    /// With a request that has been answered and is to be answered again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub again: Option<Again>,
    /// Where what becomes of it hangs in a trace, if it is traced. Behind all else, see [`traced`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "traces::read_if_any"
    )]
    pub trace: Option<TraceContext>,
}

/// A wish for another answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Again {
    /// The reply after which another is wanted. The new one's id follows from it, so that any number of wishes after
    /// one reply bring one more.
    pub after: Uuid,
    /// When it was wished for, in microseconds since the Unix epoch: the deadline counts from here.
    pub at: Seq,
    /// Who wished for it: what it uses is theirs. Where it does not say, which is what services of the version before
    /// have written, whoever asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
}

/// How a reply came about: what a conversation log needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplyLog {
    /// The request's id.
    pub request: Uuid,
    /// Who asked, or asked again.
    #[serde(default)]
    pub user: String,
    /// The model that answered, or was tried last; empty if none was asked.
    pub model: String,
    /// Calls made to models.
    pub attempts: u32,
    /// Tokens of the prompt, as the model counted them.
    pub tokens_in: u32,
    /// Tokens of the answer and of the thoughts before it.
    pub tokens_out: u32,
    /// From the request's arrival at the worker to the first word that people saw, in milliseconds; none if there was
    /// no word of a model.
    #[serde(default)]
    pub first_token_ms: Option<u64>,
    /// From the request's arrival at the worker to the finished text, in milliseconds.
    pub total_ms: u64,
    /// What it is estimated to have cost, in millionths of the price table's currency; none if the table does not have
    /// the model, or no model was asked.
    #[serde(default)]
    pub cost_micros: Option<u64>,
    /// `answered`, or why there is a fallback, in one snake_case word.
    pub outcome: String,
    /// What else is known of what it has used.
    #[serde(default, skip_serializing_if = "ReplyDetails::is_plain")]
    pub details: ReplyDetails,
}

/// What else is known of what a reply has used; nothing of it in what services of the version before have written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReplyDetails {
    /// So many of the prompts' tokens were read from a cache.
    pub tokens_cached: u32,
    /// So many of the tokens that came out were thoughts.
    pub tokens_thought: u32,
    /// What was searched, each query by itself.
    pub searches: u32,
    /// Some of the tokens were estimated here: a call ended before the model had counted them.
    pub estimated: bool,
}

impl ReplyDetails {
    /// Whether there is nothing to be told.
    pub fn is_plain(&self) -> bool {
        *self == ReplyDetails::default()
    }
}

impl ReplyLog {
    /// Of a reply to this request of this person's that another attempt wrote, and may have died before its log was
    /// kept.
    pub fn of_another_attempt(request: Uuid, user: String) -> ReplyLog {
        ReplyLog {
            request,
            user,
            model: String::new(),
            attempts: 0,
            tokens_in: 0,
            tokens_out: 0,
            first_token_ms: None,
            total_ms: 0,
            cost_micros: None,
            outcome: "recovered".into(),
            details: ReplyDetails::default(),
        }
    }
}

impl Envelope {
    /// A payload of the present version.
    pub fn new(message: Message, reply: Option<ReplyLog>) -> Envelope {
        Envelope {
            v: ENVELOPE_VERSION,
            message,
            reply,
            again: None,
            trace: None,
        }
    }

    /// A request that is to be answered again.
    pub fn again(request: Message, again: Again) -> Envelope {
        Envelope {
            again: Some(again),
            ..Envelope::new(request, None)
        }
    }

    /// The id of the reply that this request is to have.
    pub fn reply_id(&self) -> Uuid {
        let follows = self.again.as_ref();
        let follows = follows.map_or(self.message.id, |again| again.after);
        reply_id(&self.message.room, follows)
    }

    /// The bytes that go into the queue.
    pub fn to_bytes(&self) -> bytes::Bytes {
        to_json(self, self.message.message.len()).into()
    }

    /// As [`Envelope::to_bytes`] of [`Envelope::new`], with the message encoded already, as its frame.
    pub(crate) fn around(
        frame: &str,
        reply: Option<&ReplyLog>,
        trace: Option<TraceContext>,
    ) -> bytes::Bytes {
        let mut json = String::with_capacity(frame.len() + 32);
        json.push_str(r#"{"v":"#);
        json.push_str(&ENVELOPE_VERSION.to_string());
        json.push_str(r#","message":"#);
        json.push_str(frame);
        if let Some(reply) = reply {
            json.push_str(r#","reply":"#);
            json.push_str(&to_json(reply, 0));
        }
        if let Some(trace) = trace {
            json.push_str(TRACE);
            json.push_str(&trace.to_string());
            json.push('"');
        }
        json.push('}');
        json.into()
    }

    /// Reads a payload of any version that may still be in a queue.
    ///
    /// # Errors
    /// In words for the dead-letter queue: it is no envelope, or one of a version not known here.
    pub fn read(payload: &[u8]) -> Result<Envelope, String> {
        let envelope: Envelope =
            serde_json::from_slice(payload).map_err(|error| format!("no envelope: {error}"))?;
        match envelope.v {
            ENVELOPE_VERSION => Ok(envelope),
            other => Err(format!(
                "an envelope of version {other}, which this process does not know"
            )),
        }
    }
}

/// What stands before a payload's trace.
const TRACE: &str = r#","trace":""#;

/// The `traceparent` that a payload ends with, if it is traced, without reading all of it.
pub fn traced(payload: &[u8]) -> Option<&str> {
    let rest = payload.strip_suffix(b"\"}")?;
    let (rest, trace) = rest.split_at_checked(rest.len().checked_sub(TraceContext::CHARS)?)?;
    let trace = std::str::from_utf8(trace).ok()?;
    (rest.ends_with(TRACE.as_bytes()) && TraceContext::read(trace).is_some()).then_some(trace)
}

/// The id of the reply to a request: it follows from the request's id (or, where that is answered again, from the last
/// reply's), so that every attempt at a reply is known as
/// the same message. Version 8, which clients may not choose.
pub fn reply_id(room: &str, request: Uuid) -> Uuid {
    use sha2::{Digest, Sha256};
    let digest = Sha256::new()
        .chain_update("chinwag reply\0")
        .chain_update(room)
        .chain_update(request)
        .finalize();
    let mut id = [0; 16];
    id.copy_from_slice(&digest[..16]);
    Uuid::new_v8(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Kind, NewMessage};

    #[test]
    fn a_message_that_is_encoded_already_makes_the_same_payload() {
        let new = NewMessage {
            room: "lobby".into(),
            id: Uuid::new_v4(),
            sender: "bot".into(),
            kind: Kind::Bot,
            message: "\"four\"\n\u{1F600}".into(),
            reply_to: Some(Uuid::new_v4()),
            of: None,
            stopped_by: None,
            grounding: Default::default(),
        };
        let tail = new.frame_tail();
        let message = new.at(1_795_381_179_442_887, 12);
        let log = ReplyLog {
            request: Uuid::new_v4(),
            user: "ada".into(),
            model: "a-model".into(),
            attempts: 1,
            tokens_in: 2,
            tokens_out: 3,
            first_token_ms: Some(4),
            total_ms: 5,
            cost_micros: None,
            outcome: "answered".into(),
            details: ReplyDetails::default(),
        };
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let trace = TraceContext::read(given);
        for (reply, trace) in [(None, None), (Some(log.clone()), None), (Some(log), trace)] {
            let whole = Envelope {
                trace,
                ..Envelope::new(message.clone(), reply.clone())
            };
            let whole = whole.to_bytes();
            let frame = message.frame_around(&tail);
            assert_eq!(Envelope::around(&frame, reply.as_ref(), trace), whole);
            assert_eq!(traced(&whole), trace.map(|_| given));
            assert_eq!(Envelope::read(&whole).unwrap().trace, trace);
        }
    }
}
