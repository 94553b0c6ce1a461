//! Who reads to the end and goes: how long there may be more though nobody writes. Waits for no clock.

use logtally::tail::{Notice, SEARCH_MS};

use super::rig::{Rig, text};

/// Seconds until nothing more is to be expected, or more than any search takes.
fn settle(rig: &mut Rig) -> i64 {
    let most = 2 * SEARCH_MS / 1_000;
    let settled = (1..=most).find(|_| {
        rig.poll();
        !rig.tailer().is_settling()
    });
    settled.unwrap_or_else(|| panic!("not settled after {most} s: {:?}", rig.notices))
}

fn rig() -> Rig {
    Rig::new(&["access.log*"])
}

#[test]
fn a_file_that_is_there_whole_waits_for_nothing() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    assert_eq!(settle(&mut rig), 1);
    rig.append("access.log", "a line that somebody is writing");
    assert_eq!(settle(&mut rig), 1);
    rig.expect(0..3);
}

#[test]
fn compressed_files_are_read_once_they_have_rested() {
    let mut rig = rig();
    rig.settings.refresh_ms = 1_000;
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.stop();
    // The rest of a known one, and one that is new.
    rig.append("access.log", &text(3..6));
    rig.compress("access.log");
    rig.append("access.log.2", &text(10..13));
    rig.compress("access.log.2");
    settle(&mut rig);
    rig.expect((0..6).chain(10..13));
    rig.stop();
    settle(&mut rig);
    rig.expect((0..6).chain(10..13));
}

#[test]
fn a_last_line_without_newline_is_read_once_its_writer_moved_on() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.stop();
    rig.append("access.log", text(3..4).trim_end());
    rig.rename("access.log", "access.log.1");
    rig.append("access.log", &text(4..6));
    settle(&mut rig);
    rig.expect(0..6);
}

#[test]
fn a_loss_is_told_before_it_settles_and_once_in_all_lives() {
    let losses =
        |rig: &Rig| rig.notices.iter().filter(|notice| matches!(notice, Notice::Gone { .. })).count();
    let mut rig = rig();
    rig.append("access.log.1", &text(0..3));
    rig.append("access.log", &text(10..13));
    rig.poll();
    rig.stop();
    rig.delete("access.log.1");
    settle(&mut rig);
    assert_eq!(losses(&rig), 1, "{:?}", rig.notices);
    for _ in 0..2 {
        rig.stop();
        assert_eq!(settle(&mut rig), 1, "nobody looks for it again");
    }
    assert_eq!(losses(&rig), 1, "{:?}", rig.notices);

    // A copy that turns up late is known all the same.
    rig.append("access.log.1", &text(0..4));
    settle(&mut rig);
    rig.expect((0..4).chain(10..13));
}

#[test]
fn a_clock_that_jumps_holds_nothing_up_and_loses_nothing() {
    const DAY: i64 = 86_400_000;
    let mut rig = rig();
    rig.settings.refresh_ms = 1_000;
    for (round, jump) in (0..).zip([0, -DAY, 30 * DAY, -60 * DAY, DAY]) {
        rig.pass(jump);
        rig.append("access.log", &text(10 * round..10 * round + 3));
        rig.poll();
        rig.append("access.log", &text(10 * round + 3..10 * round + 6));
        rig.rename("access.log", "access.log.1");
        rig.compress("access.log.1");
        rig.append("access.log", &text(10 * round + 6..10 * round + 10));
        settle(&mut rig);
        rig.expect(0..10 * (round + 1));
        rig.delete("access.log.1.gz");
    }
}
