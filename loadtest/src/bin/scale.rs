//! What so many people need: from what each part was measured to cost, how many of each there have to be, which part ends first, and
//! what is then split. On paper, since nobody here has a million sockets: `docs/scale.md` says what its figures are worth.
//!
//! ```text
//! cargo run -p loadtest --bin scale                                  the steps of the document
//! cargo run -p loadtest --bin scale -- sockets=50000 messages=2000   one step of your own
//! cargo run -p loadtest --bin scale -- redis_message=40 cores=16     the steps with what you measured
//! cargo run -p loadtest --bin scale -- check                         held against what two cores were measured to do
//! ```

use std::process::ExitCode;

/// The load and the costs: name, value, unit, and where the value comes from. All can be given as `NAME=VALUE`.
const FIGURES: [(&str, f64, &str, &str); 23] = [
    (
        "readers",
        20.0,
        "people",
        "in a room at the same time, each at an edge of their own choosing",
    ),
    ("questions", 0.01, "of all messages", "are asked of the bot"),
    ("answer_seconds", 5.0, "s", "a model takes to answer"),
    ("bytes", 450.0, "bytes", "a frame of 300 characters"),
    ("cores", 8.0, "cores", "of each machine"),
    (
        "busy",
        0.6,
        "of a machine",
        "what is planned for, so that it gets along without one of its kind for a while",
    ),
    (
        "edge_message",
        31.0,
        "µs of CPU",
        "from the sender's frame to the ack (`acked`, 200 in flight: 2.28 s for 74,336)",
    ),
    (
        "edge_delivery",
        3.3,
        "µs of CPU",
        "each further reader in a small room (`fan-out`, 50 × 10 and 100 × 20: 64.6 and 97.8 µs a message)",
    ),
    (
        "edge_heard",
        10.0,
        "µs of CPU",
        "a message that another edge took: not measured",
    ),
    (
        "edge_sockets",
        50_000.0,
        "sockets",
        "an edge has at most (`SOCKETS_MAX`)",
    ),
    (
        "edge_socket_kib",
        5.1,
        "KiB",
        "of memory an idle joined socket (`sockets`)",
    ),
    (
        "edge_connect",
        78.0,
        "µs of CPU",
        "a socket that comes back (`sockets`: 0.78 s for 10,000)",
    ),
    (
        "redis_message",
        27.0,
        "µs of CPU",
        "one script, with one edge that hears of it (`fan-out`, 50 × 10: 1.21 s for 44,432); a master has one core for it",
    ),
    (
        "redis_heard",
        2.0,
        "µs of CPU",
        "each further edge that hears of it: not measured",
    ),
    (
        "rabbitmq_message",
        20.0,
        "µs of CPU",
        "one message into `persist` (`fan-out`, 50 × 10: 0.90 s), on each of the nodes that keep it",
    ),
    ("rabbitmq_copies", 3.0, "nodes", "keep each queue"),
    (
        "queue_messages",
        29_000.0,
        "messages a second",
        "one queue takes with its one leader (`acked`, 1,000 in flight: 29,259)",
    ),
    (
        "persister_rows",
        45_000.0,
        "rows a second",
        "one persister writes (`persister`)",
    ),
    (
        "persister_row",
        6.5,
        "µs of CPU",
        "one row (`fan-out`, 50 × 10: 0.29 s)",
    ),
    (
        "database_rows",
        66_000.0,
        "rows a second",
        "one primary takes (three persisters on two cores: 66,500)",
    ),
    (
        "database_row",
        20.0,
        "µs of CPU",
        "one row that comes alone or with few (`fan-out`, 50 × 10: 0.91 s)",
    ),
    (
        "row_bytes",
        600.0,
        "bytes",
        "on the database's disk, with its indexes",
    ),
    (
        "worker_slots",
        16.0,
        "answers",
        "a worker writes at a time (`BOT_CONCURRENCY`)",
    ),
];

/// Sockets, and messages a second.
const STEPS: [(f64, f64); 5] = [
    (1_000.0, 50.0),
    (10_000.0, 1_000.0),
    (100_000.0, 10_000.0),
    (300_000.0, 30_000.0),
    (1_000_000.0, 100_000.0),
];

