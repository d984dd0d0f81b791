//! From the bytes of a body, however they are cut, to an answer. What the body is, is told by what is in it, since not
//! every relay writes the `Content-Type` that belongs there. Without I/O.

use metrics::counter;

use super::{
    Finished, ModelError, Pieces, Usage,
    answer::{Answer, Dialect, Taken},
    sse::{SseItem, SseParser},
};

/// One body on its way in.
#[derive(Debug)]
pub(super) struct Reading<'a, D> {
    parser: SseParser,
    answer: Answer<D>,
    usage: &'a mut Usage,
}

impl<D: Dialect> Reading<'_, D> {
    /// Nothing read yet. What it cost so far is kept in `usage`.
    pub(super) fn new(answer: Answer<D>, usage: &mut Usage) -> Reading<'_, D> {
        Reading {
            parser: SseParser::default(),
            answer,
            usage,
        }
    }

    /// Takes the next piece of the body. True if it shows the model at work.
    ///
    /// # Errors
    /// What the model says is wrong.
    pub(super) fn push(&mut self, piece: &[u8], pieces: Pieces<'_>) -> Result<bool, ModelError> {
        let mut at_work = false;
        for item in self.parser.push(piece) {
            at_work |= self.take(&item, pieces)?;
            if self.answer.is_enough() {
                break;
            }
        }
        Ok(at_work)
    }

    fn take(&mut self, item: &SseItem, pieces: Pieces<'_>) -> Result<bool, ModelError> {
        let taken = match item {
            SseItem::Event(event) => self.answer.take(event, pieces),
            SseItem::TooLong => Ok(Taken::PassedOver("too_long")),
        };
        *self.usage = self.answer.usage();
        let taken = taken?;
        if let Taken::PassedOver(why) = taken {
            counter!("chinwag_bot_model_events_passed_over_total", "why" => why).increment(1);
        }
        Ok(taken == Taken::AtWork)
    }

    /// Whether there was a word or a thought.
    pub(super) fn began(&self) -> bool {
        self.answer.began()
    }

    /// Whether it is silent while it thinks.
    pub(super) fn thinks(&self) -> bool {
        self.answer.thinks()
    }

    /// Whether more of it would be cut away.
    pub(super) fn is_enough(&self) -> bool {
        self.answer.is_enough()
    }

    /// Whether nothing but the end of the body is to be waited for.
    pub(super) fn has_surely_ended(&self) -> bool {
        self.answer.has_surely_ended()
    }

    /// The body has ended.
    ///
    /// # Errors
    /// What became of the answer instead.
    pub(super) fn finish(mut self, pieces: Pieces<'_>) -> Result<Finished, ModelError> {
        if !self.answer.is_enough() {
            for item in std::mem::take(&mut self.parser).finish() {
                self.take(&item, pieces)?;
            }
        }
        self.answer.finish(pieces)
    }

    /// The body has broken off.
    ///
    /// # Errors
    /// That it has, unless the answer was complete.
    pub(super) fn break_off(
        mut self,
        error: ModelError,
        pieces: Pieces<'_>,
    ) -> Result<Finished, ModelError> {
        // The end may be there already, and lack only the blank line behind it.
        for item in std::mem::take(&mut self.parser).finish() {
            if self.take(&item, pieces).is_err() {
                break;
            }
        }
        self.answer.break_off(error, pieces)
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::Index};
    use serde_json::{Value, json};

    use super::{
        super::{Advice, chat_answer::ChatDialect, gemini_answer::GeminiDialect},
        *,
    };

    /// What came of a body: its text, and how it ended.
    type Outcome = (String, Result<Finished, ModelError>, Usage);

    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    enum Api {
        Gemini,
        Chat,
    }

    /// The words of a good stream's events.
    const WORDS: [&str; 4] = ["one, ", "zwölf 🦉, ", "三, ", "four."];

    impl Api {
        /// A good stream: words, an end (with the last words, or behind them), and what may follow it.
        fn good(self, is_apart: bool) -> Vec<String> {
            let mut events = Vec::new();
            let last = WORDS.len() - 1;
            for (at, words) in WORDS.into_iter().enumerate() {
                let ends = at == last && !is_apart;
                events.push(self.event(json!(words), ends));
            }
            if is_apart {
                events.push(self.event(Value::Null, true));
            }
            if self == Api::Chat {
                let usage = json!({"prompt_tokens": 9, "completion_tokens": 4});
                events.push(json!({"id": "1", "choices": [], "usage": usage}).to_string());
                events.push("[DONE]".to_owned());
            }
            events
        }

        fn event(self, words: Value, ends: bool) -> String {
            match self {
                Api::Gemini => {
                    let mut candidate = json!({"index": 0});
                    if !words.is_null() {
                        candidate["content"] = json!({"parts": [{"text": words}], "role": "model"});
                    }
                    if ends {
                        candidate["finishReason"] = "STOP".into();
                    }
                    let usage = json!({"promptTokenCount": 9, "candidatesTokenCount": 4});
                    json!({"candidates": [candidate], "usageMetadata": usage, "responseId": "1"})
                }
                Api::Chat => {
                    let finish = if ends { json!("stop") } else { Value::Null };
                    let choice =
                        json!({"index": 0, "delta": {"content": words}, "finish_reason": finish});
                    json!({"id": "1", "object": "chat.completion.chunk", "choices": [choice]})
                }
            }
            .to_string()
        }

        /// Reads a body that comes in these pieces, and then ends, or breaks off.
        fn read(self, pieces: &[&[u8]], broken: Option<ModelError>) -> Outcome {
            match self {
                Api::Gemini => read(Answer::new(GeminiDialect, 4_000), pieces, broken),
                Api::Chat => read(Answer::new(ChatDialect::new(), 4_000), pieces, broken),
            }
        }
    }

    fn read<D: Dialect>(answer: Answer<D>, body: &[&[u8]], broken: Option<ModelError>) -> Outcome {
        let (mut usage, mut text) = (Usage::default(), String::new());
        let mut reading = Reading::new(answer, &mut usage);
        let mut pieces = |piece: &str| text.push_str(piece);
        for piece in body {
            if let Err(error) = reading.push(piece, &mut pieces) {
                return (text, Err(error), usage);
            }
        }
        let ended = match broken {
            Some(error) => reading.break_off(error, &mut pieces),
            None => reading.finish(&mut pieces),
        };
        (text, ended, usage)
    }

    fn body_of<T: AsRef<[u8]>>(events: &[T]) -> Vec<u8> {
        let frame = |event: &T| [b"data: ", event.as_ref(), b"\n\n"].concat();
        events.iter().flat_map(frame).collect()
    }

    /// Everything that one event can become, itself left out and doubled among it.
    fn mutations(event: &str) -> Vec<Vec<Vec<u8>>> {
        let bytes = event.as_bytes();
        let mut all: Vec<Vec<Vec<u8>>> = vec![Vec::new(), vec![bytes.to_vec(); 2]];
        let mut becomes = |bytes: Vec<u8>| all.push(vec![bytes]);
        for other in [
            "",
            "{}",
            "[]",
            "[{}]",
            "null",
            "true",
            "7",
            "\"words\"",
            "[DONE]",
            "{\"candidates\"",
            "<html>",
            "\\",
            "\u{0}",
            r#"{"type":"ping"}"#,
            r#"{"candidates":null,"usageMetadata":{"promptTokenCount":9}}"#,
            r#"{"error":null}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":null}}]}"#,
            r#"{"choices":null}"#,
            r#"{"choices":[{"delta":null}],"error":{}}"#,
            r#"{"\ud83e":"\ud83e","id":"1"}"#,
        ] {
            becomes(other.as_bytes().to_vec());
        }
        for at in 0..bytes.len() {
            let mut cut = bytes.to_vec();
            cut.truncate(at);
            becomes(cut);
            for other in [b'x', b'"', 0xFF] {
                let mut garbled = bytes.to_vec();
                garbled[at] = other;
                becomes(garbled);
            }
            let mut broken = bytes.to_vec();
            broken.splice(at..at, *b"\n\n");
            becomes(broken);
        }
        if let Ok(value) = serde_json::from_str::<Value>(event) {
            retyped(&value, &mut |value| becomes(value.to_string().into_bytes()));
        }
        all
    }

    /// The value with each of the values in it, one at a time, replaced by each of another type.
    fn retyped(value: &Value, becomes: &mut dyn FnMut(&Value)) {
        let others = [
            Value::Null,
            json!(true),
            json!(-1.5),
            json!("words"),
            json!([]),
            json!({}),
            json!([[]]),
            json!({"a": 1}),
        ];
        others.iter().for_each(&mut *becomes);
        match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let put = |other: &Value| {
                        let mut whole = fields.clone();
                        whole.insert(name.clone(), other.clone());
                        Value::Object(whole)
                    };
                    retyped(field, &mut |other| becomes(&put(other)));
                }
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    let put = |other: &Value| {
                        let mut whole = items.clone();
                        whole[at] = other.clone();
                        Value::Array(whole)
                    };
                    retyped(item, &mut |other| becomes(&put(other)));
                }
            }
            _ => {}
        }
    }

    /// That a stream, of which one event went wrong, has cost no more than that event's words.
    fn assert_little_is_lost(
        api: Api,
        is_apart: bool,
        at: usize,
        mutated: &[Vec<u8>],
        outcome: &Outcome,
    ) {
        let (text, ended, _) = outcome;
        let shown = || {
            let mutated: Vec<_> = mutated
                .iter()
                .map(|event| String::from_utf8_lossy(event))
                .collect();
            format!("{api:?}, event {at} as {mutated:?}: {text:?} {ended:?}")
        };
        for (other, words) in WORDS.iter().enumerate() {
            assert!(other == at || text.contains(words), "{}", shown());
        }
        let end_at = WORDS.len() - usize::from(!is_apart);
        // Of Gemini's end there is one sign only: without it, nobody knows.
        let is_end_unseen = api == Api::Gemini && at == end_at;
        match ended {
            Ok(finished) => assert!(finished.complete, "{}", shown()),
            Err(error) => assert!(is_end_unseen && error.is_unfinished(), "{}", shown()),
        }
    }

    #[test]
    fn an_event_that_went_wrong_costs_at_most_its_own_words() {
        for (api, is_apart) in [Api::Gemini, Api::Chat]
            .into_iter()
            .flat_map(|api| [(api, false), (api, true)])
        {
            let good = api.good(is_apart);
            let whole = api.read(&[&body_of(&good)], None);
            assert_eq!(whole.0, WORDS.concat());
            assert!(whole.1.is_ok_and(|finished| finished.complete) && whole.2.tokens_in == 9);
            for (at, event) in good.iter().enumerate() {
                for mutated in mutations(event) {
                    let mut events: Vec<Vec<u8>> = good
                        .iter()
                        .map(|event| event.clone().into_bytes())
                        .collect();
                    events.splice(at..=at, mutated.clone());
                    let body = body_of(&events);
                    let outcome = api.read(&[&body], None);
                    assert_little_is_lost(api, is_apart, at, &mutated, &outcome);
                }
            }
        }
    }

    #[test]
    fn an_end_that_lacks_its_last_line_is_an_end_whatever_breaks_off() {
        for api in [Api::Gemini, Api::Chat] {
            let body = body_of(&api.good(false));
            for error in [ModelError::cut("reset"), ModelError::silent("kept open")] {
                let (text, ended, _) = api.read(&[body.trim_ascii_end()], Some(error));
                assert!(ended.is_ok_and(|finished| finished.complete), "{api:?}");
                assert_eq!(text, WORDS.concat(), "{api:?}");
            }
        }
    }

    #[test]
    fn an_event_that_comes_twice_says_its_words_once_where_the_counts_tell() {
        let said = |words: &str, tokens: u32| {
            json!({
                "candidates": [{"content": {"parts": [{"text": words}]}}],
                "usageMetadata": {"candidatesTokenCount": tokens},
            })
            .to_string()
        };
        let stop = r#"{"candidates":[{"finishReason":"STOP"}]}"#.to_owned();
        let read = |counts: [u32; 5]| {
            let words = ["one ", "two ", "ha ", "ha ", "three"];
            let mut events: Vec<_> = words
                .iter()
                .zip(counts)
                .map(|(words, count)| said(words, count))
                .collect();
            events.push(stop.clone());
            Api::Gemini.read(&[&body_of(&events)], None).0
        };
        assert_eq!(read([1, 2, 3, 3, 5]), "one two ha three");
        // Said twice, or nobody knows.
        assert_eq!(read([1, 2, 3, 4, 5]), "one two ha ha three");
        assert_eq!(read([9, 9, 9, 9, 9]), "one two ha ha three");
        assert_eq!(read([0, 0, 0, 0, 9]), "one two ha ha three");
        assert_eq!(read([1, 1, 3, 3, 5]), "one two ha ha three");
    }

    #[test]
    fn what_was_used_is_known_whatever_comes_of_it() {
        let said = r#"{"candidates":[{"content":{"parts":[{"text":"one"}]}}],"usageMetadata":{"promptTokenCount":9,"candidatesTokenCount":1}}"#;
        let failed = r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"later"}}"#;
        for (events, broken) in [
            (vec![said, failed], None),
            (vec![said], None),
            (vec![said], Some(ModelError::cut("reset"))),
        ] {
            let (_, ended, usage) = Api::Gemini.read(&[&body_of(&events)], broken);
            assert!(ended.is_err());
            assert_eq!((usage.tokens_in, usage.tokens_out), (9, 1));
        }
        let by_llama_cpp = [
            said.as_bytes(),
            b"error: {\"code\":500,\"message\":\"Context size\"}\n\n",
        ]
        .concat();
        let (_, ended, _) = Api::Chat.read(&[b"data: ", &by_llama_cpp], None);
        assert!(ended.is_err());
    }

    #[test]
    fn of_what_was_searched_no_more_is_told_apart_than_a_model_asks() {
        let long = |behind: &str| format!("{}{behind}", "ü".repeat(500));
        for (queries, told_apart) in [
            (vec![long(""), long("one"), long("two")], 1),
            (vec![format!("one{}", long("")), long("")], 2),
            ((0..200).map(|n| n.to_string()).collect(), 100),
        ] {
            let event =
                json!({"candidates": [{"groundingMetadata": {"webSearchQueries": queries}}]});
            let (_, _, usage) = Api::Gemini.read(&[&body_of(&[event.to_string()])], None);
            assert_eq!(usage.searches, told_apart);
        }
    }

    #[test]
    fn after_the_end_nothing_that_comes_costs_anything() {
        let behind = [
            "[DONE]",
            r#"{"error":{"code":503,"status":"UNAVAILABLE","message":"later"}}"#,
            r#"{"error":"out of memory"}"#,
            r#"{"candidates":[{"content":{"role":"model","parts":null},"finishReason":"STOP"}]}"#,
            r#"{"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}]}"#,
            r#"{"candidates":null,"usageMetadata":{"promptTokenCount":9}}"#,
            r#"{"promptFeedback":{"blockReason":"OTHER"}}"#,
            r#"{"choices":[{"delta":{"content":""},"finish_reason":"length"}]}"#,
            r#"{"choices":[{"delta":{},"message":{"content":"one, zwölf 🦉, 三, four."}}]}"#,
            "{\"candid",
            "<html>",
        ];
        for (api, is_apart) in [Api::Gemini, Api::Chat]
            .into_iter()
            .flat_map(|api| [(api, false), (api, true)])
        {
            for event in behind {
                for broken in [
                    None,
                    Some(ModelError::cut("reset")),
                    Some(ModelError::silent("kept open")),
                ] {
                    let good = api.good(is_apart);
                    let mut events: Vec<&str> = good.iter().map(String::as_str).collect();
                    events.push(event);
                    let (text, ended, _) = api.read(&[&body_of(&events)], broken);
                    assert!(
                        ended.is_ok_and(|finished| finished.complete),
                        "{api:?} {event}"
                    );
                    assert_eq!(text, WORDS.concat(), "{api:?} {event}");
                }
            }
        }
    }

    #[test]
    fn an_end_that_more_text_came_behind_is_believed_with_the_end_of_the_body_only() {
        for api in [Api::Gemini, Api::Chat] {
            let every = [
                api.event(json!("one, "), true),
                api.event(json!("two."), true),
            ];
            let body = body_of(&every);
            assert!(
                api.read(&[&body], None)
                    .1
                    .is_ok_and(|finished| finished.complete)
            );
            let cut = api.read(&[&body], Some(ModelError::cut("reset")));
            assert_eq!(cut.1.unwrap_err().status, "cut");
        }
    }

    /// As people who run such relays and servers have reported them.
    #[test]
    fn streams_that_were_seen_in_the_world_are_read() {
        let gemini = |parts: &str, more: &str| {
            format!(r#"{{"candidates":[{{"content":{{"parts":{parts}}}{more}}}]}}"#)
        };
        let said = |words: &str| gemini(&format!(r#"[{{"text":"{words}"}}]"#), "");
        let stop = gemini("[]", r#","finishReason":"STOP""#);
        let chat =
            |delta: &str, more: &str| format!(r#"{{"choices":[{{"delta":{delta}{more}}}]}}"#);
        let cut = || Some(ModelError::cut("reset"));
        for (what, api, events, broken) in [
            (
                "an end before the text and behind it",
                Api::Gemini,
                vec![
                    stop.clone(),
                    stop.clone(),
                    said("one "),
                    said("two"),
                    stop.clone(),
                ],
                cut(),
            ),
            (
                "no parts at the end",
                Api::Gemini,
                vec![
                    said("one two"),
                    r#"{"candidates":[{"content":{"role":"model"},"finishReason":"STOP"}]}"#.into(),
                ],
                cut(),
            ),
            (
                "no content at the end, and a new field",
                Api::Gemini,
                vec![
                    said("one two"),
                    r#"{"candidates":[{"finishReason":"STOP","finishMessage":"ok","index":"0"}]}"#
                        .into(),
                ],
                None,
            ),
            (
                "an empty candidate first",
                Api::Gemini,
                vec![
                    gemini(r#"[{"text":""}]"#, ""),
                    said("one two"),
                    stop.clone(),
                ],
                None,
            ),
            (
                "signatures and thoughts between",
                Api::Gemini,
                vec![
                    said("one "),
                    gemini(
                        r#"[{"text":"","thoughtSignature":"eA=="},{"text":"hm","thought":true}]"#,
                        "",
                    ),
                    said("two"),
                    stop.clone(),
                ],
                None,
            ),
            (
                "two events in one",
                Api::Gemini,
                vec![format!("{}{}", said("one "), said("two")), stop.clone()],
                None,
            ),
            (
                "two events in one, with the mark",
                Api::Chat,
                vec![
                    format!(
                        "{}data: {}",
                        chat(r#"{"content":"one "}"#, ""),
                        chat(r#"{"content":"two"}"#, "")
                    ),
                    "[DONE]".into(),
                ],
                None,
            ),
            (
                "one event in two",
                Api::Chat,
                vec![
                    r#"{"choices":[{"delta":{"content":"one "#.into(),
                    r#"two"}}]}"#.into(),
                    "[DONE]".into(),
                ],
                None,
            ),
            (
                "an empty reason on each",
                Api::Chat,
                vec![
                    chat(r#"{"content":"one "}"#, r#","finish_reason":"""#),
                    chat(
                        r#"{"content":"two","role":null,"tool_calls":null}"#,
                        r#","finish_reason":"","logprobs":null"#,
                    ),
                    chat("{}", r#","finish_reason":"stop""#),
                ],
                None,
            ),
            (
                "no reason but the mark",
                Api::Chat,
                vec![
                    chat(r#"{"content":"one two"}"#, r#","finish_reason":null"#),
                    "[DONE]".into(),
                ],
                cut(),
            ),
            (
                "other lines' ends in the text",
                Api::Chat,
                vec![
                    chat(r#"{"content":"one two"}"#, ",\"x\":\"a\u{85}b\u{2028}c\""),
                    "[DONE]".into(),
                ],
                None,
            ),
        ] {
            let (text, ended, _) = api.read(&[&body_of(&events)], broken);
            assert_eq!(text, "one two", "{what}");
            assert!(
                ended.as_ref().is_ok_and(|finished| finished.complete),
                "{what}: {ended:?}"
            );
        }
    }

    #[test]
    fn what_a_stream_without_an_answer_means() {
        let again = Advice::Again { after: None };
        let nothing = json!({"candidates": [{"content": {"parts": [{"functionCall": {"name": "f"}}]}, "finishReason": "STOP"}]});
        let malformed = json!({"candidates": [{"finishReason": "MALFORMED_FUNCTION_CALL"}]});
        let thoughts = json!({"candidates": [{"finishReason": "MAX_TOKENS"}]});
        let tools =
            json!({"choices": [{"delta": {"tool_calls": [{}]}, "finish_reason": "tool_calls"}]});
        let silent = json!({"usageMetadata": {"promptTokenCount": 3}});
        for (api, event, advice) in [
            (Api::Gemini, nothing.to_string(), Advice::OnceMore),
            (Api::Gemini, malformed.to_string(), Advice::OnceMore),
            (Api::Gemini, silent.to_string(), Advice::OnceMore),
            (Api::Gemini, thoughts.to_string(), Advice::NextModel),
            (Api::Gemini, "<html>".to_owned(), again),
            (Api::Gemini, String::new(), again),
            (Api::Chat, tools.to_string(), Advice::OnceMore),
            (Api::Chat, "[DONE]".to_owned(), Advice::OnceMore),
            (Api::Chat, "{}".to_owned(), again),
        ] {
            let (_, ended, _) = api.read(&[&body_of(&[&event])], None);
            assert_eq!(ended.unwrap_err().advice, advice, "{api:?} {event}");
        }
    }

    #[test]
    fn the_body_is_what_is_in_it() {
        for api in [Api::Gemini, Api::Chat] {
            let good: Vec<String> = api
                .good(true)
                .into_iter()
                .filter(|event| event != "[DONE]")
                .collect();
            let list = format!("[{}]", good.join(",\n"));
            for body in [list, good.join("\n"), good.concat()] {
                let outcome = api.read(&[body.as_bytes()], None);
                assert_eq!(outcome.0, WORDS.concat(), "{body}");
                assert!(outcome.1.is_ok_and(|finished| finished.complete), "{body}");
            }
        }
    }

    proptest! {
        #[test]
        fn however_the_bytes_are_cut_the_same_comes_of_them(
            is_gemini: bool,
            is_apart: bool,
            at: Index,
            which: Index,
            cuts in proptest::collection::vec(any::<Index>(), 0..20),
        ) {
            let api = if is_gemini { Api::Gemini } else { Api::Chat };
            let mut events: Vec<Vec<u8>> = api.good(is_apart).into_iter().map(String::into_bytes).collect();
            let at = at.index(events.len());
            let mutations = mutations(std::str::from_utf8(&events[at]).unwrap());
            let mutated = mutations[which.index(mutations.len())].clone();
            events.splice(at..=at, mutated.clone());
            let body = body_of(&events);
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(body.len() + 1)).collect();
            cuts.extend([0, body.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|ends| &body[ends[0]..ends[1]]).collect();
            let outcome = api.read(&pieces, None);
            prop_assert_eq!(&outcome, &api.read(&[&body], None));
            assert_little_is_lost(api, is_apart, at, &mutated, &outcome);
        }
    }
}
