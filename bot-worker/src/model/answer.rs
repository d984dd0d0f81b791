//! An answer as it comes in, event after event, whichever API it comes over: what is said, whether it has come to its
//! end, and what it cost. Read as a browser reads HTML: what cannot be used is passed over, and what was complete stays
//! complete, whatever follows. Without I/O.

use common::wire::{Grounding, Source, says_nothing};

use super::{
    Advice, BYTES_PER_TOKEN, Finished, ModelError, Pieces, Usage,
    json::{Halves, Json, readable, values},
    sse::EVENT_MAX_BYTES,
};

/// The event behind the last one, where there is such a thing.
const DONE: &[u8] = b"[DONE]";

/// An event that comes twice, byte for byte, is passed over where its counts tell that it is no other one: where so many
/// before it have each counted on.
const COUNTED_LEAST: u32 = 2;

/// The most queries of one answer that are told apart. A model searches a few times, and whoever answers in its place may say
/// anything.
const QUERIES_MAX: usize = 100;
/// The most that is kept of each, in characters: what differs only behind them is taken for the same.
const QUERY_CHARS_MAX: usize = 500;

/// One API's way of saying it.
pub(super) trait Dialect: Send {
    /// What one event says.
    fn read(&mut self, event: Json<'_>) -> Said;

    /// What people are to see of the next piece of text.
    fn shown(&mut self, text: String) -> String {
        text
    }

    /// What was kept from them until now, when no more comes, and is theirs after all.
    fn rest(&mut self) -> String {
        String::new()
    }
}

/// What one event says.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Whether it is an event of this API at all.
    pub is_known: bool,
    /// The model fails, or will not.
    pub error: Option<ModelError>,
    /// Text, in WTF-8.
    pub text: Vec<u8>,
    /// The model thinks.
    pub thinks: bool,
    /// How long its thoughts are that can be seen, in bytes. They are counted, and neither shown nor kept.
    pub thought_bytes: usize,
    /// The answer ends.
    pub end: Option<End>,
    /// What it has cost so far.
    pub usage: Usage,
    /// What it has looked up.
    pub looked_up: LookedUp,
}

/// What a model has looked up, as far as one event tells.
#[derive(Debug, Default)]
pub(super) struct LookedUp {
    /// What it has searched for.
    pub queries: Vec<String>,
    /// What it names as its sources.
    pub sources: Vec<Source>,
    /// What is to be shown along with them.
    pub suggestions: Option<String>,
}

/// How the model ended its answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At a limit: there was more to say.
    Limit,
    /// It would not go on.
    Blocked(String),
    /// It could not go on.
    Broken(String),
    /// In any other way, which is by having said all where there is text.
    Said(String),
}

/// What came of one event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It shows the model at work.
    AtWork,
    /// It is in order, and shows nothing.
    Quiet,
    /// It could not be used, for this reason.
    PassedOver(&'static str),
}

/// What was said so far.
#[derive(Debug)]
pub(super) struct Answer<D> {
    dialect: D,
    enough_chars: usize,
    chars: usize,
    halves: Halves,
    /// There was a word or a thought.
    began: bool,
    has_text: bool,
    /// There was an event of this API.
    is_known: bool,
    end: Option<End>,
    /// The end came before any text, so it says nothing of where that ends.
    is_end_early: bool,
    /// What could not be read of the last event: the next one may go on with it.
    unread: Vec<u8>,
    /// There was text after an end, so the next end may be none either, unless the body ends with it.
    is_end_doubted: bool,
    /// There was text and no end yet: this model does not write an end on each of its events.
    was_open: bool,
    is_done: bool,
    usage: Usage,
    /// The last that it did was to think.
    thinks: bool,
    /// How much was said and thought, in bytes.
    said_bytes: usize,
    thought_bytes: usize,
    queries: Vec<String>,
    grounding: Grounding,
    /// The event before, as it came.
    before: Vec<u8>,
    /// How many events with text have each counted more tokens than all before them; none if one has not, so that the counts
    /// say nothing about which events there are.
    counted: Option<u32>,
}

impl<D: Dialect> Answer<D> {
    /// None yet; after so many characters there need be no more.
    pub(super) fn new(dialect: D, enough_chars: usize) -> Answer<D> {
        Answer {
            dialect,
            enough_chars,
            chars: 0,
            halves: Halves::default(),
            began: false,
            has_text: false,
            is_known: false,
            end: None,
            is_end_early: false,
            unread: Vec::new(),
            is_end_doubted: false,
            was_open: false,
            is_done: false,
            usage: Usage::default(),
            thinks: true,
            said_bytes: 0,
            thought_bytes: 0,
            queries: Vec::new(),
            grounding: Grounding::default(),
            before: Vec::new(),
            counted: Some(0),
        }
    }

