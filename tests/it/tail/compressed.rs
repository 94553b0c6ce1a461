//! Logs that were compressed: after they were read, before, half-way, and by whom nobody knows.

use std::fs;

use logtally::tail::{LINGER_MS, MAX_UNPACKING, Notice, REMEMBER_MS, SEARCH_MS, Start};

use super::rig::{Rig, gzip, text, zstd};

fn rig() -> Rig {
    Rig::new(&["access.log*"])
}

#[test]
fn a_file_renamed_and_compressed_while_stopped_is_finished_from_its_compressed_form() {
    for pattern in ["access.log*", "access.log"] {
        for (pack, kind) in [(gzip as fn(&[u8]) -> Vec<u8>, "gz"), (zstd, "zst")] {
            let mut rig = Rig::new(&[pattern]);
            rig.append("access.log", &text(0..3));
            rig.poll();
            rig.stop();
            rig.append("access.log", &text(3..900));
            let data = fs::read(rig.path("access.log")).unwrap();
            fs::write(rig.path(&format!("access.log.1.{kind}")), pack(&data)).unwrap();
            rig.delete("access.log");
            rig.append("access.log", &text(1000..1002));
            rig.polls(3);
            rig.expect((0..900).chain(1000..1002));
            assert_eq!(rig.lives.len(), 2);
            rig.stop();
            rig.rename(&format!("access.log.1.{kind}"), &format!("access.log.2.{kind}"));
            rig.polls(3);
            assert_eq!(rig.lives.len(), 2);
        }
    }
}

#[test]
fn compressed_forms_of_what_was_read_are_never_read_again() {
    let mut rig = rig();
    rig.append("access.log", &text(0..300));
    rig.poll();
    rig.rename("access.log", "access.log.1");
    rig.append("access.log", &text(500..501));
    rig.polls(4);
    rig.compress("access.log.1");
    rig.polls(4);
    rig.pass(LINGER_MS);
    rig.polls(4);
    rig.stop();
    rig.polls(4);
    rig.rename("access.log.1.gz", "access.log.2.gz");
    rig.polls(4);
    // Another tool, another level, another inode.
    fs::write(rig.path("access.log.2.zst"), zstd(text(0..300).as_bytes())).unwrap();
    rig.delete("access.log.2.gz");
    rig.polls(4);
    rig.stop();
    rig.polls(4);
    rig.expect((0..300).chain(500..501));
    assert_eq!(rig.lives.len(), 2);
    assert!(!rig.has_notice(Notice::is_warning), "{:?}", rig.notices);
}

#[test]
fn a_compressed_form_that_is_found_when_its_file_would_be_forgotten_is_not_read_again() {
    let mut rig = rig();
    rig.append("access.log", &text(0..300));
    rig.poll();
    rig.stop();
    rig.delete("access.log");
    rig.polls(3);
    rig.stop();
    // The machine was off, or its clock was set.
    rig.pass(REMEMBER_MS);
    fs::write(rig.path("access.log.1.gz"), gzip(text(0..300).as_bytes())).unwrap();
    rig.polls(4);
    rig.pass(SEARCH_MS);
    rig.polls(4);
    rig.expect(0..300);
    assert_eq!(rig.lives.len(), 1);
}

#[test]
fn unknown_compressed_files_are_read_once_and_whole() {
    let mut rig = rig();
    rig.append("access.log", &text(0..3));
    fs::write(rig.path("access.log.1.gz"), gzip(text(10..500).as_bytes())).unwrap();
    let members = [gzip(text(1000..1003).as_bytes()), gzip(text(1003..1005).as_bytes())].concat();
    fs::write(rig.path("access.log.2.gz"), members).unwrap();
    let text_without_newline = text(2000..2002);
    fs::write(rig.path("access.log.3.zst"), zstd(text_without_newline.trim_end().as_bytes())).unwrap();
    rig.polls(3);
    rig.stop();
    for number in [3, 2, 1] {
        let kind = if number == 3 { "zst" } else { "gz" };
        rig.rename(&format!("access.log.{number}.{kind}"), &format!("access.log.{}.{kind}", number + 1));
    }
    rig.polls(3);
    rig.expect((0..3).chain(10..500).chain(1000..1005).chain(2000..2002));
    assert_eq!(rig.lives.len(), 4);
}

