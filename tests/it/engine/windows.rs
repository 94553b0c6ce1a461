//! When windows close, what is a correction, and what a row of zero says.

use std::sync::Arc;

use logtally::engine::{
    count::{Counter, Plan, TimeSource},
    engine::Engine,
    format::LogFormat,
    journal::{APART, Posted},
    record::Record,
    reference::Reference,
    row::{Output, UNKNOWN},
    settings::{AHEAD_MS, FEW_OWNERS, GAP_WINDOWS, MAX_COUNTERS, MAX_ROWS, Mode, PORTIONS, Settings},
    state::State,
    time::WindowSize,
};

use super::{HOSTS, at, engine, plan, rows, settings};

const WINDOW: WindowSize = WindowSize::FIVE_MINUTES;
const START: i64 = 1_000_200_000;
/// The first arrival: the window before is over.
const FIRST: i64 = START + 10_000;
const END: i64 = START + 300_000;

fn push(engine: &mut Engine, lines: &str, arrival: i64) {
    engine.push(Record { partition_key: "", data: lines.as_bytes(), arrival: at(arrival) });
}

fn live() -> Engine {
    engine(settings(Mode::Live), State::new(WINDOW))
}

/// `start revision application response count` of every row.
fn brief(outputs: &[Output]) -> Vec<String> {
    let brief = |row: &&logtally::engine::row::Row| {
        let offset = row.window_start.millis_since(at(START)) / 1_000;
        let response = row.response.map_or_else(|| "-".to_owned(), |status| status.to_string());
        format!("{offset} {} {} {response} {}", row.revision, row.application_name, row.response_count)
    };
    rows(outputs).iter().map(brief).collect()
}

#[test]
fn a_window_closes_when_the_reader_says_it_is_complete_and_not_before() {
    let mut engine = live();
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n10.0.0.9 {} - -\n", START + 1), FIRST);
    assert!(engine.advance(at(END + 9_999)).is_empty());
    let outputs = engine.advance(at(END + 10_000));
    assert_eq!(brief(&outputs), ["0 0 Billing 200 1", "0 0 Unknown - 1"]);
    let unknown = rows(&outputs)[1];
    assert_eq!((unknown.contact.as_str(), unknown.top_hosts[0].host.as_str()), ("", "10.0.0.9"));
    assert!(engine.advance(at(0)).is_empty(), "the mark never moves back");
}

#[test]
fn event_times_move_nothing() {
    let mut engine = live();
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n10.0.0.1 {} 200 5\n", START + AHEAD_MS - 1), START);
    assert!(engine.advance(at(START + 1)).is_empty());
    push(&mut engine, &format!("10.0.0.1 {} 200 5\n", START + 2), START + 2);
    assert_eq!(engine.counters().late, 0);
    assert_eq!(brief(&engine.advance(at(END + 10_000))), ["0 0 Billing 200 2"]);
}

#[test]
fn late_and_far_ahead_lines_are_gathered_into_corrections() {
    let mut engine = live();
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n"), FIRST);
    engine.advance(at(END + 10_000));
    let now = END + 20_000;
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n10.0.0.1 {} 200 5\n", now + AHEAD_MS + 300_000), now);
    assert!(engine.advance(at(now)).is_empty());
    push(&mut engine, &format!("10.0.0.2 {START} 404 5\n"), now + 59_000);
    assert!(engine.advance(at(now + 59_000)).is_empty(), "gathered for 60 s");
    let outputs = engine.advance(at(now + 60_000));
    assert_eq!(brief(&outputs), ["0 2 Billing 200 1", "0 2 Billing 404 1", "7800 2 Billing 200 1"]);
    assert_eq!(engine.counters().late, 3);
    assert!(engine.state().balances());
}

#[test]
fn windows_over_before_the_first_arrival_are_corrections_from_the_start() {
    let mut engine = live();
    push(
        &mut engine,
        &format!("10.0.0.1 {} 200 5\n10.0.0.1 {START} 200 5\n", START - 300_000),
        START + 10_000,
    );
    engine.advance(at(START + 10_000));
    assert_eq!(engine.counters().late, 1);
}