/// What was measured on two cores with everything on them, the load too: rooms' sockets, whether rows are written, messages a
/// second, and the CPU of the load for a message and a delivery, which is no part of any deployment.
const MEASURED: [(&str, f64, bool, f64); 3] = [
    ("50 rooms × 10 sockets", 10.0, true, 11_108.0),
    ("100 rooms × 20 sockets", 20.0, true, 7_922.0),
    ("acked, 200 in flight", 0.0, false, 18_584.0),
];
const LOAD_MESSAGE: f64 = 5.0;
const LOAD_DELIVERY: f64 = 2.0;
/// How much of two cores was in use in those runs, in the mean.
const IN_USE: f64 = 0.88;

struct Figures(Vec<(&'static str, f64)>);

impl Figures {
    fn of(&self, name: &str) -> f64 {
        let found = self.0.iter().find(|(known, _)| *known == name);
        found.expect("it is one of them").1
    }

    fn set(&mut self, name: &str, value: f64) -> bool {
        let found = self.0.iter_mut().find(|(known, _)| *known == name);
        found.map(|known| known.1 = value).is_some()
    }
}

/// How many of a part are needed at the share of it that is planned for, before that is rounded up, and what one does with it when one is not enough.
struct Part {
    name: &'static str,
    needed: f64,
    split: &'static str,
}

struct Need {
    parts: [Part; 6],
    cores: f64,
    sent_mb: f64,
    rows_gb_a_day: f64,
    back_seconds: f64,
}

/// Edges that hear of a message whose readers each chose theirs by chance.
fn edges_that_hear(edges: f64, readers: f64) -> f64 {
    edges * (1.0 - (1.0 - 1.0 / edges).powf(readers))
}

fn need(figures: &Figures, sockets: f64, messages: f64) -> Need {
    let of = |name| figures.of(name);
    let (busy, readers) = (of("busy"), of("readers"));
    // Microseconds of CPU a second that a machine has for its work.
    let machine = of("cores") * busy * 1e6;
    let edge_work = |edges: f64| {
        let others = edges_that_hear(edges, readers) - 1.0;
        messages
            * (of("edge_message")
                + readers * of("edge_delivery")
                + others.max(0.0) * of("edge_heard"))
    };
    // More edges hear more, so it is looked for; it ends since no message has more hearers than readers.
    let mut edges: f64 = 1.0;
    let needed_edges = loop {
        let needed = (edge_work(edges) / machine).max(sockets / of("edge_sockets"));
        if needed <= edges {
            break needed;
        }
        edges = needed.ceil().max(edges + 1.0);
    };
    let hear = edges_that_hear(edges, readers).max(1.0);
    let redis = messages * (of("redis_message") + (hear - 1.0) * of("redis_heard"));
    let rabbitmq = messages * of("rabbitmq_message") * of("rabbitmq_copies");
    let (persister, database) = (
        messages * of("persister_row"),
        messages * of("database_row"),
    );
    let answers = messages * of("questions") * of("answer_seconds");
    let part = |name, needed, split| Part {
        name,
        needed,
        split,
    };
    let parts = [
        part(
            "edges",
            needed_edges,
            "more edges: any client may come to any of them",
        ),
        part(
            "Redis masters",
            redis / (busy * 1e6),
            "a Cluster with more masters: a room's keys have one slot",
        ),
        part(
            "`persist` queues",
            messages / (of("queue_messages") * busy),
            "`persist` into several queues, a room always in the same one",
        ),
        part(
            "persisters",
            messages / (of("persister_rows") * busy),
            "more persisters",
        ),
        part(
            "primaries",
            messages / (of("database_rows") * busy),
            "the database by rooms: not in this program",
        ),
        part(
            "workers",
            answers / (of("worker_slots") * busy),
            "more workers, and what the key of the model may do",
        ),
    ];
    let work = edge_work(edges) + redis + rabbitmq + persister + database;
    let others = (edges - 1.0).max(1.0);
    Need {
        parts,
        cores: work / 1e6 / busy,
        sent_mb: messages * readers * of("bytes") / 1e6,
        rows_gb_a_day: messages * of("row_bytes") * 86_400.0 / 1e9,
        back_seconds: sockets / edges * of("edge_connect")
            / (of("cores") * (1.0 - busy) * 1e6 * others),
    }
}

/// A number as people write it.
fn number(value: f64) -> String {
    if value < 10.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut written = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            written.push(',');
        }
        written.push(digit);
    }
    written
}

