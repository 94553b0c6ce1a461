//! What is large, long, many or slow: bounds, fairness, waking up.

use std::{
    fs,
    time::{Duration, SystemTime},
};

use logtally::{
    engine::record::{CHUNK, MAX_LINE},
    tail::{
        LEDGER, Lines, MAX_NOTICES, MAX_OPEN, MAX_REMEMBERED, Notice, Piece, Progress, READ_SIZE, Settings,
        Tailer,
    },
};

use super::rig::{Rig, line, text};

fn all_pieces(rig: &mut Rig, polls: usize) -> Vec<Piece> {
    let mut pieces = Vec::new();
    for _ in 0..polls {
        rig.pass(1_000);
        loop {
            let now = rig.now;
            let polled = rig.tailer().poll(now, READ_SIZE);
            pieces.extend(polled.pieces);
            if polled.caught_up {
                break;
            }
        }
    }
    pieces
}

#[test]
fn lines_across_chunks_and_overlong_ones_come_as_from_a_pipe() {
    let mut content = Vec::new();
    for number in 0..30_000 {
        content.extend_from_slice(line(number).as_bytes());
        if number % 3_000 == 1 {
            content.extend(vec![b'x'; 20_000 + number * 10]);
            content.push(b'\n');
        }
    }
    content.extend_from_slice(b"the last one has no end");
    let mut rig = Rig::new(&["access.log"]);
    fs::write(rig.path("access.log"), &content).unwrap();
    let mut pieces = all_pieces(&mut rig, 1);
    rig.delete("access.log");
    pieces.extend(all_pieces(&mut rig, 5));

    let mut expected = Vec::new();
    let mut lines = Lines::new(content.as_slice(), 1, 0);
    while lines.read(&mut expected).unwrap() == Progress::More {}
    let join = |pieces: &[Piece]| pieces.iter().flat_map(|piece| piece.data.clone()).collect::<Vec<u8>>();
    assert!(join(&pieces) == join(&expected));
    let mut at = 0;
    for piece in &pieces {
        assert_eq!(piece.start, at);
        at = piece.end;
        let last_line = piece.data[..piece.data.len() - 1].iter().rposition(|&byte| byte == b'\n');
        let last_start = piece.start + last_line.map_or(0, |newline| newline as u64 + 1);
        assert_eq!(piece.start / CHUNK, last_start / CHUNK, "all lines start in one chunk");
        let cut = piece.end - piece.start != piece.data.len() as u64;
        assert!(!cut || piece.data.len() == MAX_LINE + 1);
    }
    assert_eq!(at, content.len() as u64);
    assert!(pieces.iter().any(|piece| piece.data.len() == MAX_LINE + 1));
    let buffers = pieces.iter().all(|piece| piece.data.capacity() <= 2 * piece.data.len() + 1);
    assert!(buffers, "pieces hold no more memory than they need");
}

#[test]
fn a_line_of_50_megabytes_is_cut_and_the_next_one_is_whole() {
    let mut rig = Rig::new(&["access.log"]);
    fs::write(rig.path("access.log"), vec![b'y'; 50_000_000]).unwrap();
    assert_eq!(all_pieces(&mut rig, 2), []);
    rig.append("access.log", "\nnext\n");
    let pieces = all_pieces(&mut rig, 1);
    assert_eq!(pieces.len(), 2);
    assert_eq!((pieces[0].end, pieces[0].data.len()), (50_000_001, MAX_LINE + 1));
    assert_eq!(pieces[1].data, b"next\n");
}

#[test]
fn a_busy_file_starves_no_other() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("busy.log", &text(0..40_000));
    rig.append("quiet.log", &text(90_000..90_001));
    rig.pass(1_000);
    for _ in 0..2 {
        assert!(!rig.poll_once(1).caught_up);
    }
    assert!(rig.lines().contains(&line(90_000).trim_end().to_owned()));
    rig.poll();
    rig.expect((0..40_000).chain(90_000..90_001));
}