#[test]
fn the_shard_that_owns_hash_key_zero_says_zero_for_everybody() {
    let mut engine = engine(Settings { zero_rows: true, ..settings(Mode::Live) }, State::new(WINDOW));
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n"), FIRST);
    let outputs = engine.advance(at(END + 310_000));
    let expected = ["0 0 Billing 200 1", "0 0 Search - 0", "0 0 Unknown - 0"];
    let next = ["300 0 Billing - 0", "300 0 Search - 0", "300 0 Unknown - 0"];
    assert_eq!(brief(&outputs), [expected, next].concat());
    let gap = engine.advance(at(END + 10_000 + 30 * 24 * 3_600_000));
    assert_eq!(rows(&gap).len(), 288 * 3, "a gap of a month costs a day of zeros");
}

#[test]
fn a_gap_of_small_windows_costs_so_many_zeros_and_no_more() {
    let second = WindowSize::from_millis(1_000).unwrap();
    let counter = Counter::new(plan(second), Arc::default());
    let settings = Settings { zero_rows: true, ..settings(Mode::Live) };
    let (mut engine, _) = Engine::new(settings, counter, State::new(second));
    engine.advance(at(FIRST));
    let gap = engine.advance(at(FIRST + 24 * 3_600_000));
    assert_eq!(rows(&gap).len(), usize::try_from(GAP_WINDOWS).unwrap());
    assert_eq!(gap.len(), 2 * rows(&gap).len(), "and as many health rows");
}

#[test]
fn corrections_come_in_portions() {
    let mut engine = live();
    push(&mut engine, "", FIRST);
    // Two rows a window.
    for window in 0..MAX_ROWS / 2 + 5 {
        let stamp = START - i64::try_from(window + 2).unwrap() * 300_000;
        push(&mut engine, &format!("10.0.0.1 {stamp} 200 1\n10.0.0.1 {stamp} 404 1\n"), FIRST);
    }
    assert_eq!(rows(&engine.publish_corrections()).len(), MAX_ROWS);
    assert_eq!(rows(&engine.publish_corrections()).len(), 10);
    assert!(engine.publish_corrections().is_empty());
}

#[test]
fn of_many_corrections_a_cut_publishes_its_part() {
    let mut engine = live();
    let counters = 2 * PORTIONS * MAX_ROWS;
    for window in 0..counters / 200 {
        let stamp = START - i64::try_from(window + 2).unwrap() * 300_000;
        let lines: Vec<String> = (100..300).map(|status| format!("10.0.0.1 {stamp} {status} 1\n")).collect();
        push(&mut engine, &lines.concat(), FIRST);
    }
    assert_eq!(rows(&engine.publish_corrections()).len(), counters / PORTIONS);
    let mut rest = 0;
    loop {
        let rows = rows(&engine.publish_corrections()).len();
        if rows == 0 {
            break;
        }
        rest += rows;
    }
    assert_eq!(rest, counters - counters / PORTIONS);
    assert!(engine.state().balances());
}

#[test]
fn health_rows_carry_the_books_and_add_up() {
    let mut engine = live();
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\nnonsense\n"), FIRST);
    engine.note_lag(7);
    let mut outputs = engine.advance(at(END + 10_000));
    push(&mut engine, "more nonsense\n", END + 20_000);
    outputs.append(&mut engine.close());
    let health = outputs.iter().filter_map(|output| match output {
        Output::Health(health) => Some(&health.row),
        Output::Row(_) => None,
    });
    let brief = health.map(|h| (h.counters.read, h.counters.malformed_lines(), h.share, h.lag_ms, h.on_time));
    assert_eq!(brief.collect::<Vec<_>>(), [(2, 1, 1_000_000_000, 7, true), (1, 1, 0, 0, true)]);
}

#[test]
fn a_changed_window_size_closes_the_old_windows_first() {
    let mut old = live();
    push(&mut old, &format!("10.0.0.1 {START} 200 5\n"), START);
    old.advance(at(START + 1));
    let minute = WindowSize::from_millis(60_000).unwrap();
    let counter = Counter::new(plan(minute), Arc::default());
    let (mut new, outputs) = Engine::new(settings(Mode::Live), counter, old.state().clone());
    assert_eq!(brief(&outputs), ["0 0 Billing 200 1"]);
    push(&mut new, &format!("10.0.0.1 {} 200 5\n", START + 61_000), START + 61_000);
    assert_eq!(brief(&new.advance(at(END))), ["60 0 Unknown 200 1"]);
    assert!(new.state().balances());
}

