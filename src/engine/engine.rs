//! Records in, rows out: the state machine of one shard. Never fails on a line, and calls nobody.

use std::{ops::Range, sync::Arc};

use crate::engine::{
    count::{Block, Counter, refuse_overlong, split_line},
    counters::Counters,
    producers::PARTITION_KEY_PREFIX,
    provenance::Provenance,
    publish::Publication,
    record::Record,
    reference::Reference,
    row::{Health, Output},
    settings::{
        AHEAD_MS, FEW_OWNERS, GAP_MS, GAP_WINDOWS, GATHER_LINES, MAX_COUNTERS, MAX_ROWS, Mode, PORTIONS,
        Settings,
    },
    state::State,
    tally::{Tally, UNOWNED},
    time::{Timestamp, WindowSize},
};

/// One shard's engine.
#[derive(Debug)]
pub struct Engine {
    settings: Settings,
    counter: Counter,
    /// By owner of the reference data the number that the tallies name him by; [`UNOWNED`] as long as none does.
    numbers: Vec<u32>,
    gathered: Block,
    state: State,
}

impl Engine {
    /// An engine that goes on from `state`. If that holds windows of another size they are published first.
    #[must_use]
    pub fn new(settings: Settings, counter: Counter, state: State) -> (Self, Vec<Output>) {
        let window = counter.plan().window;
        let mut engine = Self { settings, counter, numbers: Vec::new(), gathered: Block::default(), state };
        engine.renumber();
        let rows = if engine.state.window == window { Vec::new() } else { engine.close() };
        engine.state.window = window;
        if engine.state.closed_to > Timestamp::MIN {
            engine.state.closed_to = window.start_of(engine.state.closed_to);
        }
        (engine, rows)
    }

    /// Joins with other reference data from now on; what was counted keeps its owner.
    pub fn set_reference(&mut self, reference: Arc<Reference>) {
        if Arc::ptr_eq(self.counter.reference(), &reference) {
            return;
        }
        self.settle();
        self.counter.set_reference(reference);
        self.renumber();
    }

    /// Numbers the owners anew: those that the windows name, and no others.
    fn renumber(&mut self) {
        let State { applications, open, late, .. } = &mut self.state;
        let old = std::mem::take(applications);
        for windows in [open, late] {
            windows.renumber(|owner| applications.adopt(&old, owner));
        }
        self.numbers = vec![UNOWNED; self.counter.reference().owners().len()];
    }

    /// Counts the lines of one record that were not seen before. Never fails; counts what it cannot use.
    pub fn push(&mut self, record: Record<'_>) {
        let Record { partition_key, data, arrival } = record;
        if partition_key.starts_with(PARTITION_KEY_PREFIX) && self.state.producers.hear(data, arrival) {
            self.gathered.counters.control_bytes += data.len() as u64;
            return;
        }
        if self.settings.mode == Mode::Live && self.state.closed_to == Timestamp::MIN {
            self.begin(arrival);
        }
        let length = data.len() as u64;
        match partition_key.parse::<Provenance>() {
            Ok(provenance) if length <= provenance.end - provenance.start => {
                self.push_known(&provenance, data, arrival);
            }
            _ => {
                self.gathered.counters.records_without_provenance += 1;
                self.counter.count(data, arrival, &mut self.gathered);
            }
        }
        if self.gathered.counters.read >= GATHER_LINES {
            self.settle();
        }
    }

    fn push_known(&mut self, provenance: &Provenance, data: &[u8], arrival: Timestamp) {
        let cut_line = (data.len() as u64) < provenance.end - provenance.start;
        let new = |counters: &Counters| counters.read - counters.duplicate;
        let before = new(&self.gathered.counters);
        if self.state.seen.overlaps(provenance) {
            self.push_clipped(provenance, data, arrival, cut_line);
        } else if cut_line {
            refuse_overlong(data, &mut self.gathered);
        } else {
            self.counter.count(data, arrival, &mut self.gathered);
        }
        self.gathered.counters.sources_forgotten += self.state.seen.take(provenance, arrival);
        self.state.seen.count(provenance.source, new(&self.gathered.counters) - before);
    }

    /// Counts only the lines whose first byte is new.
    fn push_clipped(&mut self, provenance: &Provenance, data: &[u8], arrival: Timestamp, cut_line: bool) {
        let (mut rest, mut offset) = (data, provenance.start);
        while !rest.is_empty() {
            let after = if cut_line { &[] } else { split_line(rest).1 };
            let (line, _) = rest.split_at(rest.len() - after.len());
            if self.state.seen.holds(provenance.source, offset) {
                self.gathered.counters.read += 1;
                self.gathered.counters.read_bytes += line.len() as u64;
                self.gathered.counters.duplicate += 1;
            } else if cut_line {
                refuse_overlong(line, &mut self.gathered);
            } else {
                self.counter.count(line, arrival, &mut self.gathered);
            }
            offset += line.len() as u64;
            rest = after;
        }
    }

