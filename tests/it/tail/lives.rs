//! Random lives of log files, acted out on the model and checked against what came out.

use std::collections::HashMap;

use logtally::tail::SEARCH_MS;
use proptest::prelude::*;

use super::{
    model::{Action, Log, Model},
    rig::line,
};

impl Model {
    fn act(&mut self, action: Action) {
        match action {
            Action::Write(log, lines) => self.write(&self.active(log), lines),
            Action::WritePart(log) => self.write_part(&self.active(log)),
            Action::WriteOld(which) => {
                let old = self.old(Log::Matched);
                let old: Vec<_> =
                    old.iter().filter(|name| name.ends_with(|end: char| end.is_ascii_digit())).collect();
                if let Some(name) = old.get(which % old.len().max(1)) {
                    // A copy that somebody writes to is a new log: not the subject here.
                    if self.files[*name].open {
                        self.write(name, 1);
                    }
                }
            }
            Action::Rotate(log) => self.rotate(log),
            Action::CopyTruncate(log, between) => self.copy_truncate(log, between),
            Action::Truncate(log) => self.truncate(log),
            Action::Compress(log, which, gz) => self.compress(log, which, gz),
            Action::Delete(log, which) => self.delete(log, which),
            Action::Hide => self.hide(true),
            Action::Show => self.hide(false),
            Action::Wait => self.wait(),
            Action::Poll => {
                self.rig.poll_unstored();
                self.after_poll();
            }
            Action::PollALittle => {
                self.rig.pass(1_000);
                self.rig.poll_once(1);
                self.after_poll();
            }
            Action::Restart { stored } => self.restart(stored),
        }
    }

    fn check(&self) {
        let mut count: HashMap<String, usize> = HashMap::new();
        for text in self.rig.lines() {
            *count.entry(text).or_default() += 1;
        }
        for number in 0..self.next {
            let whole = line(number);
            let times = count.remove(whole.trim_end()).unwrap_or(0);
            let excused = times == 0 && self.may_be_missing.contains(&number);
            assert!(times == 1 || excused, "line {number} came out {times} times: {:#?}", self.rig.notices);
        }
        for (text, times) in count {
            // A line that was never finished comes out as it is, once.
            let begun = self.may_be_missing.iter().any(|&number| line(number).starts_with(&text));
            assert!(begun && times == 1, "nobody wrote {text:?} {times} times: {:#?}", self.rig.notices);
        }
    }

    fn run(actions: &[Action]) {
        let mut model = Self::new();
        for &action in actions {
            model.act(action);
        }
        model.hide(false);
        model.polls(4);
        model.rig.pass(SEARCH_MS);
        model.polls(4);
        model.check();
        let lives = model.rig.lives.len();
        model.restart(true);
        model.polls(6);
        model.check();
        assert_eq!(model.rig.lives.len(), lives, "a restart finds nothing new");
    }
}

fn any_log() -> impl Strategy<Value = Log> {
    prop_oneof![3 => Just(Log::Matched), 2 => Just(Log::Exact), 1 => Just(Log::Link)]
}

fn any_action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (any_log(), 1_usize..6).prop_map(|(log, lines)| Action::Write(log, lines)),
        1 => (any_log(), 100_usize..200).prop_map(|(log, lines)| Action::Write(log, lines)),
        2 => any_log().prop_map(Action::WritePart),
        2 => (0_usize..4).prop_map(Action::WriteOld),
        3 => any_log().prop_map(Action::Rotate),
        2 => (any_log(), 0_usize..3).prop_map(|(log, between)| Action::CopyTruncate(log, between)),
        1 => any_log().prop_map(Action::Truncate),
        2 => (any_log(), 0_usize..4, any::<bool>()).prop_map(|(log, which, gz)| Action::Compress(log, which, gz)),
        1 => (any_log(), 0_usize..4).prop_map(|(log, which)| Action::Delete(log, which)),
        1 => Just(Action::Hide),
        2 => Just(Action::Show),
        1 => Just(Action::Wait),
        8 => Just(Action::Poll),
        2 => Just(Action::PollALittle),
        3 => any::<bool>().prop_map(|stored| Action::Restart { stored }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn every_line_comes_out_once(actions in prop::collection::vec(any_action(), 1..50)) {
        Model::run(&actions);
    }
}

/// Lives that went wrong once.
#[test]
fn lives_that_once_went_wrong() {
    use Action::{Compress, CopyTruncate, Delete, Hide, Poll, Restart, Rotate, Wait, Write, WriteOld};
    use Log::{Exact, Link, Matched};
    // Deleted while it was out of sight, long after its last growth but just written to.
    Model::run(&[
        Write(Matched, 3),
        Wait,
        Hide,
        Rotate(Matched),
        Poll,
        WriteOld(0),
        Compress(Matched, 0, false),
    ]);
    // Out of sight for so long that it was let go, and written to after that.
    Model::run(&[
        Write(Matched, 1),
        Wait,
        Hide,
        Wait,
        Write(Matched, 1),
        Rotate(Matched),
        Compress(Matched, 0, false),
    ]);
    // Known by its link, compressed under the name of its target.
    Model::run(&[
        Write(Link, 1),
        Wait,
        Write(Link, 1),
        Rotate(Link),
        Compress(Link, 0, false),
        Restart { stored: false },
    ]);
    // Truncated, written and rotated between two looks, and deleted at once.
    Model::run(&[
        Write(Matched, 100),
        Wait,
        CopyTruncate(Matched, 0),
        Write(Matched, 1),
        Rotate(Matched),
        Delete(Matched, 2),
    ]);
    // Empty for long, then out of sight, and only then written to.
    Model::run(&[
        Write(Matched, 100),
        CopyTruncate(Matched, 0),
        Wait,
        Hide,
        Poll,
        Rotate(Matched),
        WriteOld(2),
        Delete(Matched, 0),
    ]);
    // Its inode went to another log, whose name it then took for its own.
    Model::run(&[
        Write(Exact, 1),
        Wait,
        Write(Exact, 1),
        Restart { stored: false },
        Rotate(Exact),
        Compress(Exact, 0, false),
        Write(Matched, 1),
    ]);
    // The same with a copy, and a compressed file in between.
    Model::run(&[
        Write(Matched, 1),
        CopyTruncate(Matched, 0),
        Wait,
        Restart { stored: false },
        Compress(Matched, 0, false),
        Write(Exact, 1),
        Wait,
        Write(Matched, 1),
        Delete(Matched, 0),
        Write(Matched, 1),
        CopyTruncate(Matched, 0),
    ]);
}