#[test]
fn a_reload_moves_no_count_and_counts_on_with_the_new_owner() {
    let mut engine = live();
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n10.0.0.9 {START} 200 5\n"), START);
    let moved = HOSTS.replace("10.0.0.1,Billing", "10.0.0.1,Ledger") + "10.0.0.9,Night,n@example.com\n";
    engine.set_reference(Arc::new(Reference::parse(moved.as_bytes()).unwrap().reference));
    push(&mut engine, &format!("10.0.0.1 {START} 200 5\n10.0.0.9 {START} 200 5\n"), START);
    let outputs = engine.advance(at(END + 10_000));
    let expected = ["Billing", "Ledger", "Night", UNKNOWN].map(|name| format!("0 0 {name} 200 1"));
    assert_eq!(brief(&outputs), expected);
}

#[test]
fn arrival_time_counts_as_the_retired_engine_did() {
    let plan = Plan {
        format: LogFormat::compile(super::FORMAT).unwrap(),
        window: WINDOW,
        time: TimeSource::Arrival,
    };
    let counter = Counter::new(Arc::new(plan), Arc::default());
    let (mut engine, _) = Engine::new(settings(Mode::Live), counter, State::new(WINDOW));
    push(&mut engine, "10.0.0.1 5 200 5\n", START + 7);
    assert_eq!(brief(&engine.advance(at(END + 10_000))), ["0 0 Unknown 200 1"]);
}

#[test]
fn past_the_bound_on_counters_windows_are_published_early_and_the_sums_stay() {
    let mut engine = live();
    let mut published = 0;
    let per_window = 2_000;
    let windows = MAX_COUNTERS / per_window + 20;
    for window in 0..windows {
        let stamp = START - i64::try_from(window).unwrap() * 300_000;
        let lines: String = (0..per_window).fold(String::new(), |lines, n| {
            lines + &format!("172.16.{}.{} {stamp} 200 1\n", n / 250, n % 250)
        });
        push(&mut engine, &lines, START + 10_000);
        let outputs = engine.advance(at(START + 10_000));
        published += rows(&outputs).iter().map(|row| row.response_count).sum::<u64>();
        assert!(engine.state().balances());
    }
    assert!(published > 0 && engine.counters().windows_closed_early > 0);
    published += rows(&engine.close()).iter().map(|row| row.response_count).sum::<u64>();
    assert_eq!(published, (windows * per_window) as u64);
}

#[test]
fn an_overlong_line_and_one_sent_again_in_part() {
    let mut engine = live();
    let lines = format!("10.0.0.1 {START} 200 5\n10.0.0.2 {START} 200 5\n");
    let whole = format!("00000000000000ff.1.0-{}.0", lines.len());
    let first = lines.find('\n').unwrap() + 1;
    let part = format!("00000000000000ff.1.0-{first}.0");
    let overlong = "00000000000000ff.1.1000-900000.0";
    for (partition_key, data) in [
        (part.as_str(), &lines[..first]),
        (&whole, &lines),
        (overlong, "xxx\n"),
        (overlong, "xxx\n"),
        (&whole, &lines),
    ] {
        engine.push(Record { partition_key, data: data.as_bytes(), arrival: at(START) });
    }
    let counters = engine.counters();
    assert_eq!((counters.counted, counters.duplicate, counters.malformed_lines()), (2, 4, 1));
    assert!(counters.balance());
}

#[test]
fn who_claims_fewer_bytes_than_a_record_has_is_believed_nothing() {
    let mut engine = live();
    let line = format!("10.0.0.1 {START} 200 5\n");
    let lines = line.repeat(3);
    let short = format!("00000000000000ff.1.0-{}.0", lines.len() - 1);
    let exact = format!("00000000000000ff.1.0-{}.0", lines.len());
    for partition_key in [&short, &short, &exact, &exact] {
        engine.push(Record { partition_key, data: lines.as_bytes(), arrival: at(START) });
    }
    let counters = engine.counters();
    assert_eq!((counters.records_without_provenance, counters.counted, counters.duplicate), (2, 9, 3));
}

#[test]
fn of_each_file_the_books_have_its_bytes_and_its_lines_once() {
    let mut engine = live();
    let (good, bad) = (format!("10.0.0.1 {START} 200 5\n"), "no line\n");
    let lines = format!("{good}{bad}{good}");
    let whole = format!("00000000000000ff.1.0-{}.0", lines.len());
    let part = format!("00000000000000ff.1.0-{}.0", good.len());
    let other = format!("00000000000000ff.2.0-{}.0", bad.len());
    for (partition_key, data) in [(&part, good.as_str()), (&whole, &lines), (&whole, &lines), (&other, bad)] {
        engine.push(Record { partition_key, data: data.as_bytes(), arrival: at(START) });
    }
    let taken: Vec<(u64, u64, u64)> = engine
        .state()
        .seen
        .taken()
        .map(|(file, taken)| (file.generation, taken.bytes, taken.lines))
        .collect();
    assert_eq!(taken, [(1, lines.len() as u64, 3), (2, bad.len() as u64, 1)]);
}