    /// Takes one event, or a whole body that is no stream.
    ///
    /// # Errors
    /// What the model says is wrong, unless it had come to its end by then.
    pub(super) fn take(&mut self, event: &[u8], pieces: Pieces<'_>) -> Result<Taken, ModelError> {
        if event.trim_ascii() == DONE {
            self.is_done = true;
            return Ok(Taken::Quiet);
        }
        let is_same = event == self.before;
        self.before = event.to_vec();
        let before = std::mem::take(&mut self.unread);
        let text = readable(event);
        let whole;
        let (mut values, mut is_all) = values(&text);
        if values.is_empty() && !is_all {
            // Relays also cut an event into two: this one and the one before, or it and the next.
            if !before.is_empty() && before.len() + event.len() <= EVENT_MAX_BYTES {
                whole = readable(&[&before, event].concat());
                (values, is_all) = self::values(&whole);
            }
            if values.is_empty() {
                self.unread = event.to_vec();
            }
        }
        let mut taken = match (is_all, values.is_empty()) {
            (true, true) => Taken::Quiet,
            (true, false) => Taken::PassedOver("not_understood"),
            (false, _) => Taken::PassedOver("unreadable"),
        };
        for value in values {
            match self.take_value(value, is_same, pieces)? {
                // What went wrong is told even where the rest of the event was of use.
                Taken::AtWork => taken = Taken::AtWork,
                other if taken != Taken::AtWork => taken = other,
                _ => {}
            }
        }
        Ok(taken)
    }

    fn take_value(
        &mut self,
        event: Json<'_>,
        is_same: bool,
        pieces: Pieces<'_>,
    ) -> Result<Taken, ModelError> {
        let had_ended = self.has_ended();
        let mut said = self.dialect.read(event);
        self.is_known |= said.is_known;
        if !said.text.is_empty() {
            let counts_on = said.usage.tokens_out > self.usage.tokens_out;
            if is_same && !counts_on && self.counted >= Some(COUNTED_LEAST) {
                return Ok(Taken::PassedOver("doubled"));
            }
            let counted = self.counted.filter(|_| counts_on);
            self.counted = counted.map(|counted| counted + 1);
        }
        // A count that grows is a thought that cannot be seen.
        said.thinks |= said.usage.tokens_thought > self.usage.tokens_thought;
        // Each event has the counts so far, and some relays send empty ones at the end.
        self.usage = self.usage.at_least(said.usage);
        self.said_bytes += said.text.len();
        self.thought_bytes += said.thought_bytes;
        self.look_up(std::mem::take(&mut said.looked_up));
        if let Some(error) = said.error {
            if had_ended {
                return Ok(Taken::PassedOver("after_the_end"));
            }
            if said.text.is_empty() {
                return Err(error);
            }
        }
        if !said.is_known {
            return Ok(Taken::PassedOver("not_understood"));
        }
        let has_said = !said.text.is_empty();
        if has_said {
            let text = self.halves.join(&said.text);
            if self.end.is_some() && !says_nothing(&text) {
                self.is_end_early |= !self.has_text;
                self.is_end_doubted |= self.has_text && !self.is_end_early;
            }
            self.say(text, pieces);
        }
        let is_at_work = has_said || said.thinks || said.end.is_some();
        if let Some(End::Broken(why)) = said.end.take_if(|end| matches!(end, End::Broken(_)))
            && !had_ended
        {
            self.began |= is_at_work;
            return Err(ModelError::cut(&why));
        }
        match said.end {
            // Nothing of what a filter stopped is kept, even if it stopped late.
            Some(End::Blocked(why)) => self.end = Some(End::Blocked(why)),
            Some(end) if !self.has_ended() && !matches!(self.end, Some(End::Blocked(_))) => {
                (self.end, self.is_end_early) = (Some(end), false);
            }
            _ => {}
        }
        self.was_open |= self.has_text && self.end.is_none();
        self.began |= is_at_work;
        if has_said && self.has_text {
            self.thinks = false;
        } else if said.thinks {
            self.thinks = true;
        }
        Ok(if is_at_work {
            Taken::AtWork
        } else {
            Taken::Quiet
        })
    }

    fn say(&mut self, text: String, pieces: Pieces<'_>) {
        let text = self.dialect.shown(text);
        if !text.is_empty() {
            self.has_text |= !says_nothing(&text);
            self.chars += text.chars().count();
            pieces(&text);
        }
    }

