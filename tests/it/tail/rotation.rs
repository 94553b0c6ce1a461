//! Each way to rotate a plain log, by name.

use std::{fs, os::unix::fs::symlink, time::Duration};

use logtally::tail::{LINGER_MS, Notice, REMEMBER_MS, SEARCH_MS};

use super::rig::{Rig, line, text};

fn rig() -> Rig {
    Rig::new(&["access.log*"])
}

#[test]
fn a_growing_file_is_read_line_by_line() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.append("access.log", "000003 10.0.0.1 half a li");
    rig.poll();
    rig.expect(0..3);
    rig.append("access.log", "ne\n");
    rig.append("access.log", &line(4));
    rig.poll();
    assert_eq!(rig.lines()[3], "000003 10.0.0.1 half a line");
    assert_eq!(rig.lines().len(), 5);
    assert_eq!(rig.lives.len(), 1);
}

#[test]
fn rename_and_create_and_the_old_writer_goes_on_for_a_while() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.rename("access.log", "access.log.1");
    rig.append("access.log", &text(10..12));
    rig.append("access.log.1", &text(3..5));
    rig.poll();
    rig.append("access.log.1", &text(5..6));
    rig.append("access.log", &text(12..13));
    rig.polls(2);
    rig.expect((0..6).chain(10..13));
    assert_eq!(rig.lives.len(), 2);
}

#[test]
fn cascades_and_dates_in_names_follow_the_file() {
    let mut rig = rig();
    for round in 0..6 {
        rig.append("access.log", &text(round * 10..round * 10 + 3));
        rig.poll();
        rig.append("access.log", &text(round * 10 + 3..round * 10 + 5));
        for number in (1..=round).rev() {
            rig.rename(&format!("access.log.{number}"), &format!("access.log.{}", number + 1));
        }
        rig.rename("access.log", "access.log.1");
    }
    rig.rename("access.log.3", "access.log-20261121");
    rig.polls(3);
    rig.expect((0..6).flat_map(|round| round * 10..round * 10 + 5));
    assert_eq!(rig.lives.len(), 6);
}

#[test]
fn cascades_while_stopped() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.stop();
    rig.append("access.log", &text(3..5));
    rig.rename("access.log", "access.log.2");
    rig.append("access.log.1", &text(5..8));
    rig.append("access.log", &text(8..9));
    rig.poll();
    rig.expect(0..9);
    assert_eq!(rig.lives.len(), 3);
}

#[test]
fn olddir_outside_the_pattern_while_running_and_while_stopped() {
    for directory in ["old", "."] {
        for stopped in [false, true] {
            let mut rig = Rig::new(&["access.log"]);
            fs::create_dir(rig.path("old")).unwrap();
            rig.append("access.log", &text(0..3));
            rig.poll();
            if stopped {
                rig.stop();
            }
            let old = format!("{directory}/access.log-2026");
            rig.append("access.log", &text(3..4));
            rig.rename("access.log", &old);
            rig.append("access.log", &text(10..12));
            rig.append(&old, &text(4..5));
            rig.polls(2);
            rig.append(&old, &text(5..6));
            rig.polls(2);
            rig.expect((0..6).chain(10..12));
            assert_eq!(rig.lives.len(), 2);
        }
    }
}

#[test]
fn a_file_that_left_the_pattern_is_let_go_without_a_warning() {
    let mut rig = Rig::new(&["access.log"]);
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.rename("access.log", "access.log.1");
    rig.append("access.log", &text(5..6));
    rig.polls(3);
    rig.pass(LINGER_MS);
    rig.polls(2);
    rig.stop();
    rig.compress("access.log.1");
    rig.polls(2);
    rig.pass(SEARCH_MS);
    rig.polls(3);
    rig.expect((0..3).chain(5..6));
    assert!(!rig.has_notice(Notice::is_warning), "{:?}", rig.notices);
}

