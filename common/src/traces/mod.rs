//! One trace of each message and each question, from the socket to the row, in OpenTelemetry's form: off unless an
//! endpoint is set. Why not by the log's own spans, and which crates: `docs/decisions/traces.md`.
//!
//! Off, and for what is not sampled, a [`Span`] is nothing: nothing is allocated, and no clock is read. What crosses a
//! process or a task is a [`TraceContext`], W3C's `traceparent`.

mod sending;

use std::{
    fmt,
    sync::OnceLock,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use opentelemetry::{
    Context, KeyValue, Value,
    trace::{
        Span as _, SpanContext, SpanId, Status, TraceContextExt as _, TraceFlags, TraceId,
        TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{SdkTracer, Span as SdkSpan};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracing::{Instrument, instrument::Instrumented};

use crate::wire::Seq;

pub use opentelemetry::trace::SpanKind;
pub use sending::TraceSettings;
pub(crate) use sending::{begin, finish};

/// Makes spans, if traces are sent at all.
static TRACER: OnceLock<SdkTracer> = OnceLock::new();

tokio::task_local! {
    static CURRENT: Option<TraceContext>;
}

/// Where a span hangs: W3C's `traceparent`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace: TraceId,
    span: SpanId,
    is_sampled: bool,
}

impl TraceContext {
    /// How long its text is.
    pub const CHARS: usize = 55;

    /// Whether it is told to a collector, as whoever began it decided.
    pub fn is_sampled(self) -> bool {
        self.is_sampled
    }

    /// Reads a `traceparent`; none if it is not one. Later versions may have more behind it.
    pub fn read(text: &str) -> Option<TraceContext> {
        let mut parts = text.trim().split('-');
        let (version, trace, span, flags) =
            (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let is_hex = |part: &str, chars| {
            let hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            part.len() == chars && part.bytes().all(hex)
        };
        let whole = is_hex(version, 2) && is_hex(trace, 32) && is_hex(span, 16) && is_hex(flags, 2);
        if !whole || version == "ff" || version == "00" && parts.next().is_some() {
            return None;
        }
        let (trace, span) = (TraceId::from_hex(trace).ok()?, SpanId::from_hex(span).ok()?);
        let flags = u8::from_str_radix(flags, 16).ok()?;
        (trace != TraceId::INVALID && span != SpanId::INVALID).then_some(TraceContext {
            trace,
            span,
            is_sampled: flags & 1 == 1,
        })
    }

    fn of(span: &SpanContext) -> TraceContext {
        TraceContext {
            trace: span.trace_id(),
            span: span.span_id(),
            is_sampled: span.is_sampled(),
        }
    }

    fn remote(self) -> SpanContext {
        let flags = TraceFlags::default().with_sampled(self.is_sampled);
        SpanContext::new(self.trace, self.span, flags, true, TraceState::default())
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let flags = u8::from(self.is_sampled);
        write!(f, "00-{}-{}-{flags:02x}", self.trace, self.span)
    }
}

impl fmt::Debug for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Serialize for TraceContext {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads the context that goes along with something, which is worth having without it.
///
/// # Errors
/// None of its own.
pub fn read_if_any<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<TraceContext>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    Ok(text.and_then(|text| TraceContext::read(&text)))
}

/// Something that takes its time, told when it is dropped; or nothing, where nothing is traced.
pub struct Span(Option<Box<SdkSpan>>);

impl Span {
    /// Nothing.
    pub const NONE: Span = Span(None);

    /// The first span of this program in a trace: that of whoever calls, or a new one, if the sampler will have it.
    pub fn root(name: &'static str, kind: SpanKind, caller: Option<TraceContext>) -> Span {
        let Some(tracer) = TRACER.get() else {
            return Span::NONE;
        };
        Span::begin(tracer, name, kind, caller)
    }

    /// A part of what is traced; nothing if that is not.
    pub fn child(name: &'static str, parent: Option<TraceContext>) -> Span {
        Span::child_as(name, SpanKind::Internal, parent)
    }

    /// The same of another kind.
    pub fn child_as(name: &'static str, kind: SpanKind, parent: Option<TraceContext>) -> Span {
        match (TRACER.get(), parent) {
            (Some(tracer), Some(parent)) if parent.is_sampled => {
                Span::begin(tracer, name, kind, Some(parent))
            }
            _ => Span::NONE,
        }
    }

    /// A part that was waited for from this place in a room on, by whoever gives it, and is over now.
    pub fn waited(name: &'static str, since: Seq, parent: Option<TraceContext>) {
        let (Some(tracer), Some(parent)) = (TRACER.get(), parent) else {
            return;
        };
        if parent.is_sampled {
            let around = Context::new().with_remote_span_context(parent.remote());
            // Another's clock may be ahead of this one's.
            let begun = (UNIX_EPOCH + Duration::from_micros(since)).min(SystemTime::now());
            let builder = tracer.span_builder(name).with_start_time(begun);
            drop(tracer.build_with_context(builder, &around));
        }
    }

    fn begin(
        tracer: &SdkTracer,
        name: &'static str,
        kind: SpanKind,
        parent: Option<TraceContext>,
    ) -> Span {
        let around = match parent {
            Some(parent) => Context::new().with_remote_span_context(parent.remote()),
            None => Context::new(),
        };
        let builder = tracer.span_builder(name).with_kind(kind);
        Span(Some(Box::new(tracer.build_with_context(builder, &around))))
    }

    /// What others hang themselves to, or tell their callers, whether it is sampled or not; none if nothing is traced.
    pub fn any_context(&self) -> Option<TraceContext> {
        let span = self.0.as_ref()?;
        Some(TraceContext::of(span.span_context()))
    }

    /// The same, if it is sampled.
    pub fn context(&self) -> Option<TraceContext> {
        self.any_context().filter(|context| context.is_sampled)
    }

    /// Tells something about it.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(name, value));
        }
    }

    /// Calls it something that was not known when it began.
    pub fn rename(&mut self, name: String) {
        if let Some(span) = &mut self.0 {
            span.update_name(name);
        }
    }

    /// It happened because of that other one as well.
    pub fn link(&mut self, other: TraceContext) {
        if let Some(span) = &mut self.0 {
            span.add_link(other.remote(), Vec::new());
        }
    }

    /// It did not come to what it was to be.
    pub fn failed(&mut self, why: impl fmt::Display) {
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(why.to_string()));
        }
    }
}