#[test]
fn a_truncation_between_two_reads_of_one_file_is_noticed_before_anything_is_handed_out() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.refresh_ms = 3_600_000;
    rig.append("a.log", &text(0..20_000));
    rig.pass(1_000);
    assert!(!rig.poll_once(1).caught_up);
    let read = rig.lives[&1].data.len();
    assert!(read > 100_000);
    // No scan happens in between; the new content is longer than what was read.
    rig.truncate("a.log", 0);
    rig.append("a.log", &text(30_000..60_000));
    rig.poll_once(1 << 30);
    assert_eq!(rig.lives[&1].data.len(), read);
    rig.pass(3_600_000);
    rig.poll();
    assert_eq!(rig.lives[&2].data, text(30_000..60_000).as_bytes());
}

#[test]
fn a_change_that_hides_behind_a_coarse_time_stamp_is_seen_at_the_second_look() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", &text(0..3));
    rig.polls(2);
    rig.append("a.log", &text(3..4));
    let set_time = |rig: &Rig| {
        fs::File::open(rig.path("a.log")).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
    };
    set_time(&rig);
    rig.poll();
    rig.truncate("a.log", 0);
    rig.append("a.log", &text(10..14));
    set_time(&rig);
    rig.polls(2);
    rig.expect((0..4).chain(10..14));
}

#[test]
fn more_files_than_allowed_are_told_and_the_newest_are_read() {
    let mut rig = Rig::new(&["*.log"]);
    rig.settings.max_files = 3;
    for number in 0..5 {
        let name = format!("{number}.log");
        rig.append(&name, &text(number..number + 1));
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 + number as u64);
        fs::File::open(rig.path(&name)).unwrap().set_modified(at).unwrap();
    }
    rig.polls(3);
    rig.expect(2..5);
    let told =
        rig.notices.iter().filter(|notice| matches!(notice, Notice::TooManyFiles { matched: 5, limit: 3 }));
    assert_eq!(told.count(), 1);
}

fn open_files(rig: &Rig) -> usize {
    let root = rig.root.path();
    let descriptors = fs::read_dir("/proc/self/fd").unwrap().flatten();
    descriptors
        .filter(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(root)))
        .count()
}

#[test]
fn idle_files_are_closed_but_not_those_that_only_the_descriptor_finds() {
    let many = MAX_OPEN + 100;
    let mut rig = Rig::new(&["*.log"]);
    for number in 0..many {
        rig.append(&format!("{number}.log"), &text(number..number + 1));
    }
    rig.polls(3);
    assert!(open_files(&rig) <= MAX_OPEN);
    let notices = rig.notices.len();
    assert!(notices > MAX_NOTICES && rig.has_notice(|notice| matches!(notice, Notice::More { .. })));
    // The last ones are written to, and so they are open; they are deleted, and written to after that.
    for number in many - 50..many {
        rig.append(&format!("{number}.log"), &text(30_000 + number..30_001 + number));
    }
    rig.polls(3);
    let writers: Vec<fs::File> = (many - 50..many)
        .map(|number| fs::OpenOptions::new().append(true).open(rig.path(&format!("{number}.log"))).unwrap())
        .collect();
    for number in many - 50..many {
        rig.delete(&format!("{number}.log"));
    }
    for number in 0..many - 50 {
        rig.append(&format!("{number}.log"), &text(10_000 + number..10_001 + number));
    }
    rig.polls(3);
    for (index, mut writer) in writers.iter().enumerate() {
        std::io::Write::write_all(&mut writer, text(20_000 + index..20_001 + index).as_bytes()).unwrap();
    }
    rig.polls(3);
    assert!(open_files(&rig) <= MAX_OPEN + writers.len());
    let open_to_the_end = (20_000..20_050).map(|number| line(number).trim_end().to_owned());
    let lines: std::collections::BTreeSet<String> = rig.lines().into_iter().collect();
    let read = open_to_the_end.filter(|line| lines.contains(line)).count();
    assert_eq!(read, 50, "deleted files are read to their end");
    assert_eq!(rig.lines().len(), 2 * many + 50);
}