#[test]
fn truncation_begins_a_new_generation() {
    let mut rig = rig();
    rig.append("access.log", &text(0..5));
    rig.poll();
    rig.append("access.log", &text(5..6));
    rig.truncate("access.log", 0);
    rig.poll();
    rig.append("access.log", &text(10..11));
    rig.poll();
    rig.truncate("access.log", 0);
    rig.append("access.log", &text(20..29));
    rig.polls(2);
    rig.expect((0..5).chain(10..11).chain(20..29));
    assert_eq!(rig.lives.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn what_is_left_of_a_truncated_file_is_a_new_generation_too() {
    for stopped in [false, true] {
        let mut rig = rig();
        rig.append("access.log", &text(0..9));
        rig.poll();
        if stopped {
            rig.stop();
        }
        rig.truncate("access.log", text(0..5).len() as u64);
        rig.polls(3);
        assert_eq!(rig.lives[&2].data, text(0..5).as_bytes());
    }
}

#[test]
fn bytes_known_to_be_lost_are_told() {
    let mut rig = rig();
    rig.append("access.log", &text(0..2));
    rig.append("access.log", "half a line");
    rig.poll();
    rig.truncate("access.log", 0);
    rig.polls(1);
    rig.pass(SEARCH_MS);
    rig.polls(2);
    let lost = |notice: &Notice| matches!(notice, Notice::Gone { unread: 11, .. });
    assert!(rig.has_notice(lost), "{:?}", rig.notices);
}

#[test]
fn of_bytes_that_a_read_has_seen_the_loss_is_told_though_no_scan_saw_them() {
    let mut rig = rig();
    rig.settings.refresh_ms = 3_600_000;
    rig.append("access.log", &text(0..2));
    rig.poll();
    rig.append("access.log", &text(2..40_000));
    while rig.lives[&1].data.len() == text(0..2).len() {
        let _ = rig.tailer().wait(Duration::from_mins(1));
        rig.poll_once(1);
    }
    let missing = (text(0..40_000).len() - rig.lives[&1].data.len()) as u64;
    assert!(missing > 0);
    rig.truncate("access.log", 0);
    rig.pass(3_600_000);
    rig.polls(2);
    rig.pass(SEARCH_MS + 3_600_000);
    rig.polls(2);
    let lost = |notice: &Notice| matches!(notice, Notice::Gone { unread, .. } if *unread == missing);
    assert!(rig.has_notice(lost), "{:?}", rig.notices);
}

#[test]
fn a_sparse_file_of_a_writer_that_does_not_append() {
    let mut rig = rig();
    let mut writer = fs::File::create(rig.path("access.log")).unwrap();
    std::io::Write::write_all(&mut writer, text(0..3).as_bytes()).unwrap();
    rig.poll();
    rig.truncate("access.log", 0);
    std::io::Write::write_all(&mut writer, text(10..12).as_bytes()).unwrap();
    rig.polls(2);
    let hole = text(0..3).len();
    let second = &rig.lives[&2].data;
    assert!(second[..hole].iter().all(|&byte| byte == 0));
    assert_eq!(&second[hole..], text(10..12).as_bytes());
}

#[test]
fn a_deleted_file_is_read_to_its_end_and_its_last_line_as_it_is() {
    let mut rig = rig();
    rig.append("access.log", &text(0..2));
    rig.poll();
    let mut writer = fs::OpenOptions::new().append(true).open(rig.path("access.log")).unwrap();
    let mut write = |text: &str| std::io::Write::write_all(&mut writer, text.as_bytes()).unwrap();
    rig.delete("access.log");
    write(&text(2..4));
    rig.polls(3);
    write(&text(4..5));
    write("000005 without newline");
    rig.poll();
    assert_eq!(rig.lines().len(), 5);
    rig.polls(3);
    assert_eq!(rig.lines()[5], "000005 without newline");
    rig.pass(LINGER_MS);
    rig.polls(2);
    rig.pass(REMEMBER_MS);
    rig.poll();
    assert!(rig.has_notice(|notice| matches!(notice, Notice::Forgotten { generation: 1, .. })));
    assert_eq!(rig.stored.keys().copied().collect::<Vec<_>>(), [0], "only the ledger is left");
    rig.append("access.log", &text(9..10));
    rig.poll();
    assert_eq!(rig.lives.keys().copied().collect::<Vec<_>>(), [1, 2], "numbers are not used again");
}

#[test]
fn the_last_line_of_a_rotated_file_waits_for_its_writer_to_move_on() {
    let mut rig = rig();
    rig.append("access.log", &text(0..1));
    rig.append("access.log", "000001 first half, ");
    rig.poll();
    rig.rename("access.log", "access.log.1");
    rig.polls(5);
    rig.expect(0..1);
    rig.append("access.log", &text(9..10));
    rig.poll();
    rig.append("access.log.1", "second half\n");
    rig.append("access.log.1", "000002 the end");
    rig.poll();
    assert_eq!(rig.lines()[1], "000001 first half, second half");
    assert_eq!(rig.lines().len(), 3);
    rig.polls(3);
    assert_eq!(rig.lines()[2], "000002 the end");
    rig.stop();
    rig.polls(4);
    assert_eq!(rig.lines().len(), 4);
}

#[test]
fn a_link_that_switches_leaves_its_old_target_read_to_the_end() {
    for patterns in [&["current"][..], &["current", "access.*.log"]] {
        for stopped in [false, true] {
            let mut rig = Rig::new(patterns);
            rig.append("access.01.log", &text(0..3));
            symlink("access.01.log", rig.path("current")).unwrap();
            rig.poll();
            if stopped {
                rig.stop();
            }
            rig.append("access.01.log", &text(3..4));
            rig.append("access.02.log", &text(10..12));
            rig.delete("current");
            symlink("access.02.log", rig.path("current")).unwrap();
            rig.poll();
            rig.append("access.01.log", "000004 10.0.0.1 end");
            rig.polls(4);
            assert_eq!(rig.lines().len(), 7, "{patterns:?} {stopped} {:?}", rig.notices);
            assert_eq!(rig.lines()[4], "000004 10.0.0.1 end");
            assert_eq!(rig.lives.len(), 2);
        }
    }
}

#[test]
fn a_new_file_with_the_inode_of_an_old_one_is_new() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.stop();
    // The same inode for sure, with the content of another file.
    rig.truncate("access.log", 0);
    rig.append("access.log", &text(5..20));
    rig.rename("access.log", "access.log.7");
    rig.polls(2);
    rig.expect((0..3).chain(5..20));
    assert_eq!(rig.lives.len(), 2);
}

#[test]
fn a_file_that_comes_back_is_read_on() {
    let mut rig = Rig::new(&["logs/access.log*"]);
    fs::create_dir(rig.path("logs")).unwrap();
    rig.append("logs/access.log", &text(0..3));
    rig.poll();
    rig.stop();
    rig.rename("logs", "elsewhere");
    fs::write(rig.path("logs"), "a file in place of the directory").unwrap();
    rig.poll();
    rig.pass(SEARCH_MS);
    rig.polls(3);
    assert!(rig.has_notice(|notice| matches!(notice, Notice::Gone { unread: 0, .. })));
    rig.delete("logs");
    rig.rename("elsewhere", "logs");
    rig.append("logs/access.log", &text(3..5));
    rig.polls(2);
    rig.expect(0..5);
    assert!(rig.has_notice(|notice| matches!(notice, Notice::CameBack { .. })));
    assert_eq!(rig.lives.len(), 1);
}

#[test]
fn an_empty_file_that_is_filled_and_moved_away_is_not_missed() {
    let mut rig = Rig::new(&["access.log"]);
    rig.append("access.log", "");
    rig.poll();
    rig.append("access.log", &text(0..3));
    rig.rename("access.log", "moved");
    rig.polls(2);
    rig.expect(0..3);
}
