//! `docs/scale.md` says what the simulation says, and the simulation what two cores were measured to do.

use std::{fs, path::Path, process::Command};

/// How far what the costs of the parts add up to may be from what was measured of all of them together.
const APART: std::ops::RangeInclusive<f64> = 0.85..=1.15;

fn scale(arguments: &[&str]) -> String {
    let mut scale = Command::new(env!("CARGO_BIN_EXE_scale"));
    let output = scale.args(arguments).output().expect("it was built");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn the_document_has_the_tables_of_the_simulation() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scale.md");
    let document = fs::read_to_string(document).expect("it is there");
    for table in scale(&[]).split("\n\n").chain([scale(&["check"]).as_str()]) {
        assert!(
            document.contains(table.trim()),
            "docs/scale.md lacks\n{table}"
        );
    }
}

#[test]
fn what_the_parts_add_up_to_is_what_two_cores_do() {
    let table = scale(&["check"]);
    let ratios = table.lines().skip(2).map(|line| {
        let ratio = line.trim_end_matches(" |").rsplit(' ').next();
        ratio
            .and_then(|ratio| ratio.parse::<f64>().ok())
            .expect("a ratio")
    });
    let ratios: Vec<f64> = ratios.collect();
    assert_eq!(ratios.len(), 3, "{table}");
    assert!(ratios.iter().all(|ratio| APART.contains(ratio)), "{table}");
}

#[test]
fn anybody_can_ask_with_their_own_figures() {
    let dear = scale(&["sockets=100000", "messages=10000", "redis_message=200"]);
    let row = dear.lines().nth(2).expect("one step");
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    assert_eq!(
        (cells[1], cells[2], cells[4]),
        ("100,000", "10,000", "4"),
        "{dear}"
    );
    let mut wrong = Command::new(env!("CARGO_BIN_EXE_scale"));
    let refused = wrong.arg("no_such_cost=3").output().expect("it was built");
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("redis_message=27"));
}