#[test]
fn with_start_at_the_end_old_compressed_files_are_passed_over_and_newer_ones_read() {
    let mut rig = rig();
    rig.settings.start = Start::End;
    fs::write(rig.path("access.log.1.gz"), gzip(text(0..3).as_bytes())).unwrap();
    rig.polls(3);
    rig.expect(0..0);
    assert!(rig.has_notice(|notice| matches!(notice, Notice::PassedOver { .. })));
    rig.stop();
    let newer = fs::File::create(rig.path("access.log.0.gz")).unwrap();
    fs::write(rig.path("access.log.0.gz"), gzip(text(5..8).as_bytes())).unwrap();
    let later = std::time::UNIX_EPOCH + std::time::Duration::from_secs(4_100_000_000);
    newer.set_modified(later).unwrap();
    rig.polls(3);
    rig.expect(5..8);
}

#[test]
fn a_compressed_file_is_read_when_it_is_whole() {
    let mut rig = rig();
    let whole = gzip(text(0..2_000).as_bytes());
    for end in [5, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(rig.path("access.log.1.gz"), &whole[..end]).unwrap();
        rig.poll();
    }
    rig.expect(0..0);
    fs::write(rig.path("access.log.1.gz"), &whole).unwrap();
    rig.polls(3);
    rig.expect(0..2_000);
}

#[test]
fn a_broken_compressed_file_gives_what_it_has_and_the_rest_when_it_is_mended() {
    let mut rig = rig();
    let whole = gzip(text(0..50_000).as_bytes());
    fs::write(rig.path("access.log.1.gz"), &whole[..whole.len() / 2]).unwrap();
    rig.polls(4);
    let broken = |notice: &Notice| matches!(notice, Notice::Broken { .. });
    assert_eq!(rig.notices.iter().filter(|notice| broken(notice)).count(), 1, "{:?}", rig.notices);
    assert!(rig.lines().len() > 10_000);
    fs::write(rig.path("access.log.1.gz"), &whole).unwrap();
    rig.polls(4);
    rig.expect(0..50_000);
    fs::write(rig.path("access.log.2.gz"), b"\x1f\x8b\x08 but no more than that").unwrap();
    rig.polls(4);
    assert_eq!(rig.notices.iter().filter(|notice| broken(notice)).count(), 2, "{:?}", rig.notices);
}

#[test]
fn unpacking_again_gives_nothing_new() {
    let mut rig = rig();
    fs::write(rig.path("access.log.1.gz"), gzip(text(0..100).as_bytes())).unwrap();
    rig.polls(3);
    rig.append("access.log.1", &text(0..100));
    rig.delete("access.log.1.gz");
    rig.polls(3);
    rig.stop();
    rig.polls(3);
    rig.expect(0..100);
}

#[test]
fn so_many_files_are_unpacked_at_once_and_the_others_have_their_turn() {
    let (files, lines) = (MAX_UNPACKING + 3, 20_000);
    let mut rig = rig();
    for number in 0..files {
        let content = text(number * lines..(number + 1) * lines);
        fs::write(rig.path(&format!("access.log.{number}.gz")), gzip(content.as_bytes())).unwrap();
    }
    let whole = text(0..lines).len();
    let mut most = 0;
    while rig.lives.len() < files || rig.lives.values().any(|life| life.data.len() < whole) {
        rig.pass(1_000);
        rig.poll_once(1);
        most = most.max(rig.lives.values().filter(|life| life.data.len() < whole).count());
    }
    assert_eq!(most, MAX_UNPACKING);
    rig.expect(0..files * lines);
}
