//! The figures as a table, as numbers, and as curves.

use std::{fmt::Write, fs, path::PathBuf};

use serde_json::{Value, json};

/// What was found about one thing.
#[derive(Default)]
pub(crate) struct Findings {
    /// Rows of the table.
    pub rows: Vec<Row>,
    /// Curves, by file name.
    pub curves: Vec<(String, Curves)>,
}

/// One figure.
pub(crate) struct Row {
    /// What it is.
    pub name: String,
    /// In what it is counted.
    pub unit: &'static str,
    /// One for each run.
    pub runs: Vec<f64>,
    /// Its floor, one for each run.
    pub floor: Vec<f64>,
    /// What it is to reach.
    pub to_reach: &'static str,
    /// CPU seconds of each process, and whatever else must be known.
    pub note: String,
}

/// Lines over one axis.
pub(crate) struct Curves {
    /// Above it.
    pub title: String,
    /// Along it.
    pub x: &'static str,
    /// Up it.
    pub y: &'static str,
    /// Each with its points.
    pub lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Findings {
    /// Shows the rows to whoever waits.
    pub(crate) fn print(&self) {
        for row in &self.rows {
            eprintln!("{}", line(&json(row)));
        }
    }
}

/// The middle one.
pub(crate) fn median(runs: &[f64]) -> f64 {
    let mut sorted = runs.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Everything that was ever measured here, on file.
pub(crate) struct Report {
    figures: Value,
}

const BEGIN: &str = "<!-- written by `bench` from here -->";
const END: &str = "<!-- to here -->";

fn docs() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs"))
}

/// What is kept in one of the files; empty if it is not there.
pub(crate) fn read(file: &str) -> Value {
    let file = fs::read_to_string(docs().join("performance").join(file)).unwrap_or_default();
    serde_json::from_str(&file).unwrap_or_else(|_| json!({}))
}

/// Keeps numbers in a file, and what they say in the page's place that begins so.
pub(crate) fn keep(file: &str, numbers: &Value, begin: &str, table: &str) {
    let folder = docs().join("performance");
    fs::create_dir_all(&folder).expect("the docs can be written");
    let numbers = serde_json::to_string_pretty(numbers).expect("JSON") + "\n";
    fs::write(folder.join(file), numbers).expect("the docs can be written");
    let page = docs().join("performance.md");
    let text = fs::read_to_string(&page).expect("the page is there");
    let (before, rest) = text
        .split_once(begin)
        .expect("the page has a place for the table");
    let (_, after) = rest.split_once(END).expect("the place has an end");
    fs::write(page, format!("{before}{begin}\n{table}{END}{after}"))
        .expect("the docs can be written");
}

impl Report {
    /// What earlier runs found.
    pub(crate) fn open() -> Report {
        Report {
            figures: read("figures.json"),
        }
    }

    /// Puts in what was found about one thing.
    pub(crate) fn replace(&mut self, name: &str, found: Findings) {
        let rows: Vec<Value> = found.rows.iter().map(json).collect();
        self.figures[name] = json!({ "machine": machine(), "rows": rows });
        for (file, curves) in found.curves {
            let path = docs().join("performance").join(file);
            fs::create_dir_all(docs().join("performance"))
                .and_then(|()| fs::write(path, curves.svg()))
                .expect("the docs can be written");
        }
    }

    /// Writes everything.
    pub(crate) fn write(&self) {
        keep("figures.json", &self.figures, BEGIN, &self.table());
    }