    /// Enters records into the books that were past retention before they could be read.
    pub fn expire(&mut self, records: u64, bytes: u64) {
        self.state.counters.expired_records += records;
        self.state.counters.expired_bytes += bytes;
    }

    /// Adds a block that another counter made with the same plan and reference data.
    pub fn absorb(&mut self, block: Block) {
        let Block { windows, counters, samples } = block;
        let Self { settings, counter, numbers, state, .. } = self;
        let owners = counter.reference().owners();
        let applications = &mut state.applications;
        let mut renumber = |index: u32| {
            let (Some(number), Some(owner)) = (numbers.get_mut(index as usize), owners.get(index as usize))
            else {
                return UNOWNED;
            };
            if *number == UNOWNED {
                *number = applications.number(owner);
            }
            *number
        };
        for (start, counts) in windows {
            let (first, last) = state.span.unwrap_or((start, start));
            state.span = Some((first.min(start), last.max(start)));
            let requests = counts.requests();
            state.journal.count(start, requests, state.complete_to);
            let ahead = settings.mode == Mode::Live && start.millis_since(state.complete_to) > AHEAD_MS;
            if ahead || start < state.closed_to {
                state.counters.late += requests;
                state.late_since.get_or_insert(state.complete_to);
                state.late.starting(start).absorb(&counts, &mut renumber);
            } else {
                state.open.starting(start).absorb(&counts, &mut renumber);
            }
        }
        state.counters += &counters;
        state.samples.absorb(samples);
    }

    /// Notes how far behind the tip a read was, in milliseconds, for the health row.
    pub fn note_lag(&mut self, lag_ms: u64) {
        self.state.lag_ms = self.state.lag_ms.max(lag_ms);
    }

    /// Publishes the windows that are complete now, and corrections that have waited long enough.
    pub fn advance(&mut self, complete_to: Timestamp) -> Vec<Output> {
        if self.settings.mode == Mode::Live && self.state.closed_to == Timestamp::MIN {
            self.begin(complete_to);
        }
        self.state.complete_to = self.state.complete_to.max(complete_to);
        self.settle();
        let over = self.state.complete_to.plus_millis(-self.settings.allowed_lateness_ms);
        let closed_to = self.state.window.start_of(over).max(self.state.closed_to);
        let from = std::mem::replace(&mut self.state.closed_to, closed_to);
        let on_time = self.state.open.take_before(closed_to);
        let mut corrections =
            if self.corrections_are_due() { self.take_late(self.portion()) } else { Vec::new() };
        corrections.append(&mut self.take_early());
        let health = self.health(from..closed_to);
        self.publish(&on_time, &corrections, from..closed_to, health)
    }

    /// Publishes corrections gathered so far, however short they have waited: a portion of them, so call it until there
    /// are none.
    pub fn publish_corrections(&mut self) -> Vec<Output> {
        self.settle();
        let corrections = self.take_late(self.portion());
        let closed_to = self.state.closed_to;
        self.publish(&[], &corrections, closed_to..closed_to, Vec::new())
    }

    /// Publishes everything: the shard is at its end, or the run is.
    pub fn close(&mut self) -> Vec<Output> {
        self.settle();
        let on_time = self.state.open.take_all();
        let from = self.state.closed_to;
        let to = on_time.last().map_or(from, |&(start, _)| self.state.window.end_of(start).max(from));
        let corrections = self.take_late(usize::MAX);
        let (to, health) = match self.settings.mode {
            Mode::Live => (from, self.last_words()),
            Mode::Replay => (to, Vec::new()),
        };
        self.publish(&on_time, &corrections, from..to, health)
    }

    /// The state to put into a checkpoint.
    pub fn state(&mut self) -> &State {
        self.settle();
        &self.state
    }

    /// The books since the epoch began.
    pub fn counters(&mut self) -> &Counters {
        self.settle();
        &self.state.counters
    }

    /// Windows that ended before the first arrival count as closed: their lines are corrections.
    fn begin(&mut self, first: Timestamp) {
        let over = first.plus_millis(-self.settings.allowed_lateness_ms);
        self.state.closed_to = self.state.window.start_of(over);
        self.state.complete_to = first;
    }

    fn settle(&mut self) {
        if self.gathered.counters != Counters::default() {
            let gathered = std::mem::take(&mut self.gathered);
            self.absorb(gathered);
        }
    }

    fn corrections_are_due(&self) -> bool {
        let waited =
            |since| self.state.complete_to.millis_since(since) >= self.settings.correction_interval_ms;
        self.state.late_since.is_some_and(waited)
    }

    /// How many rows one cut publishes before their time, or of corrections.
    fn portion(&self) -> usize {
        MAX_ROWS.max(self.counters_held() / PORTIONS)
    }

    fn counters_held(&self) -> usize {
        self.state.open.counters() + self.state.late.counters()
    }