    fn look_up(&mut self, looked_up: LookedUp) {
        for mut query in looked_up.queries {
            if let Some((end, _)) = query.char_indices().nth(QUERY_CHARS_MAX) {
                query.truncate(end);
                query.shrink_to_fit();
            }
            if self.queries.len() < QUERIES_MAX && !self.queries.contains(&query) {
                self.queries.push(query);
            }
        }
        for source in looked_up.sources {
            self.grounding.add(source);
        }
        if let Some(html) = looked_up.suggestions {
            self.grounding.suggest(&html);
        }
    }

    /// What it has cost so far. Tokens that were not counted are those that were seen.
    pub(super) fn usage(&self) -> Usage {
        let tokens =
            |bytes: usize| u32::try_from(bytes.div_ceil(BYTES_PER_TOKEN)).unwrap_or(u32::MAX);
        let mut usage = self.usage;
        usage.searches = usage
            .searches
            .max(u32::try_from(self.queries.len()).unwrap_or(u32::MAX));
        if usage.tokens_out == 0 && self.said_bytes + self.thought_bytes > 0 {
            usage.tokens_thought = tokens(self.thought_bytes);
            usage.tokens_out = usage.tokens_thought.saturating_add(tokens(self.said_bytes));
            usage.is_estimated = true;
        }
        usage
    }

    /// Whether it is silent while it thinks, and not in the middle of what it says.
    pub(super) fn thinks(&self) -> bool {
        self.thinks
    }

    /// Whether there was a word or a thought.
    pub(super) fn began(&self) -> bool {
        self.began
    }

    /// Whether more of it would be cut away.
    pub(super) fn is_enough(&self) -> bool {
        self.chars > self.enough_chars
    }

    /// Whether it is complete as it is, and can only be confirmed.
    pub(super) fn has_ended(&self) -> bool {
        let is_ended = self.end.is_some() && !self.is_end_doubted && !self.is_end_early;
        self.has_text && (self.is_done || is_ended)
    }

    /// Whether the end is one for certain, so that what comes behind it is not worth much waiting.
    pub(super) fn has_surely_ended(&self) -> bool {
        self.has_ended() && (self.is_done || self.was_open)
    }

    /// The body has ended. A reply is finished if there was an end, wherever, and there is text.
    ///
    /// # Errors
    /// What became of it instead.
    pub(super) fn finish(mut self, pieces: Pieces<'_>) -> Result<Finished, ModelError> {
        self.say_rest(pieces);
        let is_enough = self.is_enough();
        let grounding = self.grounding;
        let finished = |complete| {
            Ok(Finished {
                complete,
                grounding,
            })
        };
        if is_enough {
            return finished(false);
        }
        match self.end {
            Some(End::Blocked(why)) => Err(ModelError::blocked(&why)),
            Some(End::Broken(why)) => Err(ModelError::cut(&why)),
            Some(End::Limit) if self.has_text => finished(false),
            // All of it went into thoughts; the same model would do the same again.
            Some(End::Limit) => Err(ModelError::empty(
                "its limit was reached before a word was said",
                Advice::NextModel,
            )),
            Some(End::Said(_)) if self.has_text => finished(true),
            Some(End::Said(reason)) => Err(ModelError::empty(
                &format!("{reason} and no text"),
                Advice::OnceMore,
            )),
            None if self.has_text && self.is_done => finished(true),
            None if self.has_text => Err(ModelError::unfinished()),
            None if self.is_known || self.is_done => Err(ModelError::empty(
                "a 200 in which nothing is said",
                Advice::OnceMore,
            )),
            None => Err(ModelError::empty(
                "an empty 200",
                Advice::Again { after: None },
            )),
        }
    }

    /// The body has broken off with this error. What was complete stays complete.
    ///
    /// # Errors
    /// The error, if it was not.
    pub(super) fn break_off(
        mut self,
        error: ModelError,
        pieces: Pieces<'_>,
    ) -> Result<Finished, ModelError> {
        if self.has_ended() {
            return self.finish(pieces);
        }
        self.say_rest(pieces);
        Err(error)
    }

    fn say_rest(&mut self, pieces: Pieces<'_>) {
        let half = self.halves.rest();
        if !half.is_empty() {
            self.say(half, pieces);
        }
        let held = self.dialect.rest();
        if !held.is_empty() {
            self.has_text |= !says_nothing(&held);
            self.chars += held.chars().count();
            pieces(&held);
        }
    }
}

/// A reason as it came, for the log: it is the model's word, so it may be anything.
pub(super) fn short(reason: &str) -> String {
    reason.chars().take(60).collect()
}