#[test]
fn so_many_empty_files_are_held_open_and_all_are_read_when_they_are_filled() {
    let most = 256;
    let mut rig = Rig::new(&["*.log"]);
    for number in 0..most + 20 {
        rig.append(&format!("{number}.log"), "");
    }
    rig.polls(2);
    assert_eq!(open_files(&rig), most);
    for number in 0..most + 20 {
        rig.append(&format!("{number}.log"), &text(number..number + 1));
    }
    rig.polls(3);
    rig.expect(0..most + 20);
}

#[test]
fn what_is_remembered_of_files_that_are_gone_is_bounded() {
    let mut rig = Rig::new(&["*.log"]);
    let many = MAX_REMEMBERED + 5;
    for number in 0..many {
        rig.append(&format!("{number}.log"), &text(number..number + 1));
    }
    rig.settings.max_files = many;
    rig.polls(2);
    rig.stop();
    for number in 0..many {
        rig.delete(&format!("{number}.log"));
    }
    rig.polls(2);
    assert_eq!(rig.stored.len(), MAX_REMEMBERED + 1);
    assert!(rig.stored.contains_key(&LEDGER));
    let forgotten = rig.notices.iter().filter(|notice| matches!(notice, Notice::Forgotten { .. })).count();
    assert_eq!(forgotten, 5);
}

#[test]
fn states_are_small_and_only_the_changed_ones_are_given() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", &text(0..20_000));
    rig.append("b.log", &text(30_000..30_001));
    rig.poll();
    assert!(rig.stored.values().all(|state| state.len() < 600), "{:?}", rig.stored.values().map(Vec::len));
    rig.append("b.log", &text(30_001..30_002));
    rig.poll_unstored();
    let changed: Vec<u64> = rig.tailer().states().iter().map(|(generation, _)| *generation).collect();
    assert_eq!(changed, [2]);
    assert_eq!(rig.tailer().states(), []);
}

#[test]
fn acknowledged_positions_are_shown_and_never_ahead_of_what_was_handed_out() {
    let mut rig = Rig::new(&["*.log"]);
    rig.append("a.log", &text(0..2));
    rig.poll();
    let length = line(0).len() as u64;
    rig.tailer().acknowledge(1, length);
    assert_eq!(rig.tailer().status()[0].acked, length);
    rig.tailer().acknowledge(1, 1_000_000);
    rig.tailer().acknowledge(1, 3);
    rig.tailer().acknowledge(99, 3);
    let status = rig.tailer().status();
    assert_eq!((status[0].acked, status[0].position, status[0].size), (2 * length, 2 * length, 2 * length));
}

#[test]
fn a_change_wakes_and_is_read_without_a_scan_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let mut settings = Settings::new(vec![root.path().join("*.log").to_str().unwrap().to_owned()]);
    settings.refresh_ms = 3_600_000;
    let mut rig = Rig::with(root, settings);
    rig.append("a.log", &text(0..1));
    rig.poll();
    rig.append("a.log", &text(1..2));
    while rig.lines().len() < 2 {
        let _ = rig.tailer().wait(Duration::from_mins(1));
        rig.poll_once(READ_SIZE);
    }
    rig.append("b.log", &text(2..3));
    while rig.lines().len() < 3 {
        let _ = rig.tailer().wait(Duration::from_mins(1));
        rig.pass(100);
        rig.poll_once(READ_SIZE);
    }
    rig.rename("a.log", "c.log");
    rig.append("a.log", &text(3..4));
    rig.append("c.log", &text(4..5));
    while rig.lines().len() < 5 {
        let _ = rig.tailer().wait(Duration::from_mins(1));
        rig.pass(100);
        rig.poll_once(READ_SIZE);
    }
    rig.expect(0..5);
}

#[test]
fn two_tailers_at_once_do_not_disturb_each_other() {
    let mut one = Rig::new(&["access.log*"]);
    one.append("access.log", &text(0..3));
    let now = one.now;
    let mut other = Tailer::open(one.settings.clone(), &[], now).unwrap();
    one.poll();
    assert_eq!(other.poll(now, READ_SIZE).pieces.len(), 1);
    one.expect(0..3);
}
