//! `streamed(input, cuts, deaths) == counted at once`: over resent records, crashes and restarts.

use std::collections::BTreeSet;

use logtally::engine::{
    cut::{Cut, CutRef},
    engine::Engine,
    provenance::{Node, Provenance, SourceId},
    record::Record,
    row::Output,
    settings::Mode,
    state::State,
    time::WindowSize,
};
use proptest::prelude::*;

use super::{at, counted_at_once, engine, settings, sums};

const WINDOW: WindowSize = WindowSize::FIVE_MINUTES;

#[derive(Clone, Debug)]
struct Line {
    host: u8,
    millis: i64,
    status: u16,
    malformed: bool,
}

impl Line {
    fn text(&self) -> String {
        let Self { host, millis, status, malformed } = self;
        let host = match host % 5 {
            0 => "web.example.com".to_owned(),
            n => format!("10.0.0.{n}"),
        };
        let broken = if *malformed { "?" } else { "" };
        format!("{broken}{host} {millis} {status} {}\n", u64::from(*status) * 3)
    }
}

fn line() -> impl Strategy<Value = Line> {
    let millis = prop_oneof![
        8 => 1_000_000_000..1_002_000_000_i64,
        1 => -900_000_i64..900_000,
        1 => 1_000_000_000..1_100_000_000_i64,
    ];
    (any::<u8>(), millis, 200_u16..204, prop::bool::weighted(0.05))
        .prop_map(|(host, millis, status, malformed)| Line { host, millis, status, malformed })
}

/// What happens to the consumer behind a record.
#[derive(Clone, Copy, Debug)]
enum Act {
    Nothing,
    Advance,
    Save,
    Die,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![Just(Act::Nothing), Just(Act::Advance), Just(Act::Save), Just(Act::Die)]
}

/// A record of the stream: its bytes as a range of the file, and how much of the file was acknowledged then.
fn stream(lines: &[Line], sizes: &[usize], resent: &[(usize, usize)]) -> (String, Vec<(String, String)>) {
    let texts: Vec<String> = lines.iter().map(Line::text).collect();
    let mut starts = vec![0_u64];
    for text in &texts {
        starts.push(starts.last().unwrap() + text.len() as u64);
    }
    let mut cuts: BTreeSet<usize> = [0, texts.len()].into();
    let mut next = 0;
    for size in sizes {
        next += size;
        cuts.insert(next.min(texts.len()));
    }
    let cuts: Vec<usize> = cuts.into_iter().collect();
    let record = |from: usize, to: usize, acked: u64| {
        let source = SourceId { node: Node(1), generation: 1 };
        let provenance = Provenance { source, start: starts[from], end: starts[to], acked };
        (provenance.to_string(), texts[from..to].concat())
    };
    let mut records: Vec<_> = cuts.windows(2).map(|cut| (cut[1], record(cut[0], cut[1], 0))).collect();
    // Sent again with other boundaries, somewhere behind the place where all of it was sent first.
    for &(from, length) in resent {
        let from = from % texts.len();
        let to = (from + length).min(texts.len());
        let behind = records.iter().position(|(end, _)| *end >= to).unwrap();
        let later = (behind + 1 + (from + length) % 3).min(records.len());
        records.insert(later, (0, record(from, to, 0)));
    }
    (texts.concat(), records.into_iter().map(|(_, record)| record).collect())
}

struct Consumer {
    engine: Engine,
    position: usize,
    unsaved: Vec<Output>,
    published: Vec<Output>,
    saved: (Vec<u8>, usize),
}

impl Consumer {
    fn save(&mut self) {
        let state = self.engine.state();
        assert!(state.balances(), "{:?}", state.counters);
        let cut = CutRef { epoch: 1, ended: false, state, outbox: &[] };
        self.saved = (cut.encode().unwrap(), self.position);
        self.published.append(&mut self.unsaved);
    }

    fn die(&mut self) {
        let cut = Cut::decode(&self.saved.0).unwrap();
        self.engine = engine(settings(Mode::Live), cut.state);
        self.position = self.saved.1;
        self.unsaved.clear();
    }
}

fn streamed(records: &[(String, String)], acts: &[Act]) -> Consumer {
    let fresh = engine(settings(Mode::Live), State::new(WINDOW));
    let mut consumer = Consumer {
        engine: fresh,
        position: 0,
        unsaved: Vec::new(),
        published: Vec::new(),
        saved: (Vec::new(), 0),
    };
    consumer.save();
    let mut acts = acts.iter();
    while let Some((partition_key, data)) = records.get(consumer.position) {
        let arrival = at(1_000_000_000 + i64::try_from(consumer.position).unwrap() * 40_000);
        consumer.engine.push(Record { partition_key, data: data.as_bytes(), arrival });
        consumer.position += 1;
        match acts.next().unwrap_or(&Act::Nothing) {
            Act::Nothing => {}
            Act::Advance => consumer.unsaved.append(&mut consumer.engine.advance(arrival)),
            Act::Save => consumer.save(),
            Act::Die => consumer.die(),
        }
    }
    consumer.unsaved.append(&mut consumer.engine.close());
    consumer.save();
    consumer
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn streamed_over_cuts_and_deaths_is_counted_at_once(
        lines in prop::collection::vec(line(), 1..80),
        sizes in prop::collection::vec(1_usize..6, 0..40),
        resent in prop::collection::vec((any::<usize>(), 1_usize..10), 0..12),
        acts in prop::collection::vec(act(), 0..120),
    ) {
        let resent: Vec<_> = resent.into_iter().map(|(from, length)| (from % 1_000, length)).collect();
        let (input, records) = stream(&lines, &sizes, &resent);
        let (expected, malformed) = counted_at_once(&input, WINDOW);
        let mut consumer = streamed(&records, &acts);
        prop_assert_eq!(sums(&consumer.published), expected);
        let counters = consumer.engine.counters();
        prop_assert_eq!(counters.malformed_lines(), malformed);
        prop_assert_eq!(counters.read - counters.duplicate, lines.len() as u64);
        let ids: BTreeSet<String> = consumer.published.iter().map(id).collect();
        prop_assert_eq!(ids.len(), consumer.published.len(), "row ids repeat");
    }
}

fn id(output: &Output) -> String {
    match output {
        Output::Row(row) => row.row_id.clone(),
        Output::Health(health) => health.row.row_id.clone(),
    }
}
