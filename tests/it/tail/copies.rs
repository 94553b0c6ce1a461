//! Copies, copytruncate, files that look alike; where reading starts and where it starts again.

use std::fs;

use logtally::tail::{Notice, Start};

use super::rig::{Rig, size, text};

fn rig() -> Rig {
    Rig::new(&["access.log*"])
}

#[test]
fn copytruncate_with_new_content_of_any_size() {
    for new in [1, 2, 3, 4, 50] {
        for stopped in [false, true] {
            let mut rig = rig();
            rig.append("access.log", &text(0..3));
            rig.poll();
            if stopped {
                rig.stop();
            }
            rig.copy("access.log", "access.log.1");
            rig.truncate("access.log", 0);
            rig.append("access.log", &text(10..10 + new));
            assert_eq!(size(&rig.path("access.log")) == size(&rig.path("access.log.1")), new == 3);
            rig.polls(3);
            rig.expect((0..3).chain(10..10 + new));
            assert_eq!(rig.lives.len(), 2);
            assert!(rig.has_notice(|notice| matches!(notice, Notice::Replaced { unread: 0, .. })));
        }
    }
}

#[test]
fn copytruncate_with_new_content_that_begins_as_the_old_did_and_has_outgrown_it() {
    // What is read last differs, and nothing before it: neither size nor head tell.
    for shared in [1_500, 9_000, 60_000] {
        for stopped in [false, true] {
            let mut rig = rig();
            let banner = "x".repeat(shared) + "\n";
            rig.append("access.log", &(banner.clone() + &text(0..3)));
            rig.poll();
            if stopped {
                rig.stop();
            }
            rig.copy("access.log", "access.log.1");
            rig.truncate("access.log", 0);
            rig.append("access.log", &(banner.clone() + &text(10..20)));
            rig.polls(3);
            let written = text(0..3) + &text(10..20) + &banner + &banner;
            assert!(rig.lines().iter().eq(written.lines()), "{shared} {stopped}: {:?}", rig.notices);
            assert_eq!(rig.lives.len(), 2);
        }
    }
}

#[test]
fn copytruncate_before_the_last_bytes_were_read_takes_them_from_the_copy() {
    for (patterns, stopped) in
        [("access.log*", false), ("access.log*", true), ("access.log", false), ("access.log", true)]
    {
        let mut rig = Rig::new(&[patterns]);
        rig.append("access.log", &text(0..3));
        rig.poll();
        if stopped {
            rig.stop();
        }
        rig.append("access.log", &text(3..6));
        rig.copy("access.log", "access.log.1");
        rig.truncate("access.log", 0);
        rig.append("access.log", &text(10..20));
        rig.polls(3);
        rig.expect((0..6).chain(10..20));
        assert_eq!(rig.lives.len(), 2, "{patterns} {stopped}");
    }
}

#[test]
fn a_copy_seen_while_it_grows_is_no_new_file() {
    let mut rig = rig();
    rig.append("access.log", &text(0..100));
    rig.poll();
    let whole = text(0..100);
    for end in [0, 10, 100, 1_000, 2_000, whole.len()] {
        fs::write(rig.path("access.log.1"), &whole[..end]).unwrap();
        rig.poll();
    }
    rig.append("access.log", &text(100..102));
    rig.poll();
    rig.truncate("access.log", 0);
    rig.append("access.log", &text(200..203));
    rig.polls(2);
    rig.rename("access.log.1", "access.log.2");
    rig.poll();
    rig.stop();
    rig.polls(2);
    rig.expect((0..102).chain(200..203));
    assert_eq!(rig.lives.len(), 2);
}

#[test]
fn a_copy_without_truncation_is_not_read_until_it_goes_its_own_way() {
    let mut rig = rig();
    rig.append("access.log", &text(0..5));
    rig.poll();
    rig.copy("access.log", "access.log.bak");
    rig.polls(2);
    rig.stop();
    rig.append("access.log", &text(5..6));
    rig.polls(2);
    rig.expect(0..6);
    rig.append("access.log.bak", &text(50..51));
    rig.polls(2);
    assert_eq!(rig.lines().len(), 6 + 6, "a copy that grows by other lines is a log of its own");
}

#[test]
fn hard_links_to_one_file_are_read_once() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    fs::hard_link(rig.path("access.log"), rig.path("access.log.link")).unwrap();
    rig.polls(2);
    rig.delete("access.log");
    rig.append("access.log.link", &text(3..4));
    rig.poll();
    rig.expect(0..4);
    assert_eq!(rig.lives.len(), 1);
}

#[test]
fn equal_logs_of_two_services_are_both_read() {
    let mut rig = Rig::new(&["*/access.log", "*-access.log"]);
    for name in ["one/access.log", "two/access.log", "one-access.log", "two-access.log"] {
        if let Some((directory, _)) = name.split_once('/') {
            fs::create_dir(rig.path(directory)).unwrap();
        }
        rig.append(name, &text(0..3));
    }
    rig.polls(2);
    assert_eq!(rig.lives.len(), 4);
    assert_eq!(rig.lines().len(), 12);
}

#[test]
fn equal_beginnings_do_not_make_a_copy() {
    let mut rig = rig();
    let head = "x".repeat(2_000) + "\n";
    rig.append("access.log", &(head.clone() + &text(0..100)));
    rig.poll();
    rig.append("access.log.other", &(head.clone() + &text(200..205)));
    rig.polls(2);
    assert_eq!(rig.lives.len(), 2);
    assert_eq!(rig.lines().len(), 107);
}

#[test]
fn start_at_the_end_is_for_files_of_the_first_start_only() {
    let mut rig = rig();
    rig.settings.start = Start::End;
    rig.append("access.log", &text(0..3));
    rig.append("access.log", "000003 10.0.0.1 begun, ");
    rig.append("access.log.1", &text(5..7));
    rig.poll();
    rig.append("access.log", "ended\n");
    rig.append("access.log.x", &text(10..12));
    rig.polls(2);
    assert_eq!(rig.lines()[0], "000003 10.0.0.1 begun, ended");
    assert_eq!(rig.lines().len(), 3);
    rig.stop();
    rig.append("access.log.y", &text(20..21));
    rig.polls(2);
    assert_eq!(rig.lines().len(), 4);
}

#[test]
fn start_at_the_end_is_remembered_from_the_first_poll_on() {
    let mut rig = rig();
    rig.settings.start = Start::End;
    rig.poll();
    rig.stop();
    rig.append("access.log", &text(0..3));
    rig.polls(2);
    rig.expect(0..3);
}

#[test]
fn what_was_handed_out_and_not_stored_comes_again_at_the_same_place() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    rig.poll();
    rig.append("access.log", &text(3..6));
    rig.append("access.log.new", &text(10..12));
    rig.poll_unstored();
    rig.stop();
    rig.rename("access.log", "access.log.1");
    rig.append("access.log.1", &text(6..8));
    rig.polls(2);
    rig.expect((0..8).chain(10..12));
    assert_eq!(rig.pieces, 1 + 2 + 2, "and it did come again");
    assert_eq!(rig.lives.len(), 2);
}