    /// Takes the oldest corrections, up to about `rows` rows. What is left is due with the next publication.
    fn take_late(&mut self, rows: usize) -> Vec<(Timestamp, Tally)> {
        let taken = self.state.late.take_first(rows);
        if self.state.late.is_empty() {
            self.state.late_since = None;
        }
        taken
    }

    /// What must go before its time so that the bound on counters holds: corrections first, then windows.
    fn take_early(&mut self) -> Vec<(Timestamp, Tally)> {
        let mut early = Vec::new();
        if self.counters_held() > MAX_COUNTERS {
            early = self.take_late(self.portion());
        }
        if self.state.open.counters() > MAX_COUNTERS {
            early.append(&mut self.state.open.take_first(self.portion()));
        }
        self.state.counters.windows_closed_early += early.len() as u64;
        early
    }

    fn publish(
        &mut self,
        on_time: &[(Timestamp, Tally)],
        corrections: &[(Timestamp, Tally)],
        closed: Range<Timestamp>,
        health: Vec<Health>,
    ) -> Vec<Output> {
        let number = self.state.cut + 1;
        let State { applications, window, .. } = &self.state;
        let Settings { origin, top_hosts, .. } = &self.settings;
        let mut publication = Publication::new((origin, number), *window, applications, *top_hosts);
        for (start, tally) in on_time {
            publication.window(*start, tally, 0);
        }
        if self.settings.zero_rows {
            let first = on_time.first().map_or(closed.end, |&(start, _)| start);
            let first = if closed.start == Timestamp::MIN { first } else { closed.start };
            for start in gap(first..closed.end, *window) {
                let tally = on_time.binary_search_by_key(&start, |&(start, _)| start).ok();
                let tally = tally.and_then(|index| on_time.get(index)).map(|(_, tally)| tally);
                publication.zeros(start, tally, self.counter.reference().applications());
            }
        }
        for (start, tally) in corrections {
            publication.window(*start, tally, number);
        }
        for health in health {
            publication.health(health);
        }
        let rows = publication.rows;
        let sum =
            |windows: &[(Timestamp, Tally)]| windows.iter().map(|(_, tally)| tally.requests()).sum::<u64>();
        self.state.published += sum(on_time) + sum(corrections);
        self.state.cut += u64::from(!rows.is_empty());
        self.post(&rows);
        if self.state.applications.named() > 2 * self.counters_held() + FEW_OWNERS {
            self.renumber();
        }
        rows
    }

    /// Enters rows into the journal, and joins the windows that are over.
    fn post(&mut self, rows: &[Output]) {
        let State { journal, open, late, .. } = &mut self.state;
        let counts = rows.iter().filter_map(|output| match output {
            Output::Row(row) if row.response_count > 0 => Some((row.window_start, row.response_count)),
            Output::Row(_) | Output::Health(_) => None,
        });
        let counts: Vec<(Timestamp, u64)> = counts.collect();
        // The rows of a window follow each other.
        for rows in counts.chunk_by(|(one, _), (other, _)| one == other) {
            if let Some(&(start, _)) = rows.first() {
                journal.publish(start, rows.iter().map(|(_, requests)| requests).sum());
            }
        }
        if !counts.is_empty() {
            journal.join(|start| open.holds(start) || late.holds(start));
        }
    }

    fn health(&mut self, closed: Range<Timestamp>) -> Vec<Health> {
        match self.settings.mode {
            Mode::Replay => Vec::new(),
            Mode::Live => {
                let share = self.settings.share;
                gap(closed, self.state.window).map(|start| self.health_row(start, share)).collect()
            }
        }
    }

    /// The books of a shard at its end, without a share, for it did not hold out to the end of the window.
    fn last_words(&mut self) -> Vec<Health> {
        if self.state.counters == self.state.reported {
            return Vec::new();
        }
        let start = self.state.window.start_of(self.state.complete_to);
        vec![self.health_row(start, 0)]
    }

    fn health_row(&mut self, window_start: Timestamp, share: u64) -> Health {
        let window_end = self.state.window.end_of(window_start);
        let counters = self.state.counters.since(&self.state.reported);
        self.state.reported = self.state.counters.clone();
        let on_time = i64::try_from(self.state.lag_ms).is_ok_and(|lag| lag < self.state.window.as_millis());
        Health {
            row_id: String::new(),
            window_start,
            window_end,
            shard: self.settings.origin.shard.clone(),
            share,
            on_time,
            counters,
            lag_ms: std::mem::take(&mut self.state.lag_ms),
            silent_producers: self.state.producers.silent(window_end),
        }
    }
}

/// The starts of the windows in `closed`, of a long gap only the last.
fn gap(closed: Range<Timestamp>, window: WindowSize) -> impl Iterator<Item = Timestamp> {
    let size = window.as_millis();
    let bound = GAP_MS.min(GAP_WINDOWS * size);
    let first = closed.start.max(closed.end.plus_millis(-bound));
    let count = closed.end.millis_since(first).max(0) / size;
    (0..count).map(move |index| first.plus_millis(index * size))
}