#[test]
fn the_second_count_keeps_every_window_apart_that_holds_requests() {
    const MINUTE: i64 = 60_000;
    let window = WindowSize::from_millis(MINUTE).unwrap();
    let patient = Settings { correction_interval_ms: 1 << 50, ..settings(Mode::Live) };
    let mut engine = engine(patient, State::new(window));
    // A correction that waits and a window that is open are entered first, and more windows pass than are kept apart.
    let (late, open) = (START - 100 * MINUTE, START + 119 * MINUTE);
    push(&mut engine, &format!("10.0.0.1 {late} 200 5\n10.0.0.1 {open} 200 5\n"), FIRST);
    for minute in 0..i64::try_from(APART).unwrap() + 20 {
        let start = START + minute * MINUTE;
        push(&mut engine, &format!("10.0.0.1 {start} 200 5\n"), start + 10_000);
        assert_eq!(rows(&engine.advance(at(start + MINUTE + 10_000))).len(), 1);
        assert!(engine.state().balances());
    }
    let journal = &engine.state().journal;
    assert_eq!(journal.joined(), Posted { counted: 20, published: 20 });
    let held = journal.pages().filter(|(_, page)| page.posted == Posted { counted: 1, published: 0 });
    let held: Vec<i64> = held.map(|(start, _)| start.as_millis()).collect();
    assert_eq!(held, [late, open].map(|time| window.start_of(at(time)).as_millis()));
}

#[test]
fn a_cut_names_the_owners_that_its_windows_hold_however_many_there_are_and_were() {
    const HOSTS: usize = 3_000;
    let reference = |team: usize| {
        let row = |n: usize| format!("10.1.{}.{},Application{n},team{team}@example.com\n", n / 250, n % 250);
        let csv = format!("Host,ApplicationName,Contact\n{}", (0..HOSTS).map(row).collect::<String>());
        Arc::new(Reference::parse(csv.as_bytes()).unwrap().reference)
    };
    let line = |n: usize, stamp: i64| format!("10.1.{}.{} {stamp} 200 5\n", n / 250, n % 250);
    let mut engine = live();
    engine.set_reference(reference(0));
    push(&mut engine, &line(7, START), FIRST);
    assert_eq!(engine.state().applications.named(), 1, "of {HOSTS}");
    // Reloads with other contacts: of each the window still holds a request.
    for team in 1..10 {
        engine.set_reference(reference(team));
        push(&mut engine, &line(7, START), FIRST);
    }
    assert_eq!(engine.state().applications.named(), 10);
    let outputs = engine.advance(at(END + 10_000));
    let contacts: Vec<&str> = rows(&outputs).iter().map(|row| row.contact.as_str()).collect();
    let expected: Vec<String> = (0..10).map(|team| format!("team{team}@example.com")).collect();
    assert_eq!(contacts, expected);
    // All of them call, window after window, and then one does: the others are forgotten.
    let mut end = END;
    for hosts in [HOSTS, HOSTS, 1, 1, 1] {
        push(&mut engine, &(0..hosts).map(|n| line(n, end)).collect::<String>(), end + 10_000);
        engine.advance(at(end + 20_000));
        assert!(engine.state().applications.named() >= hosts);
        end += 300_000;
        assert_eq!(rows(&engine.advance(at(end + 10_000))).len(), hosts);
    }
    assert!(engine.state().applications.named() <= FEW_OWNERS, "{}", engine.state().applications.named());
    // What an older cut names beside that is forgotten at the next start; what its windows hold is not.
    push(&mut engine, &(0..9).map(|n| line(n, end)).collect::<String>(), end + 10_000);
    let counter = Counter::new(plan(WINDOW), reference(0));
    let (mut engine, _) = Engine::new(settings(Mode::Live), counter, engine.state().clone());
    assert_eq!(engine.state().applications.named(), 9);
    let outputs = engine.close();
    let rows = rows(&outputs);
    assert!(rows.len() == 9 && rows.iter().all(|row| row.contact == "team9@example.com"));
}