    fn table(&self) -> String {
        let mut table = String::new();
        for name in crate::figures::ALL {
            let Some(found) = self.figures.get(name) else {
                continue;
            };
            let machine = found["machine"].as_str().unwrap_or_default();
            let _ = write!(table, "\n**{name}** · {machine}\n\n");
            table.push_str("| figure | median (range) | floor | of the floor | to reach | |\n|---|---|---|---|---|---|\n");
            for row in found["rows"].as_array().into_iter().flatten() {
                table.push_str(&line(row));
                table.push('\n');
            }
        }
        table
    }
}

fn json(row: &Row) -> Value {
    let Row {
        name,
        unit,
        runs,
        floor,
        to_reach,
        note,
    } = row;
    json!({ "name": name, "unit": unit, "runs": runs, "floor": floor, "to_reach": to_reach, "note": note })
}

fn line(row: &Value) -> String {
    let text = |field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let runs = |field: &str| -> Vec<f64> {
        row[field]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect()
    };
    let (measured, floor) = (runs("runs"), runs("floor"));
    let share = if floor.is_empty() {
        String::new()
    } else {
        format!("{:.2}", median(&measured) / median(&floor))
    };
    let (name, unit, to_reach, note) = (text("name"), text("unit"), text("to_reach"), text("note"));
    format!(
        "| {name} | {} {unit} | {} | {share} | {to_reach} | {note} |",
        spread(&measured),
        spread(&floor)
    )
}

fn spread(runs: &[f64]) -> String {
    let least = runs.iter().copied().fold(f64::INFINITY, f64::min);
    let most = runs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match runs.len() {
        0 => String::new(),
        1 => number(runs[0]),
        _ => format!(
            "{} ({}–{})",
            number(median(runs)),
            number(least),
            number(most)
        ),
    }
}

/// Three digits that matter, thousands apart.
pub(crate) fn number(number: f64) -> String {
    if number.abs() < 10.0 {
        return format!("{number:.2}");
    }
    if number.abs() < 100.0 {
        return format!("{number:.1}");
    }
    let digits = format!("{number:.0}");
    let mut apart = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            apart.push(',');
        }
        apart.push(digit);
    }
    apart
}

/// What was measured on, and how busy it was with other things.
fn machine() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let of = |field: &str| {
        info.lines()
            .find(|line| line.starts_with(field))
            .and_then(|line| line.split(": ").nth(1))
    };
    let cores = info
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib: u64 = memory
        .split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .unwrap_or(0);
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let model = of("model name").unwrap_or("unknown");
    format!(
        "{cores} cores ({model}), {} GiB, Linux {}",
        kib / 1024 / 1024,
        kernel.trim()
    )
}

const COLOURS: [&str; 6] = [
    "#2563eb", "#dc2626", "#16a34a", "#9333ea", "#ea580c", "#0891b2",
];

impl Curves {
    fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let most = |of: fn(&(f64, f64)) -> f64| points().map(of).fold(1e-9, f64::max) * 1.05;
        let (most_x, most_y) = (most(|point| point.0), most(|point| point.1));
        let at = |&(x, y): &(f64, f64)| {
            format!(
                "{:.1},{:.1}",
                80.0 + x / most_x * 540.0,
                330.0 - y / most_y * 280.0
            )
        };
        let mut svg = String::from(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 860 390\" font-family=\"sans-serif\" font-size=\"13\">\n\
             <rect width=\"860\" height=\"390\" fill=\"white\"/>\n",
        );
        let Curves { title, x, y, .. } = self;
        let _ = write!(
            svg,
            "<text x=\"80\" y=\"28\" font-size=\"16\">{title}</text>\n<text x=\"350\" y=\"378\" text-anchor=\"middle\">{x}</text>\n<text x=\"20\" y=\"190\" text-anchor=\"middle\" transform=\"rotate(-90 20 190)\">{y}</text>\n"
        );
        for step in 0..=4 {
            let part = f64::from(step) / 4.0;
            let (across, up) = (80.0 + part * 540.0, 330.0 - part * 280.0);
            let (along, high) = (number(part * most_x), number(part * most_y));
            let _ = writeln!(
                svg,
                "<path d=\"M80 {up}H620\" stroke=\"#ddd\"/><text x=\"74\" y=\"{}\" text-anchor=\"end\">{high}</text><text x=\"{across}\" y=\"350\" text-anchor=\"middle\">{along}</text>",
                up + 4.0
            );
        }
        for ((name, points), (place, colour)) in
            self.lines.iter().zip(COLOURS.iter().cycle().enumerate())
        {
            let path: Vec<String> = points.iter().map(at).collect();
            let height = 60 + 22 * place;
            let _ = write!(
                svg,
                "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{}\"/>\n<text x=\"636\" y=\"{height}\" fill=\"{colour}\">{name}</text>\n",
                path.join(" ")
            );
            for point in &path {
                let (cx, cy) = point.split_once(',').unwrap_or_default();
                let _ = writeln!(
                    svg,
                    "<circle cx=\"{cx}\" cy=\"{cy}\" r=\"3\" fill=\"{colour}\"/>"
                );
            }
        }
        svg + "</svg>\n"
    }
}