fn print_steps(figures: &Figures, steps: &[(f64, f64)]) {
    println!(
        "| sockets | messages a second | edges | Redis masters | `persist` queues | persisters | primaries | workers | cores in all | \
         sent, MB/s | rows, GB a day | an edge is lost: all back in |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|");
    for (sockets, messages) in steps {
        let need = need(figures, *sockets, *messages);
        let parts: Vec<String> = need
            .parts
            .iter()
            .map(|part| number(part.needed.ceil()))
            .collect();
        let parts: Vec<&str> = parts
            .iter()
            .map(|count| count.trim_end_matches(".0"))
            .collect();
        println!(
            "| {} | {} | {} | {} | {} | {} | {} s |",
            number(*sockets),
            number(*messages),
            parts.join(" | "),
            number(need.cores),
            number(need.sent_mb),
            number(need.rows_gb_a_day),
            number(need.back_seconds),
        );
    }
}

/// The rate of messages at which one of a part is no longer enough, with ten sockets for each message a second.
fn ends_at(figures: &Figures, part: usize) -> f64 {
    let (mut enough, mut too_much) = (1.0, 1e9);
    for _ in 0..60 {
        let between = (enough + too_much) / 2.0;
        if need(figures, between * 10.0, between).parts[part].needed > 1.0 {
            too_much = between;
        } else {
            enough = between;
        }
    }
    enough
}

fn print_ends(figures: &Figures) {
    let parts = need(figures, 10.0, 1.0).parts;
    let mut ends: Vec<(f64, &Part)> = parts
        .iter()
        .enumerate()
        .map(|(place, part)| (ends_at(figures, place), part))
        .collect();
    ends.sort_by(|(one, _), (other, _)| one.total_cmp(other));
    println!(
        "| the first that one is not enough of | from, messages a second | what is then split |"
    );
    println!("|---|---|---|");
    for (from, part) in ends {
        println!("| {} | {} | {} |", part.name, number(from), part.split);
    }
}

fn print_check(figures: &Figures) {
    println!("| on two cores | measured | by these costs | |");
    println!("|---|---|---|---|");
    for (name, readers, is_kept, measured) in MEASURED {
        let of = |name| figures.of(name);
        let mut work = of("edge_message") + readers * of("edge_delivery");
        work +=
            of("redis_message") + of("rabbitmq_message") + LOAD_MESSAGE + readers * LOAD_DELIVERY;
        if is_kept {
            work += of("persister_row") + of("database_row");
        }
        let predicted = 2e6 * IN_USE / work;
        println!(
            "| {name} | {} a second | {} | {:.2} |",
            number(measured),
            number(predicted),
            predicted / measured
        );
    }
}

fn main() -> ExitCode {
    let mut figures = Figures(
        FIGURES
            .iter()
            .map(|(name, value, ..)| (*name, *value))
            .collect(),
    );
    let (mut sockets, mut messages, mut is_check) = (None, None, false);
    for word in std::env::args().skip(1) {
        let given = word.split_once('=').and_then(|(name, value)| {
            let value = value.parse::<f64>().ok();
            Some((
                name,
                value.filter(|value| value.is_finite() && *value > 0.0)?,
            ))
        });
        let is_known = match given {
            Some(("sockets", value)) => sockets.replace(value).is_none(),
            Some(("messages", value)) => messages.replace(value).is_none(),
            Some((name, value)) => figures.set(name, value),
            None => {
                is_check |= word == "check";
                word == "check"
            }
        };
        if !is_known {
            eprintln!(
                "scale [check] [sockets=N messages=N] [NAME=VALUE...], all above zero, of these:"
            );
            for (name, value, unit, from) in FIGURES {
                eprintln!("  {name}={value}  {unit}: {from}");
            }
            return ExitCode::FAILURE;
        }
    }
    let own = [(sockets.unwrap_or(10_000.0), messages.unwrap_or(1_000.0))];
    match (is_check, sockets.or(messages)) {
        (true, _) => print_check(&figures),
        (false, Some(_)) => print_steps(&figures, &own),
        (false, None) => {
            print_steps(&figures, &STEPS);
            println!();
            print_ends(&figures);
        }
    }
    ExitCode::SUCCESS
}