/// Whether anything is traced in this process.
pub fn is_on() -> bool {
    TRACER.get().is_some()
}

/// The trace in which this is called, by what [`within`] says.
pub fn current() -> Option<TraceContext> {
    TRACER.get()?;
    CURRENT.try_with(|current| *current).ok().flatten()
}

/// Work that belongs to a trace: what it calls finds that by [`current`], and its lines in the log have the trace's id.
pub fn within<Work: Future>(
    trace: Option<TraceContext>,
    work: Work,
) -> tokio::task::futures::TaskLocalFuture<Option<TraceContext>, Instrumented<Work>> {
    let lines = match trace {
        // At the level of errors, so that whatever is logged has it.
        Some(context) => tracing::error_span!("trace", trace_id = %context.trace),
        None => tracing::Span::none(),
    };
    CURRENT.scope(trace, work.instrument(lines))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_written_as_it_was_read() {
        let read = TraceContext::read(GIVEN).unwrap();
        assert_eq!(read.to_string(), GIVEN);
        assert_eq!(GIVEN.len(), TraceContext::CHARS);
        assert!(read.is_sampled);
        let unsampled = GIVEN.replace("-01", "-00");
        let read = TraceContext::read(&unsampled).unwrap();
        assert_eq!(read.to_string(), unsampled);
        // A version of which only the beginning is known, and flags that are not.
        let later = GIVEN.replace("00-4", "cc-4").replace("-01", "-ff-what");
        assert_eq!(TraceContext::read(&later).unwrap().to_string(), GIVEN);
    }

    #[test]
    fn what_is_no_traceparent_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(TraceContext::read(bad), None, "{bad:?}");
        }
    }

    #[tokio::test]
    async fn where_nothing_is_traced_a_span_is_nothing() {
        let caller = TraceContext::read(GIVEN);
        let mut span = Span::root("send", SpanKind::Server, caller);
        span.set("room", "lobby");
        assert!(span.0.is_none() && span.any_context().is_none());
        assert!(Span::child("place", caller).0.is_none());
        within(caller, async { assert_eq!(current(), None) }).await;
    }
}
